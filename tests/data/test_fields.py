"""The columns that are recognised in a user's own row: as an Example, and as texts that can be replaced."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data.example import Example, RowError, RowSkipped, read_row
from korlhf.data.fields import fields, replaced


def user(content, **rest):
    return {"role": "user", "content": content, **rest}


def bot(content):
    return {"role": "assistant", "content": content}


def asked(*answers, **rest):
    return Example((user("가", **rest),), answers)


TURNS = (user("가"), bot("나"), user("다"))
SYSTEM = {"role": "system", "content": "친절히"}
SHAREGPT = [{"from": "human", "value": "가"}, {"from": "gpt", "value": "나"}]


@pytest.mark.parametrize(
    "row, expected",
    [
        ({"prompt": "가", "output": "나"}, asked("나")),
        ({"instruction": "가", "input": "다", "response": "나"}, asked("나", input="다")),
        ({"question": "가", "answer": "나", "category": "harmful"}, Example((user("가"),), ("나",), "harmful")),
        ({"prompt": "가", "completion": "나", "subset": "evol"}, Example((user("가"),), ("나",), "evol")),
        ({"input": "가", "output": "나"}, asked("나")),
        ({"prompt": "가"}, asked()),
        ({"prompt": "가", "output": None, "system": "친절히"}, Example((SYSTEM, user("가")))),
        ({"prompt": "가", "answers": ["1", "2", "3"], "output": "다른"}, asked("1", "2", "3")),
        ({"prompt": "가", "answers": ["1", " 2", "2 "]}, asked("1", "2")),
        ({"prompt": "가", "chosen": "1", "rejected": "2", "response": "1"}, asked("1", "2")),
        ({"prompt": "가", "chosen": "1"}, asked("1")),
        ({"messages": [*TURNS, bot("라")]}, Example(TURNS, ("라",))),
        ({"messages": [*TURNS], "output": "라"}, Example(TURNS, ("라",))),
        ({"messages": [user("가", input="맥락")], "output": "라"}, asked("라", input="맥락")),
        ({"messages": [{**SYSTEM, "content": "옛"}, user("가")], "system": "친절히"}, Example((SYSTEM, user("가")))),
        ({"conversations": SHAREGPT}, asked("나")),
        ({"conversations": json.dumps(SHAREGPT[:1]), "answers": '["1", "2"]'}, asked("1", "2")),
        ({"text": " 긴 글 ", "category": "c"}, Example(category="c", text="긴 글")),
        ({"text": "렌더링", "prompt": "가", "output": "나"}, asked("나")),
        ({"input": "설명만", "text": "글"}, Example(text="글")),
        ({"id": 3, "prompt": "가", "topic": "먹거리", "style": "best"}, asked()),
    ],
)
def test_rows(row, expected):
    assert read_row(row) == expected


@pytest.mark.parametrize(
    "row, message",
    [
        (
            {"제목": "가", "x": 1},
            r"no known columns; found 제목, x; expected a prompt \(messages \| conversations \| p",
        ),
        ({"output": "나"}, "no known columns; found output"),
        ({"prompt": " \n", "output": "나"}, "prompt is empty"),
        ({"prompt": "가", "output": ""}, "output is empty"),
        ({"prompt": "가", "chosen": "나", "rejected": "\t"}, "rejected is empty"),
        ({"prompt": "가", "chosen": "Assistant: ", "rejected": "나"}, "an answer is empty"),
        ({"prompt": 3, "output": "나"}, "prompt is int '3'; expected text"),
        ({"prompt": "가", "output": ["나"]}, "output is list"),
        ({"prompt": "가", "answers": "나"}, "answers is the text '나'; expected a list"),
        ({"prompt": "가", "answers": "[" * 100_000}, "answers is the text"),  # was a RecursionError
        ({"prompt": "가", "answers": []}, "answers is '\\[\\]'; expected a list"),
        ({"prompt": "가", "answers": ["나", ""]}, "answer 2 is empty"),
        ({"prompt": "가", "rejected": "나"}, "rejected without chosen"),
        ({"prompt": "가", "rejected": "나", "output": "다"}, "rejected without chosen"),
        ({"prompt": "가", "input": 5, "output": "다"}, "input is int"),
        ({"prompt": "가", "category": 5}, "category is int"),
        ({"text": "  "}, "text is empty"),
        ({"prompt": "\ud83d 가"}, "surrogate"),
        ({"messages": []}, "messages is"),
        ({"messages": [3]}, "message 1 is int"),
        ({"messages": [{"role": "tool", "content": "가"}]}, "role 'tool'; expected system, user"),
        ({"messages": [user("가"), user("나")]}, "the roles are user, user; expected user and assistant in turn"),
        ({"messages": [bot("가"), user("나")]}, "user first"),
        ({"messages": [user("가"), bot("")]}, "message 2 is empty"),
        (
            {"messages": [user("가"), bot("나")], "output": "다"},
            "end with an assistant turn although the row has answers",
        ),
    ],
)
def test_bad_rows(row, message):
    with pytest.raises(RowError, match=message):
        read_row(row)


def test_identical_answers_are_skipped():
    with pytest.raises(RowSkipped, match="identical answers"):
        read_row({"prompt": "가", "chosen": "나", "rejected": " 나\u200b "})


@pytest.mark.parametrize(
    "answers",
    [
        {"chosen": "나", "rejected": ""},
        {"chosen": "나", "rejected": " 나"},
        {"rejected": "나"},
        {"answers": "나"},
        {"output": 3},
    ],
)
def test_where_only_the_prompt_is_needed_answers_are_not_looked_at(answers):
    """Each was refused or left out, so a file for step 2 whose answers are faulty gave no prompts to step 3."""
    assert read_row({"prompt": "가", "input": "나", **answers}, prompt_only=True) == asked(input="나")
    with pytest.raises(RowError, match="although the row has answers"):
        read_row({"messages": [user("가"), bot("나")], "output": "다"}, prompt_only=True)


LONG = [{**SYSTEM}, user("가", input="표"), bot("나"), {"from": "human", "value": "다"}]


@pytest.mark.parametrize(
    "row, expected",
    [
        ({"prompt": "가", "chosen": "나", "rejected": "다", "id": "x"}, "prompt chosen rejected"),
        ({"instruction": "가", "input": "나", "output": "다"}, "instruction:prompt input output"),
        ({"input": "가", "output": "나"}, "input:prompt output"),
        ({"text": "가"}, "text"),
        ({"prompt": "가", "chosen": "나"}, "prompt chosen:output"),
        (
            {"question": "가", "system": "나", "answers": ["다", "라", "마"]},
            "question:prompt system answers[0]:chosen answers[1]:rejected answers[2]:rejected",
        ),
        ({"prompt": "가", "answers": '["나", "다"]'}, "prompt answers[0]:chosen answers[1]:rejected"),
        (
            {"messages": LONG, "output": "라"},
            "messages[0].content:system messages[1].content:prompt messages[1].input:input messages[2].content:turn "
            "messages[3].value:prompt output",
        ),
        ({"conversations": SHAREGPT}, "conversations[0].value:prompt conversations[1].value:output"),
        ({"prompt": 7, "output": None}, ""),
        ({"a": "가"}, ""),
        ({}, ""),
        ({"messages": "가"}, ""),
    ],
)
def test_fields_are_the_texts_that_training_reads(row, expected):
    found = [(f.column, f.part) for f in fields(row)]
    assert found == [tuple(name.split(":")) if ":" in name else (name, name) for name in expected.split()]


def test_replacing_leaves_the_row_itself_alone():
    row = {"answers": '["나", "다"]', "messages": [user("가")], "n": 1}
    found = replaced(row, {("answers", 1): "라", ("messages", 0, "content"): "마"})
    assert found == {"answers": ["나", "라"], "messages": [user("마")], "n": 1}
    assert row["answers"] == '["나", "다"]' and row["messages"][0]["content"] == "가"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_every_text_can_be_replaced_where_it_was_found(texts):
    row = {"prompt": "가", "answers": texts, "system": "나"}
    new = replaced(row, {f.path: f.text + "!" for f in fields(row)})
    assert [f.text + "!" for f in fields(row)] == [f.text for f in fields(new)]
    assert json.loads(json.dumps(replaced(row, {}))) == row
