"""korlhf/core/stats.py against scipy, scikit-learn and hand arithmetic."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn.linear_model import LogisticRegression

from korlhf.core import stats


def test_the_mean_interval_is_scipys_bootstrap():
    values = np.random.default_rng(3).normal(2.0, 1.0, 60)
    ours = stats.mean_interval(values, seed=1, resamples=9000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=9000, method="percentile", random_state=2
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean()) and (ours.n, ours.groups) == (60, 60)
    assert ours.low == pytest.approx(theirs.low, abs=0.02) and ours.high == pytest.approx(theirs.high, abs=0.02)


def test_answers_to_one_prompt_are_not_independent():
    values = [0.0] * 50 + [1.0] * 50
    alone = stats.mean_interval(values)
    grouped = stats.mean_interval(values, groups=[i // 10 for i in range(100)])
    assert grouped.groups == 10 and grouped.mean == alone.mean == 0.5
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)  # sqrt(10) = 3.2 times as wide
    uneven = stats.mean_interval([1.0, 1.0, 1.0, 0.0], groups=["a", "a", "a", "b"])
    assert uneven.mean == 0.75 and (uneven.low, uneven.high) == (0.0, 1.0)
    assert stats.mean_interval(values, seed=5) == stats.mean_interval(values, seed=5)


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
