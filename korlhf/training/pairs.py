"""What a reward model is worth: accuracy over pairs with its interval, margin, and the trivial rules next to it."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch

from korlhf.core import stats
from korlhf.data import load, packing
from korlhf.data.example import Example
from korlhf.data.tokenize import Tokens
from korlhf.korean.trivial_rules import best_trivial_rules

if TYPE_CHECKING:
    from korlhf.training.world import World


def load_heldout(names: Iterable[str]) -> tuple[list[Example], list[dict]]:
    """Ranked examples of the datasets, and a dict on each for the report: of one with an evaluation split that split,
    else all of it.
    """
    examples, notes = [], []
    for name in names:
        everything, own = load.load_step(2, [name], "0,1,0", eval_share=0.0)
        examples += own or everything
        notes.append({"name": name, "split": "evaluation" if own else "all", "prompts": len(own or everything)})
    return examples, notes


def halves(examples: Sequence[Example], seed: int) -> tuple[list[int], list[int]]:
    """Indices of two random halves, disjoint by prompt: (to choose the rules, to measure them); of one prompt the
    second is empty.
    """
    keys = list(dict.fromkeys(load.prompt_key(e) for e in examples))
    random.Random(seed).shuffle(keys)
    chosen = set(keys[: (len(keys) + 1) // 2])
    first = [i for i, e in enumerate(examples) if load.prompt_key(e) in chosen]
    return first, sorted(set(range(len(examples))) - set(first))


def once(examples: Iterable[Example]) -> list[Example]:
    """The examples without copies: one with the same prompt and the same answers as an earlier one is left out."""
    first: dict[tuple, Example] = {}
    for e in examples:
        first.setdefault((load.prompt_key(e), e.answers), e)
    return list(first.values())


def apart(train: Iterable[Example], heldout: Iterable[Example]) -> list[Example]:
    """The examples of `train` whose prompts are not in `heldout`."""
    held = {load.prompt_key(e) for e in heldout}
    return [e for e in train if load.prompt_key(e) not in held]


def forward(reward: Any, sequences: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """Scores (S,) of the sequences' last tokens, in order, with gradient. reward: a TokenValues or its Engine."""
    packed = packing.pack([s.ids for s in sequences]).to(device)
    return reward(packed)[packed.last]


@torch.no_grad()
def score_groups(reward: Any, groups: Sequence[list[Tokens]], batch_size: int, world: "World") -> list[list[float]]:
    """Scores of every answer: lists of Tokens per prompt -> lists of floats, in every process.

    Processes share the work; all run equally many forward passes, because ZeRO-3 needs that.
    """
    chunks = [list(range(i, min(i + batch_size, len(groups)))) for i in range(0, len(groups), batch_size)]
    mine = {}
    for i in range(-(-len(chunks) // world.size)):
        k = i * world.size + world.rank
        chunk = chunks[k] if k < len(chunks) else chunks[0]
        scores = forward(reward, [t for j in chunk for t in groups[j]], world.device).tolist()
        for j in chunk if k < len(chunks) else ():
            mine[j], scores = scores[: len(groups[j])], scores[len(groups[j]) :]
    merged = {k: v for part in world.gather(mine) for k, v in part.items()}
    return [merged[j] for j in range(len(groups))]


def accuracy(examples: Sequence[Example], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Figures of ranked answers under a model: over all and by category.

    examples: with `answers` best first; scores: a list of floats each, in that order. Every pair of two answers counts
    once, equal scores as one half. Returns {"accuracy", "n", "prompts", "ci95", "mean_margin", "by_category": {..}}.
    """
    margins = defaultdict(list)
    prompts = defaultdict(int)
    for e, s in zip(examples, scores):
        prompts[e.category] += 1
        margins[e.category] += [a - b for a, b in combinations(s, 2)]
    by_category = {c: _figures(m, prompts[c]) for c, m in sorted(margins.items())}
    return {**_figures([m for ms in margins.values() for m in ms], len(examples)), "by_category": by_category}


def _figures(margins, prompts):
    right, n = sum((m > 0) + 0.5 * (m == 0) for m in margins), len(margins)
    return {
        "accuracy": right / n,
        "n": n,
        "prompts": prompts,
        "ci95": list(stats.wilson(right, n)),
        "mean_margin": sum(margins) / n,
    }


def as_pairs(examples: Iterable[Example]) -> list[tuple[str, str, str]]:
    """Examples -> (prompt, better answer, worse answer), all pairs."""
    return [(e.prompt, a, b) for e in examples for a, b in combinations(e.answers, 2)]


def trivial_rules(train: Iterable[Example], heldout: Iterable[Example]) -> dict[str, float]:
    """Accuracy on `heldout` of each trivial rule, its direction and word chosen on `train`: name -> accuracy, best
    first.
    """
    rules = best_trivial_rules(as_pairs(train), as_pairs(heldout))
    return dict(sorted(rules.items(), key=lambda item: -item[1]))


def report(figures: dict[str, Any], title: str, trivial: dict[str, float] | None = None) -> str:
    """The figures as a table for people."""
    lines = [f"{title}", f"  {'category':<14}{'accuracy':>9}{'95 % interval':>18}{'n':>7}{'margin':>9}"]
    for name, f in [*figures["by_category"].items(), ("all", figures)]:
        low, high = f["ci95"]
        lines.append(f"  {name:<14}{f['accuracy']:>9.3f}{low:>10.3f} - {high:.3f}{f['n']:>7}{f['mean_margin']:>9.3f}")
    if trivial:
        best = list(trivial.items())
        shares = ", ".join(f"{name} {share:.3f}" for name, share in best[:5])
        lines.append(f"  trivial rules on the same {figures['n']} pairs: {shares}")
        if figures["ci95"][0] <= best[0][1]:
            lines.append(
                f"  WARNING: the interval reaches down to the rule {best[0][0]!r} ({best[0][1]:.3f}): "
                "the model may know no more than that rule"
            )
    return "\n".join(lines)
