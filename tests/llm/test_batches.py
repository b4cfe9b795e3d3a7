"""korlhf/llm/batches.py: what is computed together, and that nothing is computed twice."""

import pytest
import torch

from korlhf.core.errors import InputError
from korlhf.llm import batches


class Forward:
    """Doubles the first id of every job; remembers the lengths it was given; is killed after `chunks` chunks."""

    def __init__(self, chunks=99):
        self.seen, self.chunks = [], chunks

    def __call__(self, chunk):
        if len(self.seen) == self.chunks:
            raise KeyboardInterrupt
        self.seen.append([len(ids) for ids in chunk])
        return [2 * ids[0] for ids in chunk]


def jobs(lengths):
    return [[i] * n for i, n in enumerate(lengths)]


def compute(jobs, cache, forward, same=None, batch_size=2):
    return batches.compute(jobs, cache, same or {}, forward, batch_size, "x")


def test_chunks_are_sorted_by_length_within_windows(cache, monkeypatch):
    """Two chunks a window: the longest first, and what is added at the end changes no earlier window."""
    monkeypatch.setattr(batches, "WINDOW", 2)
    found = jobs([1, 5, 3, 4, 2, 9, 7])
    forward, again, other = Forward(), Forward(), Forward()
    assert compute(found, cache, forward) == [0, 2, 4, 6, 8, 10, 12]
    assert forward.seen == [[5, 4], [3, 1], [9, 7], [2]]
    compute(found + [[7] * 8], cache, again)
    assert again.seen == [[9, 8]]  # the one chunk with something new, whole
    compute(found, cache, other, {"model": 2})
    assert len(other.seen) == 4


def test_a_run_that_was_stopped_resumes_at_its_first_missing_chunk(cache):
    with pytest.raises(KeyboardInterrupt):
        compute(jobs([3, 3, 3, 3, 3]), cache, Forward(chunks=2))
    forward = Forward()
    assert compute(jobs([3, 3, 3, 3, 3]), cache, forward) == [0, 2, 4, 6, 8]
    assert forward.seen == [[3]]


def test_equal_jobs_are_computed_once_and_what_was_there_stays(cache):
    forward = Forward()
    assert compute([[5], [6], [5]], cache, forward) == [10, 12, 10] and forward.seen == [[1, 1]]
    assert compute([[5], [7]], cache, lambda chunk: ["new" for _ in chunk]) == [10, "new"]


def test_a_gpu_that_is_too_small(cache):
    def forward(chunk):
        raise torch.OutOfMemoryError

    with pytest.raises(InputError, match="x: 2 answers at once do not fit into the GPU's memory; give a smaller batch"):
        compute([[1], [2]], cache, forward)


def test_a_server_is_asked_for_all_that_is_missing_and_keeps_what_it_said(cache):
    def ask(jobs, keep):
        asked.append(jobs)
        keep(len(jobs) - 1, "last")
        if len(asked) == 1:
            raise KeyboardInterrupt
        keep(0, "first")

    asked = []
    with pytest.raises(KeyboardInterrupt):
        batches.collect([[5], [6], [7], [5]], cache, {}, ask)
    assert batches.collect([[7], [5], [6], [5]], cache, {}, ask) == ["last", "first", "last", "first"]
    assert asked == [[[5], [6], [7]], [[5], [6]]]
    assert batches.collect([[7], [6]], cache, {}, ask) == ["last", "last"] and len(asked) == 2
