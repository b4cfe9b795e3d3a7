"""Whole talks for people to label, and how far people and the judge agree on them.

A talk of every model on the same situation is one item of applications/label; people rank them blind. What is compared
is every two talks of a situation: the first is better, the second is, or neither. kappa is Cohen's, over these three;
the rank correlation is Kendall's tau-b within situations: the sum over all pairs of both verdicts' signs, divided by
the root of the product of how many each has decided. Which talk is called the first is drawn by a hash, or the order in
a file would raise what chance agrees on. Both are computed here from 3 x 3 tables of counts, because sklearn and scipy
know no 2,000 resampled tables at once; a test holds them to theirs.
"""

import hashlib
import json
import math
from collections import defaultdict
from itertools import combinations

import numpy as np

from korlhf.core import stats
from korlhf.core.errors import InputError
from korlhf.core.tables import words
from korlhf.data import labels as human
from korlhf.data import ranking, record
from korlhf.eval.texts import say, table
from korlhf.judges.geval import Score
from korlhf.llm.protocol import Reply

JUDGE = ""  # among the names of people, who all have one
FEW = 30  # situations, below which an agreement is a poor figure
SIGNS = np.array([1.0, 0.0, -1.0])  # the first is better, neither, the second
_X, _Y = (axis.ravel() for axis in np.meshgrid(SIGNS, SIGNS, indexing="ij"))
ASKED = "사용자가 차례로 한 말입니다.\n\n{turns}\n\n챗봇이 차례로 한 답을 처음부터 끝까지 읽고 견주어 주세요."


def write_talks(file, s, name, scored):
    """A line per situation: what the user says, and as `candidates` what every model answers with the judge's scores.

    file: open for writing; name: of the benchmark; scored: {place: Score or Failure} of the last turns. Situations that
    fewer than two models have answered whole are left out.
    """
    for i, question in enumerate(s.records):
        candidates = []
        for model, by_question in s.answers.items():
            replies = by_question[i]
            if all(isinstance(one, Reply) for one in replies):
                score = scored.get((model, i, len(replies) - 1))
                known = {"score": score.score, "scores": score.scores} if isinstance(score, Score) else {}
                candidates.append({"text": _numbered([one.text for one in replies]), "model": model, **known})
        if len(candidates) > 1:
            asked = ASKED.format(turns=_numbered(question["turns"]))
            row = record.make(asked, question["category"], f"{name}/{question['id']}", candidates=candidates)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _numbered(texts):
    return "\n\n".join(f"{i}. {text}" for i, text in enumerate(texts, 1))


def read_talks(path, criterion):
    """({id: (place, record)}, {id: {key of a talk: the judge's score}}). criterion: its key, "" = their mean.

    Raises InputError for a file that `write_talks` did not write, and for a criterion that no talk has a score of.
    """
    prompts, scores, known = {}, {}, set()
    for place, row in record.read([path]):
        candidates = record.candidates(place, row)
        if len(candidates) < 2:
            raise InputError(f"{place}: no two candidates; give the file of chat_benchmark.py --talks")
        prompts[row["id"]] = place, row
        of_one = scores[row["id"]] = {}
        for one in candidates:
            by_criterion = one.get("scores") or {}
            known |= by_criterion.keys()
            score = by_criterion.get(criterion) if criterion else one.get("score")
            if score is not None and (not isinstance(score, int | float) or not math.isfinite(score)):
                raise InputError(f"{place}: a score is {score!r}; expected a number, or null for none")
            if score is not None:
                of_one.setdefault(ranking.key(one["text"]), score)
    if criterion and criterion not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "its judge gave no scores by criterion"
        raise InputError(f"--criterion {criterion}: no talk has it; {there}")
    return prompts, scores


def verdicts(prompts, scores, paths):
    """{(id, talk, talk): {who: 1 = the first is better, -1 = the second is, 0 = neither}}, of people and the JUDGE.

    paths: files of labels. A talk that somebody wrote anew is none of the judge's and left out. Raises InputError for a
    label that names nobody, or as read_labels does.
    """
    found = defaultdict(dict)
    labels, _ = human.read_labels(paths, prompts, set(), "or give the file of --talks that was labelled")
    for key, given in labels.items():
        for label in given:
            if not label.annotator:
                raise InputError(f"--labels: a label on {key} names no annotator; add it: agreement is between people")
            first, second = sorted(map(ranking.key, label.texts), key=_drawn)
            if {first, second} <= scores[key].keys():
                better = "" if isinstance(label.verdict, ranking.Undecided) else ranking.key(label.verdict)
                found[key, first, second][label.annotator] = (better == first) - (better == second)
    for (key, first, second), said in found.items():
        a, b = (round(scores[key][one], ranking.DIGITS) for one in (first, second))
        said[JUDGE] = (a > b) - (a < b)
    return found


def _drawn(text):
    return hashlib.sha256(text.encode("utf-8")).digest()


def compare(found):
    """[(first, second: names, as a text or in both languages, (situations, 9) counts of the nine pairs of verdicts of
    SIGNS on the same two talks)]: the judge with everybody, with each person, everybody with each other, every two
    people; those with no pair of talks in common are left out."""
    people = sorted({who for said in found.values() for who in said} - {JUDGE})
    two = list(combinations(people, 2))
    judge, everybody = say("agreement.judge"), say("agreement.people")
    asked = [(judge, everybody, [(JUDGE, who) for who in people])]
    asked += [(judge, who, [(JUDGE, who)]) for who in people if len(people) > 1]
    asked += [(everybody, everybody, two)] if len(two) > 1 else []
    asked += [(a, b, [(a, b)]) for a, b in two]
    out = []
    for first, second, of_two in asked:
        counts = defaultdict(lambda: np.zeros(9))
        for (key, *_), said in found.items():
            for a, b in of_two:
                if a in said and b in said:
                    counts[key][3 * (1 - said[a]) + 1 - said[b]] += 1
        if counts:
            out.append((first, second, np.array(list(counts.values()))))
    return out


def kappa(counts):
    """Cohen's kappa of tables of counts, (..., 9); 1.0 where chance alone leaves nothing to agree on."""
    p = (counts / counts.sum(-1, keepdims=True)).reshape(*counts.shape[:-1], 3, 3)
    same, chance = np.trace(p, axis1=-2, axis2=-1), (p.sum(-1) * p.sum(-2)).sum(-1)
    left = 1 - chance
    return np.where(left > 1e-12, (same - chance) / np.where(left > 1e-12, left, 1.0), 1.0)


def tau(counts):
    """Kendall's tau-b within situations of tables of counts, (..., 9); NaN where one side has decided nothing."""
    decided = np.sqrt((counts @ _X**2) * (counts @ _Y**2))
    return np.where(decided > 0, (counts @ (_X * _Y)) / np.where(decided > 0, decided, 1.0), np.nan)


def estimates(counts, seed):
    """{"kappa", "tau": {"mean", "low", "high"}}: the figure with its 95 % interval, resampled over situations
    (stats.expanded); low and high None of one situation, tau None where it has no value."""
    draws = np.random.default_rng(seed).integers(len(counts), size=(stats.RESAMPLES, len(counts)))
    weights = np.stack([np.bincount(draw, minlength=len(counts)) for draw in draws])
    figures = {}
    for name, figure in (("kappa", kappa), ("tau", tau)):
        mean, ends = float(figure(counts.sum(0))), (None, None)
        if len(counts) > 1:
            ends = map(float, np.nanquantile(figure(weights @ counts), stats.expanded(len(counts))))
        low, high = ends
        figures[name] = None if np.isnan(mean) else {"mean": mean, "low": low, "high": high}
    return figures


def measure(result, found, seed):
    """The table and the figures of a Result."""
    figures, rows = [], []
    for first, second, counts in compare(found):
        n = int(counts.sum())
        same = float(counts.sum(0)[[0, 4, 8]].sum()) / n
        of_both = {"situations": len(counts), "pairs": n, "same": same, **estimates(counts, seed)}
        figures.append({"first": words(first, "en"), "second": words(second, "en"), **of_both})
        rows.append([first, second, *of_both.values()])
    result.figures["agreement"] = figures
    table(result, "agreement", "by and_by situations pairs same:2 kappa:2 tau:2", rows)
    if figures and figures[0]["situations"] < FEW:
        result.warn(say("agreement.few", n=figures[0]["situations"], least=FEW))
    if figures and (figures[0]["kappa"]["low"] or 0) <= 0:
        result.warn(say("agreement.chance"))
