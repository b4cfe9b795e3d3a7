"""Raw corpora: what is found in folders and zips, turns and exchanges, labels, and what is wrong with a file."""

import io
import json
import zipfile

import pytest

from korlhf.core.errors import InputError
from korlhf.data import corpora
from korlhf.korean import transcription as marks


def said(speaker, text, note="", **more):
    return {"speaker_id": speaker, "original_form": text, "form": "?", "note": note, **more}


def session(*utterances, number="SDRW2000000777", topic="먹거리 > 점심", **more):
    speakers = [{"id": "A", "age": "20대", "sex": "여성", "occupation": "학생"}, {"id": "B", "age": "30대", "sex": ""}]
    for n, u in enumerate(utterances, 1):
        u.setdefault("id", f"{number}.1.1.{n}")
    about = {"topic": topic, "speaker": speakers, "setting": {"relation": "친구"}}
    return {
        "id": number,
        "metadata": {},
        "document": [{"id": f"{number}.1", "metadata": about, "utterance": list(utterances)}],
        **more,
    }


def sentence(speaker, text, types=("IMMORAL_NONE",), **more):
    immoral = list(types) != ["IMMORAL_NONE"]
    return {
        "speaker": speaker,
        "text": text,
        "origin_text": "원문",
        "types": list(types),
        "is_immoral": immoral,
        "intensity": 1.6 if immoral else 0.0,
        "votes": [],
        **more,
    }


def encoded(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def escaped(value):
    """With 한글 and 😀 as \\u escapes."""
    return json.dumps(value).encode("ascii")


def archive(members, raw_names=None):
    """Bytes of a zip; raw_names: an encoding for names that are written without saying that they are UTF-8."""

    class Info(zipfile.ZipInfo):
        def _encodeFilenameFlags(self):
            return (
                (self.filename.encode(raw_names), self.flag_bits & ~0x800)
                if raw_names
                else super()._encodeFilenameFlags()
            )

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(Info(name), data)
    return out.getvalue()


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else encoded(data))
        return str(path)

    return write


def dialogue(*utterances):
    return corpora._dialogue(session(*utterances)["document"][0], "here")


def turns(*utterances):
    return corpora.turns(dialogue(*utterances))


def texts(found):
    return [(t.speaker, t.text, t.flaw) for t in found]


def found_in(path):
    return [
        (place.replace(str(path), "P"), data) for place, data in corpora.walk(path, "talksets*.json", "labelled files")
    ]


def test_files_are_found_in_subfolders_zips_and_zips_within_zips(tmp_path, write):
    inner = archive({"talksets-train-6/talksets-train-6.json": b"6"})
    write("1.Training/라벨링데이터/talksets-train-1_aihub.json", b"1")
    write("1.Training/원천데이터/talksets-train-1.txt", b"-")
    write(
        "2.Validation/VL1.zip",
        archive(
            {"aihub/VL1_aihub.ZIP": inner, "__MACOSX/talksets.json": b"-", "TALKSETS-2.json": b"2", "빈 폴더/": b""}
        ),
    )
    assert found_in(tmp_path) == [
        ("P/1.Training/라벨링데이터/talksets-train-1_aihub.json", b"1"),
        ("P/2.Validation/VL1.zip!TALKSETS-2.json", b"2"),
        ("P/2.Validation/VL1.zip!aihub/VL1_aihub.ZIP!talksets-train-6/talksets-train-6.json", b"6"),
    ]
    assert found_in(tmp_path / "2.Validation" / "VL1.zip")[0] == ("P!TALKSETS-2.json", b"2")
    assert found_in(write("내 파일.json", b"own")) == [("P", b"own")]  # one file may have any name


@pytest.mark.parametrize("encoding", ["cp949", "utf-8"])
@pytest.mark.parametrize(
    "folder", ["147.텍스트 윤리검증", "발화 문서"]
)  # the UTF-8 bytes of the second are CP949 as well
def test_korean_names_of_zips_that_do_not_tell_their_encoding(write, encoding, folder):
    path = write("a.zip", archive({f"{folder}/talksets-1.json": b"1"}, encoding))
    assert found_in(path) == [(f"P!{folder}/talksets-1.json", b"1")]


def test_a_zip_within_a_zip_that_is_too_large_for_memory_is_read_from_disk(write, monkeypatch):
    monkeypatch.setattr(corpora, "_IN_MEMORY", 10)
    path = write("a.zip", archive({"b.zip": archive({"talksets.json": b"x" * 1000})}))
    assert found_in(path) == [("P!b.zip!talksets.json", b"x" * 1000)]


def encrypted():
    data = bytearray(archive({"talksets.json": b"1"}))
    data[6] |= 1  # the flag in the file's own header, and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("readme.txt", b"1", r"no files talksets\*\.json in it; expected labelled files; found 1 \.txt"),
        ("a.zip", b"nothing", r"a\.zip: not a readable zip"),
        ("a.zip", archive({"b.zip": b"?"}), r"a\.zip!b\.zip: not a readable zip"),
        ("a.zip", encrypted(), r"a\.zip: .*encrypted.*; unpack it"),
        ("a.zip", archive({"x/a.wav": b"", "x/b.wav": b"", "c": b""}), r"found 2 \.wav, 1 files without a suffix"),
    ],
)
def test_what_is_not_the_corpus_is_refused_with_what_was_found(tmp_path, write, name, data, message):
    write(name, data)
    with pytest.raises(InputError, match=message):
        found_in(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        found_in(tmp_path / "nothing")


def test_a_session_becomes_a_dialogue(tmp_path, write):
    write(
        "SDRW2000000777.json",
        b"\xef\xbb\xbf"
        + escaped(
            session(
                said("A", "뭐 먹을까?"),
                said("B", "국수😀", "발화겹침"),
                {"id": "x", "speaker_id": "A", "form": "어~ name1 씨"},
            )
        ),
    )
    write("SARW1800000001.json", {"document": "another corpus"})
    (found,) = corpora.nikl(tmp_path)
    assert (found.id, found.topic, found.relation) == ("SDRW2000000777.1", "먹거리", "친구")
    assert found.speakers == {"A": {"age": "20대", "sex": "여성"}, "B": {"age": "30대"}}
    assert found.utterances == (
        corpora.Utterance("SDRW2000000777.1.1.1", "A", "뭐 먹을까?", False, False),
        corpora.Utterance("SDRW2000000777.1.1.2", "B", "국수😀", False, True),
        corpora.Utterance("x", "A", "어~ name1 씨", True, False),
    )


@pytest.mark.parametrize(
    "data, message",
    [
        (b'{"id": 1,\n "document": [}', r"SDRW1\.json:2: broken JSON: .*; download the corpus again"),
        (b'{"document":\n ["\\ud800"]}', r"SDRW1\.json:2: broken JSON: \\ud800 is half"),
        (b'["\\ude00"]', r"\\ude00 is half"),
        ("{}\n한글".encode("cp949"), r"SDRW1\.json:2: not UTF-8"),
        ([], "expected {id, metadata, document.*found list"),
        ({"data": [], "id": 1}, "found data, id"),
        ({"document": [{"id": 1}]}, "has no list `utterance`"),
        (
            {"document": [{"utterance": [said("A", "네"), {"id": "u2", "form": "네"}]}]},
            r"SDRW1\.json: utterance 2 is .*'id': 'u2'",
        ),
        ({"document": [{"utterance": ["네"]}]}, "utterance 1 is '네'"),
        ({"document": [{"utterance": [said("A", 3)]}]}, "utterance 1"),
    ],
)
def test_a_broken_session_is_named(tmp_path, write, data, message):
    write("SDRW1.json", data)
    with pytest.raises(InputError, match=message):
        list(corpora.nikl(tmp_path))


def test_what_one_speaker_says_in_a_row_is_one_turn():
    found = turns(
        said("A", "안녕~ {laughing}"),
        said("A", "뭐 먹었어?"),
        said("B", "-국- 국수."),
        said("B", "{laughing}"),
        said("A", "좋겠다"),
    )
    assert texts(found) == [("A", "안녕 뭐 먹었어?", ""), ("B", "국수.", ""), ("A", "좋겠다", "")]
    assert [t.id for t in found] == ["SDRW2000000777.1.1.1", "SDRW2000000777.1.1.3", "SDRW2000000777.1.1.5"]


def test_a_nod_while_the_other_one_speaks_ends_no_turn():
    found = turns(
        said("A", "어제 산에 갔는데"),
        said("B", "아~ 네네.", "발화겹침"),
        said("A", "비가 왔어요."),
        said("B", "네."),
        said("A", "그래서 내려왔어요."),
        said("B", "저도 갔어요.", "발화겹침"),
    )
    assert texts(found) == [
        ("A", "어제 산에 갔는데 비가 왔어요.", ""),
        ("B", "네.", ""),
        ("A", "그래서 내려왔어요.", ""),
        ("B", "저도 갔어요.", ""),
    ]


def test_a_hole_spoils_its_turn():
    found = turns(
        said("A", "저는"),
        said("A", "((xx)) 갔어요"),
        said("A", "&address&에"),
        said("B", "&company-name& 다녀요"),
        said("A", "네"),
    )
    assert [(t.speaker, t.flaw) for t in found] == [("A", "unintelligible"), ("B", "company-name"), ("A", "")]


def test_names_are_invented_for_the_whole_dialogue_or_left_as_marks():
    talk = dialogue(
        said("A", "&name1& 씨, &name2&이는 왔어?"), {"id": "x", "speaker_id": "B", "form": "name2이가 name1 씨랑 와"}
    )
    names = marks.invent_names(talk.id, [(u.text, u.bare) for u in talk.utterances])
    assert marks.has_final_consonant(names["name2"])
    first, second = names["name1"], names["name2"]
    assert [t.text for t in corpora.turns(talk)] == [f"{first} 씨, {second}이는 왔어?", f"{second}이가 {first} 씨랑 와"]
    assert [t.text for t in corpora.turns(talk, invent=False)] == [
        "name1 씨, name2이는 왔어?",
        "name2이가 name1 씨랑 와",
    ]


@pytest.mark.parametrize(
    "text, nod",
    [
        ("네.", True),
        ("네네 네", True),
        ("아 네, 그렇죠", True),
        ("응 맞아", True),
        ("그래요?", True),
        ("하하하.", True),
        ("ㅋㅋㅋ", True),
        ("", True),
        ("…", True),
        ("그렇지요", True),
        ("진짜요?", True),
        ("네 국수요", False),
        ("그래서?", False),
        ("어디?", False),
        ("아니요", False),
        ("좋아요", False),
        ("아버지", False),
    ],
)
def test_nods(text, nod):
    assert corpora.is_nod(text) == nod


def summary(found):
    return [([m["content"] for m in e.messages], e.answer.text, e.flaw) for e in found]


FIVE = [
    corpora.Turn(str(i), "AB"[i % 2], text)
    for i, text in enumerate(["하나예요", "둘이에요", "셋이에요", "넷이에요", "다섯이에요"])
]


def test_every_pair_of_turns_is_an_exchange_or_only_the_first():
    assert summary(corpora.exchanges(FIVE)) == [
        (["하나예요"], "둘이에요", ""),
        (["둘이에요"], "셋이에요", ""),
        (["셋이에요"], "넷이에요", ""),
        (["넷이에요"], "다섯이에요", ""),
    ]
    assert summary(corpora.exchanges(FIVE, every=False)) == [(["하나예요"], "둘이에요", "")]
    assert (
        summary(corpora.exchanges(FIVE[:1]))
        == summary(corpora.exchanges([]))
        == summary(corpora.exchanges([], every=False))
        == []
    )


def test_history_begins_with_the_user_and_ends_before_a_hole():
    assert summary(corpora.exchanges(FIVE, history=2))[2:] == [
        (["하나예요", "둘이에요", "셋이에요"], "넷이에요", ""),
        (["둘이에요", "셋이에요", "넷이에요"], "다섯이에요", ""),
    ]
    (*_, last) = corpora.exchanges(FIVE, history=4)
    assert [m["content"] for m in last.messages] == [
        "둘이에요",
        "셋이에요",
        "넷이에요",
    ]  # 하나예요 would be an assistant's
    assert [m["role"] for m in last.messages] == ["user", "assistant", "user"]
    assert (last.prompt, last.answer) == (FIVE[3], FIVE[4])
    holed = [*FIVE[:2], corpora.Turn("2", "A", "셋", "address"), *FIVE[3:], corpora.Turn("5", "B", "여섯이에요")]
    assert [(len(e.messages), e.flaw) for e in corpora.exchanges(holed, history=4)] == [
        (1, ""),
        (1, "address"),
        (3, "address"),
        (1, ""),
        (1, ""),
    ]


def test_a_third_speaker_has_no_part_in_the_history():
    for speakers, lengths in (("ABABC", [1, 1, 3, 1]), ("ABCBA", [1, 1, 1, 1])):
        found = [corpora.Turn(str(i), who, f"{i}번 말이에요") for i, who in enumerate(speakers)]
        assert [len(e.messages) for e in corpora.exchanges(found, history=4)] == lengths


def test_mere_nods_are_no_prompts_and_no_answers():
    found = [corpora.Turn("1", "A", "뭐 먹을까?"), corpora.Turn("2", "B", "네"), corpora.Turn("3", "A", "국수 먹자")]
    assert [e.flaw for e in corpora.exchanges(found)] == ["the answer is a mere 네", "the prompt is a mere 네"]


TALK = {
    "id": "t-01",
    "sentences": [sentence(1, "늦었네"), sentence(2, "게으른 놈", ["ABUSE", "CENSURE"]), sentence(1, "말이 심해")],
}


@pytest.mark.parametrize(
    "whole", [[TALK, {"id": "t-02", "sentences": []}], {"info": {"n": 1}, "talksets": [TALK, {"sentences": []}]}]
)
def test_conversations_of_both_layouts(tmp_path, write, whole):
    write("talksets-train-1_aihub.json", json.dumps(whole, ensure_ascii=False, indent=1).encode("utf-8"))
    first, empty = corpora.aihub(tmp_path)
    assert first[1] == corpora.Sentence("t-01-2", "t-01", "2", "게으른 놈", ("ABUSE", "CENSURE"), True, 1.6)
    assert [(s.id, s.immoral, s.intensity) for s in first] == [
        ("t-01-1", False, 0.0),
        ("t-01-2", True, 1.6),
        ("t-01-3", False, 0.0),
    ]
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
def test_variants_of_a_sentence(write, change, expected):
    path = write("talksets.json", [{"id": "t", "sentences": [{**sentence(1, "야", ["ABUSE"]), **change}]}])
    ((s,),) = corpora.aihub(path)
    assert (s.types, s.immoral, s.intensity) == expected


def test_the_original_text_stands_in_for_an_absent_one(write):
    ((s,),) = corpora.aihub(
        write("talksets.json", [{"sentences": [sentence(1, None, origin_text="원래 글", id="own")]}])
    )
    assert (s.text, s.id, s.conversation) == ("원래 글", "own", "talksets-1")


@pytest.mark.parametrize(
    "data, message",
    [
        (b'[{"sentences": []}\n {"sentences": []}]', r"talksets\.json:2: broken JSON: expected a comma"),
        (b'[{"sentences": []},\n {"a": ]', r":2: broken JSON"),
        (b"[", r":1: broken JSON"),
        (b"", "expected a list of conversations"),
        (b'{"rows": []}', r"expected a list .* found '\{\"rows\""),
        ([{"id": 1}], "conversation 1 has no list `sentences`"),
        ([TALK, 3], "conversation 2 has"),
        ([TALK, {"sentences": [sentence(1, "네"), sentence(1, 5)]}], "conversation 2, sentence 2 is"),
        ([{"sentences": [sentence(1, "네", ["RUDE"])]}], "types RUDE; expected CENSURE"),
        ([{"sentences": [sentence(1, "네", is_immoral="x")]}], "is_immoral is 'x'"),
        ([{"sentences": [sentence(1, "네", intensity="1")]}], "intensity is '1'"),
    ],
)
def test_a_broken_file_of_conversations_is_named(write, data, message):
    with pytest.raises(InputError, match=message):
        list(corpora.aihub(write("talksets.json", data)))


def test_history_of_a_sentence(write):
    talk = [
        sentence(1, "가"),
        sentence(1, "나"),
        sentence(2, "다"),
        sentence(2, "라"),
        sentence(1, "마"),
        sentence(1, "바", ["HATE"]),
        sentence(2, "사"),
    ]
    (found,) = corpora.aihub(write("talksets.json", [{"id": "t", "sentences": talk}]))
    assert corpora.sentence_messages(found, 5) == [{"role": "user", "content": "바"}]
    assert [(m["role"], m["content"]) for m in corpora.sentence_messages(found, 5, 2)] == [
        ("user", "가 나"),
        ("assistant", "다 라"),
        ("user", "마 바"),
    ]
    assert corpora.sentence_messages(found, 0, 2) == [{"role": "user", "content": "가"}]
    # an assistant does not say what is immoral, be it the last thing or not
    assert corpora.sentence_messages(found, 6, 2) == [{"role": "user", "content": "사"}]
    (found,) = corpora.aihub(write("talksets.json", [{"id": "t", "sentences": [*talk[:4], talk[5], talk[4], talk[6]]}]))
    assert corpora.sentence_messages(found, 6, 2) == [{"role": "user", "content": "사"}]
