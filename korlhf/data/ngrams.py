"""Repetition by n-grams."""

from collections.abc import Sequence


def repetition(answer: Sequence, n: int = 3) -> float:
    """Share of an answer's n-grams that occurred before in it; 0 for answers of fewer than n + 1 tokens."""
    grams = [tuple(answer[i : i + n]) for i in range(len(answer) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0
