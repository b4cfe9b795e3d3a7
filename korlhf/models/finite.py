"""Whether all weights of a model are finite numbers, also where ZeRO-3 spreads them over processes."""

from collections.abc import Container
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from korlhf.core.errors import InputError


def spread_part(p: Any, rank: int) -> torch.Tensor:
    """The part of a parameter that ZeRO-3 gave to process `rank`, flat, without what it is padded with."""
    return p.ds_tensor.flatten()[: max(0, p.ds_numel - rank * p.ds_tensor.ds_numel)]


@torch.no_grad()
def non_finite(module: nn.Module, skip: Container[str] = ()) -> str | None:
    """The name of the first weight that holds NaN or infinity, or None; skip: names that are not looked at.

    One pass over the weights without copies of them, one wait for a GPU. Of weights that are spread each process looks
    at its own part, and all get the same answer: all processes call it.
    """
    named, spread = [], False
    for name, p in module.named_parameters():
        values = p.detach()
        if hasattr(p, "ds_tensor"):
            values, spread = spread_part(p, dist.get_rank()), True
        named.append((name, values if p.is_floating_point() and name not in skip else values[:0]))
    flags = torch.tensor([not ok for ok in _all_finite([values for _, values in named])], dtype=torch.uint8)
    if spread:
        flags = flags.to("cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return next((name for (name, _), flag in zip(named, flags.tolist()) if flag), None)


def _all_finite(tensors):
    """Of each tensor whether it is finite: its smallest and its largest value say so, and NaN is both."""
    extremes = [torch.stack(t.aminmax()).isfinite().all() if t.numel() else None for t in tensors]
    on = {}  # one transfer per device
    for flag in extremes:
        if flag is not None:
            on.setdefault(flag.device, []).append(flag)
    known = {device: iter(torch.stack(flags).tolist()) for device, flags in on.items()}
    return [flag is None or next(known[flag.device]) for flag in extremes]


def check_finite(module: nn.Module, what: str, path: str, skip: Container[str] = ()) -> None:
    """Raises InputError if a model that was loaded from `path`, given as the flag `what`, has weights that are not
    finite; skip: as of non_finite.
    """
    if name := non_finite(module, skip):
        half = next(module.parameters()).dtype == torch.float16
        raise InputError(
            f"{what} {path}: {name} holds NaN or infinity"
            + (" in fp16; use bf16 or fp32, or if it does there too" if half else ", so the model is broken;")
            + " give an earlier checkpoint, or train it again with a lower learning rate"
        )
