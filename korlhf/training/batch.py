"""The batch of a step, lowered where there are too few examples to fill one."""

from dataclasses import replace
from typing import Any, TypeVar

from korlhf.core.errors import InputError
from korlhf.training.flags import TrainFlags
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.world import World

F = TypeVar("F", TrainFlags, PpoFlags)


def fitting(flags: F, n: int, noun: str, world: World, settings: dict[str, Any]) -> F:
    """`flags` with batch sizes that n examples fill at least once; what is lowered is told, and noted in `settings`.

    The sequences of a forward pass are lowered before the passes of a step. Of step 3 the batch of an update follows:
    it must divide the answers of a step. Raises InputError if there is not one example for each process.
    """
    if n < world.size:
        raise InputError(f"{n} {noun} for {world.size} processes: each needs one; give more data, or start fewer")
    each = n // world.size
    if isinstance(flags, TrainFlags):
        size, passes = lowered(each, flags.per_device_train_batch_size, flags.gradient_accumulation_steps)
        new = {"per_device_train_batch_size": size, "gradient_accumulation_steps": passes}
    else:
        prompts, rounds = lowered(each, flags.prompts_at_once, flags.generation_batches)
        size = prompts * flags.num_generations
        passes = divisor(size * rounds, flags.gradient_accumulation_steps)
        new = {
            "per_device_generation_batch_size": size,
            "generation_batches": rounds,
            "per_device_training_batch_size": divisor(size * rounds // passes, flags.per_device_training_batch_size),
            "gradient_accumulation_steps": passes,
        }
    new = {name: value for name, value in new.items() if value != getattr(flags, name)}
    if new and world.first:
        told = ", ".join(f"--{name} {value} (not {getattr(flags, name)})" for name, value in new.items())
        print(f"note: {n} {noun} fill no step of the size that was asked for; lowered to {told}", flush=True)
    settings |= new
    return replace(flags, **new)


def lowered(n: int, size: int, passes: int) -> tuple[int, int]:
    """(size, passes), each 1 or more and at most what was given, so that n examples suffice for size x passes."""
    size = max(1, min(size, n // passes))
    return size, min(passes, n // size)


def divisor(n: int, limit: int) -> int:
    """The largest divisor of n up to `limit`."""
    return next(d for d in range(min(n, limit), 0, -1) if n % d == 0)
