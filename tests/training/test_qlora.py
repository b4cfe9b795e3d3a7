"""QLoRA for real: bitsandbytes' CPU kernels under DeepSpeed."""

import json
import os
from unittest.mock import patch

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from korlhf.core.errors import InputError
from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm, lora, reward_model
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine, pairs, sft
from korlhf.training.flags import ModelFlags
from korlhf.training.loop import write_model
from korlhf.training.reward import ranked_loss

pytest.importorskip("bitsandbytes")  # of requirements-dev.txt
ROWS = [Tokens(list(range(3, 25)), [0] + [1] * 21)]
ANSWERS = [Tokens(list(range(3 + i, 12 + i)), []) for i in range(2)]


@pytest.fixture(scope="module")
def world():
    with patch.dict(os.environ):
        yield engine.start(-1)  # stays: DeepSpeed cannot start again after an end


@pytest.fixture
def flags(folders):
    return ModelFlags(model_name_or_path=folders["llama"], lora_dim=2, load_in_4bit=True, lora_learning_rate=0.02)


def four_bit_engine(flags, world, load, wrapper, task):
    torch.manual_seed(0)
    with engine.loading(world, "fp32") as how:
        module = wrapper(lora.add_lora(load(flags.model_name_or_path, load_in_4bit=True, **how), flags, task))
    return engine.Engine(module, flags, world, engine.Recipe("fp32", 1, 1, 9))


@pytest.fixture
def actor(flags, world, tokenizer):
    """Function: -> an engine with a language model in 4 bits."""

    def load(path, **how):
        return causal_lm.load_causal_lm(path, tokenizer, **how)

    return lambda: four_bit_engine(flags, world, load, causal_lm.TokenLogps, "CAUSAL_LM")


def train(actor, world, steps):
    actor.train()
    losses = []
    for _ in range(steps):
        loss = sft.sft_loss(sft.token_logps(actor, ROWS, world.device), 21)
        actor.backward(loss)
        actor.step()
        losses.append(float(loss.detach()))
    return losses


def test_four_bits_train_and_resume_exactly_and_are_saved_on_the_whole_base(actor, world, flags, tokenizer, tmp_path):
    first = actor()
    types = {type(p).__name__ for n, p in first.module.named_parameters() if "layers" in n and "norm" not in n}
    assert types == {"Params4bit", "Parameter"}  # the adapter is the latter
    first.eval()
    with torch.no_grad():
        before = sft.token_logps(first, ROWS, world.device)
    losses = train(first, world, 3)
    assert losses[0] == pytest.approx(-float(before.mean()), rel=1e-6)  # an evaluation leaves the weights as they are
    assert losses[2] < losses[0]
    first.save(tmp_path / "state")
    again = actor()
    again.load(tmp_path / "state")
    assert train(again, world, 2) == train(first, world, 2)

    write_model(first, tokenizer, tmp_path / "out", flags.model_name_or_path, tokenizer.eos_token_id)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    base = AutoModelForCausalLM.from_pretrained(flags.model_name_or_path)
    expected = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").merge_and_unload().state_dict()
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    plain = AutoModelForCausalLM.from_pretrained(flags.model_name_or_path).state_dict()
    assert all(torch.equal(saved[k], expected[k]) for k in expected)
    assert {k for k in plain if not torch.equal(saved[k], plain[k])} == {k for k in plain if "self_attn" in k}


def test_a_reward_model_in_four_bits_trains_its_head_whole(flags, world):
    def load(path, **how):
        model = reward_model.load_reward_model(path, new_head=True, **how)
        tokenizer = load_tokenizer(path)
        reward_model.set_padding(model, tokenizer, tokenizer.eos_token_id)
        return model

    trained = four_bit_engine(flags, world, load, reward_model.TokenValues, "SEQ_CLS")
    before = reward_model.scalar_head(trained.module.model).weight.clone()
    for _ in range(2):
        loss = ranked_loss(pairs.forward(trained, ANSWERS, world.device), [2])
        trained.backward(loss)
        trained.step()
    head = {n: p for n, p in trained.module.named_parameters() if "score" in n and p.requires_grad}
    assert [p.dtype for p in head.values()] == [torch.float32]
    assert all(not torch.equal(p, before) for p in head.values())


def test_a_deepspeed_chat_checkpoint_is_refused(tmp_path):
    torch.save({"rwtransformer.x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="4 bits"):
        reward_model.load_reward_model(str(tmp_path), load_in_4bit=True)
