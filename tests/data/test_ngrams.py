"""Repetition by n-grams."""

from korlhf.data.ngrams import repetition


def test_repetition():
    # 1 2 3, 2 3 1, 3 1 2, 1 2 3: one of four seen before
    assert repetition([1, 2, 3, 1, 2, 3]) == 0.25
    assert repetition([1, 2, 3]) == repetition([1]) == repetition([]) == 0.0
    assert repetition([7] * 6) == 0.75
