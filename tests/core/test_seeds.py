"""Seeds: those of earlier versions, and all different."""

import itertools

import torch

from korlhf.core.seeds import ANSWER, PTX, SAMPLE, STEP, derive


def test_seeds_are_those_that_resumed_runs_need():
    assert derive(1234, 7) == 1234 * 1_000_003 + 7
    assert derive(1234, 7, 3, stride=STEP) == (1234 * 1_000_003 + 7) * 4099 + 3
    assert derive(1234, 7, 3, stride=PTX) == (1234 * 1_000_003 + 7) * 8209 + 3
    assert derive(1234, 7, 3) == derive(1234, 7, 3, stride=ANSWER) == (1234 * 1_000_003 + 7) * 100_003 + 3
    assert derive(1234, 7, 3, stride=SAMPLE) == (1234 * 1_000_003 + 7) * 1009 + 3


def test_seeds_differ_and_torch_takes_all_of_them():
    parts = itertools.product((1, 2, 1234), range(5), range(5))
    assert len({derive(*p) for p in parts}) == 75
    for seed in (0, 20_261_129, 987_654_321, 2**40):
        torch.Generator().manual_seed(derive(seed, 100_000, 99_999))
