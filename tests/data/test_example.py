"""Texts and conversations on their way into an Example."""

import pytest

from korlhf.data.example import Example, RowError, bare, read_row, turns, with_scores


def user(content, **rest):
    return {"role": "user", "content": content, **rest}


def bot(content):
    return {"role": "assistant", "content": content}


def test_an_example_knows_its_prompt_and_steps():
    e = Example((user("처음"), bot("네"), user("마지막")), ("가", "나"))
    assert e.prompt == "마지막" and e.steps == (1, 2, 3) and e.category == "all"
    assert Example((user("가"),), ("나",)).steps == (1, 3) and Example((user("가"),)).steps == (3,)
    assert Example(text="글").steps == (1,) and Example(text="글").prompt == ""


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\u1112\u1161\u11ab", "\ud55c"),  # decomposed Hangul is composed
        ("\u1112\u200b\u1161\u11ab", "\ud55c"),  # also where an invisible character stood in between
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),  # emoji joiners stay
        (" 네\r\n<|endoftext|>\n<|endoftext|>", "네"),
    ],
)
def test_bare(text, expected):
    assert bare(text, "x") == expected == bare(expected, "x")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("\n\nHuman: a\n\nAssistant:", [user("a")]),
        ("Human: a", [user("a")]),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\n", [user("a"), bot("b"), user("c")]),
        ("Human: what does\nHuman: mean?", [user("what does\nHuman: mean?")]),
        ("그 사람이 Human: 이라고 썼어", [user("그 사람이 Human: 이라고 썼어")]),
        ("질문\n\nAssistant:", [user("질문")]),
    ],
)
def test_turns(text, expected):
    assert turns(text) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("\n\nHuman: a\n\nAssistant: b", "ends with an Assistant turn"),
        ("\n\nHuman:\n\nAssistant:", "message 1 is empty"),
        ("\n\nHuman: a\n\nHuman: b\n\nAssistant:", "user and assistant in turn"),
        ("\n\nAssistant:", "prompt is empty"),
        (" \n ", "prompt is empty"),
    ],
)
def test_bad_turns(text, message):
    with pytest.raises(RowError, match=message):
        turns(text)


def test_answers_are_kept_as_they_were_written():
    e = read_row({"prompt": "질문", "chosen": "좋아요 <|endoftext|>", "rejected": "\u200b 싫어요\r\n"})
    assert e.answers == ("좋아요", "싫어요") and e.raw == e.written == ("좋아요 ", " 싫어요\n")
    ranked = read_row({"prompt": "질문", "answers": ["가 ", "나", "가"]})
    assert ranked.answers == ("가", "나") and ranked.written == ("가 ", "나")
    plain = read_row({"prompt": "질문", "chosen": "네", "rejected": "응"})
    assert plain.raw == () and plain.written == plain.answers
    assert read_row({"prompt": "질문", "chosen": "Assistant: 네 ", "rejected": "응"}).written == (" 네 ", "응")
    assert Example(e.messages, e.answers) == e  # what a model learns from is the same


@pytest.mark.parametrize(
    "value, scores",
    [(0.5, (0.5, 0.0)), ("1.5", (1.5, 0.0)), ([4, 3.5], (4.0, 3.5)), ("[2, 1]", (2.0, 1.0)), (None, ()), ("", ())],
)
def test_scores_of_a_pair(value, scores):
    row = {"prompt": "질문", "chosen": "네", "rejected": "응", "margin": value}
    assert with_scores(read_row(row), row, "margin").scores == scores
    assert with_scores(read_row(row), row, "other").scores == ()


@pytest.mark.parametrize(
    "value, message",
    [
        ("높음", "margin is '높음'; expected the margin of a pair, or a list"),
        (True, "margin is 'True'; expected"),
        ([1, float("nan")], "expected the margin of a pair"),
        ([3, 2], "margin has 2 scores for 3 different answers"),
        (0.5, "margin has one margin for 3 different answers"),
    ],
)
def test_scores_that_cannot_be_right(value, message):
    row = {"prompt": "질문", "answers": ["가", "나", "다"], "margin": value}
    with pytest.raises(RowError, match=message):
        with_scores(read_row(row), row, "margin")
