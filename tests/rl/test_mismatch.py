"""The correction for an engine that computes something else than the training, by hand."""

import math

import pytest
import torch

from korlhf.rl import mismatch

# Two answers of 3 and 2 tokens: ratios of the training's probability to the engine's 2, 1/2, 4 and 1/4, 2.
RATIOS = torch.tensor([[2.0, 0.5, 4.0], [0.25, 2.0, 1.0]])
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    "correction, largest, expected",
    [
        ("none", 3.0, [[1, 1, 1], [1, 1, 0]]),
        ("token", 3.0, [[2, 0.5, 3], [0.25, 2, 0]]),
        ("sequence", 3.0, [[3, 3, 3], [0.5, 0.5, 0]]),  # 2 x 1/2 x 4 = 4, which is too much, and 1/4 x 2
        ("sequence", 5.0, [[4, 4, 4], [0.5, 0.5, 0]]),
    ],
)
def test_factors(correction, largest, expected):
    found = mismatch.factors(RATIOS.log(), MASK, correction, largest)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32))


def test_ratios_beyond_any_number_are_truncated():
    log_ratio = torch.tensor([[9000.0, 9000.0]])
    for correction in ("token", "sequence"):
        assert mismatch.factors(log_ratio, torch.ones(1, 2), correction, 2.0).tolist() == [[2, 2]]


def test_measured_over_two_processes():
    """The other process has the same answers, and a ratio of 1/8 as its farthest from 1."""
    found = mismatch.measured(RATIOS.log(), MASK, lambda sums: 2 * sums, lambda value: [value, 8.0])
    logs = [math.log(r) for r in (2, 0.5, 4, 0.25, 2)]
    assert found["mismatch_kl"] == pytest.approx(-sum(logs) / 5)
    k3 = sum(r - 1 - log for r, log in zip((2, 0.5, 4, 0.25, 2), logs)) / 5
    assert found["mismatch_kl_k3"] == pytest.approx(k3) and found["mismatch_ratio_max"] == pytest.approx(8)
    alone = mismatch.measured(RATIOS.log(), MASK, lambda sums: sums, lambda value: [value])
    assert alone["mismatch_ratio_max"] == pytest.approx(4)
