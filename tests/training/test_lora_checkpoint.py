"""Checkpoints of LoRA: resumed exactly without the frozen base in them, with every ZeRO stage."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm, lora, merged
from korlhf.training import engine, sft
from korlhf.training.flags import ModelFlags
from korlhf.training.loop import write_model

ROWS = [Tokens(list(range(3, 25)), [0] + [1] * 21)]


@pytest.fixture(scope="module")
def world():
    with patch.dict(os.environ):
        yield engine.start(-1)  # stays: DeepSpeed cannot start again after an end


@pytest.fixture(scope="module")
def tied(tmp_path_factory, plain_tokenizer):
    """Folder of a Llama of 1 MB whose head is its embedding."""
    folder = tmp_path_factory.mktemp("tied")
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
    config = LlamaConfig(vocab_size=len(plain_tokenizer), initializer_range=0.2, tie_word_embeddings=True, **shape)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    plain_tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def actor(tied, world, tokenizer):
    """Function: ZeRO stage, steps -> an engine with LoRA on q_proj and the tied head."""

    def make(zero_stage, steps=9):
        how = {"lora_module_name": "q_proj,lm_head", "lora_dim": 2, "lora_learning_rate": 0.02}
        flags = ModelFlags(model_name_or_path=tied, zero_stage=zero_stage, **how)
        torch.manual_seed(0)
        with engine.loading(world, "fp32", zero_stage) as placed:
            lm = lora.add_lora(causal_lm.load_causal_lm(tied, tokenizer, **placed), flags, "CAUSAL_LM")
        return engine.Engine(causal_lm.TokenLogps(lm), flags, world, engine.Recipe("fp32", 1, 1, steps, "cosine"))

    return make


def train(actor, world, steps):
    actor.train()
    losses = []
    for _ in range(steps):
        loss = sft.sft_loss(sft.token_logps(actor, ROWS, world.device), 21)
        actor.backward(loss)
        actor.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_adapter_and_optimizer_alone_resume_exactly(actor, world, tied, tokenizer, tmp_path, zero_stage):
    """And what is saved of them is the trained model."""
    first = actor(zero_stage)
    train(first, world, 2)
    first.save(tmp_path / "state")
    size = sum(p.stat().st_size for p in (tmp_path / "state").rglob("*") if p.is_file())
    assert size < (Path(tied) / "model.safetensors").stat().st_size / 10
    again = actor(zero_stage)
    again.load(tmp_path / "state")
    assert train(again, world, 2) == train(first, world, 2)
    first.eval()
    write_model(first, tokenizer, tmp_path / "out", tied, tokenizer.eos_token_id)
    assert not first.module.training
    saved = causal_lm.load_causal_lm(str(tmp_path / "out"), tokenizer).eval()
    live = merged.probe(first.module, first)
    assert torch.allclose(merged.probe(causal_lm.TokenLogps(saved)), live, atol=1e-4)
    plain = causal_lm.load_causal_lm(tied, tokenizer).eval()
    assert float((merged.probe(causal_lm.TokenLogps(plain)) - live).abs().mean()) > 0.01


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_a_longer_run_has_the_learning_rates_of_its_new_length(actor, world, tmp_path, zero_stage):
    short = actor(zero_stage, 2)
    train(short, world, 2)
    assert short.lr == 0  # the cosine's end
    short.save(tmp_path / "state")
    longer = actor(zero_stage, 4)
    longer.load(tmp_path / "state")
    assert longer.lr == pytest.approx(0.02 * 0.5)  # half way
    assert {g["lr"] for g in longer.optimizer.param_groups} == {longer.lr}
    before = longer.state_dict()
    train(longer, world, 1)
    assert longer.lr == pytest.approx(0.02 * 0.14644660940672624)  # (1 + cos(3 pi / 4)) / 2
    assert any(not torch.equal(v, before[k]) for k, v in longer.state_dict().items())
