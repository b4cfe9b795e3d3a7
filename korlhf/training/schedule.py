"""Learning-rate schedules with the names and values of transformers, whose get_scheduler imports its Trainer with all
that may belong to it (peft, bitsandbytes): one to two seconds of every start.
"""

import math
from functools import partial
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

POLYNOMIAL_END = 1e-4  # share of the peak that is left


def open_schedule(name: str, optimizer: Any, num_warmup_steps: int, total_steps: int) -> LambdaLR:
    """The schedule `name`, one of SCHEDULES in training/flags.py, over the learning rates of the optimizer's groups."""
    return LambdaLR(optimizer, partial(share, name=name, warmup=num_warmup_steps, total=total_steps))


def restart_schedule(schedule: Any) -> None:
    """Give the optimizer the rates of `schedule` at the step it stands at, in the place of those that were loaded: they
    may be of a run of another length.
    """
    shares = [of(schedule.last_epoch) for of in schedule.lr_lambdas]
    schedule._last_lr = [base * share for base, share in zip(schedule.base_lrs, shares)]
    for group, rate in zip(schedule.optimizer.param_groups, schedule._last_lr):
        group["lr"] = rate


def share(step: int, name: str, warmup: int, total: int) -> float:
    """Share of the peak learning rate after `step` of `total` optimizer steps."""
    if name == "constant":
        return 1.0
    if step < warmup:
        return step / warmup
    length = max(1, total - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / length)))
    left = max(0.0, (total - step) / length)
    return {
        "constant_with_warmup": 1.0,
        "linear": left,
        "polynomial": (1 - POLYNOMIAL_END) * left + POLYNOMIAL_END,  # of power 1
        "cosine": cosine,
        "cosine_with_restarts": cosine,  # one cycle
    }[name]
