"""Packing: the sequences of a batch one behind the other, without padding, each with positions that start at 0 again.
A prompt that several of them begin with is there once, and each goes on behind it.

Where each begins and ends travels with the ids (`bounds`); models/packed.py takes care that none sees another.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from korlhf.core.errors import InputError
from korlhf.core.seeds import derive


@dataclass(frozen=True)
class Packed:
    """S sequences in P parts of T tokens together. A sequence is a part, or one behind a prompt that others share.

    ids, position_ids (T,) int64; last (S,) int64: index in ids of each sequence's last token. bounds: 0 and where each
    part ends, P + 1 integers on the CPU, so that no kernel waits for them. prompts: of each part the number of the
    part that holds its prompt, which comes earlier, or -1.
    """

    ids: torch.Tensor
    position_ids: torch.Tensor
    last: torch.Tensor
    bounds: list[int]
    prompts: list[int]

    def to(self, device: torch.device | str) -> "Packed":
        parts = (self.ids, self.position_ids, self.last)
        return Packed(*(t.to(device, non_blocking=True) for t in parts), self.bounds, self.prompts)

    @property
    def shared(self) -> bool:
        """Whether a prompt is shared."""
        return max(self.prompts) >= 0

    def sequences(self) -> list[list[range]]:
        """Of each sequence where its tokens are in ids: one range, or that of its prompt and its own."""
        parts = [range(*ends) for ends in pairwise(self.bounds)]
        shared = {p for p in self.prompts if p >= 0}
        leaves = (k for k in range(len(parts)) if k not in shared)
        return [[parts[k]] if self.prompts[k] < 0 else [parts[self.prompts[k]], parts[k]] for k in leaves]

    def apart(self) -> tuple["Packed", torch.Tensor]:
        """The same with nothing shared, and where the tokens of this one are in it, (T,)."""
        places = [[i for part in parts for i in part] for parts in self.sequences()]
        where, at = {}, 0
        for sequence in places:
            for i in sequence:
                where.setdefault(i, at)
                at += 1
        at_each = torch.tensor([where[i] for i in range(len(self.ids))], device=self.ids.device)
        ids = self.ids.tolist()
        return pack([[ids[i] for i in sequence] for sequence in places]).to(self.ids.device), at_each


def pack(sequences: Sequence[Sequence[int]], prompts: Sequence[int] = ()) -> Packed:
    """Lists of token ids (each at least one token) -> Packed, in their order.

    prompts: of each sequence the tokens that it may share with others that begin with the same ones, () = nothing is
    shared.
    """
    if not sequences or not all(map(len, sequences)):
        raise ValueError("pack needs at least one sequence, and no empty ones")
    heads = [tuple(s[:n]) if 0 < n < len(s) else () for s, n in zip(sequences, prompts or [0] * len(sequences))]
    times = Counter(heads)
    parts: list[Sequence[int]] = []
    fronts: list[int] = []
    there: dict[tuple, int] = {}
    last = []
    for sequence, head in zip(sequences, heads):
        shared = bool(head) and times[head] > 1
        if shared and head not in there:
            there[head] = len(parts)
            parts.append(head)
            fronts.append(-1)
        last.append(len(parts))
        parts.append(sequence[len(head) :] if shared else sequence)
        fronts.append(there[head] if shared else -1)
    bounds = [0, *accumulate(map(len, parts))]
    firsts = [len(parts[front]) if front >= 0 else 0 for front in fronts]
    positions = torch.cat([torch.arange(n, n + len(part)) for n, part in zip(firsts, parts)])
    ids = torch.tensor([token for part in parts for token in part])
    return Packed(ids, positions, torch.tensor([bounds[k + 1] - 1 for k in last]), bounds, fronts)


def targets(packed: Packed, masks: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are predicted, and from where.

    masks: one list of 0/1 per sequence, in `pack`'s order. Returns (logits_at, targets), both (M,): token j of a
    sequence with mask 1 and j > 0 is a target, predicted by the logits at the index of the token in front of it.
    """
    pairs = []
    for parts, mask in zip(packed.sequences(), masks):
        places = [i for part in parts for i in part]
        pairs += [(places[j - 1], places[j]) for j, m in enumerate(mask) if m and j]
    logits_at, at = torch.tensor(pairs, dtype=torch.long, device=packed.ids.device).view(-1, 2).T
    return logits_at, packed.ids[at]


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
