"""korlhf/eval/benchmark_report.py against scikit-learn, scipy and hand arithmetic."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from korlhf.eval import benchmark_report as report


def test_the_interval_of_macro_f1_is_scipys_bootstrap():
    rng = np.random.default_rng(1)
    rights = rng.integers(4, size=120)
    chosen = np.where(rng.random(120) < 0.5, rights, rng.integers(5, size=120))
    theirs = stats.bootstrap(
        (rights, chosen),
        lambda r, c: f1_score(r, c, average="macro"),
        paired=True,
        vectorized=False,
        n_resamples=600,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert report.macro_f1_interval(rights, chosen, seed=3) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert report.macro_f1_interval([0, 0], [1, 1], seed=1) == (None, None)


def test_what_guessing_gets():
    items = [{"right": right, "options": ["가"] * n} for right, n in ((0, 2), (0, 2), (1, 2), (0, 4))]
    assert report.guessing([items]) == {"chance": pytest.approx((0.5 * 3 + 0.25) / 4), "majority": 0.75}
    assert report.guessing([[{"right": "네", "options": None}]])["chance"] is None


@pytest.mark.parametrize(
    "mean, stderr, scores, expected",
    [
        (0.5, 0.1, [0.0, 1.0], (0.304, 0.696)),
        (0.95, 0.1, [0.0, 1.0], (0.754, 1.0)),
        (1.0, 0.0, [1.0] * 10, (10 / 13.8415, 1.0)),  # Wilson: 10 / (10 + 1.96 ** 2)
        (25.0, 0.5, [20.0, 30.0], (24.02, 25.98)),  # a perplexity: no share has such bounds
        (-0.1, 0.1, [], (-0.296, 0.096)),  # a correlation, which no item has
    ],
)
def test_an_interval_comes_from_the_standard_error_or_from_wilson(mean, stderr, scores, expected):
    assert report.interval(mean, stderr, scores) == pytest.approx(expected, abs=1e-4)


def test_some_have_no_interval():
    assert report.interval(0.3, None, [0.1, 0.5]) == report.interval(0.3, None, []) == (None, None)
