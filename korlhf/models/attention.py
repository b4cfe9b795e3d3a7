"""Attention over concatenated sequences, for every architecture that takes its attention from transformers' registry.

The bounds of the sequences travel where transformers takes a ready 4-D mask and hands it on as it is: an int32 tensor
(1, 1, 2, P + 1) on the CPU. So they reach each layer explicitly, also when gradient checkpointing runs it again.
With bounds each part goes through the architecture's own attention on its own, behind the keys of its prompt where that
is shared (no mask of T x T is made; on CUDA one variable-length kernel takes all of them); without them, e.g. when
sampling, nothing changes.
"""

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PACKED = {"sdpa": "packed_sdpa", "eager": "packed_eager"}  # transformers' name -> ours


def bounds_as_mask(bounds: list[int], prompts: list[int]) -> torch.Tensor:
    """What to give as attention_mask for one row of parts; bounds, prompts: as of packing.Packed."""
    mask = torch.tensor([bounds, [*prompts, -1]], dtype=torch.int32).view(1, 1, 2, -1)
    return mask.pin_memory() if torch.cuda.is_available() else mask


def _attention(
    plain: str,
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """An attention function of transformers: query (B, H, T, D), key and value (B, KV heads, T, D) -> (B, T, H, D)."""
    attend = _plain_attention(plain, module)
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return attend(module, query, key, value, attention_mask, **kwargs)
    window = kwargs.get("sliding_window")
    module.seen_window = window  # the self-test of packed.py asks whether the window arrived
    bounds, prompts = attention_mask[0, 0].tolist()
    if plain == "sdpa" and _fits_varlen(query, value, kwargs):
        layout = _varlen_layout(tuple(bounds), tuple(prompts), query.device)
        return _varlen(query, key, value, layout, window, kwargs.get("scaling")), None
    spans = list(pairwise(bounds))
    parts = []
    for (start, end), prompt in zip(spans, prompts):
        first = spans[prompt] if prompt >= 0 else (0, 0)
        k, v = (_behind(states, first, (start, end)) for states in (key, value))
        mask = _mask(plain, k.size(2), end - start, window, q_like=query)
        parts.append(attend(module, query[:, :, start:end], k, v, mask, **kwargs)[0])
    return torch.cat(parts, dim=1), None


def _behind(states, prompt, own):
    """States of a part, behind those of its prompt if that is not empty; both (first, end)."""
    here = states[:, :, slice(*own)]
    return torch.cat([states[:, :, slice(*prompt)], here], dim=2) if prompt[1] else here


def _plain_attention(plain: str, module: Any) -> Callable[..., Any]:
    """The registry's function, or the eager one, which each architecture has of its own in its file."""
    if plain == "eager":
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[plain]


def _mask(plain: str, keys: int, queries: int, window: int | None, q_like: torch.Tensor) -> torch.Tensor | None:
    """The mask of the last `queries` tokens of a sequence of `keys`: one sees itself and the `window` - 1 before it.

    q_like: its precision and device. None where sdpa needs none: then it takes its causal kernel.
    """
    if plain == "sdpa" and keys == queries and (not window or keys <= window):
        return None
    side = -(-keys // 256) * 256  # the mask of a shorter sequence is a corner of it: few are made
    return _square(plain, side, window, q_like.dtype, q_like.device)[..., keys - queries : keys, :keys]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # or a mask made while evaluating could not be used in training
def _square(plain, side, window, dtype, device):
    behind = torch.arange(side, device=device)[:, None] - torch.arange(side, device=device)
    seen = ((behind >= 0) & (behind < (window or side)))[None, None]
    if plain == "sdpa":
        return seen
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


def _fits_varlen(query: torch.Tensor, value: torch.Tensor, kwargs: dict[str, Any]) -> bool:
    """Whether torch's kernel computes this: on CUDA, in half precision, heads of one size, nothing extra."""
    half = query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)
    extra = kwargs.get("dropout") or any(kwargs.get(k) is not None for k in ("softcap", "s_aux", "position_bias"))
    return half and not extra and query.size(-1) == value.size(-1) <= 256 and query.size(-1) % 8 == 0


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _varlen_layout(bounds, prompts, device):
    """(where the queries of each part end, where its keys end, most of either, which keys: None = all in order)."""
    spans = list(pairwise(bounds))
    ranges = [[*range(*spans[p])] * (p >= 0) + [*range(*own)] for own, p in zip(spans, prompts)]
    ends, most = [0, *accumulate(map(len, ranges))], (max(e - s for s, e in spans), max(map(len, ranges)))
    q, k = (torch.tensor(x, dtype=torch.int32, device=device) for x in (bounds, ends))
    order = torch.tensor([i for one in ranges for i in one], device=device) if max(prompts) >= 0 else None
    return q, k, most, order


def _varlen(query, key, value, layout, window, scale):
    """All parts in one kernel (torch.nn.attention.varlen): states of one row -> (1, T, H, D)."""
    q_bounds, k_bounds, (longest_q, longest_k), order = layout
    flat = [states[0].transpose(0, 1) for states in (query, key, value)]  # (T, heads, D)
    if order is not None:
        flat[1:] = (states[order] for states in flat[1:])
    left = window - 1 if window and window < longest_k else -1
    grouped = query.size(1) != key.size(1)
    out: Any = varlen_attn(
        *flat, q_bounds, k_bounds, longest_q, longest_k, scale=scale, window_size=(left, 0), enable_gqa=grouped
    )
    return out[None]


for _plain, _name in PACKED.items():
    AttentionInterface.register(_name, partial(_attention, _plain))
    AttentionMaskInterface.register(_name, ALL_MASK_ATTENTION_FUNCTIONS[_plain])
