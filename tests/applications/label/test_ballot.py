"""Ballots: what they say of every two answers, and what is none."""

import pytest
from label_harness import order

from korlhf.applications.label.ballot import compare, read
from korlhf.applications.web import Refused
from korlhf.data.ranking import Undecided

TIE, BAD = Undecided.TIE, Undecided.BOTH_BAD
MIXED = {(0, 1): TIE, (0, 2): 2, (0, 3): 0, (1, 2): 2, (1, 3): 1, (2, 3): 2}


@pytest.mark.parametrize(
    "data, n, expected",
    [
        (order([1]), 2, {(0, 1): 1}),
        (order([2]), 3, {(0, 2): 2, (1, 2): 2}),  # nothing is said of the two others
        (order([2], [0, 1]), 4, MIXED),
        ({"kind": "all_bad"}, 3, {(0, 1): BAD, (0, 2): BAD, (1, 2): BAD}),
        ({"kind": "order", "edit": "고친 글", "edit_of": 1}, 2, {}),
        ({"kind": "skip"}, 2, {}),
        ({"kind": "flag", "reason": "unclear"}, 2, {}),
    ],
)
def test_what_a_ballot_says_of_two_answers(data, n, expected):
    assert compare(read(data, n), n) == expected


def test_places_of_the_page_are_put_into_those_of_the_file_and_back():
    said = read(order([2], [0, 1], edit_of=2, edit=" 고친 글 ", comment="메모"), 3)
    stored = said.renamed([1, 2, 0])  # on the page the second answer is first
    assert stored.groups == ((0,), (1, 2)) and stored.edit_of == 0 and stored.edit == "고친 글"
    assert stored.renamed([2, 0, 1]) == said == read(said.as_dict(), 3)


EDIT = {"kind": "order", "edit": "글", "edit_of": 0}


@pytest.mark.parametrize(
    "data",
    [None, {}, {"kind": "maybe"}, {"kind": "order"}]
    + [order(*groups) for groups in ([[2]], [[0], [0]], [[True]], [[-1]], [[]])]
    + [{"kind": "order", "groups": [0]}, order([0], reason="other"), order([0], edit="글"), order([0], edit_of=1)]
    + [{"kind": kind, "groups": [[0]]} for kind in ("all_bad", "skip")]
    + [EDIT | wrong for wrong in ({"edit_of": 2}, {"edit": 3}, {"edit": "가" * 20_001}, {"edit": "\ud83d"})]
    + [{"kind": "skip", "comment": "가" * 2_001}, {"kind": "flag"}, {"kind": "flag", "reason": "other"}],
)
def test_what_is_no_ballot(data):
    with pytest.raises(Refused, match="^malformed$"):
        read(data, 2)
