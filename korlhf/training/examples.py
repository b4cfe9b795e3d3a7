"""The examples of one training: loaded, tokenised, the held-out ones drawn, and their fingerprints."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from korlhf.data.example import Example
from korlhf.data.load import load_step
from korlhf.training.flags import DataFlags


@dataclass(frozen=True)
class Split:
    """Examples, and what the tokenizer made of each: Tokens, a list of Tokens, or the ids of a prompt."""

    examples: Sequence[Example]
    rows: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)


Tokenise = Callable[[list[Example]], tuple[list[Example], list[Any]]]


def load(
    step: int, flags: DataFlags, tokenise: Tokenise, sft_only_data_path: Sequence[str] = ()
) -> tuple[Split, Split, dict[str, str]]:
    """The training and held-out examples of a step, and the fingerprints of both as they were loaded.

    tokenise: examples -> (those that are kept, their rows). Of the held-out ones at most --max_eval_examples of those
    that are kept are drawn, so what is too long takes no other's place. Raises InputError as load_step and `tokenise`
    do.
    """
    train, heldout = load_step(
        step,
        flags.data_path,
        flags.data_split,
        eval_data_path=flags.eval_data_path,
        eval_share=flags.eval_share,
        seed=flags.seed,
        sft_only_data_path=sft_only_data_path,
    )
    inputs = {"training examples": fingerprint(train), "held-out examples": fingerprint(heldout)}
    training = Split(*tokenise(train))
    kept, rows = tokenise(heldout) if heldout else ([], [])
    chosen = draw(len(kept), flags.max_eval_examples, flags.seed)
    return training, Split([kept[i] for i in chosen], [rows[i] for i in chosen]), inputs


def draw(n: int, limit: int, seed: int) -> list[int]:
    """At most `limit` of `n` indices, in order (0 = all); the same ones for the same seed."""
    if not 0 < limit < n:
        return list(range(n))
    return sorted(random.Random(f"{seed}:held-out").sample(range(n), limit))


def fingerprint(examples: Iterable[Example]) -> str:
    """sha256 over examples in their order; where they were read from does not matter."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(vars(example), sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()
