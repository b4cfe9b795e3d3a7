"""Greedy answers compared token by token."""

import pytest

from korlhf.applications.export.check import compare


def test_the_first_difference_is_told(codec):
    a, b, c = codec.tokenizer("가나다", add_special_tokens=False).input_ids[:3]
    texts = {ids: codec.tokenizer.decode([ids]) for ids in (b, c)} | {None: "(the end)"}
    for expected, found, at, one, two in (
        ([a, b], [a, c], 2, b, c),
        ([a, b], [a], 2, b, None),
        ([a], [a, b], 2, None, b),
    ):
        first = compare([[a], expected], [[a], found], codec)["first"]
        assert first == {"prompt": 2, "at": at, "expected": texts[one], "found": texts[two]}
    with pytest.raises(ValueError):
        compare([[a]], [], codec)
