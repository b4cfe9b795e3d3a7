"""The trained weights in equal parts, one per process: those of ZeRO-3, or such as they would be there."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F

from korlhf.models.finite import spread_part
from korlhf.training.engine import Engine
from korlhf.training.world import World


def part(whole: torch.Tensor, world: World) -> torch.Tensor:
    """This process's part of the values of a tensor, flat: equal parts in rank order, the last ones shorter."""
    size = -(-whole.numel() // world.size)
    return whole.flatten()[world.rank * size :][:size]


def own(engine: Engine) -> dict[str, torch.Tensor]:
    """This process's part of each trained weight, where it lies; names as of Engine.state_dict."""
    trained = ((name, p) for name, p in engine.module.named_parameters() if p.requires_grad)
    return {
        _inside(name): spread_part(p, engine.world.rank) if _spread(p) else part(p.detach(), engine.world)
        for name, p in trained
    }


def join(engine: Engine, parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The whole tensors of which each process has `parts`, on the CPU of rank 0; others get an empty dict.

    Weights that are tied are in it under each of their names. All processes call it.
    """
    world, module = engine.world, engine.module
    names, whole = {id(p): name for name, p in module.named_parameters()}, {}
    for name, p in module.named_parameters(remove_duplicate=False):
        if p.requires_grad:
            shape: Any = p.ds_shape if _spread(p) else p.shape
            mine = parts[_inside(names[id(p)])].to(world.device)
            everyone = _collect(F.pad(mine, (0, -(-shape.numel() // world.size) - len(mine))), world)
            if world.first:
                whole[_inside(name)] = torch.cat(everyone)[: shape.numel()].view(shape).to("cpu", copy=True)
    return whole


def _inside(name):
    """A parameter's name in the model inside TokenLogps or TokenValues."""
    return name.split(".", 1)[1]


def _spread(p) -> bool:
    return hasattr(p, "ds_id")


def _collect(tensor, world):
    """Every process's `tensor`, in rank order, on rank 0; others get an empty list."""
    if world.size == 1:
        return [tensor]
    out = [torch.empty_like(tensor) for _ in range(world.size if world.first else 0)]
    dist.gather(tensor, out or None)
    return out
