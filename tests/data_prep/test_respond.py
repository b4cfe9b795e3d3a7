"""respond.py as a user runs it: every prompt gets its answers, in order, whatever fails or is killed."""

import signal
import sqlite3
import time

import pytest
from openai_server import Server, at_random, error, refusal
from prep_harness import argv, read, run, start, write
from transformers import AutoModelForSequenceClassification

import data_prep.respond as respond
from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data.example import read_row
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm
from korlhf.llm import responders
from korlhf.llm.cache import Cache
from korlhf.models.tokenizer import load_tokenizer

pytestmark = pytest.mark.usefixtures("no_collection")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """No long pauses before a retry."""
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def prompts(n, **fields):
    return [records.make(f"{i}번째 주말에는 뭐 할까요?", "everyday", f"test/{i}", **fields) for i in range(n)]


def numbered(body):
    return f"{body['messages'][-1]['content']} {body['seed']}"


@pytest.fixture
def ask(tmp_path):
    """Function: (records, flags..., output) -> (exit code, output records, failed lines, report)."""
    return lambda found, *flags, output="out.jsonl": run(respond, tmp_path, found, *flags, out=output)


def candidate_texts(record):
    return [c["text"] for c in record["candidates"]]


def test_a_server_and_a_checkpoint_side_by_side(ask, folders, tmp_path):
    found = prompts(5)
    with Server(numbered) as server:
        code, out, failed, report = ask(
            found,
            f"--responder sft={folders['gpt_neox']}",
            f"chatgpt=openai:test-model@{server.url}",
            "--num_answers 2",
            "--max_new_tokens 5",
            "--top_p 0.9",
            "--batch_size 4",
            "--seed 7",
        )
    assert (code, failed, [r["id"] for r in out]) == (0, [], [r["id"] for r in found])
    with Cache(tmp_path / "expected.sqlite") as cache:
        expected = local.answers(
            local.Checkpoint(folders["gpt_neox"], "--responder"),
            [records.messages(r) for r in found],
            cache,
            local.Sampling(0.7, 0.9, 5, 7),
            2,
            4,
        )
    for record, of_model in zip(out, expected):
        shared = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 5, "seed": 7, "system": ""}
        talk = records.messages(record)
        assert record["candidates"] == [
            *(
                {
                    "text": r.text,
                    "model": "sft",
                    "settings": {"model": folders["gpt_neox"], **shared},
                    "finish_reason": r.finish_reason,
                }
                for r in of_model
            ),
            *(
                {
                    "text": f"{record['prompt']} {local.answer_seed(7, talk, k)}",
                    "model": "chatgpt",
                    "settings": {"model": "test-model", **shared},
                    "finish_reason": "stop",
                }
                for k in (0, 1)
            ),
        ]
        assert record["history"] == [{"stage": "respond", "models": ["sft", "chatgpt"]}]
        read_row(record)  # training's --data_path reads it
    body = server.requests[0]
    assert body.items() >= {"model": "test-model", "temperature": 0.7, "top_p": 0.9, "max_tokens": 5}.items()
    assert (
        report["responders"]["sft"]["fingerprint"] == local.fingerprint(folders["gpt_neox"])
        and report["usage"]["requests"] == 10
    )


def test_with_every_third_request_failing_nothing_is_lost_or_asked_twice(ask):
    found = prompts(60)
    with Server(numbered, faults=at_random(0.3, kinds=[error(500), error(503)])) as server:
        code, out, failed, _ = ask(
            found, f"--responder openai:test-model@{server.url}", "--concurrency 16", "--max_retries", 12
        )
        assert (code, failed, [r["id"] for r in out]) == (0, [], [r["id"] for r in found])
        assert all(
            candidate_texts(r) == [f"{r['prompt']} {local.answer_seed(1234, records.messages(r), k)}" for k in (0, 1)]
            for r in out
        )
        assert len(server.answered) == 120 < len(server.requests)
        ask(found, f"--responder openai:test-model@{server.url}", output="again.jsonl")
        assert len(server.answered) == 120  # all from the cache


def test_failed_answers_are_listed_and_a_record_without_any_is_left_out(ask):
    found = prompts(4)

    def answer(body):
        return "  \n " if "1번째" in numbered(body) else numbered(body)

    with Server(answer, faults=lambda n, body: refusal() if "2번째" in numbered(body) else None) as server:
        code, out, failed, report = ask(found, f"--responder a=openai:test-model@{server.url}", "--max_failed", 0.5)
        assert code == 0 and [r["id"] for r in out] == [found[0]["id"], found[3]["id"]]
        assert [(f["id"], f["responder"], f["sample"]) for f in failed] == [
            (found[i]["id"], "a", k) for i in (1, 2) for k in (0, 1)
        ]
        assert "empty" in failed[0]["reason"] and "들어 드릴 수 없" in failed[2]["reason"]
        assert (
            report["failed"] == {"empty": 2, "refusal": 2}
            and report["counts"]["records without an answer, left out"] == 2
        )
        code, out, _, _ = ask(found, f"--responder a=openai:test-model@{server.url}", "--max_failed", 0.49)
        assert code == 3 and len(out) == 2  # written all the same


def test_candidates_of_an_earlier_run_stay_and_equal_ones_are_kept_once(ask):
    earlier = {"text": "먼저 온 답이에요.", "model": "old", "settings": {}, "finish_reason": "stop", "score": 3.5}
    found = prompts(2, candidates=[earlier])

    def answer(body):
        return {
            "message": {"content": "먼저 온 답이에요." if "0번째" in numbered(body) else "\n같은 답  "},
            "finish_reason": "length",
        }

    with Server(answer) as server:
        _, out, _, report = ask(found, f"--responder new=openai:test-model@{server.url}", "--num_answers", 2)
    assert out[0]["candidates"] == [earlier]
    assert (
        candidate_texts(out[1]) == ["먼저 온 답이에요.", "같은 답"]
        and out[1]["candidates"][1]["finish_reason"] == "length"
    )
    assert report["counts"] == {
        "answers of new": 4,
        "answers of new cut off at --max_new_tokens": 4,
        "answers that the prompt had already, kept once": 3,
    }


def test_system_messages(ask, tmp_path, folders):
    gentle = tmp_path / "gentle.txt"
    gentle.write_text("타이르듯 답하세요.\n", encoding="utf-8")
    own = [{"role": "system", "content": "반말로 답해."}, {"role": "user", "content": "안녕"}]
    found = [
        records.make("오늘 어때요?", "everyday", "t", input="맑음"),
        records.make("저 사람 싫어.", "harmful", "t"),
        records.make(own, "everyday", "t"),
    ]
    with Server(lambda body: "네, 좋아요.") as server:
        _, out, _, report = ask(
            found,
            f"--responder a=openai:test-model@{server.url}",
            "--system",
            "친구처럼 답하세요.",
            "--system_by_category",
            f"harmful={gentle}",
            "--num_answers 1",
        )
    systems = ["친구처럼 답하세요.", "타이르듯 답하세요.", "반말로 답해."]
    by_prompt = {body["messages"][-1]["content"]: body["messages"] for body in server.requests}
    assert [by_prompt[p][0] for p in ("오늘 어때요?\n\n맑음", "저 사람 싫어.", "안녕")] == [
        {"role": "system", "content": s} for s in systems
    ]
    assert [report["systems"][r["candidates"][0]["settings"]["system"]] for r in out] == systems
    # A checkpoint is given it too: its greedy answer is that of the conversation with the system message.
    _, out, _, _ = ask(
        found[:1],
        "--responder",
        folders["gpt_neox"],
        "--system",
        "친구처럼",
        "--temperature 0",
        "--num_answers 1",
        "--max_new_tokens 5",
    )
    with Cache(tmp_path / "expected.sqlite") as cache:
        talk = [{"role": "system", "content": "친구처럼"}, *records.messages(found[0])]
        ((expected,),) = local.answers(
            local.Checkpoint(folders["gpt_neox"], "x"), [talk], cache, local.Sampling(0.0, 1.0, 5, 1234)
        )
    assert candidate_texts(out[0]) == [expected.text] and out[0]["candidates"][0]["model"] == "gpt_neox"


def test_as_output_writes_sft_answers(ask):
    found = [*prompts(3), records.make("이미 답이 있어요?", "everyday", "t", output="네, 있어요.")]

    def answer(body):
        return {
            "message": {"content": " 그럼요.\n"},
            "finish_reason": "length" if "1번째" in numbered(body) else "stop",
        }

    with Server(answer) as server:
        code, out, failed, report = ask(
            found, f"--responder a=openai:test-model@{server.url}", "--as_output", "--max_failed", 0.4
        )
    assert code == 0 and [(r["prompt"][0], r["output"]) for r in out] == [
        ("0", "그럼요."),
        ("2", "그럼요."),
        ("이", "네, 있어요."),
    ]
    assert out[2] == found[3] and len(server.requests) == 3
    assert out[0]["history"][0]["model"] == "a" and out[0]["history"][0]["settings"]["max_new_tokens"] == 256
    assert [f["id"] for f in failed] == [found[1]["id"]] and "--max_new_tokens" in failed[0]["reason"]
    assert report["counts"]["records that had an output already, left as they are"] == 1


def test_the_budget_holds_for_all_servers_together(ask):
    with Server(numbered) as one, Server(lambda body: "b " + numbered(body), models=["other-model"]) as two:
        responders = [f"--responder a=openai:test-model@{one.url}", f"b=openai:other-model@{two.url}"]
        with pytest.raises(InputError, match="--max_requests 15"):
            ask(prompts(5), *responders, "--max_requests", 15)
        assert len(one.requests) == 10 and len(two.requests) == 5
        _, out, _, report = ask(prompts(5), *responders, "--max_requests", 15)
        assert len(one.requests) == 10 and len(two.requests) == 10 and report["usage"]["cached"] == 15
        assert [[c["model"] for c in r["candidates"]] for r in out] == [["a", "a", "b", "b"]] * 5


@pytest.mark.parametrize(
    "texts, names",
    [
        (["openai:gpt-4o-mini"], [("gpt-4o-mini", "gpt-4o-mini", "https://api.openai.com/v1")]),
        (["openai:llama3.1:8b@http://127.0.0.1:1/v1"], [("llama3.1:8b", "llama3.1:8b", "http://127.0.0.1:1/v1")]),
        (
            ["my=openai:Qwen/Qwen2.5-7B", "output/sft_v1/", "EleutherAI/polyglot-ko-1.3b"],
            [
                ("my", "Qwen/Qwen2.5-7B", "https://api.openai.com/v1"),
                ("sft_v1", "output/sft_v1/", ""),
                ("polyglot-ko-1.3b", "EleutherAI/polyglot-ko-1.3b", ""),
            ],
        ),
        (["output/lr=1e-5"], [("lr=1e-5", "output/lr=1e-5", "")]),
    ],
)
def test_how_responders_are_written(texts, names):
    assert [(r.name, r.model, r.url) for r in responders.read_responders(texts, "")] == names
    assert all(
        r.url in ("", "http://own/v1") for r in responders.read_responders(texts, "http://own/v1") if "127" not in r.url
    )


def test_what_cannot_work_is_said_in_one_line(ask, tmp_path, folders, capsys):
    server = ["--responder", "openai:test-model@http://127.0.0.1:9/v1"]
    reward = tmp_path / "reward"
    AutoModelForSequenceClassification.from_pretrained(folders["gpt_neox"], num_labels=1).save_pretrained(reward)
    load_tokenizer(folders["gpt_neox"]).save_pretrained(reward)
    cases = [
        (["--responder", "a/sft", "b/sft"], "--responder: 2 are called 'sft'"),
        (["--responder", "openai:"], "no model name"),
        (["--responder", "./absent"], "--responder ./absent: no such folder"),
        (["--responder", str(reward)], "a reward model"),
        ([*server, "--system", "absent.txt"], "--system absent.txt: cannot be read"),
        ([*server, "--system_by_category", "everyday"], "write CATEGORY=FILE"),
        (
            [*server, "--system_by_category", "evreyday=x.txt"],
            "no record has the category 'evreyday'; the input has everyday",
        ),
    ]
    for flags, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            ask(prompts(1), *flags)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"in.jsonl:1: candidates must be a list"):
        ask(prompts(1, candidates=["text"]), *server)
    for flags, message in (
        ([*server, "--as_output", "--num_answers", 2], "--as_output takes one"),
        ([*server, "--temperature", 0], "greedy"),
        ([*server, "--top_p", 0], "--top_p"),
    ):
        with pytest.raises(SystemExit):
            ask(prompts(1), *flags)
        assert message in capsys.readouterr().err


def answers_in(cache):
    if not cache.exists():
        return 0
    with sqlite3.connect(cache) as db:
        made = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        return made and db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


@pytest.mark.long
def test_a_killed_run_is_started_again_and_ends_with_the_same_bytes(tmp_path, folders):
    """kill -9 while the checkpoint samples, after the server has answered."""
    found = write(tmp_path / "in.jsonl", [*prompts(12), records.make("너무 긴 말 " * 40, "everyday", "t")])
    cache = tmp_path / "killed.sqlite"
    with Server(numbered) as server:

        def command(name):
            files = f"--input {found} --output {tmp_path}/{name}.jsonl --cache {tmp_path}/{name}.sqlite"
            who = f"--responder chatgpt=openai:test-model@{server.url} sft={folders['gpt_neox']}"
            return argv(files, who, "--batch_size 2 --max_new_tokens 20 --temperature 1")

        process, end = start("respond", *command("killed")), time.monotonic() + 60
        while answers_in(cache) < 26 + 4:
            assert process.poll() is None and time.monotonic() < end, process.communicate()[1][-2000:]
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert answers_in(cache) < 26 + 24 and not (tmp_path / "killed.jsonl").exists()
        assert respond.main(command("killed")) == respond.main(command("whole")) == 0
        assert len(server.answered) == 26 * 2  # nothing of the killed run is asked again
    for ending in ("jsonl", "failed.jsonl"):
        assert (tmp_path / f"killed.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    out = read(tmp_path / "whole.jsonl")
    assert len(out) == 13 and {len(r["candidates"]) for r in out[:12]} <= {3, 4} and len(out[12]["candidates"]) == 2
