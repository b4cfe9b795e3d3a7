"""eval/harmlessness.py as a user runs it: answer files, a real judge server, a tiny reward model."""

import json
from functools import partial

import eval_harness
import pytest
from eval_harness import ROOT, table, write
from openai_server import Server
from transformers import AutoModelForSequenceClassification

from korlhf.core.errors import InputError
from korlhf.korean.refusals import LABELS
from korlhf.llm import client as llm
from korlhf.models.tokenizer import load_tokenizer

SAFETY = ROOT / "samples" / "safety.jsonl"
REFUSAL = "죄송하지만 그 부탁은 도와드릴 수 없습니다."


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)


def prompts():
    return [json.loads(line) for line in SAFETY.read_text(encoding="utf-8").splitlines()]


def answers(path, answer):
    """A file with answer(row) to every prompt."""
    return write(path, [{"prompt": r["prompt"], "output": answer(r)} for r in prompts()])


run = partial(eval_harness.run, "harmlessness")


def test_a_model_that_refuses_everything_is_shown_as_what_it_is(tmp_path, capsys):
    wall = answers(tmp_path / "wall.jsonl", lambda r: REFUSAL)
    kind = answers(
        tmp_path / "kind.jsonl",
        lambda r: REFUSAL if r["kind"] == "harmful" else "그럼요, 제가 바로 도와드릴게요. 무엇부터 이야기해 볼까요?",
    )
    flags = ["--responder", f"wall={wall}", f"kind={kind}", "--baseline", "kind"]
    code, found, rows = run(tmp_path / "out", *flags)
    assert not any("among them" in w["en"] for w in found["warnings"])
    rates = found["figures"]["rates"]["rules"]
    assert code == 0 and len(rows) == 320
    assert (rates["wall"]["harmful"]["mean"], rates["wall"]["lookalike"]["mean"], rates["wall"]["lookalike"]["n"]) == (
        0.0,
        1.0,
        160,
    )
    assert rates["kind"]["harmful"]["mean"] == 0.0 and rates["kind"]["lookalike"]["mean"] == 0.0
    assert any("wall: refuses or accuses in 100%" in w["en"] for w in found["warnings"])
    assert not any(w["en"].startswith("kind") for w in found["warnings"])
    difference = next(t for t in found["tables"] if t["title"]["en"].startswith("Difference from kind"))
    assert {(row[0]["en"], row[1]): row[2]["mean"] for row in difference["rows"]} == {
        ("harmful", "wall"): 0.0,
        ("look-alike", "wall"): 1.0,
    }
    assert rows[0]["kind"] in ("harmful", "lookalike")
    assert rows[0]["answers"]["wall"][0]["verdict"] == {"rules": "refuses"}
    shown = capsys.readouterr().out
    assert "decoding and template not known" in shown and "WARNING: wall:" in shown


def test_the_rates_by_what_leads_to_the_wish(tmp_path):
    """Answers that give in to small talk alone, and refuse a look-alike after persuasion alone."""
    talks = [json.loads(line) for line in (SAFETY.parent / "pressure.jsonl").read_text(encoding="utf-8").splitlines()]
    gives_in = {("harmful", "small_talk"), ("lookalike", "small_talk")}
    helped = "그럼요, 제가 바로 도와드릴게요. 그렇게 하시면 돼요. 무엇부터 이야기해 볼까요?"
    rows = [
        {"messages": r["messages"], "output": helped if (r["kind"], r["turns"]) in gives_in else REFUSAL} for r in talks
    ]
    rows += [{"prompt": r["prompt"], "output": REFUSAL} for r in prompts()]
    file = write(tmp_path / "a.jsonl", rows)
    flags = ["--responder", f"a={file}", "--data_path", "sample/safety", "sample/pressure"]
    code, found, shown = run(tmp_path / "out", *flags)
    assert code == 0 and len(shown) == 368
    shown = table(found, "The rates by what leads")["rows"]
    assert [(kind["en"], led["en"], n, rate["mean"]) for kind, led, n, rate in shown] == [
        ("harmful", "a single message", 160, 0.0),
        ("harmful", "small talk", 16, 1.0),
        ("harmful", "persuasion after refusals", 8, 0.0),
        ("look-alike", "a single message", 160, 1.0),
        ("look-alike", "small talk", 16, 0.0),
        ("look-alike", "persuasion after refusals", 8, 1.0),
    ]
    assert "samples/pressure.jsonl: Apache-2.0" in found["protocol"]["licence of sample/pressure"]
    single = run(tmp_path / "single", *flags[:-1])[1]
    assert not [t for t in single["tables"] if t["title"]["en"].startswith("The rates by what leads")]


def test_two_judges_and_how_far_they_agree(tmp_path):
    """The judge says B to an answer that holds 나, else A; started again, nothing is asked twice."""
    data = write(tmp_path / "some.jsonl", prompts()[:40])
    good, bad = (answers(tmp_path / f"{n}.jsonl", lambda r, n=n: f"{n} 답변입니다") for n in ("가", "나"))
    with Server(lambda body: "B" if "나 답변입니다" in body["messages"][-1]["content"] else "A") as server:
        named = f"openai:test-model@{server.url}"
        flags = ["--responder", f"good={good}", f"bad={bad}", "--data_path", data, "--judge", "rules", named]
        code, found, rows = run(tmp_path / "out", *flags)
        sent = len(server.requests)
        assert run(tmp_path / "out", *flags)[2] == rows and len(server.requests) == sent
    assert code == 0 and len(rows) == 40 and "judge " + named in found["protocol"]
    for name, label in (("bad", LABELS[1]), ("good", LABELS[0])):
        assert {a["verdict"][named] for r in rows for a in r["answers"][name]} == {label}
    agreement = table(found, "Agreement of the verdicts")["rows"][0]
    assert agreement[:2] == ["rules", named] and agreement[-1] == 80


def test_a_judge_that_gives_no_verdict_is_counted_and_named(tmp_path, capsys):
    data = write(tmp_path / "some.jsonl", prompts()[:4])
    file = answers(tmp_path / "a.jsonl", lambda r: "네")
    with Server(lambda body: "글쎄요, 잘 모르겠네요") as server:
        flags = ["--responder", f"a={file}", "--data_path", data, "--judge", f"openai:test-model@{server.url}"]
        code, found, rows = run(tmp_path / "out", *flags)
    assert code == 3 and found["figures"]["rates"][f"openai:test-model@{server.url}"]["a"]["harmful"] is None
    assert "4 of 8 failed" in capsys.readouterr().err
    assert any("4 failed and are excluded from every figure" in w["en"] for w in found["warnings"])


def test_a_reward_model_says_where_its_threshold_lies(folders, tmp_path):
    reward = tmp_path / "rm"
    AutoModelForSequenceClassification.from_pretrained(folders["gpt_neox"], num_labels=1).save_pretrained(reward)
    load_tokenizer(folders["gpt_neox"], "human_assistant").save_pretrained(reward)
    pairs = write(
        tmp_path / "pairs.jsonl", [{"prompt": f"질문 {i}", "chosen": "네", "rejected": "아니"} for i in range(8)]
    )
    asked = [{**r, "prompt": "왜?" if r["kind"] == "harmful" else "뭐?"} for r in prompts()[:2]]
    file = write(tmp_path / "b.jsonl", [{"prompt": r["prompt"], "output": "네"} for r in asked])
    named, data = f"reward_model:{reward}", write(tmp_path / "some.jsonl", asked)
    flags = ["--responder", f"a={file}", "--data_path", f"own={data}", "--judge", named, "--dtype", "fp32"]
    code, found, rows = run(tmp_path / "out", *flags, "--harmful_pairs", pairs, "--lookalike_pairs", pairs)
    assert code == 0 and {a["verdict"][named] for r in rows for a in r["answers"]["a"]} <= {"above", "below"}
    assert "chosen on 4 pairs" in found["protocol"]["threshold of rm, harmful"]["en"]
    few = write(tmp_path / "few.jsonl", [{"prompt": "질문", "chosen": "네", "rejected": "아니"}])
    with pytest.raises(InputError, match="--harmful_pairs .*few.jsonl: 1 of 1 pairs can be scored"):
        run(tmp_path / "out", *flags, "--harmful_pairs", few)


def test_what_cannot_work_is_said_in_one_line(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "가", "output": "나"}\n{"prompt": "다", \n', encoding="utf-8")
    some = tmp_path / "few.jsonl"
    some.write_text('{"prompt": "가", "output": "나"}\n', encoding="utf-8")
    for flags, message in [
        (["--responder", str(broken)], "broken.jsonl:2: broken JSON"),
        (["--responder", str(some)], "few.jsonl: no answer to 320 of 320"),
        (
            ["--responder", str(some), "--judge", "gpt-4o"],
            "--judge gpt-4o: give openai:MODEL.*",
        ),
        (["--responder", str(some), "--data_path", "absent.jsonl"], "absent.jsonl: no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            run(tmp_path / "out", *flags)


def test_the_budget_holds_for_answers_and_verdicts_together(tmp_path):
    """4 prompts of one model and their verdicts are 8 requests; 6 are allowed. The 2 that are left are asked by the
    second run."""
    data = write(tmp_path / "some.jsonl", prompts()[:4])
    with Server(lambda body: "B") as server:
        model = f"openai:test-model@{server.url}"
        flags = ["--responder", f"a={model}", "--data_path", data, "--judge", model, "--structured", "off"]
        flags += ["--concurrency", 1]
        with pytest.raises(InputError, match="--max_requests 6: all of them are sent"):
            run(tmp_path / "out", *flags, "--max_requests", 6)
        sent = len(server.requests)
        code, found, rows = run(tmp_path / "out", *flags)
        supports = sum(1 for body in server.requests if "친근함" in str(body))  # the one probe of what the server takes
    assert code == 0 and sent - supports <= 6 and len(server.requests) - supports == 8 and found["usage"]["cached"] >= 4
    assert found["from_cache"]["en"].startswith(f"{found['usage']['cached']} answers from servers came out of")


def test_a_judge_that_always_takes_the_same_option_is_named(tmp_path):
    file = answers(tmp_path / "a.jsonl", lambda r: "네")
    kinds = iter("ABC" * 100)
    for says, named in ((lambda body: "B", True), (lambda body: next(kinds), False)):
        with Server(says) as server:
            flags = ["--responder", f"a={file}", "--judge", f"openai:test-model@{server.url}", "--structured", "off"]
            _, found, rows = run(tmp_path / str(named), *flags)
        warnings = [w["en"] for w in found["warnings"] if "by the option's position" in w["en"]]
        assert len(rows) >= 20 and len(warnings) == named
        assert not named or f"on {len(rows)} of {len(rows)} answers" in warnings[0]
