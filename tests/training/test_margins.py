"""What margins say about labels, on simulated judges."""

import numpy as np
import pytest
from scipy.stats import norm

from korlhf.training import margins


def simulated(n, noise, plateau, seed=0):
    """(right, margins, groups): labels are right with probability Phi(margin / noise), a model with `plateau`."""
    rng = np.random.default_rng(seed)
    margin = rng.gamma(2, 0.5, n)
    label = rng.random(n) < norm.cdf(margin / noise)
    return ((rng.random(n) < plateau) == label).astype(float), margin, list(range(n))


def test_equal_margins_stay_together():
    found = margins.by_margin([1, 0, 1, 1, 0.5, 1], [1.0, 1.0, 1.0, 1.0, 2.0, 3.0], "abcdef")
    assert [(b["from"], b["to"], b["n"], b["accuracy"]) for b in found] == [(1, 1, 4, 0.75), (2, 3, 2, 0.75)]
    assert margins.by_margin([], [], []) == []


def test_accuracy_rises_with_the_margin_where_labels_are_noisy():
    found = margins.by_margin(*simulated(4000, 1.0, 0.95))
    accuracies = [b["accuracy"] for b in found]
    assert [b["n"] for b in found] == [1000] * 4 and accuracies == sorted(accuracies)
    assert all(b["ci95"][0] < b["accuracy"] < b["ci95"][1] for b in found)


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_the_ceiling_is_the_share_of_labels_that_are_right(noise):
    right, margin, groups = simulated(2000, noise, 0.9, seed=3)
    found = margins.ceiling(right, margin, groups)
    truth = norm.cdf(margin / noise).mean()
    assert found["low"] <= truth <= found["high"] and found["ceiling"] == pytest.approx(truth, abs=0.04)
    assert found["plateau"] == pytest.approx(0.9, abs=0.05) and found["n"] == 2000


def test_a_model_as_good_at_every_margin_shows_no_ceiling():
    rng = np.random.default_rng(1)
    right, margin = (rng.random(3000) < 0.8).astype(float), rng.gamma(2, 0.5, 3000)
    found = margins.ceiling(right, margin, range(3000))
    assert found["ceiling"] > 0.95 and found["plateau"] == pytest.approx(0.8, abs=0.03)


def test_too_few_pairs_or_margins_have_no_ceiling():
    right, margin, groups = simulated(99, 1.0, 0.9)
    assert margins.ceiling(right, margin, groups) is None
    assert margins.ceiling([1.0] * 200, [1.0, 2.0] * 100, range(200)) is None
