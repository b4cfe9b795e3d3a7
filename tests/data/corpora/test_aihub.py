"""AIHub 558: conversations, their labels, and what is wrong with a file."""

import json

import pytest

from korlhf.core.errors import InputError
from korlhf.data.corpora import aihub


def sentence(speaker, text, types=("IMMORAL_NONE",), **more):
    immoral = list(types) != ["IMMORAL_NONE"]
    labels = {"types": list(types), "is_immoral": immoral, "intensity": 1.6 if immoral else 0.0, "votes": []}
    return {"speaker": speaker, "text": text, "origin_text": "원문", **labels, **more}


@pytest.fixture
def read(tmp_path):
    """Function: the contents of a file -> its conversations."""

    def read(value):
        data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8")
        (tmp_path / "talksets.json").write_bytes(data)
        return list(aihub.conversations(tmp_path))

    return read


def one(**change):
    return [{"id": "t", "sentences": [{**sentence(1, "야", ["ABUSE"]), **change}]}]


RUDE = sentence(2, "게으른 놈", ["ABUSE", "CENSURE"])
TALK = {"id": "t-01", "sentences": [sentence(1, "늦었네"), RUDE, sentence(1, "말이 심해")]}


@pytest.mark.parametrize(
    "whole", [[TALK, {"sentences": []}], {"info": {"n": 1}, "talksets": [TALK, {"sentences": []}]}]
)
def test_conversations_of_both_layouts(read, whole):
    first, empty = read(whole)
    assert first[1] == aihub.Sentence("t-01-2", "2", "게으른 놈", "", True, "t-01", ("ABUSE", "CENSURE"), 1.6)
    assert [(s.id, s.immoral, s.intensity) for s in first[::2]] == [("t-01-1", False, 0.0), ("t-01-3", False, 0.0)]
    assert empty == []


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"types": "HATE"}, (("HATE",), True, 1.6)),
        ({"is_immoral": None}, (("ABUSE",), True, 1.6)),
        ({"intensity": None}, (("ABUSE",), True, None)),
        ({"types": "IMMORAL_NONE", "is_immoral": None}, (("IMMORAL_NONE",), False, 1.6)),
        ({"is_immoral": 0}, (("ABUSE",), False, 1.6)),
        ({"types": None}, ((), True, 1.6)),
    ],
)
def test_variants_of_a_sentence(read, change, expected):
    ((s,),) = read(one(**change))
    assert (s.types, s.immoral, s.intensity) == expected


def test_the_original_text_stands_in_for_an_absent_one(read):
    ((s,),) = read([{"sentences": [sentence(1, None, origin_text="원래 글", id="own")]}])
    assert (s.text, s.id, s.conversation) == ("원래 글", "own", "talksets-1")


def test_speaker_0_is_a_speaker(read):
    """0 was taken for nobody, so its sentences had no history."""
    (found,) = read([{"id": 0, "sentences": [sentence(1, "뭐 해?"), sentence(0, "쉬어."), sentence(1, "나도.")]}])
    assert [s.speaker for s in found] == ["1", "0", "1"] and found[0].conversation == "0"
    (found,) = read([{"sentences": [sentence(0, "뭐 해?"), sentence(1, "쉬어."), sentence(0, "나도.")]}])
    assert len(aihub.messages(found, 2, 2)) == 3
    (found,) = read([{"sentences": [sentence(None, "뭐 해?"), sentence("", "쉬어.")]}])
    assert [s.speaker for s in found] == ["", ""] and len(aihub.messages(found, 1, 2)) == 1


@pytest.mark.parametrize(
    "data, message",
    [
        (b'[{"sentences": []}\n {"sentences": []}]', r"talksets\.json:2: broken JSON: Expecting ','"),
        (b'[{"sentences": []},\n {"a": ]', r":2: broken JSON.*; download the corpus again"),
        (b'[{"sentences": []},\n]', r":2: broken JSON"),  # was taken
        (b'[{"sentences": []}]\n[]', r":2: broken JSON: Extra data"),  # was taken
        (b"[", r":1: broken JSON"),
        (b"[" * 100_000, "JSON that is nested too deep"),  # was a RecursionError
        (b"", "expected a list of objects"),
        (b'{"rows": []}', r"expected a list .* found '\{\"rows\""),
        ([{"id": 1}], "talksets.json:2: conversation 1 has no list `sentences`"),
        ([TALK, 3], "conversation 2 has"),
        ([TALK, {"sentences": [sentence(1, "네"), sentence(1, 5)]}], "conversation 2, sentence 2 is"),
        (one(types=["RUDE"]), r"types is \"\['RUDE'\]\"; expected a list of CENSURE"),
        (one(types=[["ABUSE"], "HATE"]), r"types is \"\[\['ABUSE'\], 'HATE'\]\"; expected"),  # was a TypeError
        (one(types={"ABUSE": 1}), "types is"),  # its keys were taken
        (one(types=3), "types is '3'"),  # was a TypeError
        (one(is_immoral="x"), "is_immoral is 'x'"),
        (one(is_immoral=None, types=None), "is_immoral is None"),
        (one(intensity="1"), "intensity is '1'"),
        (one(intensity=float("nan")), "intensity is nan"),  # went into the record, which is then no JSON
        (one(speaker={"id": 1}), "speaker is .*; expected a number or a name"),  # was taken for a name
        (one(speaker=[1]), "speaker is"),
    ],
)
def test_a_broken_file_of_conversations_is_named(read, data, message):
    with pytest.raises(InputError, match=message) as error:
        read(data)
    assert "\n" not in str(error.value)


def test_history_of_a_sentence(read):
    texts = [(1, "가"), (1, "나"), (2, "다"), (2, "라"), (1, "마")]
    talk = [*(sentence(who, text) for who, text in texts), sentence(1, "바", ["HATE"]), sentence(2, "사")]
    (found,) = read([{"id": "t", "sentences": talk}])
    assert aihub.messages(found, 5) == [{"role": "user", "content": "바"}]
    roles = [(m["role"], m["content"]) for m in aihub.messages(found, 5, 2)]
    assert roles == [("user", "가 나"), ("assistant", "다 라"), ("user", "마 바")]
    assert aihub.messages(found, 0, 2) == [{"role": "user", "content": "가"}]
    # an assistant does not say what is immoral, be it the last thing or not
    assert aihub.messages(found, 6, 2) == [{"role": "user", "content": "사"}]
    (found,) = read([{"id": "t", "sentences": [*talk[:4], talk[5], talk[4], talk[6]]}])
    assert aihub.messages(found, 6, 2) == [{"role": "user", "content": "사"}]
