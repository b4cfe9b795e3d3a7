"""score.py: scores of a judge on a real server and of a tiny reward model, what fails, the same bytes after a kill."""

import signal
import threading
import time

import pytest
import torch
import yaml
from openai_server import Server, at_random, error, refusal
from prep_harness import ROOT, argv, run, start, write
from rigged_judge import answers, form_of, with_probabilities
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import data_prep.score as score
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint
from korlhf.data import record as records
from korlhf.data.example import read_row
from korlhf.data.tokenize import Codec
from korlhf.data_prep.score import summary
from korlhf.llm import checkpoint, client
from korlhf.models import reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import pairs

RUBRIC = {
    "category": "chat",
    "language": "ko",
    "scale": [1, 5],
    "system": "채점하세요.",
    "steps": ["읽습니다."],
    "criteria": [{"key": "kind", "name": "다정함", "question": "다정한가요?", "levels": {1: "아니요", 5: "네"}}],
}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(client, "FIRST_DELAY", 0.01)


def record(i, *texts, category="everyday", **fields):
    candidates = [
        {"text": t, "model": f"model {k}", "settings": {}, "finish_reason": "stop"} for k, t in enumerate(texts)
    ]
    fields |= {"candidates": candidates} if texts else {}
    return records.make(f"{i}번째 질문이에요. 어떻게 할까요?", category, "test", **fields)


def ask(server, *more):
    return [f"--judge openai:test-model --base_url {server.url}", *more]


def last_digit(answer, place=0):
    """The judge's opinion: the digit with which an answer ends; 3 of the one that shows what the server can do."""
    return int(answer[-1]) if answer[-1].isdigit() else 3


def scores(found):
    return [[c["score"] for c in r["candidates"]] for r in found]


def test_scores_means_and_what_the_judge_was(tmp_path, capsys):
    found = [
        record(0, "답 4", "답 2"),
        record(1, "답 5", "답 5", category="lookalike"),
        record(2, "답 1", "답 3", category="translated"),
        record(3, "답 2", "답 4"),
    ]
    # q becomes (q + 1) / 2, and 1 stays 1 at half the certainty
    with Server(with_probabilities(last_digit, 1, 0.5)) as server:
        code, out, failed, report = run(score, tmp_path, found, *ask(server))
    assert (code, failed, [r["id"] for r in out]) == (0, [], [r["id"] for r in found])
    assert scores(out) == [[2.5, 1.5], [3.0, 3.0], [1.0, 2.0], [1.5, 2.5]]
    everyday, translated = out[0]["candidates"][0], out[2]["candidates"][1]
    criteria = ["friendly", "harmless", "intelligible", "natural", "context", "overall"]
    assert everyday["scores"] == dict.fromkeys(criteria, 2.5)
    assert list(translated["scores"])[-2:] == ["truthful", "overall"]
    assert everyday["judge"] == {
        "model": "test-model",
        "rubric": "everyday.yaml",
        "rubric_sha256": fingerprint(ROOT / "korlhf" / "judges" / "rubrics" / "everyday.yaml"),
        "structured": True,
        "method": "token probabilities",
        "samples": 1,
        "orders": 1,
    }
    assert {k: v for k, v in everyday.items() if k not in ("score", "scores", "judge")} == found[0]["candidates"][0]
    assert out[0]["history"] == [{"stage": "score", "judge": "test-model"}]
    means = report["means"]
    assert means["model 0"]["everyday"] == {"n": 2, "score": 2.0, **dict.fromkeys(criteria, 2.0)}
    assert means["model 1"]["lookalike"]["score"] == 3.0 and means["model 1"]["translated"]["truthful"] == 2.0
    assert report["rubrics"]["lookalike"] == {"file": "everyday.yaml", "sha256": everyday["judge"]["rubric_sha256"]}
    assert report["usage"]["requests"] == len(server.requests) == 7 + 2  # equal answers once; two for what it can do
    told = capsys.readouterr().out
    assert "structured output on (the server takes it); token probabilities asked for" in told
    assert "friendly 2.00" in told
    read_row(out[0])  # training's --data_path reads it


def test_the_name_of_a_server_s_folder_keeps_its_column():
    told = summary({"/srv/models/my-chatbot": {"everyday": {"n": 1, "score": 2.0}}}, None)
    assert told.splitlines()[1] == "/srv/models/my-chatbot  everyday              1  2.000"


def test_together_both_orders(tmp_path, capsys):
    """The judge gives one more to whatever stands first; both orders give every answer half of it."""
    found = [record(0, "답 2", "답 3"), record(1, "답 4", "답 1"), record(2, "답 2")]
    with Server(form_of(lambda answer, place: last_digit(answer) + (place == 0))) as server:
        _, out, _, report = run(score, tmp_path, found, *ask(server, "--together --structured off --samples 1"))
    assert scores(out) == [[2.5, 3.5], [4.5, 1.5], [3.0]]
    judges = [c["judge"] for r in out for c in r["candidates"]]
    assert [j["orders"] for j in judges] == [2, 2, 2, 2, 1]
    assert {(j["method"], j["structured"]) for j in judges} == {("mean of samples", False)}
    # 2 + 1 and 3 are a tie, 3 + 1 and 2 not; 4 + 1 and 1, 1 + 1 and 4: of three decided ones the first place won two
    position = {"first_place": pytest.approx(2 / 3), "n_decided": 3, "disagree": 0.0, "n_decided_in_both": 1}
    assert report["position"] == position
    told = capsys.readouterr().out
    assert "the answer placed first won 66.7% of 3" in told and "structured output off (--structured off)" in told


def test_failures_have_no_score(tmp_path, capsys):
    found = [record(0, "답 4", "모를 답 3"), record(1, "거절할 답 3", "답 2")]

    def reply(body):
        return "잘 모르겠어요." if answers(body)[0].startswith("모를") else form_of(last_digit)(body)

    with Server(reply, lambda n, body: refusal("안 돼요.") if answers(body)[0].startswith("거절") else None) as server:
        code, out, failed, report = run(score, tmp_path, found, *ask(server, "--max_failed 0.5"))
        assert (code, scores(out)) == (0, [[4.0, None], [None, 2.0]])
        assert "scores" not in out[0]["candidates"][1] and out[0]["candidates"][1]["text"] == "모를 답 3"
        where = [(found[0]["id"], 1, "model 1"), (found[1]["id"], 0, "model 0")]
        assert [(f["id"], f["candidate"], f["model"]) for f in failed] == where
        assert "no score for friendly" in failed[0]["reason"] and failed[1]["reason"] == "안 돼요."
        assert report["failed"] == {"unusable": 1, "refusal": 1} and report["means"]["model 1"]["everyday"]["n"] == 1
        asked = len(server.requests)
        again = run(score, tmp_path, found, *ask(server, "--max_failed 0.49"), out="again.jsonl")
        assert (again.code, again.out, len(server.requests)) == (3, out, asked)  # written, and nothing asked twice
    assert "2 of 4 failed, more than --max_failed 0.49" in capsys.readouterr().err


def test_columns_become_candidates_and_new_scores_replace_old_ones(tmp_path):
    pair = record(0, chosen="좋은 답 5", rejected="나쁜 답 2", chosen_model="chatgpt")
    scored = record(2, "답 1")
    scored["candidates"][0].update(score=None, scores={"old": 1}, judge={"model": "old"})
    with Server(form_of(last_digit)) as server:
        out = run(score, tmp_path, [pair, record(1, output="답 3"), scored], *ask(server)).out
    assert [[(c["text"], c.get("model"), c["score"]) for c in r["candidates"]] for r in out] == [
        [("좋은 답 5", "chatgpt", 5.0), ("나쁜 답 2", "rejected", 2.0)],
        [("답 3", "output", 3.0)],
        [("답 1", "model 0", 1.0)],
    ]
    assert out[0]["chosen"] == "좋은 답 5" and "old" not in out[2]["candidates"][0]["scores"]


def test_rubrics_by_category(tmp_path):
    (tmp_path / "내 것.yaml").write_text(yaml.safe_dump(RUBRIC, allow_unicode=True), encoding="utf-8")
    found = [record(i, f"답 {i}", category=c) for i, c in enumerate(["chat", "everyday", "harmful"], 2)]
    with Server(form_of(last_digit)) as server:
        flags = ask(server, "--rubric", f"chat={tmp_path / '내 것.yaml'}", "everyday=translated")
        out = run(score, tmp_path, found, *flags).out
        rubrics = [c["judge"]["rubric"] for r in out for c in r["candidates"]]
        assert rubrics == ["내 것.yaml", "translated.yaml", "harmful.yaml"]
        assert list(out[0]["candidates"][0]["scores"]) == ["kind"] and "truthful" in out[1]["candidates"][0]["scores"]
        for flags, message in [
            ("", "--rubric: there is none for the category 'chat'; give --rubric chat=NAME .*everyday"),
            ("--rubric chat", "--rubric chat: write CATEGORY="),
            ("--rubric talk=everyday", "no record has the category 'talk'; the input has chat, everyday, harmful"),
            ("--rubric chat=evryday", "--rubric chat=evryday: write CATEGORY=NAME, of everyday, evol"),
            ("--rubric chat=absent.yaml", "absent.yaml: cannot be read"),
        ]:
            with pytest.raises(InputError, match=message):
                run(score, tmp_path, found, *ask(server, *filter(None, [flags])))


def test_input_that_cannot_be_scored(tmp_path):
    with Server() as server:
        for found, message in [
            ([record(0, "가"), record(1)], r"in.jsonl:2: no candidates, chosen, rejected or output"),
            ([{**record(0), "candidates": ["가"]}], r"in.jsonl:1: candidates must be a list"),
            ([{**record(0), "candidates": [{"text": " "}]}], r"in.jsonl:1: the text of candidate 1 is empty"),
            ([record(0, chosen=["가"], rejected="나")], r"in.jsonl:1: the text of candidate 1 is list"),
        ]:
            with pytest.raises(InputError, match=message):
                run(score, tmp_path, found, *ask(server))
        assert not server.requests
    for text in ("gpt-4o", "openai:", "local:x"):
        with pytest.raises(InputError, match="--judge .*give openai:MODEL"):
            run(score, tmp_path, [record(0, "가")], f"--judge {text}")


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--samples 0", "--samples 0: must be above 0"),
        ("--max_failed 2", "--max_failed 2.0: must be from 0 to 1"),
        ("--temperature 0", "--samples 5: at --temperature 0 all are the same"),
        ("--judge reward_model:x --together", "--together and --rubric are for --judge openai:MODEL"),
    ],
)
def test_flags_that_cannot_work(capsys, flags, message):
    with pytest.raises(SystemExit) as exit_:
        score.main(argv("--input a --output b --judge openai:m", flags))
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_with_every_third_request_failing_nothing_is_lost_or_asked_twice(tmp_path):
    found = [record(i, f"답 {i % 5 + 1}", f"다른 답 {(i + 2) % 5 + 1}") for i in range(20)]
    with Server(form_of(last_digit), at_random(0.3, kinds=[error(500), error(503)])) as server:
        flags = ask(server, "--samples 2")
        code, out, failed, _ = run(score, tmp_path, found, *flags, "--concurrency 16 --max_retries 12")
        assert (code, failed) == (0, []) and scores(out) == [[i % 5 + 1, (i + 2) % 5 + 1] for i in range(20)]
        assert len(server.answered) == 2 + 4 + 80  # abilities, the trial of probabilities, and 2 samples of 40 answers
        run(score, tmp_path, found, *flags, out="again.jsonl")
        assert len(server.answered) == 2 + 4 + 80


def test_kill_and_start_again(tmp_path):
    """kill -9 in the middle of a real process; started again it ends with the bytes of a run that was let alone."""
    found = [record(i, f"답 {i % 5 + 1}", "답 3") for i in range(30)]
    source, killed, gate = write(tmp_path / "in.jsonl", found), tmp_path / "killed" / "out.jsonl", threading.Event()
    with Server(with_probabilities(last_digit, 3, 0.2), delay=0.005) as server:
        server.faults = lambda number, body: gate.set() if number == 30 else None
        flags = ["--input", source, "--output", killed, *ask(server, "--together --concurrency 4")]
        process = start("score", *flags)
        assert gate.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.05)  # what was in flight
        assert not killed.exists() and len(server.answered) >= 25
        out, err = start("score", *flags).communicate()
        assert "the answer placed first won" in out
        assert len(server.answered) <= 62 + 4 + 1  # 60 forms, 2 abilities; those in flight are asked again
        whole = tmp_path / "whole" / "out.jsonl"
        assert score.main(argv("--input", source, "--output", whole, *ask(server, "--together"))) == 0
    assert whole.read_bytes() == killed.read_bytes()


@pytest.fixture(scope="module")
def reward(folders, tmp_path_factory):
    """A random reward model as step 2 saves one."""
    base, folder = folders["gpt_neox"], tmp_path_factory.mktemp("reward") / "rm"
    tokenizer = load_tokenizer(base)
    torch.manual_seed(5)
    model = reward_model.load_reward_model(base, new_head=True)
    reward_model.set_padding(model, tokenizer, Codec(tokenizer).eos_token_id)
    save.save_model(model, model.state_dict(), tokenizer, folder, base)
    return folder


def own_scores(folder, found):
    """By plain transformers: rendered by the folder's chat template, one sequence at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    out = []
    for r in found:
        text = tokenizer.apply_chat_template(records.messages(r), tokenize=False, add_generation_prompt=True)
        out.append([])
        for candidate in r["candidates"]:
            pieces = *text.partition(r["prompt"]), candidate["text"]  # are tokenised on their own
            ids = [i for piece in pieces for i in tokenizer(piece, add_special_tokens=False).input_ids]
            with torch.no_grad():
                logit = model(torch.tensor([[*ids, tokenizer.eos_token_id]])).logits[0, 0]
            out[-1].append(pytest.approx(float(logit), abs=1e-4))
    return out


REWARDED = [
    record(i, "네, 좋아요." * (i % 4 + 1), "같이 가요!", "몰라" * (i % 3 + 1), category="none") for i in range(7)
]


def test_a_reward_model(tmp_path, reward, capsys):
    flags = f"--judge reward_model:{reward} --batch_size 4"
    code, out, failed, report = run(score, tmp_path, REWARDED, flags)
    assert (code, failed) == (0, []) and scores(out) == own_scores(reward, REWARDED)
    mark = checkpoint.fingerprint(reward)
    judge = {"model": "rm", "fingerprint": mark, "dtype": "fp32", "method": "reward model"}
    assert out[0]["candidates"][0]["judge"] == judge
    by_hand = sum(r["candidates"][1]["score"] for r in out) / 7
    assert report["means"]["model 1"]["none"] == {"n": 7, "score": pytest.approx(by_hand, abs=1e-5)}
    assert out[0]["history"] == [{"stage": "score", "judge": "rm"}]


def test_a_reward_model_that_is_stopped_resumes(tmp_path, reward, monkeypatch):
    flags = f"--judge reward_model:{reward} --batch_size 4"
    run(score, tmp_path, REWARDED, flags, "--cache", tmp_path / "whole.sqlite", out="whole.jsonl")
    sizes, real = [], pairs.score_groups

    def stops(module, groups, *more):
        if len(sizes) == 2:
            raise KeyboardInterrupt
        sizes.append(len(groups))
        return real(module, groups, *more)

    monkeypatch.setattr(pairs, "score_groups", stops)
    with pytest.raises(KeyboardInterrupt):
        run(score, tmp_path, REWARDED, flags)
    assert sizes == [4, 4]
    counted = []

    def counts(module, groups, *more):
        counted.append(len(groups))
        return real(module, groups, *more)

    monkeypatch.setattr(pairs, "score_groups", counts)
    run(score, tmp_path, REWARDED, flags)
    assert counted == [4, 4, 4, 1]  # 21 answers in chunks of 4; two chunks were kept
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    run(score, tmp_path, REWARDED, flags)
    assert len(counted) == 4
    config = reward / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    run(score, tmp_path, REWARDED, flags)
    assert len(counted) == 4 + 6  # another model folder, another fingerprint


def test_what_a_reward_model_cannot_score(tmp_path, reward, folders):
    found = [record(0, "네, 좋아요.", "길고 긴 대답이에요. " * 30)]
    code, out, failed, report = run(score, tmp_path, found, f"--judge reward_model:{reward} --max_seq_len 128")
    assert code == 3 and out[0]["candidates"][1]["score"] is None and out[0]["candidates"][0]["score"] is not None
    assert "raise --max_seq_len 128" in failed[0]["reason"] and report["failed"] == {"too long": 1}
    for path, message in (folders["gpt_neox"], "--judge .*not a reward"), (tmp_path / "no", "--judge .*no such folder"):
        with pytest.raises(InputError, match=message):
            run(score, tmp_path, found, f"--judge reward_model:{path}")
