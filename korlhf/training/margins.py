"""What the margins of a judge's scores say about labels: accuracy by margin, and how far labels alone limit accuracy.

A label that comes from two close scores is little more than a coin. A model is then wrong on such pairs however good it
is, and its accuracy has a ceiling below 1.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from korlhf.core import stats

BINS = 4  # of equally many pairs, from the smallest margin to the largest
LEAST_PAIRS = 100  # for a ceiling
RESAMPLES = 500
MOST_PROMPTS = 20_000  # the curve is fitted to these at most, evenly spread
PLATEAUS = np.linspace(0.5, 0.999, 40)
NOISE = np.geomspace(0.02, 50, 40)  # in medians of the margin


def by_margin(right: Sequence[float], margins: Sequence[float], groups: Sequence[Hashable]) -> list[dict[str, Any]]:
    """Accuracy from the smallest margins to the largest: [{"from", "to", "accuracy", "n", "ci95"}].

    right: 1, .5 or 0 for each pair; margins: of its labels, above 0; groups: its prompt. Equal margins stay together.
    """
    values, m, of = np.asarray(right, dtype=float), np.asarray(margins, dtype=float), np.asarray(list(groups))
    if not len(m):
        return []
    cuts = np.unique(np.quantile(m, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    place = np.searchsorted(cuts, m)  # a margin that is a cut belongs below it
    return [
        {
            "from": float(m[here].min()),
            "to": float(m[here].max()),
            "accuracy": float(values[here].mean()),
            "n": int(here.sum()),
            "ci95": list(stats.share_interval(values[here], of[here].tolist())),
        }
        for here in (place == k for k in np.unique(place))
    ]


def ceiling(
    right: Sequence[float], margins: Sequence[float], groups: Sequence[Hashable], seed: int = 0
) -> dict[str, Any] | None:
    """The accuracy that a model without fault would have if labels were right with probability Phi(margin / noise), and
    everything that is lost towards small margins were theirs: {"ceiling", "low", "high", "plateau", "noise", "n"}.

    The model is right about the truth with one probability, the plateau, at every margin; noise and plateau are fitted
    by maximum likelihood, with an expanded percentile interval over prompts. Pairs with a small margin are harder as
    well, so the true ceiling is this high or higher. None for fewer than LEAST_PAIRS, or margins that are all alike.
    """
    from scipy.stats import norm

    m = np.asarray(margins, dtype=float)
    if len(m) < LEAST_PAIRS or len(np.unique(m)) < BINS:
        return None
    _, of = np.unique(np.asarray(list(groups)), return_inverse=True)
    if of.max() + 1 > MOST_PROMPTS:
        kept = of % (of.max() // MOST_PROMPTS + 1) == 0
        return ceiling(np.asarray(right, dtype=float)[kept], m[kept], of[kept].tolist(), seed)
    values, unit = np.asarray(right, dtype=float), float(np.median(m))
    likelihood, ceilings = np.empty((of.max() + 1, len(NOISE), len(PLATEAUS))), np.empty(len(NOISE))
    for k, noise in enumerate(NOISE):
        label = norm.cdf(m / (noise * unit))
        agree = PLATEAUS * label[:, None] + (1 - PLATEAUS) * (1 - label[:, None])  # (N, PLATEAUS)
        cost = values[:, None] * np.log(agree) + (1 - values[:, None]) * np.log(1 - agree)
        likelihood[:, k] = np.stack([np.bincount(of, weights=c) for c in cost.T], 1)
        ceilings[k] = label.mean()
    flat = likelihood.reshape(len(likelihood), -1)
    best = int(flat.sum(0).argmax())
    rng, prompts = np.random.default_rng(seed), len(flat)
    drawn = [rng.multinomial(prompts, np.full(prompts, 1 / prompts)) @ flat for _ in range(RESAMPLES)]
    found = ceilings[np.argmax(drawn, 1) // len(PLATEAUS)]
    low, high = np.quantile(found, stats.expanded(prompts))
    noise, plateau = divmod(best, len(PLATEAUS))
    return {
        "ceiling": float(ceilings[noise]),
        "low": float(low),
        "high": float(high),
        "plateau": float(PLATEAUS[plateau]),
        "noise": float(NOISE[noise] * unit),
        "n": len(m),
    }
