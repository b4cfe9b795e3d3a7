"""NIKL's everyday conversations: sessions, turns and exchanges, and releases whose fields are of another kind."""

import json

import pytest

from korlhf.core.errors import InputError
from korlhf.data.corpora import nikl
from korlhf.data.corpora.turns import Turn
from korlhf.korean import transcription

ABOUT = {
    "topic": "먹거리 > 점심",
    "speaker": [{"id": "A", "age": "20대", "sex": "여성", "occupation": "학생"}, {"id": "B", "age": "30대", "sex": ""}],
    "setting": {"relation": "친구"},
}


def said(speaker, text, note="", **more):
    return {"speaker_id": speaker, "original_form": text, "form": "?", "note": note, **more}


def session(*utterances, **about):
    name = "SDRW2000000777.1"
    named = [{"id": f"{name}.1.{n}", **u} if isinstance(u, dict) else u for n, u in enumerate(utterances, 1)]
    return {"document": [{"id": name, "metadata": {**ABOUT, **about}, "utterance": named}]}


@pytest.fixture
def dialogue(tmp_path):
    """Function: a session, as a value or as bytes -> its only Dialogue."""

    def read(value):
        data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode("utf-8")
        (tmp_path / "SDRW2000000777.json").write_bytes(data)
        (found,) = nikl.dialogues(tmp_path)
        return found

    return read


@pytest.fixture
def turns(dialogue):
    return lambda *utterances: [(t.speaker, t.text, t.flaw) for t in nikl.turns(dialogue(session(*utterances)))]


def test_a_session_becomes_a_dialogue(dialogue, tmp_path):
    (tmp_path / "SARW1800000001.json").write_text('{"document": "another corpus"}', encoding="utf-8")
    own = {"id": "x", "speaker_id": "A", "form": "어~ name1 씨"}
    value = session(said("A", "뭐 먹을까?"), said("B", "국수😀", "발화겹침"), own)
    found = dialogue(b"\xef\xbb\xbf" + json.dumps(value).encode("ascii"))  # with 한글 and 😀 as \\u escapes
    assert (found.id, found.topic, found.relation, found.unread) == ("SDRW2000000777.1", "먹거리", "친구", ())
    assert found.speakers == {"A": {"age": "20대", "sex": "여성"}, "B": {"age": "30대"}}
    assert found.utterances == (
        nikl.Utterance("SDRW2000000777.1.1.1", "A", "뭐 먹을까?", False, False),
        nikl.Utterance("SDRW2000000777.1.1.2", "B", "국수😀", False, True),
        nikl.Utterance("x", "A", "어~ name1 씨", True, False),
    )


@pytest.mark.parametrize(
    "about, unread",
    [
        ({"setting": "친구"}, ("setting",)),
        ({"setting": ["친구"]}, ("setting",)),
        ({"setting": None, "topic": None, "speaker": None}, ()),
        ({"setting": {"relation": {"a": 1}}}, ("relation",)),
        ({"topic": ["먹거리", "점심"]}, ("topic",)),
        ({"topic": 3}, ("topic",)),
        ({"speaker": "A"}, ("speaker",)),
        ({"speaker": ["A", {"id": ["B"]}, 3, None]}, ("speaker",)),
    ],
)
def test_metadata_of_an_unknown_kind_is_told_and_left_out(dialogue, about, unread):
    """Each was an AttributeError, or the value's Python spelling in the record."""
    found = dialogue(session(said("A", "뭐 먹을까?"), **about))
    assert found.unread == unread and len(found.utterances) == 1
    assert "[" not in found.topic + found.relation


def test_metadata_that_is_no_object_is_told(dialogue):
    value = session(said("A", "뭐 먹을까?"))
    value["document"][0]["metadata"] = "먹거리"
    assert dialogue(value).unread == ("metadata",)


def test_a_single_speaker_may_be_an_object_and_a_number_may_be_0(dialogue):
    found = dialogue(session(said(0, "네?"), said(1, "응."), speaker={"id": 0, "age": 20, "sex": {}}))
    assert found.speakers == {"0": {"age": "20"}} and found.unread == ()
    assert [u.speaker for u in found.utterances] == ["0", "1"]


@pytest.mark.parametrize(
    "data, message",
    [
        (b'{"id": 1,\n "document": [}', r"SDRW2000000777\.json:2: broken JSON: .*; download the corpus again"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON that cannot be read"),
        (b"[" * 100_000, "JSON that is nested too deep"),
        ([], "expected {id, metadata, document.*found list"),
        ({"data": [], "id": 1}, "found data, id"),
        ({"document": [{"id": 1}]}, "has no list `utterance`"),
        (session(said("A", "네"), {"id": "u2", "form": "네"}), r"utterance 2 is .*'id': 'u2'"),
        (session("네"), "utterance 1 is '네'"),
        (session(said("A", 3)), "utterance 1"),
        (session(said({"id": "A"}, "네")), "utterance 1"),
        (session(said("A", ["네"])), "utterance 1"),
    ],
)
def test_a_broken_session_is_named(dialogue, data, message):
    with pytest.raises(InputError, match=message) as error:
        dialogue(data)
    assert "\n" not in str(error.value)


def test_what_one_speaker_says_in_a_row_is_one_turn(dialogue):
    utterances = [
        said("A", "안녕~ {laughing}"),
        said("A", "뭐 먹었어?"),
        said("B", "-국- 국수."),
        said("B", "{laughing}"),
    ]
    found = nikl.turns(dialogue(session(*utterances, said("A", "좋겠다"))))
    assert [(t.id[-1], t.speaker, t.text) for t in found] == [
        ("1", "A", "안녕 뭐 먹었어?"),
        ("3", "B", "국수."),
        ("5", "A", "좋겠다"),
    ]


def test_a_nod_while_the_other_one_speaks_ends_no_turn(turns):
    before = [said("A", "어제 산에 갔는데"), said("B", "아~ 네네.", "발화겹침"), said("A", "비가 왔어요.")]
    after = [said("B", "네."), said("A", "그래서 내려왔어요."), said("B", "저도 갔어요.", "발화겹침")]
    assert [text for _, text, _ in turns(*before, *after)] == [
        "어제 산에 갔는데 비가 왔어요.",
        "네.",
        "그래서 내려왔어요.",
        "저도 갔어요.",
    ]


def test_a_hole_spoils_its_turn(turns):
    holes = [
        said("A", "저는"),
        said("A", "((xx)) 갔어요"),
        said("A", "&address&에"),
        said("B", "&company-name& 다녀요"),
    ]
    found = turns(*holes, said("A", "네"))
    assert [(who, flaw) for who, _, flaw in found] == [("A", "unintelligible"), ("B", "company-name"), ("A", "")]


def test_names_are_invented_for_the_whole_dialogue_or_left_as_marks(dialogue):
    own = {"id": "x", "speaker_id": "B", "form": "name2이가 name1 씨랑 와"}
    talk = dialogue(session(said("A", "&name1& 씨, &name2&이는 왔어?"), own))
    names = transcription.invent_names(talk.id, [(u.text, u.bare) for u in talk.utterances])
    first, second = names["name1"], names["name2"]
    assert transcription.has_final_consonant(second)
    assert [t.text for t in nikl.turns(talk)] == [f"{first} 씨, {second}이는 왔어?", f"{second}이가 {first} 씨랑 와"]
    left = [t.text for t in nikl.turns(talk, invent=False)]
    assert left == ["name1 씨, name2이는 왔어?", "name2이가 name1 씨랑 와"]


def test_nods():
    nods = [
        "네.",
        "네네 네",
        "아 네, 그렇죠",
        "응 맞아",
        "그래요?",
        "하하하.",
        "ㅋㅋㅋ",
        "",
        "…",
        "그렇지요",
        "진짜요?",
    ]
    assert [text for text in nods if not nikl.is_nod(text)] == []
    assert not any(map(nikl.is_nod, ["네 국수요", "그래서?", "어디?", "아니요", "좋아요", "아버지"]))


def summary(found):
    return [([m["content"] for m in e.messages], e.answer.text, e.flaw) for e in found]


TEXTS = ["하나예요", "둘이에요", "셋이에요", "넷이에요", "다섯이에요"]
FIVE = [Turn(str(i), "AB"[i % 2], text) for i, text in enumerate(TEXTS)]


def test_every_pair_of_turns_is_an_exchange_or_only_the_first():
    whole = [([a], b, "") for a, b in zip(TEXTS, TEXTS[1:])]
    assert summary(nikl.exchanges(FIVE)) == whole and summary(nikl.exchanges(FIVE, every=False)) == whole[:1]
    assert [*nikl.exchanges(FIVE[:1]), *nikl.exchanges([]), *nikl.exchanges([], every=False)] == []


def test_history_begins_with_the_user_and_ends_before_a_hole():
    assert [e.messages[0]["content"] for e in nikl.exchanges(FIVE, history=2)] == [*TEXTS[:2], *TEXTS[:2]]
    (*_, last) = nikl.exchanges(FIVE, history=4)
    assert [m["content"] for m in last.messages] == TEXTS[1:4]  # 하나예요 would be an assistant's
    assert [m["role"] for m in last.messages] == ["user", "assistant", "user"]
    assert (last.prompt, last.answer) == (FIVE[3], FIVE[4])
    holed = [*FIVE[:2], Turn("2", "A", "셋", "address"), *FIVE[3:], Turn("5", "B", "여섯이에요")]
    found = [(len(e.messages), e.flaw) for e in nikl.exchanges(holed, history=4)]
    assert found == [(1, ""), (1, "address"), (3, "address"), (1, ""), (1, "")]


def test_a_third_speaker_has_no_part_in_the_history():
    for speakers, lengths in (("ABABC", [1, 1, 3, 1]), ("ABCBA", [1, 1, 1, 1])):
        found = [Turn(str(i), who, f"{i}번 말이에요") for i, who in enumerate(speakers)]
        assert [len(e.messages) for e in nikl.exchanges(found, history=4)] == lengths


def test_mere_nods_are_no_prompts_and_no_answers():
    found = [Turn("1", "A", "뭐 먹을까?"), Turn("2", "B", "네"), Turn("3", "A", "국수 먹자")]
    assert [e.flaw for e in nikl.exchanges(found)] == ["the answer is a mere 네", "the prompt is a mere 네"]
