"""Losses of preferences: pure functions of log-probabilities.

An answer's score is its log-ratio to the reference (dpo, ipo, kto), its mean log-probability per token (simpo), or the
log-odds of that mean (orpo); beta times the score is its implicit reward. A loss of pairs is a function of the margin
between two scores. IPO sums over tokens, as its paper does; some libraries take the mean.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F

from korlhf.training.dpo_flags import PreferenceFlags

LEAST_NLL = 1e-6  # nats per token: of an answer that is certain the odds would be infinite


def answer_scores(
    flags: PreferenceFlags, logps: torch.Tensor, lengths: torch.Tensor, reference: torch.Tensor | None
) -> torch.Tensor:
    """Scores (S,) of answers: logps (S,) nats, summed over tokens; lengths (S,) tokens; reference (S,): logps under
    the reference, None for simpo and orpo.
    """
    if reference is not None:
        return logps - reference
    mean = logps / lengths
    if flags.loss == "simpo":
        return mean
    mean = mean.clamp(max=-LEAST_NLL)
    return mean - torch.log(-torch.expm1(mean))


def dpo(margins: torch.Tensor, flags: PreferenceFlags) -> torch.Tensor:
    """DPO (arXiv 2305.18290), equation 7."""
    return -F.logsigmoid(flags.scale * margins)


def ipo(margins: torch.Tensor, flags: PreferenceFlags) -> torch.Tensor:
    """IPO (arXiv 2310.12036), equation 17; beta is its tau."""
    return (margins - 1 / (2 * flags.scale)) ** 2


def simpo(margins: torch.Tensor, flags: PreferenceFlags) -> torch.Tensor:
    """SimPO (arXiv 2405.14734), equation 6."""
    return -F.logsigmoid(flags.scale * margins - flags.simpo_gamma)


def orpo(margins: torch.Tensor, flags: PreferenceFlags) -> torch.Tensor:
    """The odds ratio of ORPO (arXiv 2403.07691), equations 6 and 7; beta is its lambda."""
    return -flags.scale * F.logsigmoid(margins)


LOSSES: dict[str, Callable[[torch.Tensor, PreferenceFlags], torch.Tensor]] = {
    "dpo": dpo,
    "ipo": ipo,
    "simpo": simpo,
    "orpo": orpo,
}


def pairs_of(group_sizes: Iterable[int], kept: Sequence[list[bool]] = ()) -> tuple[list[int], list[int], list[float]]:
    """All pairs of ranked answers, or those that are kept: (places of the better answers, of the worse ones, weights).

    group_sizes: answers of each prompt, best first, behind each other. Weights sum to 1: the mean over prompts of the
    mean over their pairs, as in step 2.
    """
    sizes = list(group_sizes)
    better, worse, weights, start = [], [], [], 0
    for k, size in enumerate(sizes):
        every = list(combinations(range(start, start + size), 2))
        pairs = [pair for pair, far in zip(every, kept[k]) if far] if kept else every
        better += [a for a, _ in pairs]
        worse += [b for _, b in pairs]
        weights += [1 / len(pairs) / len(sizes)] * len(pairs)
        start += size
    return better, worse, weights


def pair_losses(flags: PreferenceFlags, margins: torch.Tensor, nll: torch.Tensor) -> torch.Tensor:
    """Losses (P,) of pairs: margins (P,) of scores; nll (P,): of the better answers, in nats per token.

    label_smoothing: a pair counts the wrong way round with that probability (conservative DPO, of the same authors).
    """
    loss, wrong = LOSSES[flags.loss], flags.label_smoothing
    likelihood = 1.0 if flags.loss == "orpo" else flags.sft_weight
    return (1 - wrong) * loss(margins, flags) + wrong * loss(-margins, flags) + likelihood * nll


def kto_losses(
    flags: PreferenceFlags, scores: torch.Tensor, good: torch.Tensor, zero: float, nll: torch.Tensor
) -> torch.Tensor:
    """KTO (arXiv 2402.01306), equation 8: losses (S,) of answers that are good (S,) or not.

    zero: the KL from the reference, in nats, with which a score is compared; nll (S,) nats per token: sft_weight takes
    that of the good ones.
    """
    away = flags.scale * (scores - zero)
    gain = flags.desirable_weight * torch.sigmoid(-away) + flags.sft_weight * nll
    return torch.where(good, gain, flags.undesirable_weight * torch.sigmoid(away))
