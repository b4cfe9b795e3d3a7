"""Rows that are sampled together while they come and go: many users of one model.

By hand, because `transformers serve` (5.23) with continuous batching samples everybody at the temperature and top-p
of the first request and ignores seeds, and without it answers one visitor after the other, with one random stream for
all. A row joins with its prompt read in a pass of its own, then all rows take one token per step. Every row has its
own random stream, the same as in korlhf/rl/rollout.py, so its answer does not depend on who else is there (but for
rounding). Left out: paged memory and the sharing of common beginnings (vLLM has them), models with recurrent layers.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from korlhf.core.errors import InputError
from korlhf.models.causal_lm import head_logits
from korlhf.models.lora import without_adapter
from korlhf.rl.rollout import choose, left_pad


@dataclass(eq=False)
class Row:
    """An answer that is being sampled. prompt: ids, at least one; noise (N,): uniform in [0, 1), N the longest
    answer; tokens: so far."""

    prompt: list[int]
    noise: torch.Tensor
    temperature: float
    top_p: float
    tokens: list[int] = field(default_factory=list)


def row(prompt, sampling, seed):
    """A new Row. sampling: anything with temperature, top_p and max_new_tokens."""
    noise = torch.rand(sampling.max_new_tokens, generator=torch.Generator().manual_seed(seed))
    return Row(prompt, noise, sampling.temperature, sampling.top_p)


class Batch:
    """The rows that are live on one language model. To be used from one thread."""

    def __init__(self, lm, eos_token_id):
        """Raises InputError for an architecture whose cache cannot be taken apart by rows."""
        self.rows = []
        self._model, self._eos_token_id = without_adapter(lm), eos_token_id
        self._device = self._model.get_input_embeddings().weight.device
        # mask (B, W): of W positions that are read; next (B, 1): tokens that are not yet
        self._cache = self._mask = self._next = None
        if not all(isinstance(layer, DynamicLayer) for layer in self._new_cache().layers):
            raise InputError(
                f"architecture {self._model.config.model_type!r} has recurrent layers, which cannot be sampled in rows "
                "that come and go; serve the model and give the server's address"
            )

    def _new_cache(self):
        return DynamicCache(config=self._model.config)

    @torch.no_grad()
    def add(self, rows):
        """Read the prompts of new rows and sample the first token of each."""
        ids, mask = left_pad([r.prompt for r in rows], self._eos_token_id, self._device)
        cache = self._new_cache()
        tokens = self._sample(rows, ids, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        parts = [(cache, mask)] if self._cache is None else [(self._cache, self._mask), (cache, mask)]
        self._cache, self._mask = _joined(self._new_cache(), parts)
        self._next = tokens if self._next is None else torch.cat([self._next, tokens])
        self.rows = self.rows + rows

    @torch.no_grad()
    def step(self):
        self._mask = F.pad(self._mask, (0, 1), value=1)
        positions = self._mask.sum(1, keepdim=True) - 1
        self._next = self._sample(self.rows, self._next, self._mask, positions, self._cache)

    def keep(self, rows):
        """Let all other rows leave."""
        stay = [i for i, r in enumerate(self.rows) if r in rows]
        if len(stay) == len(self.rows):
            return
        self.rows = [self.rows[i] for i in stay]
        if not stay:
            self._cache = self._mask = self._next = None
            return
        index = torch.tensor(stay, device=self._device)
        self._cache.batch_select_indices(index)
        self._cache, self._mask = _joined(self._new_cache(), [(self._cache, self._mask[index])])
        self._next = self._next[index]

    def _sample(self, rows, ids, mask, positions, cache):
        """One pass over ids (B, L); each row's next token is added to it. Returns them (B, 1)."""
        out = self._model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        logits = head_logits(self._model, out.last_hidden_state[:, -1])
        noise = torch.stack([r.noise[len(r.tokens)] for r in rows]).to(self._device)
        tokens = torch.empty(len(rows), dtype=torch.long, device=self._device)
        for temperature, top_p in {(r.temperature, r.top_p) for r in rows}:
            alike = torch.tensor([(r.temperature, r.top_p) == (temperature, top_p) for r in rows], device=self._device)
            tokens[alike] = choose(logits[alike], noise[alike], temperature, top_p)
        for r, token in zip(rows, tokens.tolist()):
            r.tokens.append(token)
        return tokens.unsqueeze(1)


def _joined(into, parts):
    """The rows of several (cache, mask) in the empty cache `into`, as wide as the longest row: columns that only pad
    are dropped."""
    width = max(int(mask.sum(1).max()) for _, mask in parts)
    for i, layers in enumerate(zip(*(cache.layers for cache, _ in parts))):
        if layers[0].is_initialized:  # not so where layers share their keys
            keys, values = (
                torch.cat([_last(getattr(layer, kind), width) for layer in layers]) for kind in ("keys", "values")
            )
            into.update(keys, values, i)
    return into, torch.cat([_last(mask[:, None, :, None], width)[:, 0, :, 0] for _, mask in parts])


def _last(states, width):
    """States (B, H, W, D) cut, or padded with zeros, on the left to `width` positions. (A sliding window has kept the
    last ones only.)"""
    return F.pad(states[:, :, -width:], (0, 0, max(width - states.size(2), 0), 0))


class TextStream:
    """The text of an answer while its tokens arrive: no character comes in parts, and nothing is taken back.

    By hand, because DecodeStream of tokenizers (0.23) fails on byte tokens that are no UTF-8, which a model may sample.
    All pieces together are the decoded tokens. (Such bytes are an exception where bytes are tokens of their own:
    decoded in one go they spoil the whole characters next to them too.)"""

    def __init__(self, codec):
        # Text up to _read is out; decoding begins at _start, a token that is out already.
        self._codec, self._ids, self._start, self._read = codec, [], 0, 0

    def add(self, token):
        """The text that a token completes, often ""."""
        if token in self._codec.special_ids:
            return ""
        self._ids.append(token)
        return self._piece(whole=False)

    def end(self):
        """What was held back."""
        return self._piece(whole=True)

    def _piece(self, whole):
        decode = self._codec.tokenizer.decode
        known, text = decode(self._ids[self._start : self._read]), decode(self._ids[self._start :])
        if text.endswith("\ufffd") and not whole:  # the first bytes of a character
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text[len(known) :]
