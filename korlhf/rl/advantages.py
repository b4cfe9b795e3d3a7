"""Rewards to advantages."""

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
