"""korlhf/core/stats.py against scipy, scikit-learn and hand arithmetic."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn.linear_model import LogisticRegression

from korlhf.core import stats


def test_the_mean_interval_of_even_values_is_students():
    values = np.random.default_rng(3).normal(2.0, 1.0, 60)
    values = np.concatenate([values, 2 * values.mean() - values])  # no skewness
    ours = stats.mean_interval(values)
    theirs = scipy_stats.t.interval(0.95, 119, values.mean(), scipy_stats.sem(values))
    assert ours.mean == pytest.approx(values.mean()) and (ours.n, ours.groups) == (120, 120)
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-9)


def test_a_long_tail_widens_its_side_alone():
    values = [0.0, 0.1, 0.2, 0.3, 5.0]
    low, high = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    found = stats.mean_interval(values)
    assert found.low == pytest.approx(low) and found.high > high + 1
    turned = stats.mean_interval([-v for v in values])
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_answers_to_one_prompt_are_not_independent():
    values = [0.0] * 50 + [1.0] * 50
    alone = stats.mean_interval(values)
    groups = [i // 10 for i in range(100)]
    grouped = stats.mean_interval(values, groups)
    assert grouped.groups == 10 and grouped.mean == alone.mean == 0.5
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)  # sqrt(10) = 3.2 times as wide, and a larger t
    # ten values of a prompt that are all alike are one
    assert (grouped.low, grouped.high) == pytest.approx(scipy_stats.t.interval(0.95, 9, 0.5, (5 / 18) ** 0.5 / 10**0.5))
    by_pairs, by_prompts = stats.share_interval(values), stats.share_interval(values, groups)
    assert by_pairs == pytest.approx(stats.wilson(50, 100))
    effective = 9 * (1.959963984540054 / scipy_stats.t.ppf(0.975, 9)) ** 2  # .25 / (.25 * 10 / 9 / 10)
    assert by_prompts == pytest.approx(stats.wilson(effective / 2, effective))


def test_where_nothing_can_be_said_there_is_no_interval():
    for found in (stats.mean_interval([1.5]), stats.mean_interval([2.0] * 9), stats.mean_interval([1, 2], ["a", "a"])):
        assert not found.known and (found.low, found.high) == (-math.inf, math.inf)
    assert stats.share_interval([]) == stats.share_interval([1, 0, 1], ["a"] * 3) == (0.0, 1.0)


def test_equal_values_within_bounds_may_hide_others():
    """Twenty that are all right: Clopper and Pearson's interval, .025 ** (1 / 20)."""
    found = stats.mean_interval([1.0] * 20, bounds=stats.UNIT)
    low = scipy_stats.binomtest(20, 20).proportion_ci(method="exact").low
    assert (found.low, found.high) == (pytest.approx(low), 1.0)
    found = stats.mean_interval([0.0] * 20, bounds=stats.CHANGE)
    assert (found.low, found.high) == pytest.approx((low - 1, 1 - low))


def drawn(values, shares):
    return lambda rng, size: rng.choice(values, p=shares, size=size)


# what occurs: (draw, mean, bounds)
SETTINGS = {
    "win rate": (drawn([0, 0.5, 1], [0.2, 0.5, 0.3]), 0.55, stats.UNIT),
    "win rate near 1": (drawn([0, 0.5, 1], [0.05, 0.1, 0.85]), 0.9, stats.UNIT),
    "rating": (drawn([1, 2, 3, 4, 5], [0.05, 0.15, 0.3, 0.35, 0.15]), 3.4, (1, 5)),
    "rating at the ceiling": (drawn([1, 2, 3, 4, 5], [0.02, 0.02, 0.03, 0.08, 0.85]), 4.72, (1, 5)),
    "difference of ratings": (drawn([-2, -1, 0, 1, 2], [0.05, 0.15, 0.4, 0.3, 0.1]), 0.25, (-4, 4)),
    "rare difference of right": (drawn([-1, 0, 1], [0.02, 0.93, 0.05]), 0.03, stats.CHANGE),
    "difference of nats": (lambda rng, size: rng.normal(size=size), 0.0, None),
    "lengths": (lambda rng, size: rng.gamma(4, size=size), 4.0, None),
    "nats": (lambda rng, size: np.exp(0.5 * rng.normal(size=size)), math.exp(0.125), None),
}
RUNS = 600
ERROR = 0.009  # standard error of a coverage of .95 over as many runs


@pytest.mark.parametrize("prompts", [5, 10, 30])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_interval_of_a_mean_covers(setting, prompts):
    """A percentile bootstrap covers .24 to .92 of these at 5 prompts."""
    draw, mean, bounds = SETTINGS[setting]
    runs = RUNS if bounds else 6 * RUNS  # those without bounds cost little, and some cover no more than .93
    values = draw(np.random.default_rng(prompts), (runs, prompts))
    found = [stats.mean_interval(v, bounds=bounds) for v in values]
    assert np.mean([f.low <= mean + 1e-9 and f.high >= mean - 1e-9 for f in found]) >= 0.93 - ERROR
    if bounds:
        assert all(bounds[0] - 1e-9 <= f.low < f.high <= bounds[1] + 1e-9 for f in found)


def ranked(rng, prompts, answers, noise):
    """(RUNS, prompts) right pairs of each prompt, and how many it has: a model that sees the truth through a noise that
    differs from prompt to prompt."""
    truth = np.sort(rng.normal(size=(RUNS, prompts, answers)), axis=-1)
    seen = truth + noise * np.exp(0.7 * rng.normal(size=(RUNS, prompts, 1))) * rng.normal(size=truth.shape)
    worse, better = np.triu_indices(answers, 1)
    return (seen[..., better] > seen[..., worse]).sum(-1), len(better)


def shares(right, n):
    """(RUNS, 2) intervals of rows of prompts with as many right pairs of n."""
    sums = zip(right, (right**2).sum(1), (right * n).sum(1))
    prompts = right.shape[1]
    return np.array(
        [stats.Sums(prompts, r.sum(), n * prompts, r2, rn, n * n * prompts).interval() for r, r2, rn in sums]
    )


@pytest.mark.parametrize("prompts", [5, 10, 30])
@pytest.mark.parametrize("answers, noise", [(3, 1), (4, 0.3), (4, 1), (9, 0.3), (9, 1), (9, 3)])
def test_the_interval_of_an_accuracy_covers(answers, noise, prompts):
    rng = np.random.default_rng(answers)
    everything, n = ranked(rng, 60, answers, noise)
    truth = everything.sum() / everything.size / n
    low, high = shares(ranked(rng, prompts, answers, noise)[0], n).T
    assert ((low <= truth) & (truth <= high)).mean() >= 0.93


@pytest.mark.parametrize("prompts", [5, 10, 30])
def test_wilsons_interval_covers_one_pair_per_prompt(prompts):
    """Exactly, over accuracies from .5 to .95: it swings about .95 from one to the next (.89 to 1 at five pairs)."""
    ends = np.array([stats.share_interval([1.0] * right + [0.0] * (prompts - right)) for right in range(prompts + 1)])
    shares = np.linspace(0.5, 0.95, 91)
    likely = scipy_stats.binom.pmf(np.arange(prompts + 1), prompts, shares[:, None])
    covered = (likely * ((ends[:, 0] <= shares[:, None]) & (shares[:, None] <= ends[:, 1]))).sum(1)
    assert covered.mean() >= 0.95 and covered.min() > 0.88


def test_pairs_of_a_prompt_taken_as_independent_do_not_cover():
    """Where prompts differ in how hard they are, Wilson's interval over 36 pairs of each covers less than half."""
    right = np.random.default_rng(0).binomial(36, np.random.default_rng(1).beta(2.4, 0.6, size=(RUNS, 30)))
    low, high = shares(right, 36).T
    assert 0.93 <= ((low <= 0.8) & (high >= 0.8)).mean() <= 0.97
    pairs = [stats.wilson(r, 36 * 30) for r in right.sum(1)]
    assert np.mean([lo <= 0.8 <= hi for lo, hi in pairs]) < 0.5


def test_sums_are_the_intervals_of_their_groups():
    rng = np.random.default_rng(4)
    sums, right, groups = stats.Sums(), [], []
    for k in range(12):
        of = rng.choice([0.0, 0.5, 1.0], size=int(rng.integers(1, 8)))
        sums.add(of.sum(), len(of))
        right += of.tolist()
        groups += [k] * len(of)
    assert sums.interval() == pytest.approx(stats.share_interval(right, groups))


def test_an_expanded_bootstrap_of_a_mean_is_as_wide_as_t():
    values = np.random.default_rng(5).normal(size=8)
    means = np.random.default_rng(6).choice(values, size=(40_000, 8)).mean(1)
    low, high = np.quantile(means, stats.expanded(8))
    theirs = scipy_stats.t.interval(0.95, 7, values.mean(), scipy_stats.sem(values))
    assert high - low == pytest.approx(theirs[1] - theirs[0], rel=0.1)
    assert stats.expanded(10_000) == pytest.approx((0.025, 0.975), abs=1e-4) and stats.expanded(1) == (0.0, 1.0)


def test_paired_difference_and_its_p_value():
    rng = np.random.default_rng(0)
    b = rng.normal(0, 5, 40)
    a = b + rng.normal(0.4, 1.0, 40)
    found, p = stats.paired_difference(a, b, flips=20_000)
    theirs = scipy_stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=20_000, random_state=1
    ).pvalue
    assert found.mean == pytest.approx((a - b).mean()) and p == pytest.approx(theirs, abs=0.01)
    _, p = stats.paired_difference([1, 1, 1, 1], [0, 0, 0, 0], flips=20_000)
    assert p == pytest.approx(2 / 16, abs=0.01)  # all signs equal: 2 of 2 ** 4
    _, p = stats.paired_difference([1, 1, 1, 1], [0, 0, 0, 0], groups="aabb", flips=20_000)
    assert p == pytest.approx(2 / 4, abs=0.02)  # two prompts only
    assert stats.paired_difference([1, 2], [1, 2])[1] == 1.0
    with pytest.raises(ValueError, match="one length, not 1 and 2"):
        stats.paired_difference([1], [1, 2])


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8])
def test_rounding_of_large_sums_makes_nothing_significant(scale):
    """Of k differences of one sign the smallest p-value is 2 / 2 ** k, whatever their unit (bits of documents)."""
    rng = np.random.default_rng(0)
    for k in (4, 5, 7) * 8:
        _, p = stats.paired_difference(scale * (rng.random(k) + 0.1), [0.0] * k)
        assert p == pytest.approx(2 / 2**k, rel=0.35)


def test_a_clear_difference_stays_one_among_two_hundred_comparisons():
    _, p = stats.paired_difference([1.0] * 60, [0.0] * 60)
    assert stats.holm([p] + [0.9] * 199)[0] < 0.05


def test_what_is_no_number_is_no_result():
    for values in ([1.0, math.nan], [math.inf, 1.0]):
        with pytest.raises(ValueError, match="finite"):
            stats.mean_interval(values)
        with pytest.raises(ValueError, match="finite"):
            stats.paired_difference(values, [0.0, 0.0])


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x .01; 2 x .03; no less
    assert stats.holm([]) == [] and stats.holm([0.7, 0.9]) == [1.0, 1.0]


def test_mcnemar_by_hand():
    assert stats.mcnemar(0, 0) == 1.0 and stats.mcnemar(5, 5) == 1.0
    assert stats.mcnemar(8, 1) == pytest.approx(2 * (1 + 9) / 2**9) == stats.mcnemar(1, 8)


def test_wilson_by_hand():
    z = 1.959963984540054
    for right, n in ((0, 7), (7, 7), (3.5, 9), (412, 500)):
        middle, half = right / n + z**2 / (2 * n), z * math.sqrt(right * (n - right) / n**3 + z**2 / (4 * n**2))
        by_hand = [(middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
        assert stats.wilson(right, n) == pytest.approx(by_hand, abs=1e-9)
    assert stats.wilson(0, 0) == (0.0, 1.0)


def test_spearman_of_constants_is_zero():
    assert stats.spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
    assert stats.spearman([1, 1, 1], [1, 2, 3]) == 0.0 and stats.spearman([1, 2], [1, 2]) == 0.0


def test_bradley_terry_of_two_is_the_log_odds():
    games = [("a", "b", 1)] * 30 + [("a", "b", 0)] * 10
    found = stats.bradley_terry(["a", "b"], games, prior=0)
    assert found["a"] - found["b"] == pytest.approx(math.log(3)) and found["a"] == pytest.approx(-found["b"])
    drawn = stats.bradley_terry(["a", "b"], [("a", "b", 0.5)] * 9)
    assert drawn["a"] == pytest.approx(0, abs=1e-9)
    won = stats.bradley_terry(["a", "b"], [("a", "b", 1)] * 20)  # 20.25 against .25 with the drawn half of a game
    assert won["a"] == pytest.approx(math.log(81) / 2, abs=1e-9)


def test_bradley_terry_with_ties_and_drawn_games_is_a_weighted_logistic_regression():
    rng = np.random.default_rng(2)
    games = [
        (x, y, float(rng.choice([0, 0.25, 0.5, 1]))) for x, y in [("a", "b"), ("b", "c"), ("a", "c"), ("c", "a")] * 25
    ]
    rows, wins, weights = [], [], []
    for x, y, won, weight in [(*g, 1.0) for g in games] + [(x, y, 0.5, 0.5) for x, y in ("ab", "bc", "ac")]:
        rows += [[(x == n) - (y == n) for n in "abc"]] * 2
        wins += [1, 0]
        weights += [weight * won, weight * (1 - won)]
    theirs = LogisticRegression(fit_intercept=False, C=1e9).fit(rows, wins, weights).coef_[0]
    assert list(stats.bradley_terry(["a", "b", "c"], games).values()) == pytest.approx(
        list(theirs - theirs.mean()), abs=1e-3
    )


def test_length_control_is_a_logistic_regression_with_a_ridge_on_the_slope():
    rng = np.random.default_rng(3)
    longer, results = rng.normal(5, 20, 300), rng.choice([0, 0.5, 1], 300, p=[0.3, 0.2, 0.5])
    x = np.tanh(longer / longer.std())[:, None]
    theirs = LogisticRegression(C=1.0).fit(
        np.repeat(x, 2, 0), [1, 0] * 300, np.stack([results, 1 - results], 1).ravel()
    )
    assert stats.length_controlled(results, longer) == pytest.approx(
        1 / (1 + math.exp(-theirs.intercept_[0])), abs=1e-3
    )
    with pytest.raises(ValueError, match="at least one result"):
        stats.length_controlled([], [])


def test_kappa_by_hand():
    # observed .7; by chance .6 * .5 + .4 * .5 = .5
    first = "yyyyyynnnn"
    second = "yyyynnynnn"
    assert stats.kappa(first, second) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert stats.kappa("yyy", "yyy") == 1.0
