"""The forward pass over packed sequences: the one place that tells transformers which tokens belong together.

Most architectures take one row of all sequences and their bounds: no padding, no mask, and a prompt that answers share
once (as Wang and Hegde do for pairs, arXiv 2410.20305). Those that would mix the sequences up (ALiBi, attention of
their own) get rows of one sequence, padded on the right. No list says which: before its first pass each model shows it
on short sequences, packed and alone.
"""

from itertools import pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from korlhf.core.errors import InputError
from korlhf.data.packing import Packed, pack
from korlhf.models.attention import PACKED, bounds_as_mask

SEEN_WHOLE = 64  # a sliding window up to this many tokens is tried with a sequence that is longer


def hidden_states(model: Any, packed: Packed, packing: str = "auto") -> torch.Tensor:
    """Last hidden states of packed sequences, (T, D). model: a transformers model with a head.

    packing: "auto" packs if the self-test agrees; "on" does too, but raises InputError if it does
    not; "off": rows of one sequence.
    """
    if packing != "off" and not hasattr(model, "packs"):
        model.packs, model.shares = _decide(model, packing)
    packs = packing != "off" and model.packs
    if packed.shared and not (packs and model.shares):
        whole, at = packed.apart()
        return hidden_states(model, whole, packing)[at]
    return _one_row(model, packed) if packs else _padded_rows(model, packed)


def _one_row(model, packed):
    """All parts behind each other: no token is computed that is not there."""
    if "flash" in model.config._attn_implementation:  # transformers' own protocol for rows without padding
        bounds = torch.tensor(packed.bounds, dtype=torch.int32).to(packed.ids.device, non_blocking=True)
        longest = max(end - start for start, end in pairwise(packed.bounds))
        kwargs = {f"cu_seq_lens_{x}": bounds for x in "qk"} | {f"max_length_{x}": longest for x in "qk"}
    else:
        kwargs = {"attention_mask": bounds_as_mask(packed.bounds, packed.prompts)}
    row, positions = packed.ids[None], packed.position_ids[None]
    return model.base_model(input_ids=row, position_ids=positions, use_cache=False, **kwargs).last_hidden_state[0]


def _padded_rows(model, packed):
    """A row per sequence, padded on the right under a mask: each architecture makes its positions itself."""
    lengths = torch.tensor(packed.bounds).diff().to(packed.ids.device, non_blocking=True)
    rows = pad_sequence(packed.ids.split([e - s for s, e in pairwise(packed.bounds)]), batch_first=True)  # (S, L)
    mask = torch.arange(rows.size(1), device=rows.device) < lengths[:, None]
    out = model.base_model(input_ids=rows, attention_mask=mask.long(), use_cache=False).last_hidden_state
    row = torch.arange(len(rows), device=rows.device).repeat_interleave(lengths, output_size=len(packed.ids))
    return out[row, packed.position_ids]


def _decide(model, packing):
    """Whether packed sequences go through `model` as one row, and whether prompts can be shared; a line if not."""
    problem = _problem(model)
    if problem and packing == "on":
        raise InputError(f"--packing on: {model.config.model_type} cannot be packed: {problem}; give --packing auto")
    told = f"is not packed, but padded to rows of one sequence: {problem}" if problem else ""
    mixed_up = problem
    if not problem:  # transformers' own protocol for rows without padding knows no prompts
        mixed_up = "flash" in model.config._attn_implementation or _leak(model, shared=True)
        told = f"computes a prompt for each of its answers: {mixed_up}" if isinstance(mixed_up, str) else ""
    if told and not (torch.distributed.is_initialized() and torch.distributed.get_rank()):
        print(f"{model.config.model_type} {told}", flush=True)
    return not problem, not mixed_up


def _problem(model):
    """What speaks against packing, or None. The attention of ours is set if nothing does."""
    plain = (model.config._attn_implementation or "").removeprefix("packed_")  # a config of a packed model has it
    if "flash" not in plain:
        if plain not in PACKED or not model._can_set_attn_implementation():
            return "its attention is not taken from transformers' registry"
        model.set_attn_implementation(PACKED[plain])
    problem = _leak(model)
    if problem and "flash" not in plain:
        model.set_attn_implementation(plain)
    return problem


def _leak(model, shared=False):
    """What is wrong with packed sequences in `model` as it stands, or None. shared: with those that share a prompt.

    In its own precision, short sequences packed and alone must give hidden states that differ by rounding only: by
    less than the square root of the precision's epsilon, relatively. Windows too long to be tried must have come to
    the attention.
    """
    config = model.config.get_text_config()
    kinds, window = set(getattr(config, "layer_types", None) or ()), getattr(config, "sliding_window", None) or 0
    if others := kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of {', '.join(sorted(others))}"
    lengths = [window + 3 if 0 < window <= SEEN_WHOLE else 12, 7, 5]
    sequences = [[(i * 7919 + 31 * n) % config.vocab_size for i in range(n)] for n in lengths]
    prompts = [lengths[0] - 2] * 2 if shared else []
    if shared:
        sequences = [sequences[0], sequences[0][:-2] + sequences[1]]
    try:
        together, alone = _both_ways(model, sequences, prompts)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        return f"it takes no packed sequences ({type(error).__name__}: {str(error).splitlines()[:1]})"
    windowed = "flash" not in config._attn_implementation and ("sliding_attention" in kinds or window and not kinds)
    if windowed and not any(getattr(module, "seen_window", None) for module in model.modules()):
        return "its sliding window does not come to the attention"
    difference = float((together - alone).norm() / alone.norm())
    if not difference <= _epsilon(model) ** 0.5:  # a NaN too
        return f"packed sequences see each other (hidden states differ by {difference:.2g}, relatively)"
    return None


def _epsilon(model):
    """Of the coarsest precision that it computes in; weights of 4 bits say which in compute_dtype."""
    kinds = {p.dtype for p in model.parameters()} | {getattr(m, "compute_dtype", None) for m in model.modules()}
    return max(torch.finfo(k).eps for k in kinds if k is not None and k.is_floating_point)


@torch.no_grad()
def _both_ways(model, sequences, prompts):
    """Hidden states of `sequences` packed and one at a time, (T, D) fp32 each, without dropout."""
    device, training = model.get_input_embeddings().weight.device, model.training
    packed = pack(sequences, prompts).to(device)
    at = [i for parts in packed.sequences() for part in parts for i in part]
    model.eval()
    try:
        together = _one_row(model, packed)
        alone = [model.base_model(input_ids=torch.tensor([s], device=device), use_cache=False) for s in sequences]
    finally:
        model.train(training)
    return together[at].float(), torch.cat([out.last_hidden_state[0] for out in alone]).float()
