import importlib.util
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from korlhf.data import example as rows

RAW = Path(__file__).resolve().parents[2] / "samples" / "raw"
MUTATIONS = {
    "FRESH_START",
    "ADD_CONSTRAINTS",
    "DEEPEN",
    "CONCRETIZE",
    "INCREASE_REASONING",
    "COMPLICATE",
    "SWITCH_TOPIC",
}
TOPICS = set(
    [
        "여행지(국내/해외)",
        "반려동물",
        "먹거리",
        "가족",
        "계절/날씨",
        "건강/다이어트",
        "꿈(목표)",
        "스포츠/레저",
        "회사/학교",
        "선물",
        "영화",
        "방송/연예",
        "아르바이트",
        "연애/결혼",
        "성격",
        "음악",
        "휴가",
        "취직",
        "경제/재테크",
        "관혼상제",
        "쇼핑",
        "우정",
        "대중교통",
    ]
)
TYPES = {"CENSURE", "HATE", "DISCRIMINATION", "SEXUAL", "ABUSE", "VIOLENCE", "CRIME", "IMMORAL_NONE"}
# fmt: off
MARKS = [
    r"\{laughing\}", r"\{clearing\}", r"\{singing\}", r"\{applauding\}", r"\(\([가-힣]+\)\)", r"\(\(xx\)\)",
    r"\(\(\)\)", r"[가-힣]~", r"(?<!\S)-[가-힣]+-(?!\S)", "&name1&", "&company-name&", "&address&", "&tel-num&",
    "&card-num&", "&social-security-num&",
]
# fmt: on


def read_jsonl(name):
    return [json.loads(line) for line in (RAW / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("raw_build", RAW / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sessions():
    """File name without its ending -> the session of that file; of the folder and of the zip."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (RAW / "NIKL_DIALOGUE_2020_v1.3").iterdir()
    }
    with zipfile.ZipFile(RAW / "NIKL_DIALOGUE_2021_v1.1_JSON.zip") as archive:
        assert all(
            re.fullmatch(r"NIKL_DIALOGUE_2021_v1\.1_JSON/SDRW21\d{8}\.json", name) for name in archive.namelist()
        )
        return found | {Path(name).stem: json.loads(archive.read(name)) for name in archive.namelist()}


@pytest.fixture(scope="module")
def talks():
    (train,) = (RAW / "aihub_558").rglob("talksets*.json")
    assert train.parts[-5:] == ("라벨링데이터", "aihub", "TL1_aihub", "talksets-train-1", "talksets-train-1_aihub.json")
    (packed,) = (RAW / "aihub_558").rglob("VL1_aihub.zip")
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == ["talksets-train-6/talksets-train-6.json"]
        validation = json.loads(archive.read("talksets-train-6/talksets-train-6.json"))
    return {"train": json.loads(train.read_text(encoding="utf-8")), "validation": validation}


@pytest.fixture(scope="module")
def replies():
    return read_jsonl("replies.jsonl")


@pytest.fixture(scope="module")
def pairs():
    return read_jsonl("english_rewards/train.jsonl") + read_jsonl("english_rewards/rm_static.jsonl")


def words(text):
    return re.findall(r"\w+", text)


def texts_of(pair):
    return [m["content"] for m in rows.turns(pair["prompt"])] + [
        rows.bare_answer(pair[side]) for side in ("chosen", "rejected")
    ]


def test_build_rewrites_the_containers_byte_for_byte(build, tmp_path):
    build.build(tmp_path)
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(built) == 14 + 1 + 1 + 1
    for name, data in built.items():
        assert data == (RAW / name).read_bytes(), name
    committed = [
        p for folder in ("NIKL_DIALOGUE_2020_v1.3", "aihub_558") for p in (RAW / folder).rglob("*") if p.is_file()
    ]
    assert len(committed) == 16  # and nothing there that was not built


@pytest.mark.parametrize(
    "original, form",
    [
        ("어~ &name1& 씨는 -국- 국수 드셨어요?", "어~ name1 씨는 국수 드셨어요?"),
        ("거기에 ((참치)) 넣어요. {laughing}", "거기에 참치 넣어요."),
        ("{clearing} 좀 ((xx))", "좀 xx"),
        ("저한테는 (())", "저한테는"),
        ("1-2번 &tel-num&로요", "1-2번 tel-num로요"),
    ],
)
def test_form_is_the_original_form_with_its_marks_bare(build, original, form):
    assert build.form_of(original) == form


def test_a_written_line_that_is_no_utterance_is_an_error(build):
    with pytest.raises(ValueError, match="'3 안녕하세요' is no utterance"):
        build.utterances("SDRW2000000001.1", [], ["3 안녕하세요"])
    with pytest.raises(ValueError, match="is no sentence"):
        build.sentence("t1-001-1", "1 왜 그래? | CENSURE | 4 1 1 1 1")


def test_nikl_metadata(sessions):
    assert len(sessions) == 14 + 6
    topics = []
    for name, session in sessions.items():
        (document,) = session["document"]
        metadata = document["metadata"]
        assert session["id"] == name and document["id"] == f"{name}.1"
        assert (
            set(metadata) == {"title", "author", "publisher", "date", "topic", "speaker", "setting"}
            and metadata["setting"]["relation"]
        )
        assert len({speaker["id"] for speaker in metadata["speaker"]}) == 2
        for speaker in metadata["speaker"]:
            assert re.fullmatch(rf"SD{name[4:6]}\d{{5}}", speaker["id"])
            assert set(speaker) == {
                "id",
                "age",
                "sex",
                "occupation",
                "birthplace",
                "principal_residence",
                "current_residence",
                "education",
            }
            assert re.fullmatch(r"\d0대( 이상)?", speaker["age"]) and speaker["sex"] in ("여성", "남성")
        topics.append(metadata["topic"].split(" > ")[0])
    assert len(set(topics)) == 20 and set(topics) <= TOPICS


def test_nikl_utterances(sessions):
    overlaps = runs = 0
    for name, session in sessions.items():
        (document,) = session["document"]
        said, speakers = document["utterance"], [speaker["id"] for speaker in document["metadata"]["speaker"]]
        assert 16 <= len(said) <= 24
        assert [u["id"] for u in said] == [f"{name}.1.1.{n}" for n in range(1, len(said) + 1)]
        assert {u["speaker_id"] for u in said} == set(speakers)
        for before, u in zip(said, said[1:]):
            overlaps += u["note"] == "발화겹침"
            runs += before["speaker_id"] == u["speaker_id"]
            assert u["start"] < u["end"] and (u["start"] < before["end"]) == (u["note"] == "발화겹침")
    assert overlaps >= 15 and runs >= 15


def test_every_mark_occurs_in_original_form_and_is_bare_in_form(sessions):
    said = [u for session in sessions.values() for u in session["document"][0]["utterance"]]
    originals, forms = "\n".join(u["original_form"] for u in said), "\n".join(u["form"] for u in said)
    assert [mark for mark in MARKS if not re.search(mark, originals)] == []
    assert re.findall(r"&[\w-]+&", forms) == ["&address&"]  # the survivor
    assert not re.search(r"[{}]|\(\(|(?<!\S)-[가-힣]", forms)
    assert re.search(r"\bname1\b", forms) and re.search(r"\bxx\b", forms)


def test_aihub(talks):
    assert (len(talks["train"]), len(talks["validation"])) == (35, 8)
    said = [s for part in talks.values() for talk in part for s in talk["sentences"]]
    assert len({s["id"] for s in said}) == len(said) == 107
    for part in talks.values():
        for talk in part:
            assert 2 <= len(talk["sentences"]) <= 4
            assert [s["id"] for s in talk["sentences"]] == [
                f"{talk['id']}-{n}" for n in range(1, len(talk["sentences"]) + 1)
            ]
    for s in said:
        assert set(s) == {
            "id",
            "speaker",
            "origin_text",
            "text",
            "types",
            "is_immoral",
            "intensity",
            "intensity_sum",
            "votes",
        }
        assert s["is_immoral"] == (s["types"] != ["IMMORAL_NONE"]) == (s["intensity"] > 0)
        assert (
            s["intensity_sum"] == sum(s["votes"])
            and s["intensity"] == pytest.approx(sum(s["votes"]) / 5)
            and s["intensity"] <= 3
        )
    assert {t for s in said for t in s["types"]} == TYPES
    assert 0.4 < sum(s["is_immoral"] for s in said) / len(said) < 0.6
    assert sum(len(s["types"]) > 1 for s in said) >= 10
    assert [s["origin_text"] != s["text"] for s in said].count(True) == 1


def test_english_pairs(pairs):
    assert len(pairs) == 45 + 10
    for pair in pairs[:45]:
        assert set(pair) == {"prompt", "chosen", "rejected"}
        assert pair["prompt"].startswith("\n\nHuman: ") and pair["prompt"].endswith("\n\n")
        assert pair["chosen"].startswith("Assistant: ") and pair["rejected"].startswith("Assistant: ")
    for pair in pairs[45:]:
        assert set(pair) == {"prompt", "response", "chosen", "rejected"} and pair["response"] == pair["chosen"]
        assert pair["prompt"].startswith("\n\nHuman: ") and pair["prompt"].endswith("\n\nAssistant:")
        assert pair["chosen"].startswith(" ") and pair["rejected"].startswith(" ")
    lengths = Counter(len(rows.turns(pair["prompt"])) for pair in pairs)
    assert lengths == {1: 47, 3: 8}
    assert len({pair["prompt"] for pair in pairs}) == 55
    assert sum("```" in "".join(texts_of(pair)) for pair in pairs) == 2


def test_instruction_sets():
    evol = json.loads((RAW / "evol_instruct.json").read_text(encoding="utf-8"))
    assert len(evol) == 40 and all(set(row) == {"input", "output"} and row["output"] for row in evol)
    assert sum("#새로운 질문#" in row["input"] for row in evol) == 2 and len({row["input"] for row in evol}) == 40
    seeds = read_jsonl("seed_tasks.jsonl")
    assert [seed["id"] for seed in seeds] == [f"seed_task_{n}" for n in range(20)]
    assert all(set(seed) == {"id", "name", "instruction", "instances", "is_classification"} for seed in seeds)
    assert sum(seed["is_classification"] for seed in seeds) == 2
    inputs = [instance["input"] for seed in seeds for instance in seed["instances"]]
    assert inputs.count("<noinput>") >= 5 and inputs.count("") >= 1 and len({*inputs} - {"", "<noinput>"}) >= 5
    koalpaca = read_jsonl("koalpaca_v1.1a.jsonl")
    assert len(koalpaca) == 15 and all(set(row) == {"instruction", "output", "url"} for row in koalpaca)
    kullm = read_jsonl("kullm_v2.jsonl")
    assert len(kullm) == 15 and all(set(row) == {"id", "instruction", "input", "output"} for row in kullm)
    assert sorted(Counter(row["id"] for row in kullm).values())[-2:] == [1, 2]


def test_every_english_text_has_one_translation_that_keeps_code_and_numbers(pairs, replies):
    translated = {row["text"]: row["reply"] for row in replies if row["task"] == "translate"}
    assert set(translated) == {text for pair in pairs for text in texts_of(pair)}
    assert len(translated) == sum(row["task"] == "translate" for row in replies) == len(set(translated.values()))
    for text, reply in translated.items():
        code = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
        assert re.findall(r"```.*?```|`[^`]+`", reply, re.DOTALL) == code, text
        assert sorted(re.findall(r"\d+", reply)) == sorted(re.findall(r"\d+", text)), text
        assert re.search("[가-힣]", reply) and 0.3 < len(reply) / len(text) < 1, text


def test_every_seed_task_has_each_mutation_and_four_fail(replies):
    evolved = [row for row in replies if row["task"] == "evol_instruct"]
    seeds = [seed["instruction"] for seed in read_jsonl("seed_tasks.jsonl")]
    assert {(row["text"], row["mutation"]) for row in evolved} == {(seed, name) for seed in seeds for name in MUTATIONS}
    assert len(evolved) == 140
    assert sum(row["reply"] == row["text"] for row in evolved) == 2
    assert sum(row["reply"].startswith("죄송하지만") for row in evolved) == 2
    assert len({row["reply"] for row in evolved} - {*seeds}) == 138


def test_self_instruct_replies_are_numbered_lists_of_eight(replies):
    lists = [row["reply"].split("\n") for row in replies if row["task"] == "self_instruct"]
    assert len(lists) == 5
    for lines in lists:
        assert [line.split(". ")[0] for line in lines] == [str(n) for n in range(1, 9)]
    assert len({line[3:] for lines in lists for line in lines}) == 40


def test_no_seven_words_in_a_row_are_those_of_a_prompt_of_the_sample_corpus(replies):
    def runs(text):
        said = words(text)
        return {tuple(said[n : n + 7]) for n in range(len(said) - 6)}

    known = set()
    for path in RAW.parent.glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for text in [row.get("prompt", ""), *(m["content"] for m in row.get("messages", ()))]:
                known |= runs(text)
    assert len(known) > 1000
    own = [path.read_text(encoding="utf-8") for path in (RAW / "written").rglob("*.txt")] + [
        row["reply"] for row in replies
    ]
    own += [
        value
        for name in ("seed_tasks.jsonl", "koalpaca_v1.1a.jsonl", "kullm_v2.jsonl")
        for row in read_jsonl(name)
        for value in row.values()
        if isinstance(value, str)
    ]
    own += [
        value for row in json.loads((RAW / "evol_instruct.json").read_text(encoding="utf-8")) for value in row.values()
    ]
    assert [run for text in own for run in runs(text) & known] == []


@pytest.fixture(scope="module")
def url():
    process = subprocess.Popen(
        [sys.executable, str(RAW / "server.py"), "--replies", str(RAW / "replies.jsonl"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        yield process.stdout.readline().strip()
        process.terminate()


def ask(url, model, *said, **body):
    """(HTTP status, the reply or the error's message) to a chat request; `said` are a system message and a user message."""
    messages = [{"role": role, "content": content} for role, content in zip(("system", "user"), said)]
    data = json.dumps({"model": model, "messages": messages, **body}).encode("utf-8")
    request = urllib.request.Request(f"{url}/chat/completions", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)
            assert found["choices"][0]["finish_reason"] == "stop" and found["usage"]["completion_tokens"] > 0
            return answer.status, found["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]["message"]


def test_server_lists_its_models(url):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", url)
    with urllib.request.urlopen(f"{url}/models", timeout=10) as answer:
        assert [m["id"] for m in json.load(answer)["data"]] == [
            "recorded-translate",
            "recorded-self-instruct",
            "recorded-evol",
        ]


def test_server_translates(url):
    text = "How much money should I save from my first salary?"
    assert ask(url, "recorded-translate", "한국어로 옮기세요.", f"<원문>\n{text}\n</원문>") == (
        200,
        "첫 월급에서 얼마를 저축하는 게 좋을까요?",
    )


def test_server_takes_the_longest_text_that_the_request_holds(url, replies):
    # "No. You ruined it." and "Grass." are texts of their own, too
    longer = next(row for row in replies if row["text"].startswith("Marigolds"))
    assert ask(url, "recorded-translate", "", f"No. You ruined it.\n{longer['text']}\nGrass.") == (200, longer["reply"])


def test_server_evolves_by_the_mutation_named_in_any_message(url, replies):
    seed = "새로 데려온 갈색 강아지의 이름을 지어 주세요."
    expected = {row["mutation"]: row["reply"] for row in replies if row["text"] == seed}
    assert ask(url, "recorded-evol", "방법: ADD_CONSTRAINTS", f"===\n{seed}\n===") == (200, expected["ADD_CONSTRAINTS"])
    assert ask(url, "recorded-evol", "새 말 하나만", f"방법: SWITCH_TOPIC\n{seed}") == (200, expected["SWITCH_TOPIC"])


def test_server_gives_self_instruct_replies_in_turn(url, replies):
    lists = [row["reply"] for row in replies if row["task"] == "self_instruct"]
    found = [ask(url, "recorded-self-instruct", "", "새 말 8개", seed=n) for n in (0, 4, 5)]
    assert found == [(200, lists[0]), (200, lists[4]), (200, lists[0])]


@pytest.mark.parametrize(
    "model, said, status, message",
    [
        ("recorded-translate", "This sentence is not there.", 404, "translate: no recorded text in the request"),
        ("recorded-evol", "새로 데려온 갈색 강아지의 이름을 지어 주세요.", 404, "0 mutations recorded"),
        (
            "recorded-evol",
            "FRESH_START DEEPEN 새로 데려온 갈색 강아지의 이름을 지어 주세요.",
            404,
            "2 mutations recorded",
        ),
        ("gpt-9", "Grass.", 404, "no model 'gpt-9'"),
        ("recorded-self-instruct", "새 말 8개", 400, "seed"),
    ],
)
def test_server_says_what_it_has_no_reply_to(url, model, said, status, message):
    found = ask(url, model, "", said)
    assert found[0] == status and message in found[1]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"model": "recorded-evol", "messages": []}',
        b'{"model": "recorded-evol", "messages": [{"role": "user", "content": null}]}',
    ],
)
def test_server_refuses_what_is_no_chat_request(url, body):
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body), timeout=10)
    with found.value as error:
        assert error.code == 400
