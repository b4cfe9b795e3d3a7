"""eval/geval.py as a user runs it: answer files and checkpoints, real judge servers, a reward model that counts
tokens."""

import json
import shutil
import signal
import statistics
import threading
import time
from collections import Counter

import eval_harness
import pytest
import rigged_reward
from eval_harness import answers, lasting, prompts, start, table
from openai_server import Server, error, refusal
from rigged_judge import answers as judged
from rigged_judge import form_of, with_probabilities

from korlhf.core.errors import InputError
from korlhf.llm import client as llm

THREE = ("everyday", "harmful", "translated")


def last_digit(answer, place=0):
    """The judge's opinion: the digit with which an answer ends; 3 of the one that shows what the server can do."""
    return int(answer[-1]) if answer[-1].isdigit() else 3


def no_logprobs(number, body):
    return error(400, "not supported") if "logprobs" in body else None


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


@pytest.fixture
def run(tmp_path):
    """Function: (prompts, {name: answers}, flags) -> exit code, result, rows."""

    def run(texts, *flags, categories=("everyday",), output="out"):
        n = len(next(iter(texts.values())))
        data = prompts(tmp_path / "prompts.jsonl", n, categories)
        files = [f"{name}={answers(tmp_path / f'{name}.jsonl', of_model)}" for name, of_model in texts.items()]
        return eval_harness.run("geval", tmp_path / output, "--data_path", data, "--responder", *files, *flags)

    return run


def ask(server):
    return ["--judge", f"openai:test-model@{server.url}"]


def cells(found, title, column):
    """{first cell of a row: a cell}; texts in English."""
    t = table(found, title)
    at = [c["en"] for c in t["columns"]].index(column)
    return {row[0]["en"] if isinstance(row[0], dict) else row[0]: row[at] for row in t["rows"]}


def test_means_criteria_and_differences_by_hand(run, capsys):
    texts = {"sft": [f"답 {d}" for d in (1, 2, 3, 4, 5, 3)], "ppo": [f"답 {d}" for d in (2, 4, 5, 4, 5, 5)]}
    with Server(with_probabilities(last_digit, 1, 0.5)) as server:  # q becomes (q + 1) / 2
        code, found, rows = run(texts, *ask(server), categories=THREE)
    assert code == 0 and len(rows) == 6
    means = {"all": 2.0, "everyday": 1.75, "harmful": 2.25, "translated": 2.0}
    assert {k: v["mean"] for k, v in cells(found, "Mean score", "sft").items()} == means
    assert cells(found, "Mean score", "prompts") == {"all": 6, "everyday": 2, "harmful": 2, "translated": 2}
    assert "truthful" in cells(found, "By criterion: translated", "ppo")
    assert "truthful" not in cells(found, "By criterion: all", "ppo")
    assert (
        cells(found, "By criterion: translated", "ppo")["truthful"]["mean"]
        == 3.0
        == cells(found, "By criterion: translated", "ppo")["mean of the criteria"]["mean"]
    )
    differences = table(found, "Differences")["rows"]
    # (1 + 2 + 2 + 0 + 0 + 2) / 6 / 2
    assert differences[0][:3] == ["ppo − sft", {"en": "all", "ko": "전체"}, 6]
    assert differences[0][3]["mean"] == pytest.approx(7 / 12)
    assert [row[1] for row in differences[1:]] == list(THREE)
    assert found["figures"]["differences"][1]["mean"] == pytest.approx(0.25)
    assert "the 4 comparisons" in table(found, "Differences")["notes"][0]["en"]
    assert rows[1]["category"] == "harmful"
    assert rows[1]["answers"]["ppo"][0] == {
        "text": "답 4",
        "finish_reason": None,
        "tokens": None,
        "score": 2.5,
        "scores": dict.fromkeys(["friendly", "harmless", "intelligible", "natural", "context", "overall"], 2.5),
    }
    assert found["protocol"]["scores by"]["en"] == "token probabilities: 12 answers"
    assert found["protocol"]["seed"] == 1234
    assert found["protocol"]["rubric of harmful"].startswith("harmful.yaml (sha256 ")
    assert any("fewer than 30 prompts" in w["en"] and "all 6, everyday 2" in w["en"] for w in found["warnings"])
    shown = capsys.readouterr().out
    assert "ppo − sft" in shown and "decoding and template not known" in shown and "WARNING: fewer than 30" in shown
    note = table(found, "The judge's noise")["notes"][1]
    assert "not how sure the judge is" in note["en"] and found["figures"]["noise"]["score"]["mean"] == 0.0


def test_the_judges_noise_is_measured_and_small_differences_are_shown_as_such(run):
    """The judge gives 1 more or less the second time it reads an answer: more if the number it begins with is odd."""
    seen, lock = Counter(), threading.Lock()

    def score(body):
        (answer,) = judged(body)
        with lock:
            seen[answer] += 1
            return last_digit(answer) + (seen[answer] - 1) * (1 if int(answer.split()[0]) % 2 else -1)

    texts = {
        "a": [f"{i} 답 3" for i in range(40)],
        "b": [f"{i + 40} 답 {3 + (i % 8 == 0)}" for i in range(40)],
        "c": [f"{i + 80} 답 {5 if i in (0, 2) else 4}" for i in range(40)],
    }

    def reply(body):
        return (form_of(lambda *_: score(body)) if judged(body)[0][0].isdigit() else form_of(last_digit))(body)

    with Server(reply, no_logprobs) as server:
        _, found, _ = run(texts, *ask(server), "--judge_samples", 1, "--rescore_share", 0.25)
        assert len(server.answered) == 2 + 120 + 30  # two questions to the server, all answers, a quarter again
    noise = found["figures"]["noise"]["score"]
    assert (noise["mean"], noise["n"]) == (1.0, 30)
    assert 0.9 < noise["sd"] < 1.1
    assert set(found["figures"]["noise"]) >= {"score", "overall"}
    by_pair = {(f["model"], f["other"]): f for f in found["figures"]["differences"]}
    assert by_pair["b", "a"]["judge_noise"] == pytest.approx(1.96 * noise["sd"] / 40**0.5, rel=1e-3)
    (warning,) = [w for w in found["warnings"] if "judged again" in w["en"]]
    assert "moves by 1.000" in warning["en"] and "b − a 0.125 (±0." in warning["en"] and "평균 1.000" in warning["ko"]
    assert (
        "c − a" not in warning["en"] and "c − b" not in warning["en"]
    )  # .925 is less than one score moves, but not less than means do


def test_failures_are_in_no_figure(run, capsys):
    texts = {"a": ["답 4", "모를 답 3", "답 2"], "b": ["답 3", "답 3", "거절할 답 1"]}

    def reply(body):
        return "잘 모르겠어요." if judged(body)[0].startswith("모를") else form_of(last_digit)(body)

    with Server(reply, lambda n, body: refusal("안 돼요.") if judged(body)[0].startswith("거절") else None) as server:
        flags = [*ask(server), "--judge_samples", 1, "--rescore_share", 0]
        code, found, rows = run(texts, *flags)
        assert code == 3 and "2 of 12 failed" in capsys.readouterr().err  # six answers, six scores
        assert run(texts, *flags, "--max_failed", 0.2)[0] == 0
    assert {f["model"]: (f["mean"], f["n"]) for f in found["figures"]["means"]} == {"a": (3.0, 2), "b": (3.0, 2)}
    assert cells(found, "Mean score", "prompts") == {"everyday": 2} and found["figures"]["differences"][0]["n"] == 1
    of_a, of_b = (w["en"] for w in found["warnings"] if "failed" in w["en"])
    assert of_a.startswith("judge on a: 1 failed and are excluded from every figure, e.g. unusable: no score for ")
    assert "모르겠어요" in of_a
    assert of_b == "judge on b: 1 failed and are excluded from every figure, e.g. refusal: 안 돼요."
    assert rows[1]["answers"]["a"][0]["score"] is None is rows[1]["answers"]["a"][0]["scores"]


def test_a_reward_model_that_a_responder_was_trained_against(folders, tmp_path, capsys):
    """.05 for every token: the scores are lengths, and the warning stands beside them."""
    reward = rigged_reward.counts_tokens(tmp_path / "reward")
    ppo = tmp_path / "ppo"
    shutil.copytree(folders["gpt_neox"], ppo)
    settings = {"actor_model_name_or_path": "sft", "reward_model_name_or_path": reward}
    (ppo / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    data = prompts(tmp_path / "prompts.jsonl", 4, ("none", "other"))
    short = answers(tmp_path / "short.jsonl", ["네" * i + "." for i in range(1, 5)])
    long = answers(tmp_path / "long.jsonl", ["네" * i + "." + "좋" * 20 for i in range(1, 5)])
    flags = ["--data_path", data, "--max_new_tokens", 8, "--judge", f"reward_model:{reward}", "--responder"]
    code, found, rows = eval_harness.run(
        "geval", tmp_path / "out", *flags, f"short={short}", f"long={long}", f"ppo={ppo}"
    )
    assert code == 0 and not [t for t in found["tables"] if "criterion" in t["title"]["en"]]
    difference = next(row for row in table(found, "Differences")["rows"] if row[0] == "long − short")
    sd = statistics.pstdev([0.1, 0.15, 0.2, 0.25])  # of the short answers
    assert difference[3]["mean"] == pytest.approx(20 * rigged_reward.PER_TOKEN, abs=1e-4)
    assert difference[-1] == pytest.approx(1.0 / sd, rel=1e-3)
    assert table(found, "Differences")["columns"][-1]["en"] == "in SDs of short's answers"
    told = next(
        w
        for w in found["warnings"]
        if w["en"].startswith("ppo was trained by PPO to maximise the score of this very reward model")
    )
    assert "바로 이 보상 모델" in told["ko"]
    assert any(
        w["en"].startswith("ppo: 4 of 4 answers did not end within --max_new_tokens 8") for w in found["warnings"]
    )
    assert "not measured" in found["protocol"]["judge's noise"]["en"] and rows[0]["answers"]["long"][0]["scores"] == {}
    assert "WARNING: ppo was trained by PPO" in capsys.readouterr().out


def test_input_that_cannot_be_used(run, tmp_path, capsys):
    with Server(form_of(last_digit)) as server:
        for flags, message in [
            (("--rubric", "chat=everyday"), "--rubric chat=everyday: no record has the category 'chat'"),
            (("--data_path", tmp_path / "absent.jsonl"), "absent.jsonl"),
        ]:
            with pytest.raises(InputError, match=message):
                run({"a": ["답 1"], "b": ["답 2"]}, *ask(server), *flags)
        with pytest.raises(InputError, match="--rubric is for a judge that reads one"):
            run({"a": ["답 1"], "b": ["답 2"]}, "--judge", "reward_model:x", "--rubric", "everyday=everyday")
        with pytest.raises(InputError, match="--rubric: there is none for the category 'chat'"):
            run({"a": ["답 1"]}, *ask(server), categories=("chat",))
        assert not server.requests
    for flags, message in [
        (["--rescore_share", "2"], "--rescore_share 2.0: must be from 0 to 1"),
        (["--judge_samples", "0"], "--judge_samples 0: must be above 0"),
        (["--num_answers", "0"], "--num_answers 0"),
    ]:
        with pytest.raises(SystemExit):
            eval_harness.load("geval").main(
                [*["--output_dir", "o", "--data_path", "d", "--responder", "a", "--judge", "openai:m"], *flags]
            )
        assert message in capsys.readouterr().err


@pytest.mark.long
def test_killed_and_started_again(folders, tmp_path):
    """kill -9 in the middle of a real process; started again it ends with the bytes of a run that was let alone, and
    asks nothing twice."""
    data = prompts(tmp_path / "prompts.jsonl", 12, THREE)
    other = answers(tmp_path / "file.jsonl", [f"답 {i % 5 + 1}" for i in range(12)])

    def flags(folder, url):
        names = [f"file={other}", f"neox={folders['gpt_neox']}", "--max_new_tokens", 4, "--concurrency", 4]
        judge = ["--judge", f"openai:test-model@{url}", "--judge_samples", 2]
        return ["--data_path", data, *judge, "--output_dir", folder, "--responder", *names]

    gate = threading.Event()
    with Server(form_of(lambda answer, place: len(answer) % 5 + 1), delay=0.005) as server:
        server.faults = lambda number, body: gate.set() if number == 24 else None
        process = start("geval", *flags(tmp_path / "killed", server.url))
        assert gate.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.05)  # what was in flight
        assert not (tmp_path / "killed" / "geval.json").exists()
        process = start("geval", *flags(tmp_path / "killed", server.url))
        out, err = process.communicate()
        assert process.returncode == 0 and "Mean score" in out
        in_two = len(server.answered)
        assert eval_harness.run("geval", tmp_path / "whole", *flags(tmp_path / "whole", server.url))[0] == 0
        assert in_two <= len(server.answered) - in_two + 5  # those in flight at the kill are asked again
    assert (tmp_path / "killed" / "geval.jsonl").read_bytes() == (tmp_path / "whole" / "geval.jsonl").read_bytes()
    assert lasting(tmp_path / "killed", "geval") == lasting(tmp_path / "whole", "geval")
