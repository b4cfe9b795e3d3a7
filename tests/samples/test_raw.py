import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from korlhf.data import example
from samples.raw import build

RAW = Path(__file__).resolve().parents[2] / "samples" / "raw"
# fmt: off
# fmt: on
PUPPY = "새로 데려온 갈색 강아지의 이름을 지어 주세요."
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
def replies():
    return read_jsonl("replies.jsonl")


@pytest.fixture(scope="module")
def pairs():
    return read_jsonl("english_rewards/train.jsonl") + read_jsonl("english_rewards/rm_static.jsonl")


def words(text):
    return re.findall(r"\w+", text)


def texts_of(pair):
    return [m["content"] for m in example.turns(pair["prompt"])] + [
        example.bare_answer(pair[side]) for side in ("chosen", "rejected")
    ]


def test_build_rewrites_the_containers_byte_for_byte(tmp_path):
    build.build(tmp_path)
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(built) == 14 + 1 + 1 + 1
    for name, data in built.items():
        assert data == (RAW / name).read_bytes(), name
    committed = [
        p for folder in ("NIKL_DIALOGUE_2020_v1.3", "aihub_558") for p in (RAW / folder).rglob("*") if p.is_file()
    ]
    assert len(committed) == 16  # and nothing there that was not built


def test_every_mark_occurs_in_original_form_and_is_bare_in_form(sessions):
    said = [u for session in sessions.values() for u in session["document"][0]["utterance"]]
    originals, forms = "\n".join(u["original_form"] for u in said), "\n".join(u["form"] for u in said)
    assert [mark for mark in MARKS if not re.search(mark, originals)] == []
    assert re.findall(r"&[\w-]+&", forms) == ["&address&"]  # the survivor
    assert not re.search(r"[{}]|\(\(|(?<!\S)-[가-힣]", forms)
    assert re.search(r"\bname1\b", forms) and re.search(r"\bxx\b", forms)


def test_every_english_text_has_one_translation_that_keeps_code_and_numbers(pairs, replies):
    translated = {row["text"]: row["reply"] for row in replies if row["task"] == "translate"}
    assert set(translated) == {text for pair in pairs for text in texts_of(pair)}
    assert len(translated) == sum(row["task"] == "translate" for row in replies) == len(set(translated.values()))
    for text, reply in translated.items():
        code = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
        assert re.findall(r"```.*?```|`[^`]+`", reply, re.DOTALL) == code, text
        assert sorted(re.findall(r"\d+", reply)) == sorted(re.findall(r"\d+", text)), text
        assert re.search("[가-힣]", reply) and 0.3 < len(reply) / len(text) < 1, text


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
    """(HTTP status, the reply or the error's message) to a chat request; `said`: a system and a user message."""
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


def test_server_takes_the_longest_text_that_the_request_holds(url, replies):
    # "No. You ruined it." and "Grass." are texts of their own, too
    longer = next(row for row in replies if row["text"].startswith("Marigolds"))
    assert ask(url, "recorded-translate", "", f"No. You ruined it.\n{longer['text']}\nGrass.") == (200, longer["reply"])


def test_server_evolves_by_the_mutation_named_in_any_message(url, replies):
    expected = {row["mutation"]: row["reply"] for row in replies if row["text"] == PUPPY}
    assert ask(url, "recorded-evol", "방법: ADD_CONSTRAINTS", f"===\n{PUPPY}\n===") == (
        200,
        expected["ADD_CONSTRAINTS"],
    )
    assert ask(url, "recorded-evol", "새 말 하나만", f"방법: SWITCH_TOPIC\n{PUPPY}") == (200, expected["SWITCH_TOPIC"])


def test_server_gives_self_instruct_replies_in_turn(url, replies):
    lists = [row["reply"] for row in replies if row["task"] == "self_instruct"]
    found = [ask(url, "recorded-self-instruct", "", "새 말 8개", seed=n) for n in (0, 4, 5)]
    assert found == [(200, lists[0]), (200, lists[4]), (200, lists[0])]


@pytest.mark.parametrize(
    "model, said, status, message",
    [
        ("recorded-translate", "This sentence is not there.", 404, "translate: no recorded text in the request"),
        ("recorded-evol", PUPPY, 404, "0 mutations recorded"),
        ("recorded-evol", f"FRESH_START DEEPEN {PUPPY}", 404, "2 mutations recorded"),
        ("gpt-9", "Grass.", 404, "no model 'gpt-9'"),
        ("recorded-self-instruct", "새 말 8개", 400, "seed"),
    ],
)
def test_server_says_what_it_has_no_reply_to(url, model, said, status, message):
    found = ask(url, model, "", said)
    assert found[0] == status and message in found[1]
