"""Texts and conversations on their way into an Example."""

import pytest

from korlhf.data.example import Example, RowError, bare, turns


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
