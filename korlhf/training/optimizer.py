"""AdamW over the groups of a model's weights, whose steps are left out if gradients are not finite."""

import math
from typing import Any

import torch
from torch import nn

from korlhf.training.flags import ModelFlags


def parameter_groups(module: nn.Module, flags: ModelFlags) -> list[dict]:
    """Trainable parameters in up to four groups: LoRA or not, decayed or not (biases, norms and other vectors are
    not).
    """
    groups: dict[tuple[bool, bool], dict] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            lora, decayed = "lora_" in name, p.ndim > 1
            rate = flags.lora_learning_rate if lora else flags.learning_rate
            new = {"params": [], "lr": rate, "weight_decay": flags.weight_decay if decayed else 0.0}
            groups.setdefault((lora, decayed), new)["params"].append(p)
    return list(groups.values())


def is_unchecked(dtype: str, zero_stage: int) -> bool:
    """Whether DeepSpeed takes steps without a look at the gradients; else its own optimizers look, and clip."""
    return dtype == "fp32" and zero_stage == 0


class CheckedAdamW(torch.optim.AdamW):
    """AdamW that clips to `max_grad_norm` (0 = off), and leaves out a step whose gradients are not finite.

    DeepSpeed reads `overflow`, and then leaves the schedule where it is, and `_global_grad_norm`.
    """

    max_grad_norm = 0.0
    overflow = False
    _global_grad_norm: float | None = None

    def step(self, closure: Any = None) -> Any:
        trained = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained])
        self._global_grad_norm = float(norm)
        self.overflow = not math.isfinite(self._global_grad_norm)
        if self.overflow:
            return None
        if self.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(trained, self.max_grad_norm, norm)
        return super().step(closure)


def open_optimizer(module: nn.Module, flags: ModelFlags, dtype: str, max_grad_norm: float) -> torch.optim.AdamW:
    """The optimizer of a module's trainable weights; dtype: a key of world.DTYPES."""
    groups, betas = parameter_groups(module, flags), (flags.adam_beta1, flags.adam_beta2)
    if not is_unchecked(dtype, flags.zero_stage):
        return torch.optim.AdamW(groups, betas=betas, fused=True)
    optimizer = CheckedAdamW(groups, betas=betas, fused=True)
    optimizer.max_grad_norm = max_grad_norm
    return optimizer
