"""The processes of a training and the precision that they compute in. Needs no DeepSpeed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from korlhf.core.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class World:
    """This process among all."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls) -> "World":
        """One process, on the GPU if there is one."""
        return cls(0, 1, torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, values: Sequence[Any] | torch.Tensor) -> torch.Tensor:
        """Element-wise sum over all processes of a list of numbers or a tensor; fp64, so counts stay exact."""
        total = torch.as_tensor(values, dtype=torch.float64).clone().to(self.device)
        if self.size > 1:
            dist.all_reduce(total)
        return total

    def gather(self, thing: Any) -> list[Any]:
        """Every process's `thing` (small, picklable), in rank order, on every process."""
        if self.size == 1:
            return [thing]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, thing)
        return out

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def resolve_dtype(name: str, device: torch.device) -> str:
    """--dtype to "fp32", "bf16" or "fp16".

    auto: bf16 on GPUs that have it, fp32 elsewhere (CPUs without bf16 units emulate it, 50 times slower).
    """
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise InputError("--dtype fp16: DeepSpeed has no fp16 on CPU; use --dtype auto")
    return name


def cast_parameters(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast the parameters and leave the buffers: rounded rotary frequencies would be another model.

    Before the move to the GPU, which then never holds fp32 weights (DeepSpeed makes its fp32 masters from the cast
    ones).
    """
    for parameter in module.parameters():
        if parameter.is_floating_point():  # weights of four bits are packed into integers
            parameter.data = parameter.data.to(dtype)
    return module
