"""What is saved of LoRA is what was trained: tied embeddings, every linear layer, and the check when saving."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from korlhf.core.errors import InputError
from korlhf.models import causal_lm, lora, merged, save
from korlhf.training.flags import ModelFlags

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def tied(tmp_path_factory, plain_tokenizer):
    """Folder of a Llama whose head is its embedding."""
    folder = tmp_path_factory.mktemp("tied")
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(plain_tokenizer), initializer_range=0.4, tie_word_embeddings=True, **SHAPE)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    plain_tokenizer.save_pretrained(folder)
    return str(folder)


def trained(lm, **flags):
    """A PeftModel in eval mode whose adapter is not the new one."""
    adapted = lora.add_lora(lm, ModelFlags(model_name_or_path="x", lora_dim=2, **flags), "CAUSAL_LM").eval()
    torch.manual_seed(1)
    for name, p in adapted.named_parameters():
        if "lora_" in name and "magnitude" not in name:
            torch.nn.init.normal_(p, std=0.5)
    return adapted


def saved(adapted, tokenizer, folder, base):
    save.save_model(adapted, {n: p.detach() for n, p in adapted.named_parameters()}, tokenizer, folder, base)


@torch.no_grad()
def logits(lm):
    return lm.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens", "embed_tokens,lm_head", "lm_head,q_proj"])
@pytest.mark.parametrize("use_dora", [False, True])
def test_lora_on_a_tied_embedding_is_saved_untied(tied, tokenizer, tmp_path, module, use_dora):
    adapted = trained(causal_lm.load_causal_lm(tied, tokenizer), lora_module_name=module, use_dora=use_dora)
    expected = logits(adapted)
    base = logits(AutoModelForCausalLM.from_pretrained(tied))
    assert float((expected - base).abs().max()) > 1
    saved(adapted, tokenizer, tmp_path, tied)
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), expected, atol=1e-4)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is False
    from_adapter = causal_lm.load_causal_lm(str(tmp_path / "adapter"), tokenizer)  # merged while it is loaded
    assert torch.allclose(logits(from_adapter), expected, atol=1e-4)


def test_other_modules_leave_a_tied_model_tied(tied, tokenizer, tmp_path):
    saved(trained(causal_lm.load_causal_lm(tied, tokenizer)), tokenizer, tmp_path, tied)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is True


def test_dora_on_a_row_of_zeros_is_refused(tied, tokenizer):
    lm = causal_lm.load_causal_lm(tied, tokenizer)
    lm.lm_head.weight.data[3] = 0
    with pytest.raises(InputError, match="--use_dora: lm_head has rows of zeros"):
        trained(lm, lora_module_name="lm_head", use_dora=True)


def test_all_linear_is_every_linear_layer_but_the_head(load_lm):
    adapted = trained(load_lm("llama"), lora_module_name="all-linear")
    hit = {n.split(".")[-1] for n, m in adapted.named_modules() if hasattr(m, "lora_A")}
    assert hit == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_lora_dropout_reaches_the_layers(load_lm):
    adapted = lora.add_lora(load_lm("llama"), ModelFlags(model_name_or_path="x", lora_dim=2), "CAUSAL_LM", 0.25)
    dropped = [m for n, m in adapted.named_modules() if n.endswith("lora_dropout.default")]
    assert len(dropped) == 8 and {m.p for m in dropped} == {0.25}  # q, k, v, o of two layers


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_a_merged_model_that_is_not_the_trained_one_is_not_saved(load_lm, folders, tokenizer, tmp_path, dtype):
    adapted = trained(load_lm("llama"))
    weights = {n: p.detach() for n, p in adapted.named_parameters()}
    live = merged.probe(causal_lm.TokenLogps(adapted))
    adapter = save.save_adapter(adapted, weights, tokenizer, tmp_path)
    merged.merge(adapted, weights, adapter, folders["llama"], dtype, live)
    other = merged.probe(causal_lm.TokenLogps(load_lm("llama")))
    for wrong in (other, live * float("nan")):
        with pytest.raises(InputError, match="the merged model is not the one that was trained: its log-probab"):
            merged.merge(adapted, weights, adapter, folders["llama"], dtype, wrong)
    assert (adapter / "adapter_model.safetensors").exists() and not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "name, flags",
    [
        ("tied", {"lora_module_name": "embed_tokens,q_proj"}),
        ("gpt2", {}),  # weights that lie the other way
        ("llama", {"lora_module_name": "all-linear", "use_dora": True}),
        ("gpt_neox", {"lora_alpha": 3}),
    ],
)
def test_the_live_weights_merged_are_what_peft_merges(tied, folders, load_lm, tokenizer, name, flags):
    lm = causal_lm.load_causal_lm(tied, tokenizer) if name == "tied" else load_lm(name)
    adapted = trained(lm, **flags)
    whole = {n: p.detach().clone() for n, p in adapted.named_parameters(remove_duplicate=False)}
    found = merged.merged_weights(adapted, whole, torch.float32)
    half = merged.merged_weights(adapted, whole, torch.bfloat16)
    assert all((p == whole[n]).all() for n, p in adapted.named_parameters(remove_duplicate=False))
    expected = dict(adapted.merge_and_unload().named_parameters(remove_duplicate=False))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[n], expected[n], atol=1e-5) for n in found)
    assert all((half[n] == found[n].bfloat16()).all() for n in found)
