"""Attention of one new token per row on a CPU, as two matrix products.

torch's fused kernel for CPUs takes twice as long for a single query (16 rows, 8 heads of 32, 100 tokens). In fp32 only:
the products would round scores to half precision, which the kernel does not.
"""

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME, REPLACED = "one_query", ("sdpa", "packed_sdpa")


def _attention(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """An attention function of transformers: query (B, H, T, D), key and value (B, KV heads, L, D) -> (B, T, H, D)."""
    extra = any(kwargs.get(k) is not None for k in ("softcap", "s_aux", "position_bias"))
    plain = attention_mask is not None and attention_mask.dtype == torch.bool and attention_mask.size(1) == 1
    if query.size(2) > 1 or extra or not plain:
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    rows, heads, _, size = query.shape
    groups = key.size(1)
    unseen = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(~attention_mask, float("-inf"))
    scores = query.reshape(rows * groups, heads // groups, size) @ key.flatten(0, 1).transpose(1, 2)
    scores = scores.view(rows, groups, heads // groups, -1).mul_(size**-0.5 if scaling is None else scaling)
    weights = scores.add_(unseen).softmax(-1).flatten(0, 1)
    return (weights @ value.flatten(0, 1)).view(rows, 1, heads, -1), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


@contextlib.contextmanager
def one_query_attention(model: Any) -> Generator[None]:
    """While inside, a transformers model on a CPU uses it where it would use sdpa."""
    before, weight = model.config._attn_implementation, model.get_input_embeddings().weight
    faster = weight.device.type == "cpu" and weight.dtype == torch.float32 and before in REPLACED
    if not (faster and model._can_set_attn_implementation()):
        yield
        return
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
