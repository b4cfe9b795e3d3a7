"""korlhf/llm/batches.py: what is computed together, and that nothing is computed twice."""

import pytest

from korlhf.llm import batches as chunked
from korlhf.llm.cache import Cache


class Forward:
    """Doubles the first id of every job; remembers the lengths it was given; fails after `chunks` chunks."""

    def __init__(self, chunks=99):
        self.seen, self.chunks = [], chunks

    def __call__(self, chunk):
        if len(self.seen) == self.chunks:
            raise RuntimeError("killed")
        self.seen.append([len(ids) for ids in chunk])
        return [2 * ids[0] for ids in chunk]


def jobs(lengths):
    return [[i] * n for i, n in enumerate(lengths)]


def test_chunks_are_sorted_by_length_within_windows(tmp_path, monkeypatch):
    """Two chunks a window: the longest first, and what is added at the end changes no earlier window."""
    monkeypatch.setattr(chunked, "WINDOW", 2)
    found = jobs([1, 5, 3, 4, 2, 9, 7])
    with Cache(tmp_path / "c.sqlite") as cache:
        forward = Forward()
        assert chunked.compute(found, cache, {"m": 1}, forward, 2, "x") == [0, 2, 4, 6, 8, 10, 12]
        assert forward.seen == [[5, 4], [3, 1], [9, 7], [2]]
        again = Forward()
        chunked.compute(found + [[7] * 8], cache, {"m": 1}, again, 2, "x")
        assert again.seen == [[9, 8], [7, 2]]
        other = Forward()
        chunked.compute(found, cache, {"m": 2}, other, 2, "x")
        assert len(other.seen) == 4


def test_a_run_that_was_stopped_goes_on_at_its_first_missing_chunk(tmp_path):
    with Cache(tmp_path / "c.sqlite") as cache:
        with pytest.raises(RuntimeError):
            chunked.compute(jobs([3, 3, 3, 3, 3]), cache, {}, Forward(chunks=2), 2, "x")
        forward = Forward()
        assert chunked.compute(jobs([3, 3, 3, 3, 3]), cache, {}, forward, 2, "x") == [0, 2, 4, 6, 8]
        assert forward.seen == [[3]]
