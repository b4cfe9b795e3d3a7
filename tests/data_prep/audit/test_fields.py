"""The texts of a row, and the passages that are shown of them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data.characters import visible
from korlhf.data.columns import fields, replaced
from korlhf.data_prep.audit.cleaning import Spot
from korlhf.data_prep.audit.passages import passage, shortened
from korlhf.data_prep.audit.scan import Reservoir

TALK = [
    {"role": "system", "content": "다정하게"},
    {"role": "user", "content": "가", "input": "표"},
    {"role": "assistant", "content": "나"},
    {"from": "human", "value": "다"},
]


@pytest.mark.parametrize(
    "row, expected",
    [
        (
            {"prompt": "가", "chosen": "나", "rejected": "다", "id": "x"},
            [("prompt", "prompt"), ("chosen", "chosen"), ("rejected", "rejected")],
        ),
        (
            {"instruction": "가", "input": "나", "output": "다"},
            [("instruction", "prompt"), ("input", "input"), ("output", "output")],
        ),
        ({"input": "가", "output": "나"}, [("input", "prompt"), ("output", "output")]),
        ({"text": "가"}, [("text", "text")]),
        ({"prompt": "가", "chosen": "나"}, [("prompt", "prompt"), ("chosen", "output")]),
        (
            {"question": "가", "system": "나", "answers": ["다", "라", "마"]},
            [
                ("question", "prompt"),
                ("system", "system"),
                ("answers[0]", "chosen"),
                ("answers[1]", "rejected"),
                ("answers[2]", "rejected"),
            ],
        ),
        (
            {"prompt": "가", "answers": '["나", "다"]'},
            [("prompt", "prompt"), ("answers[0]", "chosen"), ("answers[1]", "rejected")],
        ),
        (
            {"messages": TALK, "output": "라"},
            [
                ("messages[0].content", "system"),
                ("messages[1].content", "prompt"),
                ("messages[1].input", "input"),
                ("messages[2].content", "turn"),
                ("messages[3].value", "prompt"),
                ("output", "output"),
            ],
        ),
        (
            {"conversations": [{"from": "human", "value": "가"}, {"from": "gpt", "value": "나"}]},
            [("conversations[0].value", "prompt"), ("conversations[1].value", "output")],
        ),
        ({"prompt": 7, "output": None}, []),
        ({"a": "가"}, []),
        ({}, []),
        ({"messages": "가"}, []),
    ],
)
def test_columns_are_those_that_training_reads(row, expected):
    assert [(f.column, f.part) for f in fields(row)] == expected


def test_replacing_leaves_the_row_itself_alone():
    row = {"answers": '["나", "다"]', "messages": [{"role": "user", "content": "가"}], "n": 1}
    found = replaced(row, {("answers", 1): "라", ("messages", 0, "content"): "마"})
    assert found == {"answers": ["나", "라"], "messages": [{"role": "user", "content": "마"}], "n": 1}
    assert row["answers"] == '["나", "다"]' and row["messages"][0]["content"] == "가"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_every_text_can_be_replaced_where_it_was_found(texts):
    row = {"prompt": "가", "answers": texts, "system": "나"}
    assert [f.text + "!" for f in fields(row)] == [
        f.text for f in fields(replaced(row, {f.path: f.text + "!" for f in fields(row)}))
    ]
    assert json.loads(json.dumps(replaced(row, {}))) == row


def test_a_passage_shows_what_cannot_be_seen():
    found = passage("a.jsonl:3", "output", "안\u200b녕 \x00 하세요 ", Spot(1, 2, "U+200B"))
    assert (found.before, found.spot, found.after) == ("안", "⟨U+200B⟩", "녕 ⟨U+0000⟩ 하세요 ")
    assert (
        passage("a", "b", "네 ", Spot(1, 2, "one space")).spot == "␣"
        and passage("a", "b", "", Spot(0, 0, "nothing")).spot == "∅"
    )
    long = passage("a", "b", "가" * 100 + "나" * 300 + "다" * 100, Spot(100, 400, ""))
    assert (long.before, long.spot, long.after) == ("…" + "가" * 60, "나" * 160 + "…", "나" * 60 + "…")


def test_personal_data_is_blotted_out_everywhere_it_is_shown():
    text = "제 번호는 010-2345-6789예요. "
    assert "2345" not in "".join(passage("a", "b", text, Spot(20, 21, "one space"))) and "2345" not in shortened(text)
    assert shortened("가" * 10 + " 010-2345-6789", 20) == "가" * 10 + " 010-****- …"


def test_emojis_stay_whole():
    assert visible("👩\u200d🚀 가\u200b나") == "👩\u200d🚀 가⟨U+200B⟩나"


def drawn(seed):
    box = Reservoir(5, seed)
    for i in range(100):
        box.offer(int, i)
    return box.items


def test_a_reservoir_is_a_fair_sample_and_the_same_again():
    assert drawn("1") == drawn("1") != drawn("2") and len(set(drawn("1"))) == 5
    hits = [i for seed in range(400) for i in drawn(str(seed))]  # every item 20 times in the mean
    assert abs(sum(i < 50 for i in hits) / len(hits) - 0.5) < 0.05 and len(set(hits)) == 100
