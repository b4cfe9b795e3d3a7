"""Packing: the sequences of a batch one behind the other, without padding, each with positions that start at 0 again.

Where each begins and ends travels with the ids (`bounds`); models/packed.py takes care that none sees another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from korlhf.core.errors import InputError
from korlhf.core.seeds import derive


@dataclass(frozen=True)
class Packed:
    """S concatenated sequences of T tokens together.

    ids, position_ids (T,) int64. starts, lengths (S,) int64: where sequence s begins in ids, and its tokens. bounds:
    0 and where each sequence's part of ids ends, S + 1 integers on the CPU, so that no kernel waits for them.
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor
    bounds: list[int]

    def to(self, device: torch.device | str) -> "Packed":
        parts = (self.ids, self.position_ids, self.starts, self.lengths)
        return Packed(*(t.to(device, non_blocking=True) for t in parts), self.bounds)

    @property
    def last(self) -> torch.Tensor:
        """Index of each sequence's last token in ids, (S,)."""
        return self.starts + self.lengths - 1


def pack(sequences: Sequence[Sequence[int]]) -> Packed:
    """Lists of token ids (each at least one token) -> Packed, in their order."""
    lengths = [len(s) for s in sequences]
    if not lengths or min(lengths) < 1:
        raise ValueError("pack needs at least one sequence, and no empty ones")
    ids = torch.tensor([token for s in sequences for token in s])
    positions = torch.cat([torch.arange(n) for n in lengths])
    bounds = [0, *accumulate(lengths)]
    return Packed(ids, positions, torch.tensor(bounds[:-1]), torch.tensor(lengths), bounds)


def targets(packed: Packed, masks: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are predicted, and from where.

    masks: one list of 0/1 per sequence, in `pack`'s order. Returns (logits_at, targets), both (M,): token j of a
    sequence with mask 1 and j > 0 is a target, predicted by the logits at the index of the token in front of it.
    """
    before = [start + j - 1 for start, mask in zip(packed.bounds, masks) for j, m in enumerate(mask) if m and j]
    logits_at = torch.tensor(before, dtype=torch.long, device=packed.ids.device)
    return logits_at, packed.ids[logits_at + 1]


def batches(
    n: int, batch_size: int, rank: int, world: int, accumulation: int, seed: int, epoch: int
) -> Iterator[tuple[list[list[int]], list[int]]]:
    """The order of one epoch: yields (mine, everyone's) indices of one optimizer step at a time.

    mine: `accumulation` lists of `batch_size` indices for this rank; everyone's: all batch_size x world x accumulation
    of them. A new permutation each epoch, the same on every machine. What does not fill a whole step is left out of
    this epoch, other examples each time, so that every rank always has equally many.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(derive(seed, epoch))).tolist()
    step = batch_size * world * accumulation
    for start in range(0, n - step + 1, step):
        chunk = order[start : start + step]
        yield (
            [chunk[(a * world + rank) * batch_size : (a * world + rank + 1) * batch_size] for a in range(accumulation)],
            chunk,
        )


def steps_per_epoch(
    n: int,
    batch_size: int,
    world: int,
    accumulation: int,
    what: str = "examples",
    flag: str = "--per_device_train_batch_size",
) -> int:
    """Optimizer steps of one epoch; raises InputError if there are fewer examples than one step takes."""
    steps = n // (batch_size * world * accumulation)
    if not steps:
        size = f"{batch_size} x {world} processes x {accumulation} accumulation steps"
        raise InputError(f"{flag} {size} is more than the {n} {what} there are; lower it")
    return steps


def steps(n, batch_size, world, accumulation, seed, start, total):
    """Optimizer steps `start` + 1 to `total`: yields (step, (mine, everyone's)) as `batches`, epoch after epoch."""
    step = 0
    for epoch in range(total):
        for mine in batches(n, batch_size, world.rank, world.size, accumulation, seed, epoch):
            step += 1
            if step > total:
                return
            if step > start:
                yield step, mine
