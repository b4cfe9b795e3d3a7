"""What the engine that samples computes otherwise than the training, and the correction for it.

The same weights give two programs slightly other probabilities: answers are then samples of the engine's policy, not
of the actor's. Pure functions over tensors: B answers, R answer tokens; log_ratio (B, R) is the actor's log-probability
less the engine's, in nats, zero where mask is. Sources: truncated importance sampling (Yao et al. 2025, "Your efficient
RL framework secretly brings you off-policy RL training"), the k1 and k3 estimators (Schulman 2020).
"""

from collections.abc import Callable

import torch


def factors(log_ratio: torch.Tensor, mask: torch.Tensor, correction: str, largest: float) -> torch.Tensor:
    """What each token's weight in the policy's loss is multiplied by, (B, R).

    correction: "none"; "token": its own ratio, at most `largest`; "sequence": that of its answer, the product of its
    tokens' ratios, at most `largest`.
    """
    if correction == "none":
        return mask
    if correction == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True)
    return log_ratio.exp().clamp(max=largest) * mask


def measured(
    log_ratio: torch.Tensor, mask: torch.Tensor, total: Callable, gather: Callable[[float], list[float]]
) -> dict[str, float]:
    """Over the answers of all processes: the KL from the actor to the engine in nats per token by k1 and k3, and the
    largest ratio of a token, either way. total, gather: as of World.
    """
    k1, k3 = -log_ratio, log_ratio.exp() - 1 - log_ratio
    first, third, tokens = total(torch.stack([x.double().sum() for x in (k1 * mask, k3 * mask, mask)])).tolist()
    largest = max(gather(float(log_ratio.abs().max().exp())))
    return {"mismatch_kl": first / tokens, "mismatch_kl_k3": third / tokens, "mismatch_ratio_max": largest}
