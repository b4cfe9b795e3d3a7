"""Answers side by side: the lines of all programs about the same prompt become one row, and a model's same answer is shown once.

A line that shows answers has {"id", "category", "messages", "answers": {model: [{"text", ...}]}} (korlhf/eval/result.py). What else it
says of an answer (scores, verdicts) or of the whole line is kept as notes: [place in `sources`, name, value].
"""

import math
import statistics
from pathlib import Path

from korlhf.data import record as records
from korlhf.data.example import RowError

OWN = {"text", "failed", "finish_reason", "tokens"}  # of an answer: shown in their own places, and no notes
FILTERED = 12  # a name whose notes have more different texts than this is free text, not a verdict
LONGEST = 40  # characters of a verdict
SCORES = ("score", "scores")  # the notes whose differences between models are sorted by


def merge(run):
    """{"models", "sources", "verdicts", "scores", "rows"} of a gather.Run.

    rows: [{"id", "c": category, "m": [[role, text]], "a": {model: [answer]}, "n": notes, "d": how far the models' scores are apart, or
    None}]; an answer: {"t": text or None, "x": why it failed, "f": finish_reason, "k": tokens, "s": places in sources, "n": notes}, "x",
    "f" and "k" only where there are any.
    verdicts: {name of a note: its texts} to filter by; scores: names of numbers that two models have.
    """
    sources, rows = [], {}
    for result in run.results:
        lines = [
            line
            for line in result.rows or ()
            if isinstance(line.get("answers"), dict) and isinstance(line.get("messages"), list)
        ]
        if lines:
            sources.append(result.name)
            for line in lines:
                _add(rows, line, len(sources) - 1)
    for stage in run.stages:
        if stage.answers:
            sources.append(f"{stage.name}/heldout_answers")
            for line in filter(None, (_before_and_after(stage, answer) for answer in stage.answers)):
                _add(rows, line, len(sources) - 1)
    found = list(rows.values())
    named = dict.fromkeys(model for row in found for model in row["a"])
    models = [s.name for s in run.stages if s.name in named]  # in the order of training, then the others
    models += [model for model in named if model not in models]
    scores = _differences(found)
    return {"models": models, "sources": sources, "verdicts": _verdicts(found), "scores": scores, "rows": found}


def _before_and_after(stage, line):
    """A line of the trainer's heldout_answers.jsonl in the form of the evaluations; None if it has no prompt."""
    try:
        record = records.make(line["prompt"], str(line.get("category", "")), stage.name)
    except (KeyError, TypeError, RowError):
        return None
    before = Path(stage.base).name or "before"
    names = {"before": before if before != stage.name else f"{before} (before)", "after": stage.name}
    answers = {
        name: [{"text": line.get(f"answer_{when}"), "score": line.get(f"score_{when}")}] for when, name in names.items()
    }
    return {
        "id": record["id"],
        "category": record["category"],
        "messages": records.messages(record),
        "answers": answers,
    }


def _add(rows, line, source):
    row = rows.setdefault(
        str(line.get("id")),
        {"id": str(line.get("id")), "c": str(line.get("category", "")), "m": _talk(line["messages"]), "a": {}, "n": []},
    )
    rest = {k: v for k, v in line.items() if k not in ("id", "category", "messages", "answers")}
    row["n"] += [[source, *note] for note in notes(rest) if not isinstance(note[1], str) or len(note[1]) <= LONGEST]
    for model, given in line["answers"].items():
        for answer in given if isinstance(given, list) else [given]:
            _add_answer(
                row["a"].setdefault(model, []), answer if isinstance(answer, dict) else {"text": str(answer)}, source
            )


def _talk(messages):
    """[[role, text]]; an input stands below the text that it belongs to."""
    return [
        [str(m.get("role")), "\n\n".join(str(m[k]) for k in ("content", "input") if m.get(k))]
        for m in messages
        if isinstance(m, dict)
    ]


def _add_answer(answers, answer, source):
    """Add an answer, or its notes to the same text of another program. Two equal samples of one program stay two."""
    text = None if answer.get("text") is None else str(answer["text"])
    same = next((a for a in answers if text is not None and a["t"] == text and source not in a["s"]), None)
    if same is None:
        more = {"x": answer.get("failed"), "f": answer.get("finish_reason"), "k": answer.get("tokens")}
        same = {"t": text, **{k: v for k, v in more.items() if v is not None}, "s": [], "n": []}
        answers.append(same)
    same["s"].append(source)
    same["n"] += [[source, *note] for note in notes(answer)]


def notes(values, prefix=""):
    """[[name, value]] of nested values: numbers and words as they are, names joined with a dot. Lists, a program's own, and the names in
    OWN are left out."""
    out = []
    for key, value in values.items():
        if key in OWN:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            out += notes(value, f"{name} · ")
        elif isinstance(value, bool):
            out.append([name, "yes" if value else "no"])
        elif isinstance(value, float):
            out += [[name, round(value, 3)]] if math.isfinite(value) else []
        elif isinstance(value, (int, str)):
            out.append([name, value])
    return out


def _all_notes(row):
    """(model or None, name, value) of every note of a row."""
    for _, name, value in row["n"]:
        yield None, name, value
    for model, answers in row["a"].items():
        for answer in answers:
            for _, name, value in answer["n"]:
                yield model, name, value


def _verdicts(rows):
    """{name: sorted texts} of the notes that take few different texts."""
    found = {}
    for row in rows:
        for _, name, value in _all_notes(row):
            if isinstance(value, str):
                found.setdefault(name, set()).add(value)
    return {
        name: sorted(values)
        for name, values in found.items()
        if len(values) <= FILTERED and max(map(len, values)) <= LONGEST
    }


def _differences(rows):
    """Fill in every row's "d": the largest spread of a score between models, in standard deviations of that score over all rows.

    Returns the names of the scores that were used.
    """
    of_rows = [_score_means(row) for row in rows]
    values = {}
    for of_row in of_rows:
        for name, by_model in of_row.items():
            values.setdefault(name, []).extend(by_model.values())
    spread = {name: statistics.pstdev(found) for name, found in values.items()}
    used = set()
    for row, of_row in zip(rows, of_rows):
        apart = {
            name: (max(m.values()) - min(m.values())) / spread[name]
            for name, m in of_row.items()
            if len(m) > 1 and spread[name] > 0
        }
        row["d"] = round(max(apart.values()), 3) if apart else None
        used |= set(apart)
    return sorted({name for _, name in used})


def _score_means(row):
    """{(source, name of a score): {model: mean over its answers}} of one row."""
    found = {}
    for model, answers in row["a"].items():
        for answer in answers:
            for source, name, value in answer["n"]:
                if isinstance(value, (int, float)) and name.split(" · ")[0] in SCORES:
                    found.setdefault((source, name), {}).setdefault(model, []).append(value)
    return {name: {model: statistics.fmean(of) for model, of in by_model.items()} for name, by_model in found.items()}
