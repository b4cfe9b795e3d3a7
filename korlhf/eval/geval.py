"""The tables of G-Eval: mean scores by category and criterion, paired differences, the judge's own noise."""

from dataclasses import dataclass

import numpy as np

from korlhf.core import stats
from korlhf.core.tables import both
from korlhf.eval import comparison, session
from korlhf.eval.comparison import category_name, cell
from korlhf.eval.texts import columns, named, say
from korlhf.judges.geval import PROBABILITIES, Score

DIGITS = 6  # of a score in the rows
ORIGINAL = {
    "KULLM": (3.71, 4.09, 3.61, 3.92, 3.78),
    "KULLM + SFT": (4.41, 4.55, 4.39, 4.48, 4.41),
    "KULLM + SFT + RLHF": (4.59, 4.57, 4.55, 4.53, 4.51),
    "ChatGPT": (4.70, 4.94, 4.85, 4.93, 4.86),
}
ORIGINAL_NOISE = 0.225


@dataclass(frozen=True)
class Unit:
    """What differences of a reward model's scores are told in, which are on no scale: the SD of the scores of one
    model's answers."""

    name: str
    sd: float


def unit_of(name, of_model):
    scores = [one.score for one in comparison.usable(of_model)]
    return Unit(name, float(np.std(scores))) if scores else None


def means_table(result, scored, grouped, seed):
    """The means by category, of every model."""
    rows, figures = [], []
    for category, numbers in grouped:
        means = {
            name: comparison.mean(comparison.by_prompt(of_model, numbers), seed) for name, of_model in scored.items()
        }
        counts = {m["n"] if m else 0 for m in means.values()}
        n = counts.pop() if len(counts) == 1 else f"{min(counts)}–{max(counts)}"
        rows.append([category_name(category), n, *map(cell, means.values())])
        figures += [{"model": name, "category": category, **(m or {"n": 0})} for name, m in means.items()]
    result.table(
        say("geval.means.title"), columns("category prompts") + named(scored, 2), rows, [say("geval.means.note")]
    )
    return figures


def criteria_tables(result, scored, grouped, rubrics, seed):
    """A table of the criteria for every group; over all categories the criteria that every rubric has."""
    figures = []
    for category, numbers in grouped:
        used = list({r.sha256: r for r in (rubrics.values() if category is None else [rubrics[category]])}.values())
        shared = [c for c in used[0].criteria if all(c.key in [other.key for other in r.criteria] for r in used)]
        rows = []
        for key, label in [*((c.key, both(c.key, c.name)) for c in shared), (None, say("geval.criteria.mean"))]:
            means = [comparison.mean(comparison.by_prompt(m, numbers, key), seed) for m in scored.values()]
            rows.append([label, *map(cell, means)])
            if key:
                figures += [
                    {"model": name, "category": category, "criterion": key, **(m or {"n": 0})}
                    for name, m in zip(scored, means)
                ]
        name = say("geval.criteria.all") if category is None else category_name(category)
        scales = ", ".join(dict.fromkeys(f"{r.low}–{r.high}" for r in used))
        result.table(
            say("geval.criteria.title", category=name),
            columns("criterion") + named(scored, 2),
            rows,
            [say("geval.criteria.note", scales=scales)],
        )
    return figures


def differences_table(result, scored, grouped, baseline, unit, noise):
    """The paired differences, and the warning of those that the judge's noise alone explains. unit: a Unit, of a score
    on no scale, or None; noise: comparison.noise, or None."""
    differences = comparison.differences(scored, grouped, result.settings["seed"], baseline)
    if not differences:
        return differences
    more, notes = [], [say("geval.differences.note", n=len(differences))]
    if unit:
        more = columns("in_sds:2", name=unit.name)
    elif noise:
        more = columns("noise")
        notes.append(say("geval.differences.noise"))
    rows = []
    for f in differences:
        if unit:
            f["in_sds"] = f["mean"] / unit.sd if unit.sd else None
        elif noise:
            numbers = dict(grouped)[f["category"]]
            counts = [len(comparison.usable([scored[f[side]][i] for i in numbers])) for side in ("model", "other")]
            f["judge_noise"] = comparison.noise_of_difference(noise["sd"], *counts)
        last = [f["in_sds"]] if unit else [f["judge_noise"]] if noise else []
        rows.append(
            [f"{f['model']} − {f['other']}", category_name(f["category"]), f["n"], cell(f), f["p"], f["holm"], *last]
        )
    head = columns("difference category prompts mean p:4 holm:4")
    result.table(say("geval.differences.title"), head + more, rows, notes)
    if noise:
        _warn_of_noise(result, differences, noise)
    return differences


def _warn_of_noise(result, differences, noise):
    """Warn of differences over all prompts that are no larger than what the judge's noise alone can make of equal
    models."""
    first = differences[0]["category"]
    small = [f for f in differences if f["category"] == first and abs(f["mean"]) <= f["judge_noise"]]
    if small and noise["mean"]:
        listed = ", ".join(f"{f['model']} − {f['other']} {f['mean']:.3f} (±{f['judge_noise']:.3f})" for f in small)
        result.warn(say("geval.noise.warning", listed=listed, mean=noise["mean"]))


def noise_table(s, judge, rubrics, scored, share):
    """Judge some answers again, and show how far the scores move. Returns (comparison.noise of the score or None,
    figures).

    s: session.Session; share: of the answers.
    """
    if judge.repeats:
        s.result.protocol["judge's noise"] = say("geval.noise.repeats")
    if judge.repeats or share == 0:
        return None, {}
    twice = comparison.rescore(judge, rubrics, s, scored, share)
    s.lost(say("geval.noise.second"), [again for _, again in twice])
    names = {c.key: both(c.key, c.name) for rubric in rubrics.values() for c in rubric.criteria}
    figures = {key: comparison.noise(twice, key) for key in [None, *names]}
    rows = [
        [names[key] if key else say("geval.criteria.mean"), cell(n), n["sd"], n["shift"], n["n"]]
        for key, n in figures.items()
        if n
    ]
    notes = [say("geval.noise.note")]
    if any(first.method == PROBABILITIES for first, _ in twice):
        notes.append(say("geval.noise.probabilities"))
    if rows:
        s.result.table(
            say("geval.noise.title"), columns("criterion change_size change_sd change_mean answer_count"), rows, notes
        )
    return figures[None], {key or "score": n for key, n in figures.items()}


def original_table(result):
    """The table of the original project, as published."""
    result.table(
        say("geval.original.title"),
        columns("model friendly:2 intelligible:2 natural:2 context:2 overall:2"),
        [[name, *scores] for name, scores in ORIGINAL.items()],
        [say("geval.original.note", noise=ORIGINAL_NOISE)],
    )


def note_protocol(result, judge, rubrics, scored):
    """How it was measured."""
    scores = [one for of_model in scored.values() for one in comparison.usable(of_model)]
    result.protocol["judge"] = judge.protocol()
    result.protocol["scores by"] = comparison.methods(scores, "answers")
    for category, r in rubrics.items():
        result.protocol[f"rubric of {category}"] = f"{r.file} (sha256 {r.sha256[:12]})"
    result.protocol["pairing"] = say("geval.pairing")
    result.protocol["interval"] = say("geval.interval", resamples=stats.RESAMPLES)


def rows(s, scored):
    """Lines that show answers, each with its score and the criteria's."""

    def shown(what):
        return {
            name: [[what(one) if isinstance(one, Score) else None for one in of_record] for of_record in by_record]
            for name, by_record in scored.items()
        }

    return session.rows(
        s,
        score=shown(lambda one: round(one.score, DIGITS)),
        scores=shown(lambda one: {key: round(value, DIGITS) for key, value in one.scores.items()}),
    )
