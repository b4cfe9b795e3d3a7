"""Log-probabilities in chunks of tokens: the values and gradients of whole logits, in a fraction of their memory."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from korlhf.data import packing
from korlhf.models import causal_lm

IDS = [[7, 3, 11, 5, 2, 9, 30, 1], [4, 8, 6, 12, 13], [21, 2, 17]]
MASKS = [[0, 0, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1]]
WEIGHTS = torch.linspace(-1, 2, 12)  # of the tokens in a loss: every one has a gradient of its own


def naive(lm, temperature):
    """Log-probabilities and entropies of each sequence alone, from transformers' whole logits."""
    logps, entropies = [], []
    for ids, mask in zip(IDS, MASKS):
        logits = lm(input_ids=torch.tensor([ids]), use_cache=False).logits[0] / temperature
        at = [j for j in range(1, len(ids)) if mask[j]]
        of_each = torch.distributions.Categorical(logits=logits[[j - 1 for j in at]])
        logps.append(of_each.log_prob(torch.tensor([ids[j] for j in at])))
        entropies.append(of_each.entropy())
    return torch.cat(logps), torch.cat(entropies)


def gradients(lm, logps):
    lm.zero_grad()
    (logps * WEIGHTS).sum().backward()
    return {n: p.grad.clone() for n, p in lm.named_parameters() if p.grad is not None}


def with_bias(lm):
    head = lm.get_output_embeddings()
    biased = nn.Linear(head.in_features, head.out_features)
    biased.weight = head.weight
    lm.set_output_embeddings(biased)
    return lm


def with_lora(lm):
    torch.manual_seed(3)
    targets = ["lm_head", "o_proj"]
    return get_peft_model(lm, LoraConfig(r=2, target_modules=targets, init_lora_weights=False))


def tied(lm):
    lm.config.tie_word_embeddings = True
    lm.get_output_embeddings().weight = lm.get_input_embeddings().weight
    return lm


CHANGES = {"llama": lambda lm: lm, "gemma2": lambda lm: lm, "bias": with_bias, "lora": with_lora, "tied": tied}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", CHANGES)
def test_chunks_change_neither_values_nor_gradients(load_lm, monkeypatch, name, temperature):
    lm = CHANGES[name](load_lm(name if name in ("llama", "gemma2") else "llama"))
    monkeypatch.setattr(causal_lm, "CHUNK_LOGITS", 5 * lm.config.vocab_size)  # 12 tokens: three chunks of 4
    packed = packing.pack(IDS)
    where = packing.targets(packed, MASKS)
    expected, entropies = naive(lm, temperature)
    logps, entropy = causal_lm.TokenLogps(lm)(packed, *where, with_entropy=True, temperature=temperature)
    assert torch.allclose(logps, expected, atol=1e-5) and torch.allclose(entropy, entropies, atol=1e-4)
    assert not entropy.requires_grad
    got, want = gradients(lm, logps), gradients(lm, expected)
    assert got.keys() == want.keys() and (name != "lora" or any("lm_head.lora_A" in n for n in want))
    for n in want:
        assert torch.allclose(got[n], want[n], atol=2e-5 * max(1.0, float(want[n].abs().max()))), n
    assert "forward" not in vars(causal_lm.without_adapter(lm).get_output_embeddings())


def test_logits_are_never_whole(load_lm, monkeypatch):
    """What autograd keeps and what the head gives at once: a chunk, not tokens x vocabulary."""
    lm = load_lm("llama")
    vocabulary, kept, made = lm.config.vocab_size, [], []
    monkeypatch.setattr(causal_lm, "CHUNK_LOGITS", 3 * vocabulary)
    plain = lm.lm_head.forward
    lm.lm_head.forward = lambda hidden: made.append(len(hidden)) or plain(hidden)
    packed = packing.pack(IDS)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        logps = causal_lm.TokenLogps(lm)(packed, *packing.targets(packed, MASKS))
    assert made == [3, 3, 3, 3] and not any(shape[-1:] == (vocabulary,) for shape in kept)
    logps.sum().backward()
    assert made == [3, 3, 3, 3] * 2  # made again in the backward pass


def test_few_logits_are_one_chunk_that_is_not_made_again(load_lm):
    lm, calls = load_lm("llama"), []
    lm.get_output_embeddings().register_forward_hook(lambda *_: calls.append(1))
    packed = packing.pack(IDS)
    causal_lm.TokenLogps(lm)(packed, *packing.targets(packed, MASKS)).sum().backward()
    assert len(calls) == 1
