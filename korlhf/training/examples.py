"""The examples of one training: loaded, tokenised, the held-out ones drawn, and their fingerprints."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from korlhf.core import ranks
from korlhf.core.errors import InputError
from korlhf.data import terms
from korlhf.data.example import Example
from korlhf.data.load import load_step, prompt_key
from korlhf.data.tokenize import Tokens
from korlhf.training.flags import DataFlags
from korlhf.training.pairs import all_kept_pairs, label_margins

TOLD = ("messages", "answers", "category", "text")  # what a model may learn from


@dataclass(frozen=True)
class Split:
    """Examples, and what the tokenizer made of each: Tokens, a list of Tokens, or the ids of a prompt.

    left_out: examples that were too long. kept: which pairs of each example are trained on, () = all. gaps: by how much
    each pair's better score is to be higher, () = by any amount. labels: whether the answer of each row is good, of
    `unpaired`.
    """

    examples: Sequence[Example]
    rows: Sequence[Any]
    left_out: Sequence[Example] = ()
    kept: Sequence[list[bool]] = ()
    gaps: Sequence[list[float]] = ()
    labels: Sequence[bool] = ()

    def __len__(self) -> int:
        return len(self.rows)


Tokenise = Callable[[list[Example]], tuple[list[Example], list[Any]]]


def load(
    step: int,
    flags: DataFlags,
    tokenise: Tokenise,
    sft_only_data_path: Sequence[str] = (),
    margin_column: str = "",
    labels: bool = False,
) -> tuple[Split, Split, dict[str, str]]:
    """The training and held-out examples of a step, and the fingerprints of both as they were loaded.

    tokenise: examples -> (those that are kept, their rows). Of the held-out ones at most --max_eval_examples of those
    that are kept are drawn, so what is too long takes no other's place. Raises InputError as load_step and `tokenise`
    do, and for sets that are there for measuring only.
    """
    terms.check_training([*flags.data_path, *sft_only_data_path])
    train, heldout = load_step(
        step,
        flags.data_path,
        flags.data_split,
        eval_data_path=flags.eval_data_path,
        eval_share=flags.eval_share,
        seed=flags.seed,
        sft_only_data_path=sft_only_data_path,
        margin_column=margin_column,
        labels=labels,
    )
    inputs = {"training examples": fingerprint(train), "held-out examples": fingerprint(heldout)}
    training = Split(*tokenise(train))
    kept, rows = tokenise(heldout) if heldout else ([], [])
    chosen = draw(len(kept), flags.max_eval_examples, flags.seed)
    there = set(map(id, kept))
    too_long = [e for e in heldout if id(e) not in there]
    return training, Split([kept[i] for i in chosen], [rows[i] for i in chosen], too_long), inputs


def far_apart(split: Split, min_margin: float) -> Split:
    """The pairs whose margin is at least `min_margin`, or not known; says how many are not. Raises InputError if none
    are."""
    kept = all_kept_pairs(split.examples, min_margin, "training pairs")
    some = [i for i, of in enumerate(kept) if any(of)]
    return Split([split.examples[i] for i in some], [split.rows[i] for i in some], kept=[kept[i] for i in some])


def with_gaps(split: Split, weight: float) -> Split:
    """The split with gaps of `weight` times the margins of the labels, 0 where there is none."""
    gaps = [[weight * (margin or 0.0) for margin in label_margins(e)] for e in split.examples]
    return replace(split, gaps=gaps)


def unpaired(split: Split, max_seq_len: int, seed: int) -> Split:
    """Answers that are good or bad each, for KTO: labelled ones, and the best and the worst of each ranking.

    A row is an answer after its prompt, and another prompt's answer after the same prompt (KTO's estimate of the KL,
    section 4.1), drawn once, so that its reference is known before training. `examples` stay those of `split`. Raises
    InputError if no answer is left.
    """
    answers = []
    for example, group in zip(split.examples, split.rows):
        ends = [(group[0], True), (group[-1], False)] if example.label is None else [(group[0], example.label)]
        answers += [(prompt_key(example), tokens, good) for tokens, good in ends]
    order = random.Random(f"{seed}:mismatched").sample(range(len(answers)), len(answers))
    mismatched = {}
    for k, i in enumerate(order):
        key, own, _ = answers[i]
        prompt = own.ids[: own.prompt]
        for j in order[k + 1 :] + order[:k]:
            other, tokens, _ = answers[j]
            if other != key and len(prompt) + tokens.answer <= max_seq_len:
                answer = tokens.ids[-tokens.answer :]
                mismatched[i] = Tokens(prompt + answer, [0] * len(prompt) + [1] * len(answer))
                break
    if not mismatched:
        raise InputError("--loss kto needs answers to two different prompts that fit --max_seq_len; give more data")
    if out := len(answers) - len(mismatched):
        ranks.tell(f"{out} of {len(answers)} answers left out: no other prompt's answer fits behind their prompts")
    kept = sorted(mismatched)
    rows = [[answers[i][1], mismatched[i]] for i in kept]
    return Split(split.examples, rows, labels=[answers[i][2] for i in kept])


def draw(n: int, limit: int, seed: int) -> list[int]:
    """At most `limit` of `n` indices, in order (0 = all); the same ones for the same seed."""
    if not 0 < limit < n:
        return list(range(n))
    return sorted(random.Random(f"{seed}:held-out").sample(range(n), limit))


def fingerprint(examples: Iterable[Example]) -> str:
    """sha256 over examples in their order; where they were read from does not matter."""
    digest = hashlib.sha256()
    for example in examples:
        told = {key: value for key, value in vars(example).items() if key in TOLD or (key == "scores" and value)}
        if example.label is not None:
            told["label"] = example.label
        digest.update(json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()
