"""The losses of steps 1 and 2."""

import torch
import torch.nn.functional as F


def sft_loss(logps, normalizer):
    """Negative log-likelihood of the trained tokens: sum over `logps` (M,) in nats, divided by `normalizer`.

    normalizer: trained tokens of the whole optimizer step / (ranks x accumulation steps), so that the gradient DeepSpeed averages
    is that of the mean over all of the step's tokens, however they are spread over ranks and forward passes.
    """
    return -logps.sum() / normalizer


def ranked_loss(scores, group_sizes):
    """Pairwise loss of ranked answers: for each prompt the mean of -log sigmoid(better - worse) over all K(K-1)/2 pairs.

    scores (S,): prompt after prompt, best answer first; group_sizes: answers of each prompt, each >= 2. Returns the mean over prompts.
    Source: InstructGPT (arXiv 2203.02155), equation 1.
    """
    losses = []
    for group in scores.split(list(group_sizes)):
        better, worse = torch.triu_indices(len(group), len(group), 1, device=scores.device)
        losses.append(-F.logsigmoid(group[better] - group[worse]).mean())
    return torch.stack(losses).mean()


def ranked_right(scores, group_sizes):
    """How many pairs of ranked answers `scores` (as for ranked_loss) order rightly, equal scores as one half, and how many there are."""
    right = n = 0
    for group in scores.split(list(group_sizes)):
        better, worse = torch.triu_indices(len(group), len(group), 1, device=scores.device)
        margins = group[better] - group[worse]
        right += float((margins > 0).sum() + 0.5 * (margins == 0).sum())
        n += len(margins)
    return right, n
