"""korlhf/eval/kobest_report.py against scikit-learn, scipy and hand arithmetic."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from korlhf.eval import kobest_report as report


@pytest.mark.parametrize("labels", [2, 4, 5])
def test_macro_f1_is_scikit_learns(labels):
    rng = np.random.default_rng(labels)
    for n in (1, 2, 7, 60):
        for _ in range(10):
            rights, chosen = rng.integers(labels, size=n), rng.integers(labels, size=n)
            assert report.macro_f1(rights, chosen) == pytest.approx(
                f1_score(rights, chosen, average="macro"), abs=1e-12
            )


def test_draws_are_scored_one_by_one():
    rights, chosen = np.array([[0, 1, 1], [2, 2, 2], [0, 0, 3]]), np.array([[0, 1, 0], [2, 2, 2], [3, 3, 0]])
    assert report.macro_f1(rights, chosen).tolist() == pytest.approx(
        [f1_score(r, c, average="macro") for r, c in zip(rights, chosen)]
    )


def test_the_interval_of_macro_f1_is_scipys_bootstrap():
    rng = np.random.default_rng(1)
    rights = rng.integers(4, size=120)
    chosen = np.where(rng.random(120) < 0.5, rights, rng.integers(4, size=120))
    low, high = report.macro_f1_interval(rights, chosen, seed=3)
    other = stats.bootstrap(
        (rights, chosen),
        lambda r, c: f1_score(r, c, average="macro"),
        paired=True,
        vectorized=False,
        n_resamples=600,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.02)
    assert low < f1_score(rights, chosen, average="macro") < high
    assert report.macro_f1_interval([0, 1], [1, 1], seed=1) is not None
    assert report.macro_f1_interval([0, 0], [1, 1], seed=1) is None


def test_what_guessing_gets():
    items = [{"right": right, "options": ["가"] * n} for right, n in ((0, 2), (0, 2), (1, 2), (0, 4))]
    assert report.guessing([items]) == {"chance": pytest.approx((0.5 * 3 + 0.25) / 4), "majority": 0.75}
    assert report.guessing([[{"right": "네", "options": None}]])["chance"] is None


def test_an_interval_comes_from_the_standard_error_or_from_wilson():
    assert report.interval(0.5, 0.1, [0.0, 1.0]) == pytest.approx((0.304, 0.696), abs=1e-4)
    assert report.interval(0.95, 0.1, [0.0, 1.0]) == (pytest.approx(0.754, abs=1e-4), 1.0)
    low, high = report.interval(1.0, 0.0, [1.0] * 10)  # by hand: 10 / (10 + 1.96 ** 2)
    assert (low, high) == pytest.approx((10 / 13.8415, 1.0), abs=1e-4)
    assert report.interval(0.3, None, [0.1, 0.5]) is None and report.interval(0.3, None, []) is None


def test_what_is_no_share_has_no_bounds():
    assert report.interval(25.0, 0.5, [20.0, 30.0]) == pytest.approx((24.02, 25.98), abs=1e-4)  # a perplexity
    assert report.interval(-0.1, 0.1, []) == pytest.approx(
        (-0.296, 0.096), abs=1e-4
    )  # a correlation, which no item has
