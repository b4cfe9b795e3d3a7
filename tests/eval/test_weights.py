"""korlhf/eval/weights.py beside plain transformers: one unpacked sequence at a time, labels and log_softmax."""

import json
import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from korlhf.core.errors import InputError
from korlhf.data.example import Example
from korlhf.eval import weights as measures
from korlhf.eval.weights import Weights
from korlhf.llm import checkpoint as local
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Checkpoint
from korlhf.rl import rollout

pytestmark = pytest.mark.usefixtures("no_collection")

TALKS = [[{"role": "user", "content": text}] for text in ("안녕", "오늘 뭐 해요?", "같이 가요", "네")]
EXAMPLES = [
    Example(messages=({"role": "user", "content": "안녕"},), answers=("반가워요. 같이 가요.",), category="everyday"),
    Example(
        messages=(
            {"role": "user", "content": "뭐 해?"},
            {"role": "assistant", "content": "네."},
            {"role": "user", "content": "가자"},
        ),
        answers=("좋아요!",),
    ),
    Example(text="오늘 날씨가 참 좋네요!"),
    Example(text="네", category="news"),
]


class Stop(Exception):
    """Stands in for kill -9."""


def opened(folders, name):
    return Checkpoint(folders[name], "--responder")


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2"])
def test_held_out_talk_is_as_likely_as_transformers_says(folders, cache, name):
    checkpoint = opened(folders, name)
    lm, codec = AutoModelForCausalLM.from_pretrained(folders[name]).eval(), checkpoint.codec
    jobs = measures.encode_heldout(checkpoint, EXAMPLES, "--heldout_data_path")
    with Weights(checkpoint, cache, batch_size=3) as weights:
        found = weights.logps(jobs, "held-out")
    for example, (ids, given), logps in zip(EXAMPLES, jobs, found):
        answer = codec.tokenizer(example.text or example.answers[0], add_special_tokens=False).input_ids + [
            codec.eos_token_id
        ]
        assert ids[given:] == answer and (given == 1 or not example.text)
        labels = torch.tensor([[-100] * given + ids[given:]])
        with torch.no_grad():
            loss = float(lm(input_ids=torch.tensor([ids]), labels=labels, use_cache=False).loss)
        assert len(logps) == len(answer) and -sum(logps) == pytest.approx(loss * len(answer), rel=1e-4)


def test_documents_come_after_bos(folders):
    checkpoint = opened(folders, "llama")
    ((ids, given),) = measures.encode_heldout(checkpoint, EXAMPLES[2:3], "--heldout_data_path")
    assert (ids[0], given, ids[-1]) == (
        checkpoint.codec.tokenizer.bos_token_id,
        1,
        checkpoint.codec.tokenizer.eos_token_id,
    )
    assert [measures.category(e) for e in EXAMPLES] == ["everyday", "all", "documents", "news"]
    assert [measures.characters(e) for e in EXAMPLES] == [12, 4, 13, 1]


def test_kl_is_that_of_the_tokens_that_were_drawn(folders, cache):
    """Both estimators, summed by hand from log_softmax of whole unpacked sequences."""
    checkpoints = {name: opened(folders, name) for name in ("llama", "gpt2")}
    asked = measures.queries(checkpoints["llama"], TALKS, [0, 1, 3], None, seed=5)
    logps, drawn = measures.measure(checkpoints, {"llama": [], "gpt2": []}, {"llama": asked}, "gpt2", 12, cache, 2)
    assert logps == {"llama": [], "gpt2": []} and list(drawn) == ["llama"]
    lms = {name: AutoModelForCausalLM.from_pretrained(folders[name]).eval() for name in checkpoints}
    eos_token_id, limits = checkpoints["llama"].codec.eos_token_id, rollout.Limits(12)
    for d, (number, ids, seed) in zip(drawn["llama"], asked, strict=True):
        assert d["prompt"] == number
        assert [d["ids"]] == rollout.sample(lms["llama"], [ids], [seed], eos_token_id, limits)
        by_model, whole = {}, ids + d["ids"]
        for name, lm in lms.items():
            with torch.no_grad():
                every = lm(input_ids=torch.tensor([whole]), use_cache=False).logits[0].double().log_softmax(-1)
            by_model[name] = [float(every[i - 1, whole[i]]) for i in range(len(ids), len(whole))]
        ratios = [a - b for a, b in zip(by_model["llama"], by_model["gpt2"])]
        assert d["k1"] == pytest.approx(sum(ratios), abs=1e-4)
        assert d["k3"] == pytest.approx(sum(math.exp(-r) - 1 + r for r in ratios), rel=1e-4)


def test_the_answers_are_those_that_people_read_at_temperature_1(folders, cache):
    checkpoint = opened(folders, "llama")
    asked = measures.queries(checkpoint, TALKS, range(4), None, seed=5)
    with Weights(checkpoint, cache, 4) as weights:
        ids = weights.sampled([ids for _, ids, _ in asked], [seed for *_, seed in asked], 12, "KL")
    read = local.answers(checkpoint, TALKS, cache, local.Sampling(1.0, 1.0, 12, 5))
    assert [checkpoint.codec.decode(answer) for answer in ids] == [reply.text for (reply,) in read]


def test_what_does_not_fit_is_not_asked(folders):
    checkpoint = opened(folders, "llama")
    lengths = [len(checkpoint.codec.prompt(talk).ids) for talk in TALKS]
    asked = measures.queries(checkpoint, TALKS, range(4), max(lengths) - 1, seed=5)
    assert [i for i, *_ in asked] == [i for i in range(4) if lengths[i] < max(lengths)] and len(asked) < 4


def test_a_stopped_run_goes_on_where_it_was(folders, tmp_path, monkeypatch):
    """Stopped after each of its ten chunks in turn, it computes every chunk once and ends with the same figures."""
    checkpoints = {name: opened(folders, name) for name in ("llama", "qwen2")}
    for checkpoint in checkpoints.values():
        lm = checkpoint.load()
        monkeypatch.setattr(checkpoint, "load", lambda lm=lm: lm)
    heldout = {name: measures.encode_heldout(c, EXAMPLES, "") for name, c in checkpoints.items()}
    asked = {"llama": measures.queries(checkpoints["llama"], TALKS, range(4), None, 5)}
    forward, sample, left = Weights._forward, Weights._sample, [10**9]

    def counted(real):
        def call(self, chunk):
            if not left[0]:
                raise Stop
            left[0] -= 1
            return real(self, chunk)

        return call

    monkeypatch.setattr(Weights, "_forward", counted(forward))
    monkeypatch.setattr(Weights, "_sample", counted(sample))
    with Cache(tmp_path / "whole.sqlite") as cache:
        whole = measures.measure(checkpoints, heldout, asked, "qwen2", 6, cache, 3)
    assert left[0] == 10**9 - 10  # llama: 2 held-out, 2 sampled, 2 scored; qwen2: 2 and 2
    stops = 0
    while stops < 20:
        left[0] = 1
        try:
            with Cache(tmp_path / "stopped.sqlite") as cache:
                assert measures.measure(checkpoints, heldout, asked, "qwen2", 6, cache, 3) == whole
            break
        except Stop:
            stops += 1
    assert stops == 9


def test_broken_weights_are_an_error_in_one_line(folders, tmp_path, cache):
    shutil.copytree(folders["llama"], tmp_path / "broken")
    lm = AutoModelForCausalLM.from_pretrained(tmp_path / "broken")
    torch.nn.init.constant_(lm.model.norm.weight, float("nan"))
    lm.save_pretrained(tmp_path / "broken")
    checkpoint = Checkpoint(str(tmp_path / "broken"), "--responder")
    jobs = measures.encode_heldout(checkpoint, EXAMPLES, "")
    with pytest.raises(InputError, match="--responder .*broken: model.norm.weight holds NaN or infinity"):
        Weights(checkpoint, cache, 4).logps(jobs, "held-out")


def test_held_out_data(tmp_path):
    rows = [{"prompt": f"질문 {i}", "output": f"답 {i}", "category": "a" if i % 4 else "b"} for i in range(40)]
    data = tmp_path / "h.jsonl"
    data.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in [*rows, rows[0], {"text": "글 하나"}]),
        encoding="utf-8",
    )
    found = measures.load_heldout([str(data)], 0, 1)
    assert len(found) == 41 and found[-1].text == "글 하나"
    part = measures.load_heldout([str(data)], 20, 1)
    assert sorted(map(measures.category, part)).count("a") == 15 and part == measures.load_heldout([str(data)], 20, 1)
    assert len(measures.load_heldout(["sample/sft"], 0, 1)) == 623  # its evaluation split
