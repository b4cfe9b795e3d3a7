"""Answers side by side: the lines of all programs about the same prompt become one row, and a model's same answer is
shown once.

A line that shows answers has {"id", "category", "messages", "answers": {model: [{"text", ...}]}}
(korlhf/eval/result.py). What else it says of an answer (scores, verdicts) or of the whole line is kept as notes: [place
in `sources`, name, value].
"""

import math
import statistics
from collections import defaultdict
from pathlib import Path

from korlhf.data import record as records
from korlhf.data.example import RowError

SHOWN = {"text", "failed", "finish_reason", "tokens"}  # of an answer: have their own places, and are no notes
FILTERED = 12  # a name whose notes have more different texts than this is free text, not a verdict
LONGEST = 40  # characters of a verdict
SCORES = ("score", "scores")  # the notes whose differences between models are sorted by


def merge(run):
    """{"models", "sources", "verdicts", "scores", "rows"} of a gather.Run.

    rows: [{"id", "c": category, "m": [[role, text]], "a": {model: [answer]}, "n": notes, "d": how far the models'
    scores are apart, or None}]; an answer: {"t": text or None, "x": why it failed, "f": finish_reason, "k": tokens,
    "s": places in sources, "n": notes}, "x", "f" and "k" only where there are any.
    verdicts: {name of a note: its texts} to filter by; scores: names of numbers that two models have.
    """
    by_source = {result.name: [line for line in result.rows or () if "answers" in line] for result in run.results}
    by_source |= {f"{s.name}/heldout_answers": _before_and_after(s) for s in run.stages}
    by_source = {name: lines for name, lines in by_source.items() if lines}
    rows = {}
    for source, lines in enumerate(by_source.values()):
        for line in lines:
            _add(rows, line, source)
    rows = list(rows.values())
    named = dict.fromkeys(model for row in rows for model in row["a"])
    trained = [s.name for s in run.stages if s.name in named]  # in the order of training, then the others
    return {
        "models": list(dict.fromkeys([*trained, *named])),
        "sources": list(by_source),
        "scores": _sort_scores(rows),
        "verdicts": _verdicts(rows),
        "rows": rows,
    }


def _before_and_after(stage):
    """The trainer's heldout_answers.jsonl in the form of the evaluations, without lines that have no prompt."""
    before = Path(stage.base).name or "before"
    names = {"before": before if before != stage.name else f"{before} (before)", "after": stage.name}
    lines = []
    for line in stage.answers:
        try:
            record = records.make(line["prompt"], str(line.get("category", "")), stage.name)
        except (KeyError, TypeError, RowError):
            continue
        answers = {
            name: [{"text": line.get(f"answer_{when}"), "score": line.get(f"score_{when}")}]
            for when, name in names.items()
        }
        lines.append({"id": record["id"], "category": record["category"], "messages": records.messages(record)})
        lines[-1]["answers"] = answers
    return lines


def _add(rows, line, source):
    key, category = str(line.get("id")), str(line.get("category", ""))
    row = rows.setdefault(key, {"id": key, "c": category, "m": _turns(line["messages"]), "a": {}, "n": []})
    rest = {k: v for k, v in line.items() if k not in ("id", "category", "messages", "answers")}
    row["n"] += [[source, *note] for note in notes(rest) if not isinstance(note[1], str) or len(note[1]) <= LONGEST]
    for model, answers in line["answers"].items():
        for answer in answers:
            _add_answer(row["a"].setdefault(model, []), answer, source)


def _turns(messages):
    """[[role, text]]; an input stands below the text that it belongs to."""
    return [[m["role"], "\n\n".join(m[k] for k in ("content", "input") if m.get(k))] for m in messages]


def _add_answer(answers, answer, source):
    """Add an answer, or its notes to the same text of another program. Two equal samples of one program stay two."""
    text = answer["text"]
    same = next((a for a in answers if text is not None and a["t"] == text and source not in a["s"]), None)
    if same is None:
        more = {"x": answer.get("failed"), "f": answer.get("finish_reason"), "k": answer.get("tokens")}
        same = {"t": text, **{k: v for k, v in more.items() if v is not None}, "s": [], "n": []}
        answers.append(same)
    same["s"].append(source)
    same["n"] += [[source, *note] for note in notes(answer)]


def notes(values, prefix=""):
    """[[name, value]] of nested values: numbers and words as they are, names joined with a dot. Lists and the names in
    SHOWN are left out."""
    out = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key in SHOWN:
            continue
        if isinstance(value, dict):
            out += notes(value, f"{name} · ")
        elif isinstance(value, bool):
            out.append([name, "yes" if value else "no"])
        elif isinstance(value, float):
            out += [[name, round(value, 3)]] if math.isfinite(value) else []
        elif isinstance(value, (int, str)):
            out.append([name, value])
    return out


def _verdicts(rows):
    """{name: sorted texts} of the notes that take few different texts."""
    texts = defaultdict(set)
    for row in rows:
        for part in [row, *(answer for answers in row["a"].values() for answer in answers)]:
            for _, name, value in part["n"]:
                if isinstance(value, str):
                    texts[name].add(value)
    few = {name: v for name, v in texts.items() if len(v) <= FILTERED and max(map(len, v)) <= LONGEST}
    return {name: sorted(values) for name, values in few.items()}


def _sort_scores(rows):
    """Fill in every row's "d": the largest spread of a score between models, in standard deviations of that score over
    all rows. Returns the names of the scores that were used."""
    means = [_score_means(row) for row in rows]
    values = defaultdict(list)
    for by_score in means:
        for score, by_model in by_score.items():
            values[score] += by_model.values()
    deviation = {score: statistics.pstdev(of) for score, of in values.items()}
    used = set()
    for row, by_score in zip(rows, means):
        apart = {
            score: (max(of.values()) - min(of.values())) / deviation[score]
            for score, of in by_score.items()
            if len(of) > 1 and deviation[score] > 0
        }
        row["d"] = round(max(apart.values()), 3) if apart else None
        used |= {name for _, name in apart}
    return sorted(used)


def _score_means(row):
    """{(source, name of a score): {model: mean over its answers}} of one row."""
    values = defaultdict(lambda: defaultdict(list))
    for model, answers in row["a"].items():
        for source, name, value in (note for answer in answers for note in answer["n"]):
            if isinstance(value, (int, float)) and name.split(" · ")[0] in SCORES:
                values[source, name][model].append(value)
    return {score: {model: statistics.fmean(of) for model, of in models.items()} for score, models in values.items()}
