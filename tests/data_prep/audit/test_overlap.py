"""What rows share, against plain loops over the same rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data_prep.audit import BIT, overlap


class Few:
    """As much of a scan as overlap.py reads: rows are (set, conversation, contents, readable)."""

    def __init__(self, rows, names=("sft", "reward", "test")):
        self.sets = list(names)
        self.bits = [0 if readable else BIT["unusable_row"] for _, _, _, readable in rows]
        self.set_of = [s for s, _, _, _ in rows]
        self.row_hash = [c for _, _, c, _ in rows]


def rows_of(rows):
    return overlap.Rows(Few(rows), [p for _, p, _, _ in rows], [p // 2 for _, p, _, _ in rows])


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 3), st.booleans()), min_size=1, max_size=20
)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_the_matrix_counts_rows(rows):
    found = overlap.matrix(rows_of(rows), np.array([p for _, p, _, _ in rows]), ["sft", "reward", "test"])
    for a, name in enumerate(("sft", "reward", "test")):
        mine = [p for s, p, _, ok in rows if s == a and ok]
        for b, other in enumerate(("sft", "reward", "test")):
            theirs = [p for s, p, _, ok in rows if s == b and ok]
            expected = len(mine) - len(set(mine)) if a == b else sum(p in theirs for p in mine)
            assert found[name][other] == expected


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_a_copy_is_of_an_earlier_row_of_its_set(rows):
    few = rows_of(rows)
    found = overlap.mark_copies(few)
    seen, expected = {}, {"duplicate_row": [], "duplicate_prompt": [], "near_duplicate_prompt": []}
    for i, (s, p, c, ok) in enumerate(rows):
        if ok:
            keys = (
                ("duplicate_row", (s, "c", c)),
                ("duplicate_prompt", (s, "p", p)),
                ("near_duplicate_prompt", (s, "n", p // 2)),
            )
            kind = next((k for k, key in keys if key in seen), None)
            if kind:
                expected[kind].append((i, seen[dict(keys)[kind]]))
            for _, key in keys:
                seen.setdefault(key, i)
    assert {kind: list(zip(*(x.tolist() for x in pair))) for kind, pair in found.items()} == expected
    assert all(bool(few.bits[i] & np.uint64(BIT[kind])) for kind, pairs in expected.items() for i, _ in pairs)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=15),
    st.lists(st.booleans(), min_size=15, max_size=15),
)
def test_matches_are_in_another_row(pairs, same_row):
    row = np.cumsum([0] + [not same for same in same_row[: len(pairs) - 1]])  # several pairs may be of one row
    left, right = (np.array([p[i] for p in pairs], np.uint64) for i in (0, 1))
    here, there = overlap._matches(left, right, row)
    expected = {
        int(row[i]) for i in range(len(pairs)) for j in range(len(pairs)) if left[i] == right[j] and row[i] != row[j]
    }
    assert set(here.tolist()) == expected and len(here) == len(expected)
    for a, b in zip(here, there):
        assert a != b and set(left[row == a]) & set(right[row == b])


def test_overlap_with_the_test_set():
    rows = rows_of(
        [(0, 0, 0, True), (1, 4, 1, True), (2, 1, 2, True), (2, 5, 3, False), (0, 2, 4, True)]
    )  # near groups: 0, 2, 0, 2, 1
    here, there = overlap.mark_test_overlap(rows, Few([]))
    assert (here.tolist(), there.tolist()) == (
        [0],
        [2],
    )  # the row that shares a prompt with an unreadable test row is left alone
    assert [bool(b & np.uint64(BIT["test_overlap"])) for b in rows.bits] == [True, False, False, False, False]


def test_without_a_test_set_nothing_overlaps():
    here, there = overlap.mark_test_overlap(rows_of([(0, 0, 0, True)]), Few([], ("sft", "reward")))
    assert len(here) == len(there) == 0


@pytest.mark.parametrize("size", [0, 2, 9])
def test_some_draws_pairs_in_order(size):
    here, there = np.arange(5), np.arange(5) + 10
    found = overlap.some(here, there, size, "1:a")
    assert len(found) == min(size, 5) and found == sorted(found) and all(b == a + 10 for a, b in found)
