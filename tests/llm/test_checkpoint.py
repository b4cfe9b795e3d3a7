"""Answers of a local checkpoint: what transformers would say, the same after a stop, none computed twice."""

import json
import shutil
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM

from korlhf.core.errors import InputError
from korlhf.data.tokenize import Codec
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Checkpoint, Sampling, answers
from korlhf.llm.protocol import Failure, Reply
from korlhf.models import lora, save
from korlhf.models.fingerprint import fingerprint
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.training.flags import ModelFlags

pytestmark = pytest.mark.usefixtures("no_collection")

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_new_tokens=6, seed=1)
WARM = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=6, seed=1)
TALKS = [
    [{"role": "user", "content": text}]
    for text in ("안녕", "오늘 뭐 해요?", "같이 가요", "오늘 날씨가 참 좋네요!", "네", "산책하러 갈까요?", "저녁은요?")
]


class Stop(Exception):
    """Stands in for kill -9."""


class Sampled:
    """rollout.sample that notes the size of each batch, and stops the run after `batches` of them."""

    def __init__(self, monkeypatch, batches=99):
        self.sizes, self.left, self.real = [], batches, rollout.sample
        monkeypatch.setattr(rollout, "sample", self)

    def __call__(self, lm, prompts, *args):
        if not self.left:
            raise Stop
        self.left -= 1
        self.sizes.append(len(prompts))
        return self.real(lm, prompts, *args)


@pytest.fixture(scope="module")
def folder(folders, tmp_path_factory):
    """A GPT-NeoX of at most 128 positions that ends its greedy answer to the first prompt after two tokens."""
    path = tmp_path_factory.mktemp("local") / "neox"
    shutil.copytree(folders["gpt_neox"], path)
    lm, codec = AutoModelForCausalLM.from_pretrained(path), Codec(load_tokenizer(str(path)))
    third = rollout.sample(lm, [codec.prompt(TALKS[0]).ids], [0], codec.eos_token_id, rollout.Limits(3, temperature=0))[
        0
    ][2]
    with torch.no_grad():
        head = lm.get_output_embeddings().weight
        head[codec.eos_token_id] = 1.01 * head[third]
    lm.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def opened(folder):
    """Its weights are read from disk once only."""
    read = Checkpoint(folder, "--responder")
    lm = read.load()
    read.load = lambda: lm
    return read


def texts(found):
    return [[(reply.text, reply.finish_reason) for reply in of_one] for of_one in found]


def test_greedy_answers_are_those_of_transformers_generate(opened, cache):
    found = answers(opened, TALKS, cache, GREEDY, batch_size=3)
    lm, codec = opened.load().eval(), opened.codec
    ends = set()
    for talk, (reply,) in zip(TALKS, found):
        ids = codec.prompt(talk).ids
        out = lm.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids)),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=codec.eos_token_id,
            pad_token_id=codec.eos_token_id,
        )[0, len(ids) :].tolist()
        assert reply.text == codec.decode(out) and reply.finish_reason == (
            "stop" if out[-1] == codec.eos_token_id else "length"
        )
        assert (reply.prompt_tokens, reply.answer_tokens) == (len(ids), len(out))
        ends.add(reply.finish_reason)
    assert ends == {"stop", "length"}  # both kinds were seen


def test_the_model_has_left_the_memory_afterwards(folder, cache, monkeypatch):
    monkeypatch.undo()  # the real collection
    opened, models_seen = Checkpoint(folder, "--responder"), []
    load = opened.load

    def note():
        lm = load()
        lm.circle = [lm]  # as larger models have them
        models_seen.append(weakref.ref(lm))
        return lm

    opened.load = note
    answers(opened, TALKS[:1], cache, GREEDY)
    assert [ref() for ref in models_seen] == [None]


@pytest.mark.parametrize("batches", [0, 1, 4, 5])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(opened, tmp_path, monkeypatch, batches):
    with Cache(tmp_path / "whole.sqlite") as cache, monkeypatch.context() as patch:
        sampled = Sampled(patch)
        whole = texts(answers(opened, TALKS, cache, WARM, 2, 3))
        assert sampled.sizes == [3, 3, 1, 3, 3, 1]
    with Cache(tmp_path / "stopped.sqlite") as cache:
        with monkeypatch.context() as patch, pytest.raises(Stop):
            Sampled(patch, batches)
            answers(opened, TALKS, cache, WARM, 2, 3)
        rest = Sampled(monkeypatch)
        assert texts(answers(opened, TALKS, cache, WARM, 2, 3)) == whole
        assert rest.sizes == [3, 3, 1, 3, 3, 1][batches:]  # nothing finished is computed again


def test_more_answers_leave_the_earlier_ones_alone(opened, cache, monkeypatch):
    two = texts(answers(opened, TALKS, cache, WARM, 2, 4))
    sampled = Sampled(monkeypatch)
    three = texts(answers(opened, TALKS, cache, WARM, 3, 4))
    assert [t[:2] for t in three] == two and sampled.sizes == [4, 3]
    assert any(len(set(t)) == 3 for t in three)  # a random stream of its own for each


def test_another_seed_temperature_or_model_is_another_question(opened, cache, monkeypatch):
    answers(opened, TALKS[:2], cache, WARM, 1, 8)
    sampled = Sampled(monkeypatch)
    for setting in ({"seed": 2}, {"temperature": 0.9}, {"top_p": 1.0}, {"max_new_tokens": 5}):
        answers(opened, TALKS[:2], cache, Sampling(**{**WARM.__dict__, **setting}), 1, 8)
        assert sampled.sizes.pop() == 2, setting
    monkeypatch.setattr(opened, "fingerprint", "other")
    answers(opened, TALKS[:2], cache, WARM, 1, 8)
    assert sampled.sizes == [2]


def test_prompts_that_are_too_long_fail_and_the_others_do_not(opened, cache):
    ids = len(opened.codec.prompt(TALKS[0]).ids)
    room = 128 - ids  # the model has 128 positions
    (fits,) = answers(opened, [TALKS[0]], cache, Sampling(1.0, 1.0, room, 1))
    assert isinstance(fits[0], Reply)
    short, long = answers(opened, [TALKS[0], [{"role": "user", "content": "가" * 200}]], cache, WARM, 2)
    assert all(isinstance(r, Reply) for r in short)
    assert [r.kind for r in long] == ["too long"] * 2 and "128 positions" in long[0].reason
    (over,) = answers(opened, [TALKS[0]], cache, Sampling(1.0, 1.0, room + 1, 1))
    assert over[0].kind == "too long" and f"{ids} tokens" in over[0].reason


def test_a_template_without_system_messages_fails_with_the_reason(folder, cache, tmp_path, chat_templates):
    path = tmp_path / "no_system"
    shutil.copytree(folder, path)
    tokenizer = load_tokenizer(str(path))
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = refuses + tokenizer.chat_template
    tokenizer.save_pretrained(path)
    system = [{"role": "system", "content": "친절하게 답하세요."}, *TALKS[0]]
    found, plain = answers(Checkpoint(str(path), "--responder"), [system, TALKS[0]], cache, WARM)
    assert (
        isinstance(found[0], Failure) and "System role not supported" in found[0].reason and isinstance(plain[0], Reply)
    )


def test_what_is_no_language_model_is_refused(tmp_path, folders):
    for path, words in (("./none", "no such folder"), (str(tmp_path), "no config.json")):
        with pytest.raises(InputError, match=words):
            Checkpoint(path, "--responder")
    path = tmp_path / "adapter"
    path.mkdir()
    load_tokenizer(folders["gpt_neox"]).save_pretrained(path)
    (path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="--responder .*names no base model"):
        Checkpoint(str(path), "--responder")


def test_a_lora_folder_answers_like_its_finished_model(load_lm, folders, tmp_path, cache):
    tokenizer = load_tokenizer(folders["gpt_neox"])
    lm = lora.add_lora(load_lm("gpt_neox"), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM")
    torch.manual_seed(0)
    for name, p in lm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    weights = {n: p.detach() for n, p in lm.named_parameters()}
    save.save_model(lm, weights, tokenizer, tmp_path, folders["gpt_neox"])
    finished, adapter, base = (
        Checkpoint(str(path), "--x") for path in (tmp_path, tmp_path / "adapter", folders["gpt_neox"])
    )
    assert adapter.positions == 128
    assert len({finished.fingerprint, adapter.fingerprint, base.fingerprint}) == 3
    by_finished, by_adapter, by_base = (texts(answers(c, TALKS, cache, GREEDY)) for c in (finished, adapter, base))
    assert by_adapter == by_finished != by_base


def test_the_fingerprint_of_an_adapter_follows_its_base(tmp_path):
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
    (tmp_path / "base" / "config.json").write_text("{}", encoding="utf-8")
    base = json.dumps({"base_model_name_or_path": str(tmp_path / "base")})
    (tmp_path / "adapter" / "adapter_config.json").write_text(base, encoding="utf-8")
    first = fingerprint(tmp_path / "adapter")
    (tmp_path / "base" / "config.json").write_text("{} ", encoding="utf-8")
    assert fingerprint(tmp_path / "adapter") != first
