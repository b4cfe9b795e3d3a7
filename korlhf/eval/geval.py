"""The tables of G-Eval: mean scores by category and criterion, paired differences, the judge's own noise.

scored: {(model, number of the record, of the answer): Score or Failure}, of comparison.score.
"""

import numpy as np

from korlhf.core.tables import both
from korlhf.eval import comparison, session
from korlhf.eval.comparison import category_name, cell, usable
from korlhf.eval.texts import columns, named, say, table
from korlhf.judges.choice import GREEDY
from korlhf.judges.geval import PROBABILITIES

DIGITS = 6  # of a score in the rows


def spread(scored, name):
    """SD of the scores of one model's answers, or None: what differences on no scale, a reward model's, are told in."""
    scores = [one.score for (model, _, _), one in usable(scored).items() if model == name]
    return float(np.std(scores)) if scores else None


def means_table(s, scored, grouped, scale):
    """The means by category, of every model. scale: as of comparison.scale."""
    rows, figures, names = [], [], list(s.answers)
    by_prompt = comparison.by_prompt(scored, names)
    for category, numbers in grouped:
        means = [comparison.mean(by_prompt[name], numbers, scale) for name in names]
        rows.append([category_name(category), _prompts(means), *map(cell, means)])
        figures += [{"model": name, "category": category, **(m or {"n": 0})} for name, m in zip(names, means)]
    table(s.result, "geval.means", columns("category prompts") + named(names, 2), rows)
    return figures


def _prompts(means):
    """How many prompts the means are of."""
    counts = sorted({m["n"] if m else 0 for m in means})
    return counts[0] if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def criteria_tables(s, scored, grouped, rubrics):
    """A table of the criteria for every group; over all categories the criteria that every rubric has."""
    figures, names, by_prompt = [], list(s.answers), {}
    for category, numbers in grouped:
        used = list({r.sha256: r for r in (rubrics.values() if category is None else [rubrics[category]])}.values())
        keys = set.intersection(*({c.key for c in r.criteria} for r in used))
        shared = {c.key: both(c.key, c.name) for c in used[0].criteria if c.key in keys}
        rows = []
        for key, label in [*shared.items(), (None, say("geval.criteria.mean"))]:
            if key not in by_prompt:
                by_prompt[key] = comparison.by_prompt(scored, names, key)
            means = {name: comparison.mean(by_prompt[key][name], numbers, comparison.scale(rubrics)) for name in names}
            rows.append([label, _prompts(means.values()), *map(cell, means.values())])
            here = {"category": category, "criterion": key}
            figures += [{"model": name, **here, **(m or {"n": 0})} for name, m in means.items() if key]
        name = say("geval.criteria.all") if category is None else category_name(category)
        scales = ", ".join(dict.fromkeys(f"{r.low}–{r.high}" for r in used))
        head = columns("criterion prompts") + named(names, 2)
        table(s.result, "geval.criteria", head, rows, category=name, scales=scales)
    return figures


def differences_table(s, scored, grouped, baseline, unit, noise, scale):
    """The paired differences, and the warning of those that the judge's noise alone explains. unit: (model, spread of
    its scores) where scores are on no scale, or None; noise: comparison.noise, or None."""
    means = comparison.by_prompt(scored, s.answers)
    differences = comparison.differences(means, grouped, s.seed, baseline, scale)
    if not differences:
        return differences
    last, more, notes = "", [], [say("geval.differences.note", n=len(differences))]
    if unit:
        last, more = "in_sds", columns("in_sds:2", name=unit[0])
    elif noise:
        last, more = "judge_noise", columns("noise")
        notes.append(say("geval.differences.noise"))
    groups, scores = dict(grouped), [(name, i) for name, i, _ in usable(scored)]
    for f in differences:
        if unit:
            f["in_sds"] = f["mean"] / unit[1] if unit[1] else None
        elif noise:
            here = set(groups[f["category"]])
            counts = [sum(name == f[side] and i in here for name, i in scores) for side in ("model", "other")]
            f["judge_noise"] = comparison.noise_of_difference(noise["sd"], *counts)
    rows = [
        [f"{f['model']} − {f['other']}", category_name(f["category"]), f["n"], cell(f), f["p"], f["holm"]]
        + ([f[last]] if last else [])
        for f in differences
    ]
    head = columns("difference category prompts mean p:4 holm:4")
    table(s.result, "geval.differences", head + more, rows, notes)
    small = [f for f in differences if f["category"] == differences[0]["category"] and last == "judge_noise"]
    small = [f for f in small if abs(f["mean"]) <= f["judge_noise"]]
    if small and noise["mean"]:
        listed = ", ".join(f"{f['model']} − {f['other']} {f['mean']:.3f} (±{f['judge_noise']:.3f})" for f in small)
        s.result.warn(say("geval.noise.warning", listed=listed, mean=noise["mean"]))
    return differences


def noise_table(s, judge, rubrics, scored, share, score):
    """Judge some answers again, and show how far the scores move. Returns (comparison.noise of the score or None,
    figures).

    share: of the answers; score: of comparison.rescore.
    """
    if judge.repeats:
        s.result.protocol["judge's noise"] = say("geval.noise.repeats")
    if judge.repeats or share == 0:
        return None, {}
    twice = comparison.rescore(score, s, scored, share)
    s.result.lost(say("geval.noise.second"), [again for _, again in twice])
    names = {None: say("geval.criteria.mean")}
    names |= {c.key: both(c.key, c.name) for rubric in rubrics.values() for c in rubric.criteria}
    figures = {key: comparison.noise(twice, key) for key in names}
    rows = [[names[key], cell(n), n["sd"], n["shift"], n["same"], n["n"]] for key, n in figures.items() if n]
    notes = [say("geval.noise.note")]
    if any(first.method in (PROBABILITIES, GREEDY) for first, _ in twice):
        notes.append(say("geval.noise.probabilities"))
    head = "criterion change_size change_sd change_mean same_score answer_count"
    table(s.result, "geval.noise", head, rows, notes)
    return figures[None], {key or "score": n for key, n in figures.items()}


def note_protocol(result, judge, rubrics, scored):
    result.protocol["judge"] = judge.protocol()
    result.protocol["scores by"] = comparison.methods(usable(scored).values(), "answers")
    for category, r in rubrics.items():
        result.protocol[f"rubric of {category}"] = f"{r.file} (sha256 {r.sha256[:12]})"
    result.protocol["pairing"] = say("geval.pairing")
    result.protocol["interval"] = say("geval.interval")


def rows(s, scored):
    """Lines that show answers, each with its score and the criteria's."""
    scores = usable(scored)
    return session.rows(s, lambda place: shown(scores.get(place)))


def shown(one):
    scores = {key: round(value, DIGITS) for key, value in one.scores.items()} if one else None
    return {"score": round(one.score, DIGITS) if one else None, "scores": scores}
