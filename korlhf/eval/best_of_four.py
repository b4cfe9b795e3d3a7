"""Reward models on rows as RewardBench 2 has them (Malik et al. 2025, arXiv 2506.01937): a right answer among four, and
prompts with several right answers.

A row: {"id", "prompt", "chosen": [texts], "rejected": [texts], "subset"}. It counts 1 if its chosen answer alone has
the highest score, 1/k if k answers share that, else 0: .25 by chance. Of the subset Ties ids are "ref:K" (one right
answer) and "tied:K" (several); there a row is right if every right answer beats every wrong one, and the subset's score
is the paper's: .3 of the accuracy of either kind, .2 of the share of K whose right answers are closer to one another
than to the best wrong one, .2 of that share with the smaller gap of both rows, .01 of tanh(gap / distance - 1). The
overall score is the mean of the subsets'. Left out: generative judges.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from korlhf.core import stats
from korlhf.core.errors import InputError
from korlhf.core.tables import estimate
from korlhf.data.example import RowError, bare, turns
from korlhf.data.readers import read_rows
from korlhf.eval.texts import columns, named, say, table
from korlhf.llm.protocol import Failure

TIES = "Ties"


@dataclass(frozen=True)
class Item:
    """A row. correct: how many of the answers, the first ones, are right."""

    id: str
    subset: str
    messages: list
    answers: list
    correct: int


def read(path):
    """Items of a file. Raises InputError with its line."""
    items = []
    for place, row in read_rows(path):
        try:
            right, wrong = (
                [bare(text, f"{key} {i}") for i, text in enumerate(_list(row, key), 1)]
                for key in ("chosen", "rejected")
            )
            messages = turns(row.get("prompt"))
        except RowError as error:
            raise InputError(f"{place}: {error}") from error
        item = Item(str(row.get("id", place)), str(row.get("subset", "all")), messages, right + wrong, len(right))
        kind, _, number = item.id.partition(":")
        if item.subset == TIES and (kind not in ("ref", "tied") or not number):
            raise InputError(f"{place}: the id {item.id!r} of a row of {TIES} must be ref:K or tied:K")
        if item.subset != TIES and item.correct != 1:
            raise InputError(f"{place}: chosen holds {item.correct} texts; only rows of {TIES} have several")
        items.append(item)
    if not items:
        raise InputError(f"{path}: holds no row")
    return items


def _list(row, key):
    value = row.get(key)
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list) or not value:
        raise RowError(f"{key} is {str(value)[:40]!r}; expected a list of texts, as RewardBench 2 has it")
    return value


def credit(scores, correct):
    """1/k if a right answer is among the k with the highest score, else 0. correct: how many, the first ones."""
    scores = np.asarray(scores)
    best = scores == scores.max()
    return float(best[:correct].any() / best.sum())


def ties_score(rows):
    """(score of the subset, accuracies of "ref" and "tied"). rows: [(id, scores, how many are right)].

    Raises InputError if one of the kinds is not there.
    """
    found = defaultdict(dict)
    for id, scores, correct in rows:
        kind, _, number = id.partition(":")
        right, wrong = scores[:correct], scores[correct:]
        found[kind][number] = min(right) - max(wrong), max(right) - min(right)
    both = sorted(found["ref"].keys() & found["tied"].keys())
    if not both:
        raise InputError(f"the subset {TIES} has no prompt as ref:K and as tied:K; give the whole file")
    accuracy = {kind: float(np.mean([gap > 0 for gap, _ in found[kind].values()])) for kind in ("ref", "tied")}
    gap, apart = (np.array([found["tied"][k][part] for k in both]) for part in (0, 1))
    least = np.minimum(gap, [found["ref"][k][0] for k in both])
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(least / apart - 1), nan=0.0)
    closer, closer_hard = float(np.mean(gap > apart)), float(np.mean(least > apart))
    return 0.3 * sum(accuracy.values()) + 0.2 * (closer + closer_hard) + 0.01 * float(margin.mean()), accuracy


def measure(result, path, models, cache):
    """The table and the figures of every model."""
    items = read(path)
    figures, subsets = {}, sorted({item.subset for item in items})
    for name, judge in models.items():
        scored = judge.scores([item.messages for item in items], [item.answers for item in items], cache)
        whole = [not any(isinstance(score, Failure) for score in of_item) for of_item in scored]
        if left_out := whole.count(False):
            result.warn(say("best_of_four.left_out", name=name, n=left_out, of=len(items)))
        kept = [(item, scores) for item, scores, there in zip(items, scored, whole) if there]
        figures[name] = {
            subset: _of_subset(subset, [(i, s) for i, s in kept if i.subset == subset]) for subset in subsets
        }
        figures[name]["overall"] = {"score": float(np.mean([figures[name][s]["score"] for s in subsets]))}
    result.figures["best_of_four"] = figures
    first = next(iter(figures.values()))
    rows = [
        [subset, first[subset]["n"], first[subset]["chance"], *(_cell(figures[name][subset]) for name in models)]
        for subset in subsets
    ]
    rows.append([say("best_of_four.overall"), None, None, *(figures[name]["overall"]["score"] for name in models)])
    table(result, "best_of_four", columns("category n chance") + named(models), rows)


def _of_subset(subset, kept):
    if not kept:
        raise InputError(f"--best_of_path: no row of the subset {subset} could be scored; raise --max_seq_len")
    if subset == TIES:
        score, accuracy = ties_score([(item.id, scores, item.correct) for item, scores in kept])
        return {"score": score, "n": len(kept), "chance": None, "accuracy": accuracy}
    credits = [credit(scores, item.correct) for item, scores in kept]
    low, high = stats.share_interval(credits)
    chance = float(np.mean([1 / len(item.answers) for item, _ in kept]))
    return {"score": float(np.mean(credits)), "low": low, "high": high, "n": len(kept), "chance": chance}


def _cell(figure):
    return estimate(figure["score"], figure["low"], figure["high"]) if "low" in figure else figure["score"]
