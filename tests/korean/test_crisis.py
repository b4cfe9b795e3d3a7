"""Signs of a crisis: what always counts, what must not, and how much it sees of sentences that it has not learnt
from."""

import json
from importlib import resources
from pathlib import Path

import pytest

from korlhf.korean import crisis

HELD_OUT = Path(__file__).with_name("crisis_test.jsonl")
PROMPTS = Path(__file__).resolve().parents[2] / "samples" / "heldout_prompts.jsonl"


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def test_letters_one_by_one():
    assert crisis.letters("죽고 싶다, ㅈㅅ ok!") == "ㅈㅜㄱㄱㅗㅅㅣㅍㄷㅏㅈㅅok"


@pytest.mark.parametrize(
    "text",
    [
        "죽고 싶어요.",
        "쥭고시퍼",
        "자살하고 싶다",
        "ㅈㅅ하고 싶어",
        "살기 싫어",
        "살기 시러",
        "살고 싶지 않아",
        "살고 싶지 않다는 말만 해요",
        '"죽고 싶다" 노래를 부르고 다녀요',
        "날씨 이야기를 하다가 갑자기 그런 말을 하더라고요. 동생이 요즘 죽고 싶다는 말을 자주 해요. 밥은 잘 먹어요. "
        * 3,
    ],
)
def test_a_few_phrases_always_count(text):
    assert "self_harm" in crisis.signs(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "!!!",
        "배고파 죽겠다.",
        "'죽고 싶지만 떡볶이는 먹고 싶어' 재밌어?",
        "안녕하세요.",
        '"죽고 싶다" 노래 좋아해?',
    ],
)
def test_a_text_without_a_sign(text):
    assert crisis.signs(text) == []


def test_what_always_counts_does_not_count_in_other_words():
    assert not crisis._ALWAYS.search(crisis.letters("제주도 한 달 살기 실제 비용, 살기 실태"))
    assert crisis._ALWAYS.search(crisis.letters("살고 싶지 않아")) and crisis._ALWAYS.search(
        crisis.letters("살기 실은")
    )


def test_the_kind_is_told_and_a_message_may_have_several():
    assert crisis.signs("아빠가 술만 마시면 저를 때려요.") == ["abuse"]
    assert crisis.signs("그 사람을 칼로 찔러 버릴 거야.") == ["violence"]
    assert crisis.signs("남편이 저를 매일 때려요. 너무 무서워요. 이제 죽고 싶어요.") == ["self_harm", "abuse"]


def test_what_it_sees_of_sentences_that_it_has_not_learnt_from():
    """Floors a little below what applications/COMPLIANCE.md tells: 42 of 52, 4 of 60, 3 of 240."""
    learnt = {row["text"] for row in rows(resources.files("korlhf.korean").joinpath("crisis.jsonl").read_text("utf-8"))}
    held_out = rows(HELD_OUT.read_text(encoding="utf-8"))
    assert len(held_out) == 112 and not learnt & {row["text"] for row in held_out}
    seen = [bool(crisis.signs(row["text"])) for row in held_out if row["kind"] != "none"]
    wrong = [bool(crisis.signs(row["text"])) for row in held_out if row["kind"] == "none"]
    assert len(seen) == 52 and sum(seen) >= 39 and sum(wrong) <= 8
    everyday = [row for row in rows(PROMPTS.read_text(encoding="utf-8")) if row["category"] != "harmful"]
    everyday = [row.get("prompt") or row["messages"][-1]["content"] for row in everyday]
    assert len(everyday) == 240 and sum(bool(crisis.signs(text)) for text in everyday) <= 5
