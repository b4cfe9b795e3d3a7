"""Sampling answers: batches of prompts sorted by length, left-padded to the batch's own longest, until every row has
stopped.

Rows that have stopped leave the batch, so a few long answers do not make all others wait. Each prompt draws from its
own random stream, so an answer does not depend on which batch it was sampled in (but for rounding).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import DynamicCache

from korlhf.models.causal_lm import head_logits
from korlhf.models.lora import without_adapter


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
) -> list[list[int]]:
    """Sample one answer per prompt.

    prompts: lists of token ids (each at least one); seeds: one integer per prompt; eos_token_id: the token that ends
    an answer. Returns lists of answer ids in the order given: through `eos_token_id`, or `max_new_tokens` long
    without it.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    was_training = lm.training
    lm.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _sample_batch(lm, [prompts[i] for i in rows], [seeds[i] for i in rows], eos_token_id, limits)
        for i, answer in zip(rows, batch):
            answers[i] = answer
    lm.train(was_training)
    return answers


def _sample_batch(lm, prompts, seeds, eos_token_id, limits):
    model = without_adapter(lm)
    device = model.get_input_embeddings().weight.device
    ids, mask = left_pad(prompts, eos_token_id, device)  # (B, P)
    n = limits.max_new_tokens
    noise = torch.stack([torch.rand(n, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(device)
    answers = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for t in range(n):
        out = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        logits = head_logits(model, out.last_hidden_state[:, -1])
        tokens = choose(logits, noise[alive, t], limits.temperature, limits.top_p)  # (B,)
        for row, token in zip(alive, tokens.tolist()):
            answers[row].append(token)
        going = tokens != eos_token_id
        if not going.any():
            break
        if not going.all():
            keep = going.nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            mask, positions, tokens = mask[keep], positions[keep], tokens[keep]
            alive = [alive[i] for i in keep.tolist()]
        ids = tokens.unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return answers


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
    probs = (logits / temperature).softmax(-1)
    tokens = None
    if top_p < 1:
        probs, tokens = probs.sort(descending=True, dim=-1)
        probs = probs * (probs.cumsum(-1) - probs < top_p)
    sums = probs.cumsum(-1)
    at = torch.searchsorted(sums, (noise * sums[:, -1]).unsqueeze(1), right=True)
    # rounding must not pick a token of probability 0
    last = probs.size(-1) - 1 - (probs > 0).flip(-1).int().argmax(-1, keepdim=True)
    at = torch.minimum(at, last)
    return (at if tokens is None else tokens.gather(1, at)).squeeze(1)
