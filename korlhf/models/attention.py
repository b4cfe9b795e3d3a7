"""Attention over concatenated sequences, for every architecture that takes its attention from transformers' registry.

The bounds of the sequences travel where transformers takes a ready 4-D mask and hands it on as it is: an int32 tensor
(1, 1, 1, S + 1) on the CPU. So they reach each layer explicitly, also when gradient checkpointing runs it again.
With bounds each sequence goes through the architecture's own attention on its own (no mask of T x T is made; on CUDA
one variable-length kernel takes all of them); without them, e.g. when sampling, nothing changes.
"""

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PACKED = {"sdpa": "packed_sdpa", "eager": "packed_eager"}  # transformers' name -> ours


def bounds_as_mask(bounds: list[int]) -> torch.Tensor:
    """What to give as attention_mask for one row of sequences that end at `bounds` (which begins with 0)."""
    mask = torch.tensor(bounds, dtype=torch.int32).view(1, 1, 1, -1)
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
    if plain == "sdpa" and _fits_varlen(query, value, kwargs):
        return _varlen(query, key, value, attention_mask, window, kwargs.get("scaling")), None
    lengths = attention_mask.flatten().diff().tolist()
    parts = []
    for q, k, v in zip(*(states.split(lengths, dim=2) for states in (query, key, value))):
        mask = _mask(plain, q.size(2), window, q.dtype, q.device)
        parts.append(attend(module, q, k, v, mask, **kwargs)[0])
    return torch.cat(parts, dim=1), None


def _plain_attention(plain: str, module: Any) -> Callable[..., Any]:
    """The registry's function, or the eager one, which each architecture has of its own in its file."""
    if plain == "eager":
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[plain]


def _mask(plain: str, length: int, window: int | None, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
    """The mask of one whole sequence of `length` tokens: a query sees itself and the `window` - 1 before it.

    None where sdpa needs none: then it takes its causal kernel.
    """
    if plain == "sdpa" and (not window or length <= window):
        return None
    side = -(-length // 256) * 256  # the mask of a shorter sequence is a corner of it: few are made
    return _square(plain, side, window, dtype, device)[..., :length, :length]


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


def _varlen(query, key, value, mask, window, scale):
    """All sequences in one kernel (torch.nn.attention.varlen): states of one row -> (1, T, H, D)."""
    bounds, longest = mask.flatten().to(query.device, non_blocking=True), int(mask.diff().max())
    flat = [states[0].transpose(0, 1) for states in (query, key, value)]  # (T, heads, D)
    left = window - 1 if window and window < longest else -1
    grouped = query.size(1) != key.size(1)
    out: Any = varlen_attn(
        *flat, bounds, bounds, longest, longest, scale=scale, window_size=(left, 0), enable_gqa=grouped
    )
    return out[None]


for _plain, _name in PACKED.items():
    AttentionInterface.register(_name, partial(_attention, _plain))
    AttentionMaskInterface.register(_name, ALL_MASK_ATTENTION_FUNCTIONS[_plain])
