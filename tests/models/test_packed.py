"""Packed sequences beside plain transformers, one architecture after another: each sequence must see itself only."""

import pytest
import torch
import transformers as hf

from korlhf.core.errors import InputError
from korlhf.data import packing
from korlhf.models import attention, packed
from korlhf.models.causal_lm import TokenLogps
from korlhf.models.reward_model import TokenValues

SIZE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,  # large, so that every mistake moves the outputs
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WIDE = SIZE | {"intermediate_size": 48}
GROUPED = WIDE | {"num_key_value_heads": 2}
HEAD = GROUPED | {"head_dim": 8}
WINDOW = {"sliding_window": 6}  # shorter than the longest of SEQUENCES
MIXED = WINDOW | {"layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
SHARED = EXPERTS | {"shared_expert_intermediate_size": 24}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
DEEPSEEK = LATENT | {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.4, "dropout": 0.0}

# Which packs is pinned: one that stops packing after an update of transformers would only be slower, and not be seen.
PACKS = {
    "gpt_neox": lambda: hf.GPTNeoXConfig(**WIDE),  # Polyglot-Ko
    "llama": lambda: hf.LlamaConfig(**GROUPED),  # Kanana 1.5, Bllossom
    "mistral past the window": lambda: hf.MistralConfig(**GROUPED, **WINDOW),
    "qwen2": lambda: hf.Qwen2Config(**GROUPED),
    "qwen2_moe": lambda: hf.Qwen2MoeConfig(**GROUPED, **SHARED),
    "qwen3": lambda: hf.Qwen3Config(**HEAD),
    "qwen3_moe": lambda: hf.Qwen3MoeConfig(**HEAD, **EXPERTS),
    "gemma": lambda: hf.GemmaConfig(**HEAD),
    "gemma2 past the window": lambda: hf.Gemma2Config(**HEAD, **WINDOW, attn_logit_softcapping=2.0),
    "gemma3 past the window": lambda: hf.Gemma3TextConfig(**HEAD, **MIXED),
    "phi": lambda: hf.PhiConfig(**WIDE),
    "phi3": lambda: hf.Phi3Config(**GROUPED),
    "olmo2": lambda: hf.Olmo2Config(**GROUPED),
    "cohere": lambda: hf.CohereConfig(**GROUPED),
    "cohere2 past the window": lambda: hf.Cohere2Config(**GROUPED, **MIXED),
    "granite": lambda: hf.GraniteConfig(**GROUPED),
    "exaone4 past the window": lambda: hf.Exaone4Config(**GROUPED, **MIXED),
    "hyperclovax": lambda: hf.HyperCLOVAXConfig(**GROUPED),
    "deepseek_v3": lambda: hf.DeepseekV3Config(**WIDE, **DEEPSEEK, num_key_value_heads=4),  # Kanana 2
    "gpt_oss with sinks": lambda: hf.GptOssConfig(**HEAD, **MIXED, num_local_experts=4, num_experts_per_tok=2),
    "stablelm": lambda: hf.StableLmConfig(**GROUPED),
    "gpt2": lambda: hf.GPT2Config(**SIZE, **NO_DROPOUT),
    "opt": lambda: hf.OPTConfig(**SIZE, **OPT),
}
NO_REGISTRY, NO_WINDOW = "not taken from transformers' registry", "sliding window does not come to the attention"
IN_ROWS = {
    "bloom": (lambda: hf.BloomConfig(**SIZE), NO_REGISTRY),
    "falcon rotary": (lambda: hf.FalconConfig(**SIZE, alibi=False), NO_REGISTRY),
    "falcon alibi": (lambda: hf.FalconConfig(**SIZE, alibi=True), NO_REGISTRY),
    "mpt": (lambda: hf.MptConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=4, initializer_range=0.4), NO_REGISTRY),
    "gptj": (lambda: hf.GPTJConfig(vocab_size=97, n_embd=32, n_layer=2, n_head=4, rotary_dim=4), NO_REGISTRY),
    # transformers tells its attention of the window by the mask only; so with windows too long to be tried
    "qwen2_moe with windows": (
        lambda: hf.Qwen2MoeConfig(**GROUPED, **SHARED, use_sliding_window=True, sliding_window=100),
        NO_WINDOW,
    ),
    "lfm2": (lambda: hf.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]), "it has layers of conv"),
}


def sequences(lengths=(9, 4, 14, 5)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 97, (n,), generator=generator).tolist() for n in lengths]


PROMPT = [7, 50, 23, 11, 90, 4, 66, 31, 8]  # longer than the windows
BEHIND = [PROMPT + answer for answer in ([12, 13, 14, 15], [16], [17, 18, 19, 20, 21, 22, 23, 24])]
SHARING = [BEHIND[0], [5, 9, 40], BEHIND[1], BEHIND[2]], [len(PROMPT), 2, len(PROMPT), len(PROMPT)]
PLAIN = sequences(), ()


def make(config, auto_class=hf.AutoModelForCausalLM, **kwargs):
    torch.manual_seed(0)
    return auto_class.from_config(config, **kwargs).eval()


def logps(lm, given=PLAIN, **kwargs):
    """Log-probabilities of every token but the first ones, packed."""
    together = packing.pack(*given)
    return TokenLogps(lm, **kwargs)(together, *packing.targets(together, [[1] * len(s) for s in given[0]]))


def alone(lm, given=PLAIN):
    """The same by transformers itself, one sequence at a time."""
    parts = []
    for s in given[0]:
        all_logps = lm(torch.tensor([s]), use_cache=False).logits[0, :-1].float().log_softmax(-1)
        parts.append(all_logps.gather(1, torch.tensor(s[1:])[:, None])[:, 0])
    return torch.cat(parts)


def gradient(lm, values):
    """Of a sum with weights, so that each token counts differently; gradients flow to every weight."""
    lm.zero_grad()
    (values * torch.linspace(0.5, 1.5, len(values))).sum().backward()
    return torch.cat([p.grad.flatten() for p in lm.parameters() if p.grad is not None])


def check_equals_alone(lm, given=PLAIN, **kwargs):
    plain = alone(lm, given)
    expected = gradient(lm, plain)
    together = logps(lm, given, **kwargs)
    assert torch.allclose(together, plain, atol=1e-5)
    found = gradient(lm, together)
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.parametrize("name", PACKS)
def test_packed_equals_alone(name, capsys):
    lm = make(PACKS[name]())
    check_equals_alone(lm)
    assert lm.packs and "not packed" not in capsys.readouterr().out


@pytest.mark.parametrize("name", PACKS)
def test_a_shared_prompt_is_computed_once(name, capsys):
    lm, rows = make(PACKS[name]()), []
    check_equals_alone(lm, SHARING)
    lm.base_model.register_forward_pre_hook(lambda _, args, kw: rows.append(kw["input_ids"].numel()), with_kwargs=True)
    logps(lm, SHARING)
    assert lm.shares and rows == [9 + 4 + 3 + 1 + 8] and "for each" not in capsys.readouterr().out


@pytest.mark.parametrize("name", IN_ROWS)
def test_what_cannot_be_packed_is_padded_and_says_so_once(name, capsys):
    config, why = IN_ROWS[name]
    lm = make(config())
    check_equals_alone(lm, SHARING)
    check_equals_alone(lm)
    printed = capsys.readouterr().out
    assert not lm.packs and printed.count("is not packed, but padded to rows of one sequence") == 1 and why in printed


@pytest.mark.parametrize("config", [PACKS["llama"], PACKS["opt"], IN_ROWS["bloom"][0], PACKS["gemma3 past the window"]])
def test_values_packed_and_alone(config):
    one_label = config()
    one_label.num_labels = 1
    model = make(one_label, hf.AutoModelForSequenceClassification)
    with torch.no_grad():
        values = TokenValues(model)(packing.pack(sequences())).split([len(s) for s in sequences()])
        for s, of_one in zip(sequences(), values):
            hidden = model.base_model(torch.tensor([s]), use_cache=False).last_hidden_state[0]
            assert torch.allclose(of_one, model.score(hidden)[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["gpt_neox", "gemma2 past the window", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_is_no_leak(name, dtype):
    lm = make(PACKS[name](), dtype=dtype)
    with torch.no_grad():
        assert torch.isfinite(logps(lm)).all()
    assert lm.packs


@pytest.mark.parametrize("name", ["llama", "gemma3 past the window"])
def test_gradient_checkpointing_keeps_the_bounds(name):
    lm = make(PACKS[name]())
    expected = gradient(lm, alone(lm))
    lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    found = gradient(lm.train(), logps(lm))
    assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_off_gives_rows_of_one_sequence(name, monkeypatch):
    monkeypatch.setattr(packed, "_one_row", None)
    check_equals_alone(make(PACKS[name]()), packing="off")


def test_on_refuses_what_cannot_be_packed():
    with torch.no_grad():
        assert torch.equal(logps(make(PACKS["llama"]()), packing="on"), logps(make(PACKS["llama"]())))
        with pytest.raises(InputError, match="--packing on: bloom cannot be packed: its attention .* --packing auto"):
            logps(make(IN_ROWS["bloom"][0]()), packing="on")


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 1e-5), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gpt2", "opt", "mistral past the window"])
def test_an_attention_that_ignores_the_bounds_is_caught(name, dtype, atol, monkeypatch, capsys):
    def leaking(*args, **kwargs):
        *states, mask = args
        everything = mask if mask is None or mask.dtype != torch.int32 else mask[..., [0, -1]]
        return attention._attention("sdpa", *states, everything, **kwargs)

    monkeypatch.setitem(hf.AttentionInterface._global_mapping, "packed_sdpa", leaking)
    lm = make(PACKS[name](), dtype=dtype)
    with torch.no_grad():
        assert torch.allclose(logps(lm), alone(lm), atol=atol)
    assert not lm.packs and "packed sequences see each other" in capsys.readouterr().out


def test_an_attention_that_ignores_the_window_is_caught(monkeypatch, capsys):
    def boundless(*args, sliding_window=None, **kwargs):
        return attention._attention("sdpa", *args, **kwargs)

    monkeypatch.setitem(hf.AttentionInterface._global_mapping, "packed_sdpa", boundless)
    lm = make(PACKS["mistral past the window"]())
    with torch.no_grad():
        assert torch.allclose(logps(lm), alone(lm), atol=1e-5)
    assert not lm.packs and "window" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "opt"])
def test_an_attention_that_ignores_the_prompts_is_caught(name, monkeypatch, capsys):
    def forgetful(*args, **kwargs):
        *states, mask = args
        if mask is not None and mask.dtype == torch.int32:
            mask = torch.stack([mask[:, :, 0], torch.full_like(mask[:, :, 0], -1)], 2)
        return attention._attention("sdpa", *states, mask, **kwargs)

    monkeypatch.setitem(hf.AttentionInterface._global_mapping, "packed_sdpa", forgetful)
    lm = make(PACKS[name]())
    check_equals_alone(lm, SHARING)
    told = "computes a prompt for each of its answers: packed sequences see each other"
    assert lm.packs and not lm.shares and told in capsys.readouterr().out


def by_bounds(query, key, value, starts, scale, window=None, key_starts=None):
    """A variable-length kernel by plain softmax: (T, H, D) -> (T, H, D). starts: S + 1 integers; a sequence's last
    query is at its last key. key_starts: where the keys are others than the queries.
    """
    groups = query.size(1) // key.size(1)
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    starts, key_starts = starts.long(), (starts if key_starts is None else key_starts).long()
    (q_of, q_left), (k_of, k_left) = (
        (of := torch.bucketize(torch.arange(len(x)), s, right=True), s[of] - torch.arange(len(x)))
        for x, s in ((query, starts), (key, key_starts))
    )
    behind = k_left - q_left[:, None]
    seen = (behind >= 0) & (q_of[:, None] == k_of) & (behind < (window or len(key)))
    scores = torch.einsum("qhd,khd->hqk", query, key) * (scale or query.size(-1) ** -0.5)
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, float("-inf")).softmax(-1), value)


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "mistral past the window", "opt"])
def test_torchs_variable_length_kernel_gets_the_bounds(name, monkeypatch):
    lm, calls = make(PACKS[name]()), []

    def kernel(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size, enable_gqa):
        calls.append((cu_q.tolist(), cu_k.tolist(), max_q, max_k))
        assert window_size[1] == 0 and enable_gqa == (query.size(1) != key.size(1))
        return by_bounds(query, key, value, cu_q, scale, window_size[0] + 1, cu_k)

    monkeypatch.setattr(attention, "_fits_varlen", lambda *_: True)
    monkeypatch.setattr(attention, "varlen_attn", kernel)
    check_equals_alone(lm, packing="on")
    assert calls[-1] == ([0, 9, 13, 27, 32], [0, 9, 13, 27, 32], 14, 14)
    check_equals_alone(lm, SHARING)
    assert lm.shares and calls[-1] == ([0, 9, 13, 16, 17, 25], [0, 9, 22, 25, 35, 52], 9, 17)


def flash(kernel, monkeypatch):
    """transformers' flash_attention_2 with a stand-in kernel on the CPU."""

    def whole(query, key, value, softmax_scale=None, window_size=(-1, -1), **_):
        rows = zip(query, key, value)
        ends = torch.tensor([0, query.size(1)])
        return torch.stack([by_bounds(*row, ends, softmax_scale, window_size[0] + 1) for row in rows])

    def arguments(softmax_scale=None, sliding_window=None, **kwargs):
        window = {"window_size": (sliding_window - 1, 0)} if sliding_window else {}
        return {"softmax_scale": softmax_scale, **window, **{k: v for k, v in kwargs.items() if "seqlen" in k}}

    functions = (whole, kernel, None, None, None), (arguments, None)
    imported = "transformers.modeling_flash_attention_utils.lazy_import_flash_attention"
    monkeypatch.setattr(imported, lambda *_, **__: functions)


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "mistral past the window", "opt"])
def test_flash_attention_2_gets_the_bounds(name, monkeypatch):
    lm, calls = make(PACKS[name]()), []

    def kernel(q, k, v, cu_seqlens_q, cu_seqlens_k, softmax_scale=None, window_size=(-1, -1), max_seqlen_q=0, **_):
        calls.append((cu_seqlens_q.tolist(), cu_seqlens_k.tolist(), max_seqlen_q))
        return by_bounds(q, k, v, cu_seqlens_q, softmax_scale, window_size[0] + 1)

    flash(kernel, monkeypatch)
    lm.config._attn_implementation = "flash_attention_2"
    check_equals_alone(lm, SHARING)
    check_equals_alone(lm)
    assert lm.packs and not lm.shares and calls[-1] == ([0, 9, 13, 27, 32], [0, 9, 13, 27, 32], 14)


def test_a_flash_kernel_that_ignores_the_bounds_is_caught(monkeypatch):
    def kernel(q, k, v, cu_seqlens_q, softmax_scale=None, **_):
        return by_bounds(q, k, v, cu_seqlens_q[[0, -1]], softmax_scale)

    flash(kernel, monkeypatch)
    lm = make(PACKS["llama"]())
    lm.config._attn_implementation = "flash_attention_2"
    with pytest.raises(InputError, match="packed sequences see each other"):
        logps(lm, packing="on")
