"""The speed of this machine with a model, measured on a few rows of the data: what budget.py reckons with."""

import time
from collections.abc import Sequence

import torch

from korlhf.data.packing import pack
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps
from korlhf.models.lora import without_adapter
from korlhf.models.packed import hidden_states
from korlhf.rl import rollout
from korlhf.training.sft import token_logps

ROWS, PROMPTS, NEW_TOKENS = 4, 8, 16


def typical(rows: Sequence, n: int) -> list:
    """The n rows whose lengths are nearest to the mean."""
    mean = sum(map(len, rows)) / len(rows)
    return sorted(rows, key=lambda row: abs(len(row) - mean))[:n]


def measure(
    module: TokenLogps,
    rows: Sequence[Tokens],
    rankings: Sequence[Sequence[Tokens]],
    prompts: Sequence[list[int]],
    longest: int,
) -> tuple[float, float, float]:
    """Seconds of one row of step 1, of one prompt's answers of step 2, and of one sampled answer of `longest` tokens.

    module: the model with its LoRA layers. Each is done twice, and the second time counts.
    """
    device, chosen = next(module.parameters()).device, typical(rows, ROWS)

    def train():
        (-token_logps(module, chosen, device).mean()).backward()

    def read():
        packed = pack([row.ids for row in chosen]).to(device)
        hidden_states(without_adapter(module.lm), packed, module.packing).float().mean().backward()

    asked = typical(prompts, PROMPTS)

    def answer():
        never = module.lm.config.get_text_config().vocab_size - 1  # hardly ever sampled: all answers are of full length
        rollout.sample(module.lm, asked, range(len(asked)), never, rollout.Limits(NEW_TOKENS), len(asked))

    per_token = _second(read, device) / sum(map(len, chosen))
    tokens = sum(len(row) for group in rankings for row in group) / len(rankings)
    of_row = _second(train, device) / len(chosen)
    return of_row, per_token * tokens, _second(answer, device) / len(asked) * longest / NEW_TOKENS


def _second(work, device):
    work()
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()
