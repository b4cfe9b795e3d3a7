"""score.py: scores of a judge on a real HTTP server and of a tiny reward model, what fails, and the same bytes after a kill."""

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from openai_server import Server, at_random, error, refusal
from rigged_judge import answers, form_of, with_probabilities
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint
from korlhf.data import record as records
from korlhf.data.example import read_row
from korlhf.data.tokenize import Codec
from korlhf.llm import checkpoint as local
from korlhf.llm import client as llm
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import pairs

PROGRAM = Path(__file__).resolve().parents[2] / "data_prep" / "score.py"
RUBRIC = {
    "category": "chat",
    "language": "ko",
    "scale": [1, 5],
    "system": "채점하세요.",
    "steps": ["읽습니다."],
    "criteria": [{"key": "kind", "name": "다정함", "question": "다정한가요?", "levels": {1: "아니요", 5: "네"}}],
}


def load():
    spec = importlib.util.spec_from_file_location("score", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["score"] = module
    spec.loader.exec_module(module)
    return module


score = load()


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def record(i, *texts, category="everyday", **fields):
    candidates = [
        {"text": text, "model": f"model {k}", "settings": {}, "finish_reason": "stop"} for k, text in enumerate(texts)
    ]
    return records.make(
        f"{i}번째 질문이에요. 어떻게 할까요?",
        category,
        "test",
        **({"candidates": candidates} if texts else {}),
        **fields,
    )


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def run(tmp_path):
    """Function: (records, flags..., output) -> (exit code, output records, failed lines, report)."""

    def run(found, *flags, output="out.jsonl"):
        source, out = tmp_path / "in.jsonl", tmp_path / output
        source.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in found), encoding="utf-8")
        code = score.main(["--input", str(source), "--output", str(out), *map(str, flags)])
        report = json.loads(out.with_name(out.stem + ".report.json").read_text(encoding="utf-8"))
        return code, lines(out), lines(out.with_name(out.stem + ".failed.jsonl")), report

    return run


def ask(server, *more):
    return ["--judge", "openai:test-model", "--base_url", server.url, *more]


def last_digit(answer, place=0):
    """The judge's opinion: the digit with which an answer ends; 3 of the one that shows what the server can do."""
    return int(answer[-1]) if answer[-1].isdigit() else 3


def scores(found):
    return [[c["score"] for c in r["candidates"]] for r in found]


def test_scores_means_and_what_the_judge_was(run, capsys):
    found = [
        record(0, "답 4", "답 2"),
        record(1, "답 5", "답 5", category="lookalike"),
        record(2, "답 1", "답 3", category="translated"),
        record(3, "답 2", "답 4"),
    ]
    with Server(
        with_probabilities(last_digit, 1, 0.5)
    ) as server:  # q becomes (q + 1) / 2, and 1 stays 1 at half the certainty
        code, out, failed, report = run(found, *ask(server))
    assert (code, failed, [r["id"] for r in out]) == (0, [], [r["id"] for r in found])
    assert scores(out) == [[2.5, 1.5], [3.0, 3.0], [1.0, 2.0], [1.5, 2.5]]
    everyday, translated = out[0]["candidates"][0], out[2]["candidates"][1]
    assert everyday["scores"] == dict.fromkeys(
        ["friendly", "harmless", "intelligible", "natural", "context", "overall"], 2.5
    )
    assert list(translated["scores"])[-2:] == ["truthful", "overall"]
    rubric = PROGRAM.parents[1] / "korlhf" / "judges" / "rubrics" / "everyday.yaml"
    assert everyday["judge"] == {
        "model": "test-model",
        "rubric": "everyday.yaml",
        "rubric_sha256": fingerprint(rubric),
        "structured": True,
        "method": "token probabilities",
        "samples": 1,
        "orders": 1,
    }
    assert {k: v for k, v in everyday.items() if k not in ("score", "scores", "judge")} == found[0]["candidates"][0]
    assert out[0]["history"] == [{"stage": "score", "judge": "test-model"}]
    assert report["means"]["model 0"]["everyday"] == {"n": 2, "score": 2.0, **dict.fromkeys(everyday["scores"], 2.0)}
    assert (
        report["means"]["model 1"]["lookalike"]["score"] == 3.0
        and report["means"]["model 1"]["translated"]["truthful"] == 2.0
    )
    assert report["rubrics"]["lookalike"] == {"file": "everyday.yaml", "sha256": everyday["judge"]["rubric_sha256"]}
    assert (
        report["usage"]["requests"] == len(server.requests) == 7 + 2
    )  # one an answer, equal ones once; two for what it can do
    said = capsys.readouterr().out
    assert (
        "structured output on (the server takes it); token probabilities asked for" in said and "friendly 2.00" in said
    )
    read_row(out[0])  # training's --data_path reads it


def test_together_both_orders(run, capsys):
    """The judge gives one more to whatever stands first; both orders give every answer half of it."""
    found = [record(0, "답 2", "답 3"), record(1, "답 4", "답 1"), record(2, "답 2")]
    with Server(form_of(lambda answer, place: last_digit(answer) + (place == 0))) as server:
        code, out, _, report = run(found, *ask(server, "--together", "--structured", "off", "--samples", 1))
    assert scores(out) == [[2.5, 3.5], [4.5, 1.5], [3.0]]
    assert [c["judge"]["orders"] for r in out for c in r["candidates"]] == [2, 2, 2, 2, 1]
    assert [(c["judge"]["method"], c["judge"]["structured"]) for c in out[0]["candidates"]] == [
        ("mean of samples", False)
    ] * 2
    # 2 + 1 and 3 are a tie, 3 + 1 and 2 not; 4 + 1 and 1, 1 + 1 and 4: of three decided ones the first place won two
    assert report["position"] == {
        "first_place": pytest.approx(2 / 3),
        "n_decided": 3,
        "disagree": 0.0,
        "n_decided_in_both": 1,
    }
    said = capsys.readouterr().out
    assert "the answer placed first won 66.7% of 3" in said and "structured output off (--structured off)" in said


def test_failures_have_no_score(run, capsys):
    found = [record(0, "답 4", "모를 답 3"), record(1, "거절할 답 3", "답 2")]

    def reply(body):
        return "잘 모르겠어요." if answers(body)[0].startswith("모를") else form_of(last_digit)(body)

    with Server(reply, lambda n, body: refusal("안 돼요.") if answers(body)[0].startswith("거절") else None) as server:
        code, out, failed, report = run(found, *ask(server, "--max_failed", 0.5))
        assert (code, scores(out)) == (0, [[4.0, None], [None, 2.0]])
        assert "scores" not in out[0]["candidates"][1] and out[0]["candidates"][1]["text"] == "모를 답 3"
        assert [(f["id"], f["candidate"], f["model"]) for f in failed] == [
            (found[0]["id"], 1, "model 1"),
            (found[1]["id"], 0, "model 0"),
        ]
        assert "no score for friendly" in failed[0]["reason"] and failed[1]["reason"] == "안 돼요."
        assert report["failed"] == {"unusable": 1, "refusal": 1} and report["means"]["model 1"]["everyday"]["n"] == 1
        asked = len(server.requests)
        code, again, _, _ = run(found, *ask(server, "--max_failed", 0.49), output="again.jsonl")
        assert (code, again, len(server.requests)) == (3, out, asked)  # written all the same, and nothing asked twice
    assert "2 of 4 failed, more than --max_failed 0.49" in capsys.readouterr().err


def test_columns_become_candidates_and_new_scores_replace_old_ones(run):
    pair = record(0, chosen="좋은 답 5", rejected="나쁜 답 2", chosen_model="chatgpt")
    answered = record(1, output="답 3")
    scored = record(2, "답 1")
    scored["candidates"][0].update(score=None, scores={"old": 1}, judge={"model": "old"})
    with Server(form_of(last_digit)) as server:
        _, out, _, _ = run([pair, answered, scored], *ask(server))
    assert [[(c["text"], c.get("model"), c["score"]) for c in r["candidates"]] for r in out] == [
        [("좋은 답 5", "chatgpt", 5.0), ("나쁜 답 2", "rejected", 2.0)],
        [("답 3", "output", 3.0)],
        [("답 1", "model 0", 1.0)],
    ]
    assert out[0]["chosen"] == "좋은 답 5" and "old" not in out[2]["candidates"][0]["scores"]


def test_rubrics_by_category(run, tmp_path):
    (tmp_path / "내 것.yaml").write_text(yaml.safe_dump(RUBRIC, allow_unicode=True), encoding="utf-8")
    found = [
        record(0, "답 4", category="chat"),
        record(1, "답 2", category="everyday"),
        record(2, "답 3", category="harmful"),
    ]
    with Server(form_of(last_digit)) as server:
        _, out, _, _ = run(found, *ask(server, "--rubric", f"chat={tmp_path / '내 것.yaml'}", "everyday=translated"))
        assert [c["judge"]["rubric"] for r in out for c in r["candidates"]] == [
            "내 것.yaml",
            "translated.yaml",
            "harmful.yaml",
        ]
        assert list(out[0]["candidates"][0]["scores"]) == ["kind"] and "truthful" in out[1]["candidates"][0]["scores"]
        for flags, message in [
            ((), "--rubric: there is none for the category 'chat'; give --rubric chat=NAME .*everyday"),
            (("--rubric", "chat"), "--rubric chat: write CATEGORY="),
            (("--rubric", "talk=everyday"), "no record has the category 'talk'; the input has chat, everyday, harmful"),
            (("--rubric", "chat=evryday"), "there is no rubric 'evryday'; give everyday, evol"),
            (("--rubric", "chat=absent.yaml"), "absent.yaml: cannot be read"),
        ]:
            with pytest.raises(InputError, match=message):
                run(found, *ask(server, *flags))


def test_input_that_cannot_be_scored(run, tmp_path):
    with Server() as server:
        for found, message in [
            ([record(0, "가"), record(1)], r"in.jsonl:2: no candidates, chosen, rejected or output"),
            ([{**record(0), "candidates": ["가"]}], r"in.jsonl:1: candidates must be a list"),
            ([{**record(0), "candidates": [{"text": " "}]}], r"in.jsonl:1: the text of candidate 1 is empty"),
            ([record(0, chosen=["가"], rejected="나")], r"in.jsonl:1: the text of candidate 1 is list"),
        ]:
            with pytest.raises(InputError, match=message):
                run(found, *ask(server))
        assert not server.requests
    for text in ("gpt-4o", "openai:", "local:x"):
        with pytest.raises(InputError, match="--judge .*give openai:MODEL"):
            run([record(0, "가")], "--judge", text)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--samples", "0"], "--samples 0: must be above 0"),
        (["--max_failed", "2"], "--max_failed a share"),
        (["--temperature", "0"], "--samples 5: at --temperature 0 all are the same"),
        (["--judge", "reward_model:x", "--together"], "--together and --rubric are for --judge openai:MODEL"),
    ],
)
def test_flags_that_cannot_work(capsys, flags, message):
    with pytest.raises(SystemExit) as exit_:
        score.parse(["--input", "a", "--output", "b", "--judge", "openai:m", *flags])
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_with_every_third_request_failing_nothing_is_lost_or_asked_twice(run):
    found = [record(i, f"답 {i % 5 + 1}", f"다른 답 {(i + 2) % 5 + 1}") for i in range(20)]
    with Server(form_of(last_digit), at_random(0.3, kinds=[error(500), error(503)])) as server:
        code, out, failed, _ = run(found, *ask(server, "--samples", 2, "--concurrency", 16, "--max_retries", 12))
        assert (code, failed) == (0, []) and scores(out) == [[i % 5 + 1, (i + 2) % 5 + 1] for i in range(20)]
        assert len(server.answered) == 2 + 4 + 80  # abilities, the trial of probabilities, and 2 samples of 40 answers
        run(found, *ask(server, "--samples", 2), output="again.jsonl")
        assert len(server.answered) == 2 + 4 + 80


def test_kill_and_start_again(tmp_path):
    """kill -9 in the middle of a real process; started again it ends with the bytes of a run that was let alone."""
    source = tmp_path / "in.jsonl"
    found = [record(i, f"답 {i % 5 + 1}", "답 3") for i in range(30)]
    source.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in found), encoding="utf-8")

    def start(folder, url):
        return subprocess.Popen(
            [
                sys.executable,
                str(PROGRAM),
                "--input",
                str(source),
                "--output",
                str(folder / "out.jsonl"),
                "--judge",
                "openai:test-model",
                "--base_url",
                url,
                "--concurrency",
                "4",
                "--together",
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    gate = threading.Event()
    with Server(with_probabilities(last_digit, 3, 0.2), delay=0.005) as server:

        def fault(number, body):
            if number == 30 and not gate.is_set():
                gate.set()

        server.faults = fault
        process = start(tmp_path / "killed", server.url)
        assert gate.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close(), process.stderr.close()
        time.sleep(0.05)  # what was in flight
        assert not (tmp_path / "killed" / "out.jsonl").exists()
        before = len(server.answered)
        out, err = start(tmp_path / "killed", server.url).communicate()
        assert "the answer placed first won" in out and "judging: everyday" in err
        assert (
            before >= 25 and len(server.answered) <= 62 + 4 + 1
        )  # 60 forms, 2 abilities; those in flight at the kill are asked again
        source_bytes = (tmp_path / "killed" / "out.jsonl").read_bytes()
        with pytest.raises(SystemExit) as exit_:
            program.run(
                lambda: score.main(
                    [
                        "--input",
                        str(source),
                        "--output",
                        str(tmp_path / "whole" / "out.jsonl"),
                        "--together",
                        *ask(server),
                    ]
                )
            )
    assert not exit_.value.code and (tmp_path / "whole" / "out.jsonl").read_bytes() == source_bytes


@pytest.fixture(scope="module")
def reward(folders, tmp_path_factory):
    """A random reward model as step 2 saves one."""
    folder = tmp_path_factory.mktemp("reward") / "rm"
    tokenizer = load_tokenizer(folders["gpt_neox"])
    torch.manual_seed(5)
    model = reward_model.load_reward_model(folders["gpt_neox"], new_head=True)
    reward_model.set_padding(model, tokenizer, Codec(tokenizer).eos_token_id)
    save.save_model(model, model.state_dict(), tokenizer, folder, folders["gpt_neox"])
    return folder


def own_scores(folder, found):
    """By plain transformers: rendered by the folder's chat template, one sequence at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    out = []
    for r in found:
        start = tokenizer.apply_chat_template(records.messages(r), tokenize=False, add_generation_prompt=True)
        pieces = start.partition(r["prompt"])  # prompt, answer and markup are tokenised on their own
        ids = [i for piece in pieces for i in tokenizer(piece, add_special_tokens=False).input_ids]
        of_one = [
            torch.tensor([ids + tokenizer(c["text"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]])
            for c in r["candidates"]
        ]
        with torch.no_grad():
            out.append([pytest.approx(float(model(t).logits[0, 0]), abs=1e-4) for t in of_one])
    return out


REWARDED = [
    record(i, "네, 좋아요." * (i % 4 + 1), "같이 가요!", "몰라" * (i % 3 + 1), category="none") for i in range(7)
]


def test_a_reward_model(run, reward, capsys):
    code, out, failed, report = run(REWARDED, "--judge", f"reward_model:{reward}", "--batch_size", 4)
    assert (code, failed) == (0, []) and scores(out) == own_scores(reward, REWARDED)
    judge = out[0]["candidates"][0]["judge"]
    assert judge == {"model": "rm", "fingerprint": local.fingerprint(reward), "dtype": "fp32", "method": "reward model"}
    by_hand = sum(r["candidates"][1]["score"] for r in out) / 7
    assert report["means"]["model 1"]["none"] == {"n": 7, "score": pytest.approx(by_hand, abs=1e-5)}
    assert "scoring: 100%" in capsys.readouterr().err and out[0]["history"] == [{"stage": "score", "judge": "rm"}]


def test_a_reward_model_that_is_stopped_goes_on(run, reward, monkeypatch, tmp_path):
    flags = ["--judge", f"reward_model:{reward}", "--batch_size", 4]
    run(REWARDED, *flags, "--cache", tmp_path / "whole.sqlite", output="whole.jsonl")
    sizes, real = [], pairs.score_groups

    class Stop(Exception):
        """Stands in for kill -9."""

    def stops(module, groups, *more):
        if len(sizes) == 2:
            raise Stop
        sizes.append(len(groups))
        return real(module, groups, *more)

    monkeypatch.setattr(pairs, "score_groups", stops)
    with pytest.raises(Stop):
        run(REWARDED, *flags)
    assert sizes == [4, 4]
    counted = []
    monkeypatch.setattr(
        pairs,
        "score_groups",
        lambda module, groups, *more: (counted.append(len(groups)), real(module, groups, *more))[1],
    )
    run(REWARDED, *flags)
    assert counted == [4, 4, 4, 1]  # 21 answers in chunks of 4; two chunks were kept
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    run(REWARDED, *flags)
    assert len(counted) == 4
    (reward / "config.json").write_text((reward / "config.json").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    run(REWARDED, *flags)
    assert len(counted) == 4 + 6  # another model folder, another fingerprint


def test_what_a_reward_model_cannot_score(run, reward, folders, tmp_path):
    found = [record(0, "네, 좋아요.", "길고 긴 대답이에요. " * 30)]
    code, out, failed, report = run(found, "--judge", f"reward_model:{reward}", "--max_seq_len", 128)
    assert code == 3 and out[0]["candidates"][1]["score"] is None and out[0]["candidates"][0]["score"] is not None
    assert "raise --max_seq_len 128" in failed[0]["reason"] and report["failed"] == {"too long": 1}
    for path, message in [
        (folders["gpt_neox"], "--judge .*not a reward model"),
        (tmp_path / "absent", "--judge .*no such folder"),
    ]:
        with pytest.raises(InputError, match=message):
            run(found, "--judge", f"reward_model:{path}")
