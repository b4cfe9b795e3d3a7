"""Statistics of comparisons: intervals, paired differences, tests, strengths of many models, calibration.

Every resampling is seeded, and resamples prompts, not answers: answers to one prompt are not independent. Library functions do the
work where there is one (scipy, scikit-learn).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

RESAMPLES = 2000
FLIPS = 10_000  # of signs: p-values reach down to 1e-4, so that a clear difference among hundreds of comparisons stays one after `holm`
BLOCK = 4_000_000  # numbers drawn at once, so that 100,000 prompts do not fill the memory


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; n: values, groups: prompts they come from."""

    mean: float
    low: float
    high: float
    n: int
    groups: int


def wilson(right, n, z=1.959964):
    """95 % interval of a share (Wilson 1927): right may be fractional, since a tie counts one half. (0, 1) if n is 0."""
    if not n:
        return 0.0, 1.0
    p = right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def _group_sums(values, groups):
    """(sums, counts) per group."""
    values = np.asarray(values, dtype=float)
    _, index = np.unique(np.arange(len(values)) if groups is None else np.asarray(list(groups)), return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index)


def mean_interval(values, groups=None, seed=0, resamples=RESAMPLES):
    """Mean of `values` with the percentile bootstrap interval over groups (Efron and Tibshirani 1993, chapter 13).

    values: numbers; groups: the prompt of each, None = each its own. Raises ValueError without values, or if one is no finite number.
    """
    if not len(values):
        raise ValueError("a mean needs at least one value")
    if not np.isfinite(values).all():
        raise ValueError("a mean needs finite values")
    sums, counts = _group_sums(values, groups)
    rng, means = np.random.default_rng(seed), []
    for start in range(0, resamples, block := max(1, BLOCK // len(sums))):
        draws = rng.integers(len(sums), size=(min(block, resamples - start), len(sums)))
        means.append(sums[draws].sum(1) / counts[draws].sum(1))
    means = np.concatenate(means)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high), int(counts.sum()), len(sums))


def paired_difference(a, b, groups=None, seed=0, resamples=RESAMPLES, flips=FLIPS):
    """Mean of a - b with its interval, and the p-value of "no difference" by flipping the signs of whole groups.

    a, b: values of the same items. Returns (Estimate, p). The p-value is two-sided, (hits + 1) / (flips + 1) (Phipson and Smyth 2010).
    Raises ValueError if the lists differ in length, are empty, or hold what is no finite number.
    """
    if len(a) != len(b):
        raise ValueError(f"a paired difference needs lists of one length, not {len(a)} and {len(b)}")
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    found = mean_interval(difference, groups, seed, resamples)
    sums, _ = _group_sums(difference, groups)
    least = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()  # equal sums, added up in another order, differ by rounding
    rng, hits = np.random.default_rng(seed + 1), 0
    for start in range(0, flips, block := max(1, BLOCK // len(sums))):
        kept = rng.integers(2, size=(min(block, flips - start), len(sums)), dtype=np.int8)
        hits += int((np.abs(2 * (kept.astype(float) @ sums) - sums.sum()) >= least).sum())
    return found, (hits + 1) / (flips + 1)


def holm(p_values):
    """p-values adjusted for their number, in the order given (Holm 1979): under 0.05 are those that hold together at 5 %."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, highest)
    return adjusted


def mcnemar(only_first, only_second):
    """Exact two-sided p-value of McNemar's test: how often only the first, and only the second, of two judges was right."""
    n = only_first + only_second
    return 1.0 if n == 0 else float(stats.binomtest(only_first, n, 0.5).pvalue)


def spearman(x, y):
    """Rank correlation, 0.0 if one side is constant or there are fewer than 3 values."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    return float(stats.spearmanr(x, y).statistic)


def calibration(margins, wins, bins=10):
    """How far sigmoid(score difference), the probability that the pairwise loss trains, is from the win rate.

    margins: score differences, (N,); wins: 1, .5 or 0. Pairs are put with the likelier answer first, so probabilities are .5 to 1.
    Returns (expected calibration error, [{"from", "to", "predicted", "won", "n"}]) over bins of equal width that hold pairs
    (Guo et al. 2017, equation 3).
    """
    margins, wins = np.asarray(margins, dtype=float), np.asarray(wins, dtype=float)
    predicted = 1 / (1 + np.exp(-np.abs(margins)))
    won = np.where(margins < 0, 1 - wins, wins)
    edges = np.linspace(0.5, 1.0, bins + 1)
    index = np.clip(np.digitize(predicted, edges) - 1, 0, bins - 1)
    table, error = [], 0.0
    for k in range(bins):
        here = index == k
        if here.any():
            p, w = float(predicted[here].mean()), float(won[here].mean())
            table.append(
                {"from": float(edges[k]), "to": float(edges[k + 1]), "predicted": p, "won": w, "n": int(here.sum())}
            )
            error += abs(p - w) * here.sum() / len(margins)
    return float(error), table


def bradley_terry(names, games, prior=0.5):
    """Strengths of several models from pairwise games: P(i beats j) = 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952).

    names: models; games: (name, name, result of the first: 1, .5 or 0). A tie is half a win of each. prior: games that each pair is
    taken to have drawn, so that a model that never lost has a finite strength. Returns {name: strength}, mean 0, in logits.
    """
    place = {name: i for i, name in enumerate(names)}
    wins = np.full((len(names), len(names)), prior / 2)
    np.fill_diagonal(wins, 0.0)
    for a, b, result in games:
        wins[place[a], place[b]] += result
        wins[place[b], place[a]] += 1 - result

    played = wins + wins.T
    strength = np.ones(len(names))
    for _ in range(10_000):  # Hunter 2004, the MM algorithm
        new = wins.sum(1) / (played / (strength[:, None] + strength[None, :])).sum(1)
        new /= np.exp(np.log(new).mean())
        done = np.abs(np.log(new) - np.log(strength)).max() < 1e-10
        strength = new
        if done:
            break
    return {name: float(np.log(strength[i])) for name, i in place.items()}


def length_controlled(results, length_differences):
    """The win rate that the first model would have with answers as long as the other's.

    results: 1, .5 or 0 of the first, (N,); length_differences: its answer's length minus the other's, (N,). Fits
    P(win) = sigmoid(a + b * tanh(difference / its standard deviation)) and returns sigmoid(a) (Dubois et al. 2024, without the term of
    the prompt's difficulty; a ridge with about the weight of one result on b keeps a separable set finite). Raises ValueError without
    results.
    """
    if not len(results):
        raise ValueError("a win rate needs at least one result")
    y, d = np.asarray(results, dtype=float), np.asarray(length_differences, dtype=float)
    x = np.tanh(d / d.std()) if d.std() > 0 else np.zeros_like(d)
    found = optimize.minimize(_length_loss, np.zeros(2), args=(x, y), method="BFGS")
    return float(1 / (1 + np.exp(-found.x[0])))


def _length_loss(weights, x, y):
    logit = weights[0] + weights[1] * x
    return np.mean(np.logaddexp(0, logit) - y * logit) + (1e-3 * weights[0] ** 2 + 0.5 * weights[1] ** 2) / len(x)


def kappa(first, second):
    """Cohen's kappa of two lists of verdicts on the same items; 1.0 if both are constant and equal."""
    from sklearn.metrics import cohen_kappa_score  # slow to import

    if list(first) == list(second):
        return 1.0
    return float(cohen_kappa_score(list(first), list(second)))
