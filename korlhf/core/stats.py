"""Statistics of comparisons: intervals, paired differences, tests, strengths of many models.

The unit is the prompt, never the answer or the pair: answers to one prompt are not independent. Intervals come from
Student's t over prompts, not from a bootstrap: with 5 to 30 prompts a percentile bootstrap of 95 % covers .75 to .89,
and has no width where all values are equal. What is fitted anew (`expanded`) and p-values are resampled, seeded; the
sign flips are written here, because scipy's know no groups. Other libraries are imported where they are used: they take
seconds.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

RESAMPLES = 2000
FLIPS = 10_000  # of signs: p-values reach 1e-4, so that a clear difference among hundreds stays one after `holm`
BLOCK = 4_000_000  # numbers drawn at once, so that 100,000 prompts do not fill the memory
Z = 1.959963984540054  # of 95 %

Values = Sequence[float] | np.ndarray
Groups = Iterable[Hashable] | None
Bounds = tuple[float, float]
UNIT = (0.0, 1.0)  # bounds of a share
CHANGE = (-1.0, 1.0)  # of a difference of two shares


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; n: values, groups: prompts they come from.

    low and high are infinite where nothing can be said: of one prompt, and of equal values without bounds.
    """

    mean: float
    low: float
    high: float
    n: int
    groups: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def wilson(right: float, n: float) -> tuple[float, float]:
    """95 % interval of a share of n independent results (Wilson 1927): right may be fractional (a tie counts one
    half). (0, 1) if n is 0."""
    from statsmodels.stats.proportion import proportion_confint

    if not n:
        return 0.0, 1.0
    low, high = np.asarray(proportion_confint(right, n, method="wilson"), dtype=float).tolist()
    return low, high


def share_interval(right: Values, groups: Groups = None) -> tuple[float, float]:
    """95 % interval of a share whose results (from 0 to 1) come in groups: pairs of a prompt. (0, 1) without results,
    and of several from one prompt.

    With one result per prompt it is Wilson's: independent results vary by p (1 - p), so there is nothing to estimate.
    Else it is Wilson's for as many independent results as would vary as much as these do between prompts, fewer by the
    square of t / z because that is estimated from so few (Korn and Graubard 1998). Prompts that are all alike count as
    one result each.
    """
    sums, counts = _group_sums(right, groups) if len(right) else (np.zeros(0), np.zeros(0))
    return Sums(len(sums), *(float(m.sum()) for m in (sums, counts, sums**2, sums * counts, counts**2))).interval()


@dataclass
class Sums:
    """What `share_interval` needs of results that come by groups of r right of k each, without keeping them: sums over
    the groups of r, k, r * r, r * k and k * k."""

    groups: int = 0
    right: float = 0.0
    n: float = 0.0
    right2: float = 0.0
    right_n: float = 0.0
    n2: float = 0.0

    def add(self, right: float, n: int) -> None:
        """Count one group."""
        self.groups += 1
        self.right += right
        self.n += n
        self.right2 += right**2
        self.right_n += right * n
        self.n2 += n**2

    def interval(self) -> tuple[float, float]:
        """(low, high) of the share; see `share_interval`."""
        if self.n == self.groups:
            return wilson(self.right, self.n)
        if self.groups < 2:
            return UNIT
        mean = self.right / self.n
        squares = self.right2 - 2 * mean * self.right_n + mean**2 * self.n2
        variance = self.groups / (self.groups - 1) * squares / self.n**2
        alike = variance < 1e-12 or mean * (1 - mean) < 1e-12
        few = (Z / _t(self.groups)) ** 2
        effective = self.groups if alike else min(self.n, mean * (1 - mean) / variance) * few
        return wilson(mean * effective, effective)


@lru_cache(maxsize=1 << 10)
def _t(groups: int) -> float:
    """The t that 95 % of a mean over so many groups is within."""
    from scipy import stats

    return float(stats.t.ppf(0.975, groups - 1))


def _group_sums(values: Values, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """(sums, counts) per group."""
    values = np.asarray(values, dtype=float)
    _, index = np.unique(np.arange(len(values)) if groups is None else np.asarray(list(groups)), return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index)


def mean_interval(values: Values, groups: Groups = None, bounds: Bounds | None = None) -> Estimate:
    """Mean of `values` with its 95 % interval over groups.

    values: numbers; groups: the prompt of each, None = each its own; bounds: least and largest possible value, None if
    there are none. Raises ValueError without values, or if one is no finite number.

    Student's t over groups, of the ratio of their sums to their counts (Cochran 1977, section 6.13). Without bounds
    the side of the long tail reaches out by what the skewness asks for (Johnson 1978). With bounds it reaches as far as
    Wilson's interval for the same variance, which is skewed near a bound; values that are all equal may hide a share of
    1 - .025^(1 / groups) of others (Clopper and Pearson 1934), at worst at the bound.
    """
    if not len(values):
        raise ValueError("a mean needs at least one value")
    if not np.isfinite(values).all():
        raise ValueError("a mean needs finite values")
    return ratio_interval(*_group_sums(values, groups), bounds)


def ratio_interval(sums: Values, counts: Values, bounds: Bounds | None = None) -> Estimate:
    """`mean_interval` of values whose sum and number is known of each group: a loss per token, of texts."""
    sums, counts = np.asarray(sums, dtype=float), np.asarray(counts, dtype=float)
    mean, k = float(sums.sum() / counts.sum()), len(sums)
    spread = (sums - mean * counts) / counts.mean()  # (groups,), mean 0
    error = math.sqrt((spread**2).sum() / max(1, k - 1) / k)
    low, high = (-math.inf, math.inf) if bounds is None else bounds
    if error > 1e-12 * max(1.0, abs(mean)):  # less is rounding
        low, high = _skewed(mean, spread, error) if bounds is None else _bounded(mean, error, k, bounds)
    elif bounds is not None and k > 1:
        hidden = 1 - 0.025 ** (1 / k)
        low, high = mean - hidden * (mean - low), mean + hidden * (high - mean)
    return Estimate(mean, low, high, int(counts.sum()), k)


def _skewed(mean, spread, error):
    k, t = len(spread), _t(len(spread))
    deviation = error * math.sqrt(k)
    skewness = float((spread**3).mean()) / deviation**3 * math.sqrt(k * (k - 1)) / (k - 2) if k > 2 else 0.0
    shift = deviation * skewness * (1 / 6 + t**2 / 3) / k
    return mean - t * error + min(0.0, shift), mean + t * error + max(0.0, shift)


def _bounded(mean, error, k, bounds):
    """The farther ends of t's interval and of Wilson's for a share of the same variance."""
    least, width, t = bounds[0], bounds[1] - bounds[0], _t(k)
    share = min(1.0, max(0.0, (mean - least) / width))
    effective = share * (1 - share) / (error / width) ** 2 * (Z / t) ** 2
    low, high = wilson(share * effective, effective)
    low, high = min(mean - t * error, least + width * low), max(mean + t * error, least + width * high)
    return max(least, low), min(bounds[1], high)


def expanded(groups: int) -> tuple[float, float]:
    """The quantiles of a bootstrap over so many groups that make its 95 % percentile interval as wide as t's
    (Hesterberg 2015, section 5.3.3)."""
    from scipy import stats

    tail = float(stats.norm.cdf(-math.sqrt(groups / (groups - 1)) * _t(groups))) if groups > 1 else 0.0
    return tail, 1 - tail


def paired_difference(
    a: Values, b: Values, groups: Groups = None, seed: int = 0, bounds: Bounds | None = None, flips: int = FLIPS
) -> tuple[Estimate, float]:
    """Mean of a - b with its interval, and the p-value of "no difference" by flipping the signs of whole groups.

    a, b: values of the same items; bounds: of a - b. Returns (Estimate, p). The p-value is two-sided, (hits + 1) /
    (flips + 1) (Phipson and Smyth 2010). Raises ValueError if the lists differ in length, are empty, or hold what is no
    finite number.
    """
    if len(a) != len(b):
        raise ValueError(f"a paired difference needs lists of one length, not {len(a)} and {len(b)}")
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    estimate = mean_interval(difference, groups, bounds)
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
