"""Sampling answers: a batch of rows, left-padded to the batch's own longest, that goes on until every row has stopped.

Rows that have stopped leave the batch and further prompts take their place, so a few long answers do not make all
others wait. Each prompt draws from its own random stream, so an answer does not depend on which batch it was sampled
in (but for rounding).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from korlhf.core import progress
from korlhf.models.causal_lm import head_logits
from korlhf.models.kv_cache import BlockCache
from korlhf.models.lora import without_adapter
from korlhf.models.one_query import one_query_attention

LOOK_EVERY = {"cpu": 1, "cuda": 8}  # tokens between two looks at who has stopped: a GPU has to wait for each
CANDIDATES = 1024  # tokens among which top-p is looked for before all are sorted
SLACK = 32  # columns in front of all rows that may be left before they are dropped


@dataclass(frozen=True)
class Limits:
    """How answers are sampled.

    max_new_tokens: longest answer, its end included; temperature 0 = greedy; top_p 1 = off.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@torch.no_grad()
def sample(
    lm: nn.Module,
    prompts: Sequence[list[int]],
    seeds: Sequence[int],
    eos_token_id: int,
    limits: Limits,
    batch_size: int = 64,
    desc: str = "",
) -> list[list[int]]:
    """Sample one answer per prompt.

    prompts: lists of token ids (each at least one); seeds: one integer per prompt; eos_token_id: the token that ends
    an answer; batch_size: rows at once; desc: of a progress bar, "" = none. Returns lists of answer ids in the order
    given: through `eos_token_id`, or `max_new_tokens` long without it.
    """
    was_training = lm.training
    lm.eval()
    batch = _Batch(without_adapter(lm), prompts, seeds, eos_token_id, limits, min(batch_size, len(prompts)))
    # The longest first: those that enter later fit into the columns that are there.
    waiting = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    bar: Any = progress.bar(total=len(prompts), desc=desc, unit="answers") if desc else nullcontext()
    with one_query_attention(batch.model), bar:
        while waiting or batch.members:
            if free := batch.free if waiting else 0:
                batch.enter(waiting[:free])
                waiting = waiting[free:]
            else:
                batch.go_on(len(prompts[waiting[0]]) if waiting else 0)
            batch.leave()
            if desc:
                bar.update(len(prompts) - len(waiting) - len(batch.members) - bar.n)
    lm.train(was_training)
    return batch.answers()


class _Batch:
    """Rows that are being sampled: a prompt and its answer so far, which ends in the same column as all others."""

    def __init__(self, model, prompts, seeds, eos_token_id, limits, size):
        self.model, self.prompts, self.eos_token_id, self.limits, self.size = model, prompts, eos_token_id, limits, size
        self.device, n = model.get_input_embeddings().weight.device, limits.max_new_tokens
        self.look_every = LOOK_EVERY.get(self.device.type, 1)
        noise = [torch.rand(n, generator=torch.Generator().manual_seed(s)) for s in seeds]
        self.noise = torch.stack(noise).to(self.device)  # (N, n) of all prompts
        self.tokens = torch.full((len(prompts), n), -1, device=self.device)  # (N, n) of all answers
        # of each row: its prompt, the column it begins in, the tokens of its answer so far
        self.members: list[int] = []
        self.starts: list[int] = []
        self.lengths: list[int] = []

    @property
    def free(self):
        """How many rows may enter: none before a quarter of the batch has left, as one alone costs as much."""
        if self.members and not (self.cache.can_join and len(self.members) <= 0.75 * self.size):
            return 0
        return self.size - len(self.members)

    def enter(self, members):
        """Read the prompts `members` and sample the first token of each answer."""
        prompts = [self.prompts[i] for i in members]
        ids, mask = left_pad(prompts, self.eos_token_id, self.device)
        cache = BlockCache(self.model.config, len(members) if self.members else self.size)
        hidden = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        if self.members:
            self.cache.join(cache)
        else:
            self.cache = cache
        end = self.cache.get_seq_length()
        self.members += members
        self.starts += [end - len(p) for p in prompts]
        self.lengths += [0] * len(members)
        new = slice(-len(members), None)
        self._to_device()
        self._choose(hidden, self.row[new], self.length[new])
        self.lengths[new] = [1] * len(members)
        self.length[new] += 1

    def go_on(self, longest_waiting):
        """Sample further tokens, up to where it is time to look who has stopped.

        longest_waiting: tokens of the longest prompt that may still enter.
        """
        steps = min(self.look_every, self.limits.max_new_tokens - max(self.lengths))
        end = self.cache.get_seq_length()
        empty = min(*self.starts, end - longest_waiting)
        if self.cache.can_join and empty > SLACK:
            self.cache.shift(empty)
            self.starts = [start - empty for start in self.starts]
            self._to_device()
        for _ in range(steps):
            end = self.cache.get_seq_length()
            ids = self.tokens[self.row, self.length - 1].unsqueeze(1)
            columns = torch.arange(self.cache.get_mask_sizes(1, 0)[0], device=self.device)
            mask = ((columns >= self.start.unsqueeze(1)) & (columns <= end)).long()
            hidden = self._forward(ids, mask, (end - self.start).unsqueeze(1), self.cache)
            self._choose(hidden, self.row, self.length)
            self.length += 1
        self.lengths = [length + steps for length in self.lengths]

    def leave(self):
        """Take out the rows that have stopped."""
        ended = (self.tokens[self.row] == self.eos_token_id).any(1).tolist()
        going = [i for i, e in enumerate(ended) if not e and self.lengths[i] < self.limits.max_new_tokens]
        if len(going) == len(ended):
            return
        count = len(going)
        left = iter(i for i in going if i >= count)  # rows from the end fill the gaps
        rows = [i if i in set(going) else next(left) for i in range(count)]
        self.members, self.starts, self.lengths = (
            [x[i] for i in rows] for x in (self.members, self.starts, self.lengths)
        )
        if rows:
            self.cache.keep(rows, self.device)
            self._to_device()

    def answers(self):
        """The answers of all prompts, each through its end."""
        rows = self.tokens.tolist()
        return [row[: row.index(self.eos_token_id) + 1] if self.eos_token_id in row else row for row in rows]

    def _to_device(self):
        rows = torch.tensor([self.members, self.starts, self.lengths], device=self.device)
        self.row, self.start, self.length = rows

    def _forward(self, ids, mask, positions, cache):
        """Hidden states (B, D) of the last column."""
        how = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache, "use_cache": True}
        return self.model.base_model(input_ids=ids, **how).last_hidden_state[:, -1]

    def _choose(self, hidden, row, at):
        """Write token `at` (B,) of the answers to the prompts `row` (B,)."""
        logits = head_logits(self.model, hidden)
        noise = self.noise[row, at]
        self.tokens[row, at] = choose(logits, noise, self.limits.temperature, self.limits.top_p)


def left_pad(sequences: Sequence[list[int]], fill: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Lists of ids -> ids and mask (B, P) int64, P = the longest of them; the filled positions are masked 0."""
    width = max(len(s) for s in sequences)
    ids = torch.tensor([[fill] * (width - len(s)) + list(s) for s in sequences], device=device)
    mask = torch.tensor([[0] * (width - len(s)) + [1] * len(s) for s in sequences], device=device)
    return ids, mask


def choose(logits: torch.Tensor, noise: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token per row by inverse transform sampling: logits (B, V), noise (B,) uniform in [0, 1) -> tokens (B,).

    top_p < 1 keeps the fewest most likely tokens whose probabilities reach top_p, always at least one (Holtzman et
    al. 2020).
    """
    if temperature == 0:
        return logits.argmax(-1)
    probs = (logits if temperature == 1 else logits / temperature).softmax(-1)
    tokens = None
    if top_p < 1:
        probs, tokens = _nucleus(probs, top_p)
    sums = probs.cumsum(-1)
    total = sums[:, -1]
    # Below the total, however it is rounded: a token of probability 0 is never picked.
    wanted = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
    # Logits that are not finite find no place: the last word keeps the training alive until its KL has shown them.
    at = torch.searchsorted(sums, wanted.unsqueeze(1), right=True).clamp(max=sums.size(-1) - 1)
    return (at if tokens is None else tokens.gather(1, at)).squeeze(1)


def _nucleus(probs, top_p):
    """The likeliest tokens of each row, in order, and their probabilities, 0 for those that top_p leaves out."""
    if probs.device.type == "cpu":  # a GPU would have to wait for the answer whether they are enough
        likely, tokens = probs.topk(min(CANDIDATES, probs.size(-1)))
        before = likely.cumsum(-1) - likely
        if (before[:, -1] >= top_p).all():
            return likely * (before < top_p), tokens
    probs, tokens = probs.sort(descending=True, dim=-1)
    return probs * (probs.cumsum(-1) - probs < top_p), tokens
