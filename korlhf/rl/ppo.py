"""Proximal policy optimisation on one batch of answers: what is kept of it, and what is lost.

Pure functions over tensors. Shapes: B answers, R answer tokens (right-padded); M = the real tokens of several answers
one after another. Masks are 1 on real tokens. Every log-probability is in nats. An answer's tokens include the one
that ends it (EOS), which is an action like every other; an answer cut at the length limit has none. Sources: PPO
(arXiv 1707.06347), GAE (1506.02438), RLHF (2009.01325, 2203.02155), the k1 and k3 estimators (Schulman 2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass
class Passes:
    """Forward passes over the answers of one batch with their graphs; both (M,)."""

    logps: torch.Tensor
    values: torch.Tensor


@dataclass
class Experience:
    """What one sampled batch leaves behind; everything but `passes` is detached."""

    prompts: list[list[int]]  # B lists of prompt ids
    answers: list[list[int]]  # B lists of answer ids, each at least one token
    texts: list[str]  # B answers as text
    mask: torch.Tensor  # (B, R)
    logps: torch.Tensor  # (B, R) under the actor that sampled
    ref_logps: torch.Tensor  # (B, R) under the reference
    values: torch.Tensor  # (B, R) critic's, before each answer token
    advantages: torch.Tensor  # (B, R)
    returns: torch.Tensor  # (B, R)
    scores: torch.Tensor  # (B,)   reward model's, raw
    passes: Passes | None = None  # if the one update takes its gradients from the passes that scored

    def __len__(self) -> int:
        return len(self.answers)


def pad_rows(flat: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """(M,) values of several answers -> (B, R), zero where there is no token; lengths: tokens of each answer."""
    return torch.nn.utils.rnn.pad_sequence(list(flat.split(list(lengths))), batch_first=True)


def length_mask(lengths: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """Answer lengths -> mask (B, R) with R the longest."""
    n = torch.as_tensor(lengths, device=device)
    return (torch.arange(int(n.max()), device=device) < n.unsqueeze(1)).float()


def policy_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, cliprange: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Clipped surrogate, summed over tokens. All (M,). Returns (loss, detached statistics as sums over tokens)."""
    log_ratio = logps - old_logps
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - cliprange, 1 + cliprange)
    loss = -torch.min(ratio * advantages, clipped * advantages).sum()
    with torch.no_grad():
        statistics = {
            "clipped": (ratio != clipped).sum(),
            "approx_kl": (ratio - 1 - log_ratio).sum(),
            "ratio_max": ratio.max(),
            "ratio_min": ratio.min(),
        }
    return loss, statistics


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, cliprange_value: float
) -> torch.Tensor:
    """Half the larger of the plain and the clipped squared error, summed over tokens. All (M,)."""
    near = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    return 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2).sum()


def kl_estimates(logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL from reference to actor of each answer in nats, (B,) twice: k1 and k3.

    k1 = sum of log-ratios, k3 = sum of (1/r - 1 + log r), r = actor / reference.
    """
    log_ratio = (logps - ref_logps) * mask
    return log_ratio.sum(1), ((-log_ratio).exp() - 1 + log_ratio).sum(1)
