"""Statistics of comparisons: intervals, paired differences, tests, strengths of many models.

Every resampling is seeded, and resamples prompts, not answers: answers to one prompt are not independent. The bootstrap
and the sign flips are written here, because scipy's know no groups. Other libraries are imported where they are used:
they take seconds.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
FLIPS = 10_000  # of signs: p-values reach 1e-4, so that a clear difference among hundreds stays one after `holm`
BLOCK = 4_000_000  # numbers drawn at once, so that 100,000 prompts do not fill the memory

Values = Sequence[float] | np.ndarray
Groups = Iterable[Hashable] | None


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; n: values, groups: prompts they come from."""

    mean: float
    low: float
    high: float
    n: int
    groups: int


def wilson(right: float, n: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): right may be fractional (a tie counts one half). (0, 1) if n is 0."""
    from statsmodels.stats.proportion import proportion_confint

    if not n:
        return 0.0, 1.0
    low, high = np.asarray(proportion_confint(right, n, method="wilson"), dtype=float).tolist()
    return low, high


def _group_sums(values: Values, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """(sums, counts) per group."""
    values = np.asarray(values, dtype=float)
    _, index = np.unique(np.arange(len(values)) if groups is None else np.asarray(list(groups)), return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index)


def mean_interval(values: Values, groups: Groups = None, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of `values` with the percentile bootstrap interval over groups (Efron and Tibshirani 1993, chapter 13).

    values: numbers; groups: the prompt of each, None = each its own. Raises ValueError without values, or if one is no
    finite number.
    """
    if not len(values):
        raise ValueError("a mean needs at least one value")
    if not np.isfinite(values).all():
        raise ValueError("a mean needs finite values")
    sums, counts = _group_sums(values, groups)
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, resamples, block := max(1, BLOCK // len(sums))):
        draws = rng.integers(len(sums), size=(min(block, resamples - start), len(sums)))
        drawn.append(sums[draws].sum(1) / counts[draws].sum(1))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high), int(counts.sum()), len(sums))


def paired_difference(
    a: Values, b: Values, groups: Groups = None, seed: int = 0, resamples: int = RESAMPLES, flips: int = FLIPS
) -> tuple[Estimate, float]:
    """Mean of a - b with its interval, and the p-value of "no difference" by flipping the signs of whole groups.

    a, b: values of the same items. Returns (Estimate, p). The p-value is two-sided, (hits + 1) / (flips + 1) (Phipson
    and Smyth 2010). Raises ValueError if the lists differ in length, are empty, or hold what is no finite number.
    """
    if len(a) != len(b):
        raise ValueError(f"a paired difference needs lists of one length, not {len(a)} and {len(b)}")
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    estimate = mean_interval(difference, groups, seed, resamples)
    sums, _ = _group_sums(difference, groups)
    least = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()  # equal sums, added up in another order, differ by rounding
    rng, hits = np.random.default_rng(seed + 1), 0
    for start in range(0, flips, block := max(1, BLOCK // len(sums))):
        kept = rng.integers(2, size=(min(block, flips - start), len(sums)), dtype=np.int8)
        hits += int((np.abs(2 * (kept.astype(float) @ sums) - sums.sum()) >= least).sum())
    return estimate, (hits + 1) / (flips + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given (Holm 1979): those under 0.05 hold together at 5 %."""
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, method="holm")[1]).tolist() if len(p_values) else []


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test: how often only one of two judges was right, each."""
    from scipy import stats

    n = only_first + only_second
    return float(stats.binomtest(only_first, n).pvalue) if n else 1.0


def spearman(x: Values, y: Values) -> float:
    """Rank correlation, 0.0 if one side is constant or there are fewer than 3 values."""
    from scipy import stats

    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    result: Any = stats.spearmanr(x, y)
    return float(result.statistic)


def bradley_terry(
    names: Sequence[str], games: Iterable[tuple[str, str, float]], prior: float = 0.5
) -> dict[str, float]:
    """Strengths of models from pairwise games: P(i beats j) = 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952).

    names: models; games: (name, name, result of the first: 1, .5 or 0). A tie is half a win of each. prior: games that
    each pair is taken to have drawn, so that a model that never lost has a finite strength. Returns {name: strength},
    mean 0, in logits.
    """
    from choix import ilsr_pairwise_dense

    place = {name: i for i, name in enumerate(names)}
    wins = np.full((len(names), len(names)), prior / 2)
    np.fill_diagonal(wins, 0.0)
    for a, b, result in games:
        wins[place[a], place[b]] += result
        wins[place[b], place[a]] += 1 - result
    return dict(zip(names, ilsr_pairwise_dense(wins, tol=1e-10).tolist()))


def length_controlled(results: Values, length_differences: Values) -> float:
    """The win rate that the first model would have with answers as long as the other's.

    results: 1, .5 or 0 of the first, (N,); length_differences: its answer's length minus the other's, (N,). Fits
    P(win) = sigmoid(a + b * tanh(difference / its standard deviation)) and returns sigmoid(a) (Dubois et al. 2024,
    without the term of the prompt's difficulty; a ridge with about the weight of one result on b keeps a separable set
    finite). Raises ValueError without results.
    """
    from scipy import optimize

    if not len(results):
        raise ValueError("a win rate needs at least one result")
    y, d = np.asarray(results, dtype=float), np.asarray(length_differences, dtype=float)
    x = np.tanh(d / d.std()) if d.std() > 0 else np.zeros_like(d)
    weights = optimize.minimize(_length_loss, np.zeros(2), args=(x, y), method="BFGS").x
    return float(1 / (1 + np.exp(-weights[0])))


def _length_loss(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    logit = weights[0] + weights[1] * x
    return np.mean(np.logaddexp(0, logit) - y * logit) + (1e-3 * weights[0] ** 2 + 0.5 * weights[1] ** 2) / len(x)


def kappa(first: Sequence, second: Sequence) -> float:
    """Cohen's kappa of two lists of verdicts on the same items; 1.0 if both are constant and equal."""
    from sklearn.metrics import cohen_kappa_score

    if list(first) == list(second):
        return 1.0
    return float(cohen_kappa_score(list(first), list(second)))
