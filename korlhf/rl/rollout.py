"""Sampling answers: batches of prompts sorted by length, left-padded to the batch's own longest, until every row has stopped.

Rows that have stopped leave the batch, so a few long answers do not make all others wait. Each prompt draws from its own random
stream, so an answer does not depend on which batch it was sampled in (but for rounding).
"""

import torch
from transformers import DynamicCache

from korlhf.models.causal_lm import head_logits
from korlhf.models.lora import without_adapter


@torch.no_grad()
def sample(lm, prompts, stop_id, max_new_tokens, seeds, batch_size=64, temperature=1.0, top_p=1.0):
    """Sample one answer a prompt.

    prompts: lists of token ids (each at least one). seeds: one integer a prompt. temperature 0 = greedy.
    Returns lists of answer ids in the order given: through `stop_id`, or `max_new_tokens` long without it.
    """
    answers = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    was_training = lm.training
    lm.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _sample_batch(
            lm, [prompts[i] for i in rows], stop_id, max_new_tokens, [seeds[i] for i in rows], temperature, top_p
        )
        for i, answer in zip(rows, batch):
            answers[i] = answer
    lm.train(was_training)
    return answers


def _sample_batch(lm, prompts, stop_id, max_new_tokens, seeds, temperature, top_p):
    model = without_adapter(lm)
    device = model.get_input_embeddings().weight.device
    ids, mask = left_pad(prompts, stop_id, device)  # (B, P)
    noise = torch.stack([torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(
        device
    )
    answers = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for t in range(max_new_tokens):
        out = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        tokens = choose(head_logits(model, out.last_hidden_state[:, -1]), noise[alive, t], temperature, top_p)  # (B,)
        for row, token in zip(alive, tokens.tolist()):
            answers[row].append(token)
        going = tokens != stop_id
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


def left_pad(sequences, fill, device):
    """Lists of ids -> ids and mask (B, P) int64, P = the longest of them; the filled positions are masked 0."""
    width = max(len(s) for s in sequences)
    ids = torch.tensor([[fill] * (width - len(s)) + list(s) for s in sequences], device=device)
    mask = torch.tensor([[0] * (width - len(s)) + [1] * len(s) for s in sequences], device=device)
    return ids, mask


def choose(logits, noise, temperature, top_p):
    """One token a row by inverse transform sampling: logits (B, V), noise (B,) uniform in [0, 1) -> tokens (B,).

    top_p < 1 keeps the fewest most likely tokens whose probabilities reach top_p, always at least one (Holtzman et al. 2020).
    """
    if temperature == 0:
        return logits.argmax(-1)
    probs = (logits / temperature).softmax(-1)
    if top_p < 1:
        probs, tokens = probs.sort(descending=True, dim=-1)
        probs = probs * (probs.cumsum(-1) - probs < top_p)
    sums = probs.cumsum(-1)
    at = torch.searchsorted(sums, (noise * sums[:, -1]).unsqueeze(1), right=True)
    last = (
        probs.size(-1) - 1 - (probs > 0).flip(-1).int().argmax(-1, keepdim=True)
    )  # rounding must not pick a token of probability 0
    at = torch.minimum(at, last)
    return (tokens.gather(1, at) if top_p < 1 else at).squeeze(1)
