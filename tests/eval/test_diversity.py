"""eval/diversity.py as a user runs it: answer files, a server, tiny checkpoints; the shell script too."""

import json
import math
import shutil
from functools import partial

import eval_harness
import pytest
import torch
from eval_harness import write
from openai_server import Server
from transformers import AutoModelForCausalLM

from korlhf.core.errors import InputError
from korlhf.eval import reference
from korlhf.eval.reference import Reference
from korlhf.llm import responders
from korlhf.rl import rollout

pytestmark = pytest.mark.usefixtures("no_collection")

PHRASE = "작은 성공부터 함께 기뻐해요."


class Stop(Exception):
    """Stands in for kill -9."""


def answers(path, answer, n=40):
    """A file with answer(i) to n prompts."""
    return write(path, [{"prompt": f"{i}번째 질문이에요", "output": answer(i)} for i in range(n)])


def varied(i):
    return f"{i}번 손님, {i * 7}호실에서 {i + 3}시까지 기다려 주세요. 곧 {i * i}번 직원이 갑니다."


def collapsed(i):
    return f"{i}번 손님, 반가워요! {PHRASE} 천천히 같이 떠올려 봐요." if i % 2 else f"{PHRASE} 천천히 같이 떠올려 봐요."


@pytest.fixture(scope="module")
def heldout(tmp_path_factory):
    """Two categories of answers, and two documents."""
    return write(
        tmp_path_factory.mktemp("data") / "heldout.jsonl",
        [
            *({"prompt": f"{i}번", "output": f"네, {i}번이에요.", "category": "ab"[i % 2]} for i in range(8)),
            {"text": "오늘 날씨가 참 좋네요!"},
            {"text": "둘"},
        ],
    )


run = partial(eval_harness.run, "diversity")


def flags(data, *who, **more):
    return ["--responder", *who, "--data_path", data, *(word for key, v in more.items() for word in (f"--{key}", v))]


def warnings_of(found, name, language="en"):
    return [w[language] for w in found["warnings"] if w[language].startswith(f"{name}: ")]


def test_the_same_warm_phrases_everywhere_are_unmasked(tmp_path, capsys):
    sft, ppo = answers(tmp_path / "sft.jsonl", varied), answers(tmp_path / "ppo.jsonl", collapsed)
    code, found, rows = run(tmp_path / "out", "--responder", sft, ppo, "--data_path", sft)
    models, text = found["figures"]["models"], "\n".join(warnings_of(found, "ppo"))
    assert code == 0 and len(rows) == 40 and not warnings_of(found, "sft")
    assert 'one sentence is in 100% of its answers: "작은 성공부터 함께 기뻐해요" (sft: 0%)' in text
    assert "50% of its answers are word for word an answer to another prompt" in text
    assert "its answers have collapsed" in text
    assert any("획일화되었습니다" in line for line in warnings_of(found, "ppo", "ko"))
    sentence, opening, d = (models["ppo"][key] for key in ("sentence", "opening", "distinct_2"))
    assert (sentence["text"], sentence["answers"], opening["text"], opening["answers"]) == (
        PHRASE[:-1],
        40,
        "작은 성공부터",
        20,
    )
    assert d["n"] == 20 * 7 + 20 * 10 and d["budget"] == 170  # word pairs of answers of 8 and of 11 words
    # distinct are: 7 in every answer, 2 in every other, and 20 that only one has
    assert d["all"] == pytest.approx((7 + 2 + 20) / 340) and d["difference"]["high"] < -0.3 and d["p"] < 1e-4
    assert models["ppo"]["ended"] is None and models["ppo"]["median_tokens"] is None  # a file does not tell
    assert rows[1]["answers"]["ppo"] == [
        {"text": collapsed(1), "finish_reason": None, "tokens": None, "repetition": 0.0, "looping": 0.0}
    ]
    shown = capsys.readouterr().out
    assert "WARNING: ppo: its answers have collapsed" in shown and "reference: sft" in shown and "KL to" not in shown


def test_answers_that_vary_less_have_not_collapsed(tmp_path):
    sft = answers(tmp_path / "sft.jsonl", varied)
    ppo = answers(tmp_path / "ppo.jsonl", lambda i: collapsed(i) if i % 4 == 0 else varied(i + 100))
    _, found, _ = run(tmp_path / "out", "--responder", sft, ppo, "--data_path", sft)
    text = "\n".join(warnings_of(found, "ppo"))
    assert "its answers have become less varied: among " in text and "collapsed" not in text
    assert any("덜 다양해졌습니다" in line for line in warnings_of(found, "ppo", "ko"))


def test_what_did_not_change_is_not_warned_of(tmp_path):
    sft, ppo = answers(tmp_path / "sft.jsonl", varied), answers(tmp_path / "ppo.jsonl", lambda i: varied(i + 100))
    assert run(tmp_path / "out", *flags(sft, sft, ppo))[1]["warnings"] == []


def test_a_model_before_the_reference_has_not_drifted(tmp_path):
    """Shorter than half, in circles, empty: said of ppo, which came after sft, and not of base, which came before."""
    sft = answers(tmp_path / "sft.jsonl", lambda i: f"{varied(i)} {varied(i + 50)}")
    broken = [answers(tmp_path / f"{n}.jsonl", lambda i: "" if i % 2 else "네 네 네 네 네") for n in ("base", "ppo")]
    _, found, _ = run(tmp_path / "out", "--responder", broken[0], sft, broken[1], "--data_path", sft)
    ppo, base = "\n".join(warnings_of(found, "ppo")), "\n".join(warnings_of(found, "base"))
    assert "caught in a loop: 50.0%, 0.0% with sft" in ppo and "empty: 50.0%, 0.0% with sft" in ppo
    assert "a difference of more than half" in ppo
    assert "with sft" not in base and "word for word" in base and "word for word" in ppo
    assert found["figures"]["differences"]["base"]["empty"]["difference"]["mean"] == 0.5
    assert found["figures"]["models"]["ppo"]["distinct_2"]["equal"] is None  # 80 word pairs are too few


def test_a_model_that_the_reference_was_trained_from_has_not_drifted(folders, tmp_path):
    for step, key in (("sft", "model_name_or_path"), ("ppo", "actor_model_name_or_path")):
        shutil.copytree(folders["llama"], tmp_path / step)
        base = folders["gpt2"] if step == "sft" else str(tmp_path / "sft")
        (tmp_path / step / "settings.json").write_text(json.dumps({key: base, "processes": 1}), encoding="utf-8")
    who = responders.read_responders(
        [str(tmp_path / "sft"), f"base={folders['gpt2']}", str(tmp_path / "ppo"), "f.jsonl"], ""
    )
    assert reference.find("", who) == Reference("sft", "", ("ppo", "f"))
    assert reference.find("ppo", who).later == ("f",)
    assert reference.find(str(tmp_path / "ppo" / ".." / "sft"), who).name == "sft"
    outside = Reference("qwen2", folders["qwen2"], ("sft", "base", "ppo", "f"))
    assert reference.find(folders["qwen2"], who) == outside and not outside.answers


def test_a_server_tells_whether_answers_end(tmp_path):
    sft = answers(tmp_path / "sft.jsonl", varied)

    def answer(body):
        number = int(body["messages"][-1]["content"].split("번째")[0])
        return {
            "message": {"role": "assistant", "content": varied(number)},
            "finish_reason": "length" if number % 4 == 0 else "stop",
        }

    with Server(answer) as server:
        _, found, rows = run(
            tmp_path / "out", "--responder", f"all=openai:test-model@{server.url}", sft, "--data_path", sft
        )
    figures = found["figures"]["models"]["all"]
    assert (figures["ended"]["mean"], figures["cut"]["mean"]) == (0.75, 0.25)
    assert rows[0]["answers"]["all"][0]["finish_reason"] == "length"
    assert "ended" not in found["figures"]["differences"]["all"]  # sft's file does not tell
    assert found["figures"]["differences"]["all"]["characters"]["difference"]["mean"] == 0.0


def test_several_answers_to_one_prompt(tmp_path):
    same, other = (
        write(
            tmp_path / f"{name}.jsonl",
            [{"prompt": f"{i}번째 질문이에요", "output": varied(i + step * k)} for i in range(40) for k in range(2)],
        )
        for name, step in (("same", 0), ("other", 50))
    )
    _, found, _ = run(tmp_path / "out", "--responder", other, same, "--data_path", same)
    within = found["figures"]["within_prompt"]
    hidden = 1 - 0.025 ** (1 / 40)  # of 40 prompts that are all alike
    cells = {
        "overlap": {"mean": 1.0, "low": pytest.approx(1 - hidden), "high": 1.0},
        "different": {"mean": 0.5, "low": pytest.approx(0.5 - hidden / 2), "high": pytest.approx(0.5 + hidden / 2)},
    }
    assert within["same"] == {"n": 40, **cells}
    assert within["other"]["different"]["mean"] == 1.0
    assert within["other"]["overlap"]["mean"] == pytest.approx(3 / 9)  # 기다려 주세요, 주세요 곧, 직원이 갑니다
    assert found["figures"]["models"]["same"]["same"]["share"]["mean"] == 0.0  # the same prompt is no other prompt


def test_kl_and_perplexity_of_checkpoints(folders, tmp_path, heldout):
    data = answers(tmp_path / "p.jsonl", varied, 6)
    base, of_sft = f"base={folders['gpt_neox']}", f"sft={folders['llama']}"
    more = {"heldout_data_path": heldout, "max_new_tokens": 8, "max_kl": 1}
    code, found, rows = run(tmp_path / "out", *flags(data, base, of_sft, f"ppo={folders['qwen2']}", **more))
    kl, held = found["figures"]["kl"], found["figures"]["heldout"]
    assert code == 0 and set(kl) == {"base", "ppo"} and kl["ppo"]["n"] == 6
    of_rows = [row["kl"]["ppo"] for row in rows]
    assert kl["ppo"]["k1_per_answer"]["mean"] == pytest.approx(sum(r["k1"] for r in of_rows) / 6)
    assert kl["ppo"]["k3_per_token"]["mean"] == pytest.approx(
        sum(r["k3"] for r in of_rows) / sum(r["tokens"] for r in of_rows)
    )
    assert set(held["all"]) == {"answers", "documents"} and set(held["by_category"]) == {"a", "b", "documents"}
    sft = held["all"]["answers"]["sft"]
    nats = sft["nats_per_token"]["mean"]
    assert (sft["n"], sft["difference"]) == (8, None) and sft["perplexity"]["mean"] == pytest.approx(math.exp(nats))
    assert sft["bits_per_character"]["mean"] == pytest.approx(nats * sft["tokens"] / math.log(2) / (8 * 9))
    assert any("above --max_kl 1" in line for line in warnings_of(found, "ppo"))
    assert not any("KL" in line for line in warnings_of(found, "base"))
    assert any("only 6 prompts" in w["en"] for w in found["warnings"]) and found["protocol"]["precision"] == "fp32"

    who = base, of_sft, f"copy={folders['llama']}"
    same = run(tmp_path / "same", *flags(data, *who, reference=folders["llama"], **more))[1]
    assert same["figures"]["kl"]["copy"]["k1_per_answer"] == {"mean": 0.0, "low": None, "high": None}
    assert same["figures"]["heldout"]["all"]["answers"]["copy"]["difference"]["mean"] == 0.0
    assert all("did not end within" in line for line in warnings_of(same, "copy"))


def test_a_model_that_forgot_held_out_talk_is_warned_of(folders, tmp_path, heldout):
    """ppo is sft whose head was made to believe in nothing but its favourites."""
    shutil.copytree(folders["llama"], tmp_path / "ppo")
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "ppo")
    with torch.no_grad():
        lm.get_output_embeddings().weight.mul_(3)
    lm.save_pretrained(tmp_path / "ppo")
    data = answers(tmp_path / "p.jsonl", varied, 4)
    asked = flags(data, f"sft={folders['llama']}", tmp_path / "ppo", heldout_data_path=heldout, max_new_tokens=4)
    _, found, _ = run(tmp_path / "out", *asked)
    assert any("held-out answers have become less likely" in line for line in warnings_of(found, "ppo"))
    assert found["figures"]["heldout"]["all"]["answers"]["ppo"]["difference"]["low"] > 0


def test_of_another_vocabulary_there_is_no_kl_but_bits_per_character(folders, tmp_path, heldout, new_tokenizer):
    shutil.copytree(folders["llama"], tmp_path / "other")
    new_tokenizer(("<|다른|>", "<|unused1|>"), 270).save_pretrained(tmp_path / "other")
    data = answers(tmp_path / "p.jsonl", varied, 4)
    more = {"reference": folders["gpt2"], "heldout_data_path": heldout, "max_new_tokens": 4}
    _, found, _ = run(tmp_path / "out", *flags(data, tmp_path / "other", f"f={data}", **more))
    assert found["figures"]["kl"] == {}
    assert "none for other: vocabulary differs from gpt2's" in found["protocol"]["KL"]["en"]
    of_documents = found["figures"]["heldout"]["all"]["documents"]
    assert of_documents["other"]["tokens"] > of_documents["gpt2"]["tokens"]
    assert of_documents["other"]["difference"] is not None
    assert found["figures"]["differences"] == {} and "gave no answers" in found["protocol"]["reference"]["en"]


def test_a_killed_run_ends_with_the_same_bytes(folders, tmp_path, heldout, monkeypatch):
    data = answers(tmp_path / "p.jsonl", varied, 6)
    who = f"sft={folders['llama']}", f"ppo={folders['qwen2']}"
    sizes = {"max_new_tokens": 6, "batch_size": 2, "forward_batch_size": 2}
    asked = flags(data, *who, heldout_data_path=heldout, **sizes)
    whole = run(tmp_path / "whole", *asked)
    sample, batches = rollout.sample, []

    def stops(*args, **more):
        batches.append(1)
        if len(batches) == 8:  # in the second chunk of those for the KL
            raise Stop
        return sample(*args, **more)

    monkeypatch.setattr(rollout, "sample", stops)
    with pytest.raises(Stop):
        run(tmp_path / "killed", *asked)
    assert not (tmp_path / "killed" / "diversity.json").exists()
    again = run(tmp_path / "killed", *asked)
    assert len(batches) == 10  # 3 + 3 for people, 3 for the KL; one of them twice
    names = [tmp_path / folder / "diversity.jsonl" for folder in ("whole", "killed")]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert all(whole[1][key] == again[1][key] for key in ("figures", "tables", "warnings"))


def test_a_reference_that_is_not_there(tmp_path):
    f = answers(tmp_path / "f.jsonl", varied)
    message = "--reference 없는모델: no responder of this name .there are f., and no folder"
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", *flags(f, f, reference="없는모델"))
    assert not (tmp_path / "out").exists()
