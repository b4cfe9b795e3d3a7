import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from samples.raw import build

RAW = Path(__file__).resolve().parents[2] / "samples" / "raw"
PUPPY = "새로 데려온 갈색 강아지의 이름을 지어 주세요."


def read_jsonl(name):
    return [json.loads(line) for line in (RAW / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def replies():
    return read_jsonl("replies.jsonl")


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
