"""Packing: several sequences share a bin, one row of the batch, each with position ids that start at 0 again.

transformers builds a block-diagonal attention mask from restarting position ids (with use_cache=False and no attention
mask), so a packed sequence sees only itself. A bin is as wide as the longest sequence of the batch: on CPU the mask
costs width^2, and one very wide bin was measured 2.8 times slower than eight narrow ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from korlhf.core.errors import InputError
from korlhf.core.seeds import derive


@dataclass
class Packed:
    """Bins of concatenated sequences.

    ids, position_ids (N, L) int64: N bins of L tokens; the tail of a bin is filled with zeros under restarting
    positions. starts (S,) int64: where sequence s begins in ids.flatten(). lengths (S,) int64: its tokens. Order as
    given to `pack`.
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor

    def to(self, device: torch.device | str) -> "Packed":
        parts = (self.ids, self.position_ids, self.starts, self.lengths)
        return Packed(*(t.to(device, non_blocking=True) for t in parts))

    @property
    def last(self) -> torch.Tensor:
        """Index of each sequence's last token in ids.flatten(), (S,)."""
        return self.starts + self.lengths - 1


def first_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Assign sequences to bins of `width` tokens, longest first into the first bin with room: lists of indices.

    Deterministic; first-fit decreasing needs at most 11/9 of the fewest possible bins (Johnson 1973).
    """
    bins, free = [], []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[i] > width:
            raise ValueError(f"a sequence of {lengths[i]} tokens does not fit into bins of {width}")
        place = next((b for b, room in enumerate(free) if room >= lengths[i]), len(bins))
        if place == len(bins):
            bins.append([])
            free.append(width)
        bins[place].append(i)
        free[place] -= lengths[i]
    return bins


def pack(sequences: Sequence[Sequence[int]]) -> Packed:
    """Lists of token ids (each at least one token) -> Packed, bins as wide as the longest sequence."""
    lengths = [len(s) for s in sequences]
    if not lengths or min(lengths) < 1:
        raise ValueError("pack needs at least one sequence, and no empty ones")
    width = max(lengths)
    bins = first_fit(lengths, width)
    ids = torch.zeros(len(bins), width, dtype=torch.long)
    positions = torch.zeros(len(bins), width, dtype=torch.long)
    starts = torch.empty(len(sequences), dtype=torch.long)
    for b, members in enumerate(bins):
        at = 0
        for i in members:
            ids[b, at : at + lengths[i]] = torch.tensor(sequences[i])
            positions[b, at : at + lengths[i]] = torch.arange(lengths[i])
            starts[i] = b * width + at
            at += lengths[i]
        positions[b, at:] = torch.arange(width - at)
    return Packed(ids, positions, starts, torch.tensor(lengths))


def targets(packed: Packed, masks: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are predicted, and from where.

    masks: one list of 0/1 per sequence, in `pack`'s order. Returns (logits_at, targets), both (M,): token j of a
    sequence with mask 1 and j > 0 is a target, predicted by the logits at the flat index of the token in front of it.
    """
    starts = packed.starts.tolist()
    before = [start + j - 1 for start, mask in zip(starts, masks) for j, m in enumerate(mask) if m and j]
    logits_at = torch.tensor(before, dtype=torch.long, device=packed.ids.device)
    return logits_at, packed.ids.flatten()[logits_at + 1]


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
