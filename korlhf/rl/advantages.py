"""Rewards to advantages: GAE with a critic (arXiv 1506.02438), and without one RLOO (2402.14740), GRPO (2402.03300,
without its scale Dr. GRPO, 2503.20783) and REINFORCE with a baseline over the batch (REINFORCE++, 2501.03262).

Groups (B,) are numbers from 0: the answers to one prompt have the same one, and all of them are in one process.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

Total = Callable[[torch.Tensor], torch.Tensor]  # sums a fp64 tensor over processes


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalized Advantage Estimation; the value after the last answer token is 0.

    rewards, values, mask (B, R) -> advantages, returns (B, R), zero where mask is 0.
    """
    values = values * mask
    deltas = rewards + gamma * F.pad(values[:, 1:], (0, 1)) - values
    # A_t = delta_t + c A_t+1: sums over 2, 4, 8 ... tokens. No power of c is divided by, so any c in [0, 1] is safe.
    advantages, span, c = deltas, 1, gamma * lam
    while span < deltas.size(1):
        advantages = advantages + c * F.pad(advantages[:, span:], (0, span))
        span, c = 2 * span, c * c
    return advantages * mask, (advantages + values) * mask


def rloo(scores: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Each answer's score less the mean of the others to its prompt; of an only answer the score itself.

    scores, groups (B,) -> (B,).
    """
    n, total = _sums(torch.ones_like(scores), groups), _sums(scores, groups)
    return scores - (total - scores) / (n - 1).clamp(min=1)


def grpo(
    scores: torch.Tensor, groups: torch.Tensor, scale: str = "group", total: Total = lambda sums: sums
) -> torch.Tensor:
    """Each answer's score less the mean of its prompt's answers, divided by their standard deviation.

    scores, groups (B,) -> (B,), zero where all answers to a prompt have one score. scale: "group", "batch" (the
    deviation is that of all scores of all processes) or "none".
    """
    n = _sums(torch.ones_like(scores), groups)
    centred = scores - _sums(scores, groups) / n
    if scale == "none":
        return centred
    if scale == "group":
        std = (_sums(centred**2, groups) / (n - 1).clamp(min=1)).sqrt()
    else:
        x = scores.double()
        count, mean = total(torch.stack([x.new_tensor(len(x)), x.sum()]))
        squares = total(((x - mean / count) ** 2).sum().reshape(1))[0]
        std = (squares / (count - 1).clamp(min=1)).sqrt().to(scores)
    return centred / (std + 1e-4)


def reinforce(
    rewards: torch.Tensor, mask: torch.Tensor, gamma: float, total: Total = lambda sums: sums
) -> torch.Tensor:
    """Discounted sums of each token's reward and all that come after it, less their mean over the tokens of all
    processes. rewards, mask (B, R) -> (B, R), zero where mask is 0.
    """
    returns, _ = gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)
    n, s = total(torch.stack([mask.double().sum(), returns.double().sum()]))
    return (returns - (s / n).to(returns)) * mask


def equal_groups(scores: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Whether all answers to a prompt got one score, for each answer: scores, groups (B,) -> bool (B,)."""
    ends = [
        scores.new_zeros(len(scores)).scatter_reduce(0, groups, scores, r, include_self=False) for r in ("amin", "amax")
    ]
    return (ends[0] == ends[1])[groups]


def _sums(x, groups):
    """Sums of x (B,) over each group, at every member of it."""
    return x.new_zeros(len(x)).index_add(0, groups, x)[groups]


def whiten(advantages: torch.Tensor, mask: torch.Tensor, total: Total = lambda sums: sums) -> torch.Tensor:
    """Advantages with mean 0 and standard deviation 1 over the real tokens of all processes; padding stays 0."""
    x = advantages.double()
    n, s, q = total(torch.stack([mask.double().sum(), (x * mask).sum(), (x * x * mask).sum()]))
    mean = s / n
    variance = (q / n - mean**2).clamp(min=0)
    return ((x - mean) / (variance + 1e-8).sqrt() * mask).float()


def explained_variance(
    values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, total: Total = lambda sums: sums
) -> float | None:
    """1 - Var(returns - values) / Var(returns) over the real tokens of all processes; None if no return differs."""
    picked = mask.bool()
    r, e = returns[picked].double(), (returns - values)[picked].double()
    n, *sums = total(torch.stack([mask.double().sum(), r.sum(), e.sum()]))
    spread_r, spread_e = total(torch.stack([((x - s / n) ** 2).sum() for x, s in zip((r, e), sums)])).tolist()
    return 1 - spread_e / spread_r if spread_r else None
