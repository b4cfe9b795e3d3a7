"""korlhf/llm/responders.py: who --responder names, and answers that come from a file."""

import json

import pytest
from openai_server import Server

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.llm import responders
from korlhf.llm.checkpoint import Sampling
from korlhf.llm.flags import LlmFlags, SamplerFlags
from korlhf.llm.protocol import Failure
from korlhf.llm.responders import Responder, Setup

FOUND = [records.make(text, "everyday", "test") for text in ("안녕?", "오늘 뭐 해?", "배고파.")]
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=5, seed=3)


@pytest.fixture
def file(tmp_path):
    """Function: rows (dicts or raw lines) -> the path of a JSONL file."""

    def write(*rows, name="답변.jsonl"):
        path = tmp_path / name
        path.write_text(
            "".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows),
            encoding="utf-8",
        )
        return str(path)

    return write


def setup(cache, num_answers=1, **server):
    return Setup(SAMPLING, num_answers, SamplerFlags(dtype="fp32"), LlmFlags(**server), cache)


def read(path, name="a", found=FOUND[:1]):
    return [
        [reply.text for reply in replies] for replies in responders.read_answers(Responder(name, path, "file"), found)
    ]


def test_who_is_named(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    found = responders.read_responders(
        [
            "sft=/models/sft",
            "openai:gpt-4o",
            "gpt=openai:org/model:free@http://127.0.0.1:8000/v1",
            "answers/chat.jsonl",
            "v=x.CSV",
            str(tmp_path / "folder.jsonl"),
            "owner/name",
            "둘=/a=b",
        ],
        base_url="http://other/v1",
    )
    assert [(r.name, r.model, r.kind, r.url) for r in found] == [
        ("sft", "/models/sft", "checkpoint", ""),
        ("gpt-4o", "gpt-4o", "server", "http://other/v1"),
        ("gpt", "org/model:free", "server", "http://127.0.0.1:8000/v1"),
        ("chat", "answers/chat.jsonl", "file", ""),
        ("v", "x.CSV", "file", ""),
        ("folder.jsonl", str(tmp_path / "folder.jsonl"), "checkpoint", ""),
        ("name", "owner/name", "checkpoint", ""),
        ("둘", "/a=b", "checkpoint", ""),
    ]
    assert responders.read_responders(["openai:m"], "")[0].url == "https://api.openai.com/v1"
    with pytest.raises(InputError, match="2 are called 'sft'; name each"):
        responders.read_responders(["/a/sft", "/b/sft"], "")
    with pytest.raises(InputError, match="--responder x=openai:: no model name"):
        responders.read_responders(["x=openai:"], "")


def test_answers_are_found_by_the_prompt_not_by_their_place(file):
    path = file(
        {"prompt": "배고파!", "output": " 밥 먹어요. "},
        {"instruction": "안녕?", "answer": "네."},
        {"messages": [{"role": "user", "content": "오늘 뭐 해?"}, {"role": "assistant", "content": "쉬어요."}]},
        {"prompt": "남는 것", "output": "-"},
    )
    assert read(path, found=FOUND) == [["네."], ["쉬어요."], ["밥 먹어요."]]
    twice = file({"prompt": "안녕?", "output": "하나"}, {"prompt": "안녕", "output": "둘"}, name="twice.jsonl")
    assert read(twice) == [["하나", "둘"]]


def test_candidates_of_several_models(file):
    candidates = [{"text": "가", "model": "sft"}, {"text": "나", "model": "ppo"}, {"text": "다", "model": "sft"}]
    several = file({"prompt": "안녕?", "candidates": candidates})
    assert read(several, "sft") == [["가", "다"]] and read(several, "ppo") == [["나"]]
    with pytest.raises(
        InputError, match=r"답변.jsonl:1: answers of ppo, sft; name the one you mean: --responder ppo=FILE"
    ):
        read(several, "answers")
    one = file({"prompt": "안녕?", "candidates": candidates[::2]}, name="one.jsonl")
    assert read(one, "whatever") == [["가", "다"]]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"prompt": "오늘 뭐 해?", "output": ', r"답변.jsonl:2: broken JSON: Expecting value at character 33"),
        ('{"output": "네"}', r"답변.jsonl:2: no prompt; found output"),
        (
            '{"prompt": "오늘 뭐 해?"}',
            r"답변.jsonl:2: no answer; expected output, answer, response, completion or candidates",
        ),
        ('{"prompt": "오늘 뭐 해?", "candidates": [{"text": 3}]}', r"답변.jsonl:2: candidates must be a list"),
        (r'{"prompt": "오늘 뭐 해?", "output": "네 \ud83d"}', r"답변.jsonl:2: output holds half a surrogate pair"),
        (
            r'{"prompt": "오늘 뭐 해?", "candidates": [{"text": "네 \ud83d"}]}',
            r"답변.jsonl:2: candidates holds half a surrogate pair",
        ),
    ],
)
def test_a_broken_line_is_named(file, line, message):
    with pytest.raises(InputError, match=message):
        read(file({"prompt": "안녕?", "output": "네"}, line))


def test_prompts_without_an_answer_are_named(file):
    with pytest.raises(
        InputError, match=r"답변.jsonl: no answer to 2 of 3 prompts, e.g. '오늘 뭐 해\?'; add them, or evaluate only"
    ):
        read(file({"prompt": "안녕?", "output": "네"}), found=FOUND)
    with pytest.raises(InputError, match="없는.jsonl"):
        read("없는.jsonl")


def test_answers_of_servers_and_files_together(file, cache):
    """In the order of --responder, stripped; the system message goes to the server, not over a prompt's own."""
    own = records.make(
        [{"role": "system", "content": "짧게"}, {"role": "user", "content": "안녕?"}], "everyday", "test"
    )
    who = [Responder("file", file({"prompt": "안녕?", "output": "네."}), "file")]
    with Server(lambda body: f"  {body['messages'][0]['content']}\n") as server:
        who.insert(0, Responder("gpt", "test-model", "server", server.url))
        out, how = responders.answers(who, [FOUND[0], own], setup(cache, 2, base_url=server.url), system="반말로")
        asked = server.requests[0]
    assert list(out) == ["gpt", "file"]
    assert [[r.text for r in replies] for replies in out["gpt"]] == [["반말로", "반말로"], ["짧게", "짧게"]]
    assert [[r.text for r in replies] for replies in out["file"]] == [["네."], ["네."]]
    assert how == {
        "gpt": {"kind": "server", "model": "test-model", "url": who[0].url},
        "file": {"kind": "file", "model": who[1].model},
    }
    assert (asked["temperature"], asked["top_p"], asked["max_tokens"]) == (0.7, 0.9, 5) and len(
        {r["seed"] for r in server.requests}
    ) == 2


def test_answers_of_a_checkpoint_and_how_they_came(folders, cache):
    who = responders.read_responders([f"neox={folders['gpt_neox']}"], "")
    long = records.make("아주 긴 질문 " * 200, "everyday", "test")
    out, how = responders.answers(who, [FOUND[0], long], setup(cache, 2))
    (first, second), failed = out["neox"]
    assert first.text == first.text.strip() and first.answer_tokens <= 5 and len(failed) == 2
    assert all(isinstance(f, Failure) and f.kind == "too long" for f in failed)
    assert (
        how["neox"]["dtype"] == "fp32"
        and len(how["neox"]["fingerprint"]) == 64
        and "### 명령어:\n{prompt}" in how["neox"]["template"]
    )
