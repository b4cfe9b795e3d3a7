"""korlhf/data/record.py: ids, conversations, and users' own rows."""

import json

import pytest

from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data import record as records
from korlhf.data.example import RowError

TALK = [
    {"role": "user", "content": "오늘 뭐 먹지?"},
    {"role": "assistant", "content": "국수 어때요?"},
    {"role": "user", "content": "좋아요."},
]


def write(path, *rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def test_the_id_is_the_prompts_own():
    a = records.make("오늘 뭐 먹지?", "everyday", "a/1")
    assert len(a["id"]) == 16 and int(a["id"], 16)
    assert (
        records.make(" 오늘  뭐 먹지", "harmful", "b/2", output="국수요")["id"] == a["id"]
    )  # spacing and final marks do not count
    assert records.make("오늘 뭐 먹지?", "everyday", "a/1", input="냉장고에 두부가 있다")["id"] != a["id"]
    assert records.make("오늘 뭐 먹었지?", "everyday", "a/1")["id"] != a["id"]
    assert records.make(TALK, "everyday", "a/1")["id"] not in (
        a["id"],
        records.make("좋아요.", "everyday", "a/1")["id"],
    )
    assert records.make([{"role": "system", "content": "친절하게"}, TALK[0]], "everyday", "a/1")["id"] == a["id"]


def test_one_user_message_alone_is_a_prompt():
    one = records.make([TALK[0]], "everyday", "a/1")
    assert one["prompt"] == TALK[0]["content"] and "messages" not in one and records.messages(one) == [TALK[0]]
    many = records.make(TALK, "everyday", "a/1")
    assert many["messages"] == TALK and "prompt" not in many and records.prompt(many) == "좋아요."
    records.messages(many)[0]["content"] = "다른 말"
    assert many["messages"] == TALK
    with pytest.raises(RowError, match="end with an assistant turn"):
        records.make(TALK[:2], "everyday", "a/1")


def test_the_context_of_an_instruction_goes_with_the_last_message():
    record = records.make("요약해 줘", "instruct", "k/1", input="긴 글")
    assert record["input"] == "긴 글" and records.messages(record) == [
        {"role": "user", "content": "요약해 줘", "input": "긴 글"}
    ]
    assert "input" not in records.make("요약해 줘", "instruct", "k/1", input="<noinput>")
    with pytest.raises(RowError, match="input is list"):
        records.make("요약해 줘", "instruct", "k/1", input=["긴 글"])


def test_history_grows_in_a_copy():
    first = records.make("가", "all", "x")
    second = records.step(first, "respond", model="sft")
    assert first["history"] == [] and second["history"] == [{"stage": "respond", "model": "sft"}]


def test_own_rows_become_records(tmp_path):
    path = write(
        tmp_path / "내 것.jsonl",
        {"id": "conversaion_0", "instruction": "안녕하세요?", "input": "", "output": "네, 안녕하세요."},
        {"prompt": "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: bye", "chosen": "bye!", "rejected": "no"},
        {"messages": TALK[:2]},
        {"question": "뭐예요?", "messages": None, "answer": "책이요."},
    )
    found = dict(records.read([path]))
    a, b, c, d = found.values()
    assert list(found) == [f"{path}:{n}" for n in (1, 2, 3, 4)]
    assert (
        a["source"] == f"{path}#conversaion_0"
        and a["category"] == "all"
        and a["output"] == "네, 안녕하세요."
        and "input" not in a
    )
    assert a["id"] == records.make("안녕하세요?", "", "")["id"]
    assert [m["role"] for m in b["messages"]] == ["user", "assistant", "user"] and (b["chosen"], b["rejected"]) == (
        "bye!",
        "no",
    )
    assert c["prompt"] == "오늘 뭐 먹지?" and c["output"] == "국수 어때요?"
    assert d["prompt"] == "뭐예요?" and d["output"] == "책이요."


def test_records_come_back_as_they_were_written(tmp_path):
    whole = records.step(
        records.make(TALK, "everyday", "nikl/1", topic="먹거리", candidates=[{"text": "네", "model": "sft"}]),
        "collect",
        names="invent",
    )
    ((place, back),) = records.read([write(tmp_path / "a.jsonl", whole)])
    assert back == whole
    stale = {**records.make("고친 글", "everyday", "a"), "id": "0" * 16}
    ((_, back),) = records.read([write(tmp_path / "b.jsonl", stale)])
    assert back["id"] == records.make("고친 글", "", "")["id"]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"text": "글"}, "no prompt; found text; expected one of messages, conversations, prompt"),
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "가", "history": "x"}, "history is str"),
        ({"messages": "가"}, "messages is the text"),
        ({"messages": [{"role": "assistant", "content": "가"}]}, "the roles are assistant"),
    ],
)
def test_a_row_that_is_no_record_is_named_by_file_and_line(tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", {"prompt": "가"}, row)
    with pytest.raises(InputError, match=f"a.jsonl:2: {message}"):
        list(records.read([path]))


def test_the_training_steps_read_records_as_they_are(tmp_path):
    sft = records.step(records.make(TALK, "everyday", "nikl/1", topic="먹거리", output="그럼 먹으러 가요."), "collect")
    pair = records.make(
        "요약해 줘",
        "evol",
        "k/1",
        input="긴 글",
        chosen="요약이에요.",
        rejected="싫어요.",
        chosen_model="a",
        margin=1.5,
    )
    (a,) = load.load_examples(write(tmp_path / "sft.jsonl", sft), 1)
    assert list(a.messages) == TALK and a.answers == ("그럼 먹으러 가요.",) and a.category == "everyday"
    (b,) = load.load_examples(write(tmp_path / "pairs.jsonl", pair), 2)
    assert b.messages[0]["input"] == "긴 글" and b.answers == ("요약이에요.", "싫어요.")
    (c,) = load.load_examples(write(tmp_path / "prompts.jsonl", records.make("안녕?", "everyday", "x")), 3)
    assert c.prompt == "안녕?"
