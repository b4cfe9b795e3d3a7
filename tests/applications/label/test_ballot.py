"""Verdicts: what they say of every two answers, and what is no verdict."""

import pytest

from korlhf.applications.label.ballot import check_edit, compare, read
from korlhf.applications.web import Refused
from korlhf.data.ranking import Undecided


@pytest.mark.parametrize(
    "data, n, expected",
    [
        ({"kind": "order", "groups": [[1]]}, 2, {(0, 1): 1}),
        ({"kind": "order", "groups": [[0, 1]]}, 2, {(0, 1): Undecided.TIE}),
        (
            {"kind": "order", "groups": [[2]]},
            3,
            {(0, 2): 2, (1, 2): 2},
        ),  # only the best: nothing is said of the two others
        (
            {"kind": "order", "groups": [[2], [0, 1]]},
            4,
            {(0, 1): Undecided.TIE, (0, 2): 2, (0, 3): 0, (1, 2): 2, (1, 3): 1, (2, 3): 2},
        ),
        ({"kind": "all_bad"}, 3, {(0, 1): Undecided.BOTH_BAD, (0, 2): Undecided.BOTH_BAD, (1, 2): Undecided.BOTH_BAD}),
        ({"kind": "order", "edit": "고친 글", "edit_of": 1}, 2, {}),
        ({"kind": "skip"}, 2, {}),
        ({"kind": "flag", "reason": "unclear"}, 2, {}),
    ],
)
def test_what_a_verdict_says_of_two_answers(data, n, expected):
    assert compare(read(data, n), n) == expected


def test_a_verdict_in_the_order_of_the_page_is_put_into_that_of_the_file_and_back():
    said = read({"kind": "order", "groups": [[2], [0, 1]], "edit_of": 2, "edit": " 고친 글 ", "comment": "메모"}, 3)
    stored = said.renamed([1, 2, 0])  # on the page the second answer is first
    assert stored.groups == ((0,), (1, 2)) and stored.edit_of == 0 and stored.edit == "고친 글"
    assert stored.renamed([2, 0, 1]) == said == read(said.as_dict(), 3)


@pytest.mark.parametrize(
    "data, code",
    [
        (None, "malformed"),
        ({}, "malformed"),
        ({"kind": "maybe"}, "malformed"),
        ({"kind": "order"}, "nothing_chosen"),
        ({"kind": "order", "groups": [[2]]}, "malformed"),
        ({"kind": "order", "groups": [[0], [0]]}, "malformed"),
        ({"kind": "order", "groups": [[True]]}, "malformed"),
        ({"kind": "order", "groups": [[]]}, "malformed"),
        ({"kind": "order", "groups": [0]}, "malformed"),
        ({"kind": "order", "groups": [[0]], "reason": "other"}, "malformed"),
        ({"kind": "all_bad", "groups": [[0]]}, "malformed"),
        ({"kind": "skip", "groups": [[0]]}, "malformed"),
        ({"kind": "order", "groups": [[0]], "edit": "글"}, "malformed"),
        ({"kind": "order", "groups": [[0]], "edit_of": 1}, "malformed"),
        ({"kind": "order", "edit": "글", "edit_of": 2}, "malformed"),
        ({"kind": "order", "edit": 3, "edit_of": 0}, "malformed"),
        ({"kind": "order", "edit": "가" * 20_001, "edit_of": 0}, "edit_too_long"),
        ({"kind": "skip", "comment": "가" * 2_001}, "comment_too_long"),
        ({"kind": "order", "edit": "\ud83d", "edit_of": 0}, "malformed"),
        ({"kind": "flag"}, "no_reason"),
        ({"kind": "flag", "reason": "other"}, "no_comment"),
    ],
)
def test_what_is_no_verdict(data, code):
    with pytest.raises(Refused, match=f"^{code}$"):
        read(data, 2)


def test_an_edit_must_differ_from_all_answers():
    said = read({"kind": "order", "edit": "네,  좋아요.", "edit_of": 0}, 2)
    with pytest.raises(Refused, match="edit_is_an_answer"):
        check_edit(said, ["아니요.", "네, 좋아요."])
    check_edit(said, ["아니요.", "좋아요."])
