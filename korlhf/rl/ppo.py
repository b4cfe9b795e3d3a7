"""Policy optimisation on one batch of answers: what is kept of it, and its losses.

Pure functions over tensors. Shapes: B answers, R answer tokens (right-padded); M = the real tokens of several answers
one after another. Masks are 1 on real tokens. Every log-probability is in nats. An answer's tokens include the one
that ends it (EOS), which is an action like every other; an answer cut at the length limit has none. Sources: PPO
(arXiv 1707.06347), RLHF (2009.01325, 2203.02155), the k1 and k3 estimators (Schulman 2020), the mean over tokens and
the higher upper clip (DAPO, 2503.14476), one ratio per answer (GSPO, 2507.18071).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Passes:
    """Forward passes over the answers of one batch with their graphs; both (M,), values None without a critic."""

    logps: torch.Tensor
    values: Any


@dataclass
class Experience:
    """What one sampled batch leaves behind; everything but `passes` is detached."""

    prompts: list[list[int]]  # B lists of prompt ids
    answers: list[list[int]]  # B lists of answer ids, each at least one token
    texts: list[str]  # B answers as text
    mask: torch.Tensor  # (B, R)
    logps: torch.Tensor  # (B, R) under the actor that sampled
    ref_logps: torch.Tensor | None  # (B, R) under the reference
    advantages: torch.Tensor  # (B, R)
    scores: torch.Tensor  # (B,)   raw
    values: Any  # (B, R) critic's, before each answer token; None without one
    returns: Any  # (B, R) what the critic learns; None without one
    weights: torch.Tensor  # (B, R) of each token in the policy's loss
    shares: list[float]  # B: what each answer adds to the number that the loss is divided by
    mismatch: torch.Tensor | None = None  # (B, R) log-ratio of the actor to the engine that sampled, if that is another
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


def loss_weights(
    mask: torch.Tensor, kept: torch.Tensor, aggregation: str, longest: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """How tokens count in the policy's loss: weights (B, R), and what each answer adds to the divisor (B,).

    mask (B, R); kept (B,) bool: answers that count. aggregation: "token" (all tokens alike), "sequence" (the mean over
    an answer's tokens, then over answers) or "constant" (the sum over an answer's tokens by `longest`, the most that
    one can have; Dr. GRPO).
    """
    lengths, kept = mask.sum(1), kept.to(mask)
    weights = mask * kept.unsqueeze(1)
    if aggregation == "sequence":
        return weights / lengths.unsqueeze(1), kept
    return weights, kept * (lengths if aggregation == "token" else longest)


def mean_per_answer(x: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """(M,) values of several answers -> (M,): at each token the mean over its answer; lengths: tokens of each."""
    n = torch.tensor(lengths, device=x.device)
    answer = torch.repeat_interleave(n, output_size=len(x))
    return (x.new_zeros(len(n)).index_add(0, answer, x) / n)[answer]


def policy_loss(
    log_ratio: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    cliprange: float,
    cliprange_high: float = 0.0,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Clipped surrogate, summed over tokens with their weights. All (M,); log_ratio: new policy to old;
    cliprange_high: of ratios above 1, 0 = cliprange.

    Returns (loss, detached statistics as sums over the tokens that count).
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - cliprange, 1 + (cliprange_high or cliprange))
    loss = -(torch.min(ratio * advantages, clipped * advantages) * weights).sum()
    with torch.no_grad():
        counts = weights > 0
        ratio = torch.where(counts, ratio, 1.0)
        statistics = {
            "clipped": ((ratio != clipped) & counts).sum(),
            "approx_kl": ((ratio - 1 - log_ratio) * counts).sum(),
            "ratio_max": ratio.max(),
            "ratio_min": ratio.min(),
        }
    return loss, statistics


def kl_loss(logps: torch.Tensor, ref_logps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The k3 estimate of the KL to the reference as a loss, summed over tokens with their weights. All (M,)."""
    log_ratio = logps - ref_logps
    return (((-log_ratio).exp() - 1 + log_ratio) * weights).sum()


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
