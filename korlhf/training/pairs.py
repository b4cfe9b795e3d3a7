"""What a reward model is worth: accuracy over pairs with its interval, margin, and the trivial rules next to it."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch

from korlhf.core import progress, ranks, stats
from korlhf.core.errors import InputError
from korlhf.data import load, packing
from korlhf.data.example import Example
from korlhf.data.tokenize import Tokens
from korlhf.korean import ngram_classifier as ngrams
from korlhf.korean import trivial_rules as rules
from korlhf.training import margins

if TYPE_CHECKING:
    from korlhf.training.world import World

Forward = Callable[[Any, Sequence[Tokens], torch.device], torch.Tensor]


def load_heldout(names: Iterable[str], margin_column: str = "") -> tuple[list[Example], list[dict]]:
    """Ranked examples of the datasets, and a dict on each for the report: of one with an evaluation split that split,
    else all of it.
    """
    examples, notes = [], []
    for name in names:
        everything, own = load.load_step(2, [name], "0,1,0", eval_share=0.0, margin_column=margin_column)
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
    packed = packing.pack([s.ids for s in sequences], [s.prompt for s in sequences]).to(device)
    return reward(packed)[packed.last]


@torch.no_grad()
def score_groups(
    reward: Any,
    groups: Sequence[list[Tokens]],
    batch_size: int,
    world: "World",
    forward: Forward = forward,
    desc: str = "",
) -> list[list[float]]:
    """Scores of every answer: lists of Tokens per prompt -> lists of floats, in every process.

    forward: what gives a batch's scores; desc: of a progress bar, "" = none. Processes share the work; all run equally
    many forward passes, because ZeRO-3 needs that.
    """
    chunks = [list(range(i, min(i + batch_size, len(groups)))) for i in range(0, len(groups), batch_size)]
    mine = {}
    turns: Iterable[int] = range(-(-len(chunks) // world.size))
    if desc and world.first:
        turns = progress.bar(turns, desc=desc, unit="batches")
    for i in turns:
        k = i * world.size + world.rank
        chunk = chunks[k] if k < len(chunks) else chunks[0]
        scores = forward(reward, [t for j in chunk for t in groups[j]], world.device).tolist()
        for j in chunk if k < len(chunks) else ():
            mine[j], scores = scores[: len(groups[j])], scores[len(groups[j]) :]
    merged = {k: v for part in world.gather(mine) for k, v in part.items()}
    return [merged[j] for j in range(len(groups))]


def label_margins(example: Example) -> list[float | None]:
    """The margins of a judge's scores for all pairs of an example, in their order; None if they are not known."""
    if not example.scores:
        return [None] * len(list(combinations(example.answers, 2)))
    return [a - b for a, b in combinations(example.scores, 2)]


def kept_pairs(example: Example, min_margin: float) -> list[bool]:
    """Whether each pair is far enough apart for --min_margin; one without a margin, as people's, is."""
    return [m is None or m >= min_margin for m in label_margins(example)]


def all_kept_pairs(examples: Iterable[Example], min_margin: float, what: str = "pairs") -> list[list[bool]]:
    """`kept_pairs` of each example; says how many are not, by the name `what`. Raises InputError if none are."""
    kept = [kept_pairs(e, min_margin) for e in examples]
    n, total = sum(map(sum, kept)), sum(map(len, kept))
    if not n:
        raise InputError(f"--min_margin {min_margin:g}: all {total} {what} have a smaller margin; lower it")
    ranks.tell(f"--min_margin {min_margin:g}: {total - n} of {total} {what} have a smaller margin and are left out")
    return kept


def far_apart(examples: Sequence[Example], min_margin: float) -> list[Example]:
    """The pairs that are far enough apart for --min_margin, an example each. Raises InputError if none are."""
    found = []
    for e, kept in zip(examples, all_kept_pairs(examples, min_margin)):
        places = combinations(range(len(e.answers)), 2)
        for (a, b), label in (pair for pair, far in zip(zip(places, label_margins(e)), kept) if far):
            raw, scores = e.raw and (e.raw[a], e.raw[b]), () if label is None else (label, 0.0)
            found.append(replace(e, answers=(e.answers[a], e.answers[b]), raw=raw, scores=scores))
    return found


def accuracy(examples: Sequence[Example], scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Figures of ranked answers under a model: over all and by category.

    examples: with `answers` best first; scores: a list of floats each, in that order. Every pair of two answers counts
    once, equal scores as one half; intervals are over prompts. Returns {"accuracy", "n", "prompts", "ci95",
    "mean_margin", "by_category": {..}}, and where labels have margins "by_margin" and "ceiling" (korlhf/training/
    margins.py).
    """
    rows = [
        (e.category, load.prompt_key(e), better - worse, of_label)
        for e, s in zip(examples, scores)
        for (better, worse), of_label in zip(combinations(s, 2), label_margins(e))
    ]
    by_category = {c: _figures([r for r in rows if r[0] == c]) for c in sorted({r[0] for r in rows})}
    figures = {**_figures(rows), "by_category": by_category}
    if known := [(_right(m), label, key) for _, key, m, label in rows if label is not None and label > 0]:
        right, of_labels, keys = map(list, zip(*known))
        figures["by_margin"] = margins.by_margin(right, of_labels, keys)
        figures["ceiling"] = margins.ceiling(right, of_labels, keys)
    return figures


def _right(margin):
    return (margin > 0) + 0.5 * (margin == 0)


def _figures(rows):
    right, keys = [_right(margin) for _, _, margin, _ in rows], [key for _, key, _, _ in rows]
    return {
        "accuracy": sum(right) / len(rows),
        "n": len(rows),
        "prompts": len(set(keys)),
        "ci95": list(stats.share_interval(right, keys)),
        "mean_margin": sum(margin for _, _, margin, _ in rows) / len(rows),
    }


def as_pairs(examples: Iterable[Example]) -> list[tuple[str, str, str]]:
    """Examples -> (prompt, better answer, worse answer), all pairs, as the data has them."""
    return [(e.prompt, a, b) for e in examples for a, b in combinations(e.written, 2)]


def beside(train: Sequence[Example], heldout: Sequence[Example], left_out: Sequence[Example] = ()) -> dict[str, Any]:
    """What a model's accuracy on `heldout` stands next to, all of it chosen on `train`.

    Returns {"trivial_rules": {name: accuracy}, best first, with several categories also of the best rule of each
    (trivial_rules.EACH), and where `train` has pairs enough of the n-gram classifier (ngram_classifier.NAME);
    "rules_by_category": {category: {"rule", "accuracy", "n"}}, of which one with few pairs in
    `train` has the rule that is best over all; "left_out": {category: pairs that are too long for the model};
    "with_left_out": trivial_rules on `heldout` and those, None if there are none}.
    """
    fit = _by_category(train)
    pooled = rules.trivial_rules([pair for pairs in fit.values() for pair in pairs])
    chosen, best = rules.rules_of_each(fit, pooled)
    read = [pair for e in train for pair in _as_read(e)]
    classifier = ngrams.NgramClassifier(read, seed=0) if len(read) >= ngrams.LEAST_PAIRS else None

    def by_category(examples):
        out = {}
        for category, pairs in sorted(_by_category(examples).items()):
            name, rule = chosen.get(category, best)
            out[category] = {"rule": name, "accuracy": rules.accuracy(rule, pairs), "n": len(pairs)}
        return out

    def over_all(examples):
        found = {name: rules.accuracy(rule, as_pairs(examples)) for name, rule in pooled.items()}
        if len(of_each := by_category(examples)) > 1:
            n = sum(f["n"] for f in of_each.values())
            found[rules.EACH] = sum(f["accuracy"] * f["n"] for f in of_each.values()) / n
        if classifier:
            margins_of = classifier.margins([pair for e in examples for pair in _as_read(e)])
            found[ngrams.NAME] = sum(map(_right, margins_of.tolist())) / len(margins_of)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    return {
        "trivial_rules": over_all(heldout),
        "rules_by_category": by_category(heldout),
        "left_out": {category: len(pairs) for category, pairs in sorted(_by_category(left_out).items())},
        "with_left_out": over_all([*heldout, *left_out]) if left_out else None,
    }


def _as_read(example):
    return [(example.prompt, a, b) for a, b in combinations(example.answers, 2)]


def _by_category(examples):
    out = defaultdict(list)
    for e in examples:
        out[e.category] += as_pairs([e])
    return out


def report(figures: dict[str, Any], title: str, beside: dict[str, Any] | None = None) -> str:
    """The figures as a table for people. beside: of `beside`, on the same pairs."""
    lines = [f"{title}", f"  {'category':<14}{'accuracy':>9}{'95 % interval':>18}{'n':>7}{'margin':>9}"]
    of_each = beside["rules_by_category"] if beside else {}
    for name, f in [*figures["by_category"].items(), ("all", figures)]:
        low, high = f["ci95"]
        line = f"  {name:<14}{f['accuracy']:>9.3f}{low:>10.3f} - {high:.3f}{f['n']:>7}{f['mean_margin']:>9.3f}"
        if name in of_each and (name != "all" or len(of_each) == 1):
            line += f"   best rule there: {of_each[name]['rule']} {of_each[name]['accuracy']:.3f}"
        lines.append(line)
    lines += _about_margins(figures)
    if beside:
        lines += _about_rules(figures, beside)
    return "\n".join(lines)


def _about_margins(figures):
    if not (bins := figures.get("by_margin")):
        return []
    shown = ", ".join(
        f"{b['from']:.3g}-{b['to']:.3g} {b['accuracy']:.3f} [{b['ci95'][0]:.3f}, {b['ci95'][1]:.3f}] (n {b['n']})"
        for b in bins
    )
    lines = [f"  by the margin of the labels: {shown}"]
    if c := figures["ceiling"]:
        lines.append(
            f"  labels alone limit accuracy to about {c['ceiling']:.3f} [{c['low']:.3f}, {c['high']:.3f}] or higher: "
            "if what is lost at small margins is all theirs"
        )
    return lines


def _about_rules(figures, beside):
    best, wider = list(beside["trivial_rules"].items()), beside["with_left_out"] or {}
    n_out = sum(beside["left_out"].values())
    shares = ", ".join(
        f"{name} {share:.3f}" + (f" ({wider[name]:.3f})" if name in wider else "") for name, share in best[:5]
    )
    lines = [f"  trivial rules on the same {figures['n']} pairs: {shares}"]
    if n_out:
        named = ", ".join(f"{category} {n}" for category, n in beside["left_out"].items())
        lines.append(f"  in brackets: with the {n_out} pairs that are left out as too long ({named})")
    if figures["ci95"][1] < best[0][1]:
        lines.append(
            f"  WARNING: the model ({figures['accuracy']:.3f}) loses to {best[0][0]!r} ({best[0][1]:.3f}) "
            "on the same pairs"
        )
    elif figures["ci95"][0] <= best[0][1]:
        lines.append(
            f"  WARNING: the interval reaches down to {best[0][0]!r} ({best[0][1]:.3f}): the model may know no more"
        )
    return lines
