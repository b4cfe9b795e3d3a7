"""Weights that are not finite: found, and refused wherever a model is taken."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from korlhf.core.errors import InputError
from korlhf.models.causal_lm import load_causal_lm
from korlhf.models.finite import non_finite
from korlhf.models.lora import add_lora
from korlhf.models.reward_model import load_reward_model
from korlhf.training.flags import ModelFlags

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_value_anywhere_is_found(dtype, value):
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)).to(dtype)
    module.register_parameter("packed", torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False))
    module.register_parameter("empty", torch.nn.Parameter(torch.zeros(0)))
    assert non_finite(module) is None
    for name, p in module.named_parameters():
        for k in range(p.numel() if p.is_floating_point() else 0):
            kept = float(p.data.view(-1)[k])
            p.data.view(-1)[k] = value
            assert non_finite(module) == name and non_finite(module, skip=[name]) is None
            p.data.view(-1)[k] = kept
    assert non_finite(module) is None


def with_value(folder, out, name, value):
    """A copy of a model folder, one value of a weight replaced."""
    shutil.copytree(folder, out)
    file = next(Path(out).glob("*.safetensors"))
    weights = load_file(file)
    weights[name].view(-1)[-1] = value
    save_file(weights, file, metadata={"format": "pt"})
    return str(out)


def test_a_language_model_is_refused(folders, tokenizer, tmp_path):
    name = "gpt_neox.layers.1.mlp.dense_h_to_4h.bias"
    path = with_value(folders["gpt_neox"], tmp_path / "lm", name, NAN)
    with pytest.raises(InputError, match=f"--actor_model_name_or_path {path}: {name} holds NaN or infinity, .* give"):
        load_causal_lm(path, tokenizer, "--actor_model_name_or_path")


def test_a_weight_that_is_too_large_for_the_precision_is_refused(folders, tokenizer, tmp_path):
    path = with_value(folders["llama"], tmp_path / "lm", "lm_head.weight", 1e5)
    assert load_causal_lm(path, tokenizer, dtype=torch.bfloat16)
    with pytest.raises(InputError, match="lm_head.weight holds NaN or infinity"):
        load_causal_lm(path, tokenizer, dtype=torch.float16)


def test_a_reward_model_is_refused_and_a_head_that_is_to_be_made_is_not_looked_at(folders, tokenizer, tmp_path):
    config = AutoConfig.from_pretrained(folders["llama"], num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "rm")
    path = with_value(tmp_path / "rm", tmp_path / "broken", "score.weight", INF)
    with pytest.raises(InputError, match="score.weight holds NaN or infinity"):
        load_reward_model(path)
    assert load_reward_model(str(tmp_path / "rm"))
    assert non_finite(load_reward_model(folders["llama"], new_head=True)) is None


def test_a_deepspeed_chat_checkpoint_is_refused(folders, tmp_path):
    shutil.copytree(folders["gpt_neox"], tmp_path / "rm")
    weights = load_file(tmp_path / "rm" / "model.safetensors")
    (tmp_path / "rm" / "model.safetensors").unlink()
    old = {f"rwtransformer.{k.removeprefix('gpt_neox.')}": v for k, v in weights.items() if "embed_out" not in k}
    old["v_head.weight"] = torch.full((1, 16), NAN)
    torch.save(old, tmp_path / "rm" / "pytorch_model.bin")
    with pytest.raises(InputError, match="score.weight holds NaN or infinity"):
        load_reward_model(str(tmp_path / "rm"))


@pytest.mark.parametrize("merge_lora", [True, False])
def test_an_adapter_is_refused(folders, load_lm, tokenizer, tmp_path, merge_lora):
    lora = add_lora(load_lm("llama"), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM")
    lora.save_pretrained(tmp_path / "adapter")
    assert load_causal_lm(str(tmp_path / "adapter"), tokenizer, merge_lora=merge_lora)
    name = next(k for k in load_file(tmp_path / "adapter" / "adapter_model.safetensors") if "lora_B" in k)
    path = with_value(tmp_path / "adapter", tmp_path / "broken", name, NAN)
    with pytest.raises(InputError, match="lora_B.* holds NaN or infinity"):
        load_causal_lm(path, tokenizer, merge_lora=merge_lora)
