"""Whether two models, or two ways to run one, answer alike: greedy answers, token by token.

Every prompt is a batch of its own: padding changes rounding, and rounding may change a token where two are nearly equally likely.
"""

from dataclasses import dataclass

import torch

from korlhf.core import program
from korlhf.rl import rollout


@dataclass(frozen=True)
class Agreement:
    """same of n answers are alike; first: None, or of the first that is not {"prompt": its number, "at": token, "expected", "found"}."""

    same: int
    n: int
    first: dict | None

    @property
    def share(self):
        return self.same / self.n


def greedy(lm, prompts, stop_id, max_new_tokens, desc):
    """Greedy answers by the sampler of the trainings. prompts: lists of ids; returns lists of ids."""
    with program.bar(prompts, desc=desc, unit="answers") as bar:
        return [rollout.sample(lm, [ids], stop_id, max_new_tokens, [0], temperature=0)[0] for ids in bar]


@torch.no_grad()
def plain_greedy(lm, prompts, max_new_tokens, desc):
    """Greedy answers by transformers' own `generate`, with the generation settings that came with the model."""
    found = []
    with program.bar(prompts, desc=desc, unit="answers") as bar:
        for ids in bar:
            given = torch.tensor([ids], device=lm.device)
            out = lm.generate(
                given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=max_new_tokens
            )
            found.append(out[0, len(ids) :].tolist())
    return found


def compare(expected, found, codec):
    """Agreement of two lists of answers (lists of ids)."""
    first = None
    for number, (a, b) in enumerate(zip(expected, found, strict=True), 1):
        if a != b and first is None:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            first = {
                "prompt": number,
                "at": at + 1,
                "expected": _text(codec, a[at : at + 1]),
                "found": _text(codec, b[at : at + 1]),
            }
    return Agreement(sum(a == b for a, b in zip(expected, found)), len(expected), first)


def _text(codec, ids):
    return codec.tokenizer.decode(ids) if ids else "(the end)"
