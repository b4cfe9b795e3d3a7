"""Figures, tables and warnings of what models chose in tasks of lm-evaluation-harness, next to what guessing gets.

Values and standard errors are the harness's (lm_eval.py); what it has no interval for gets one here.
"""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from korlhf.core import stats
from korlhf.core.tables import both
from korlhf.eval import comparison, lm_eval, lm_tasks
from korlhf.eval.comparison import cell
from korlhf.eval.session import template_line, template_of
from korlhf.eval.texts import columns, say

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "kobest"
FEW = 100  # items, below which the interval of an accuracy reaches more than 10 points to each side
SHOWN = 400  # characters of a prompt
PAIRED = ("acc", "acc_norm", "exact_match")  # metrics that are 0 or 1 on an item
NAMED = ("acc", "acc_norm", "macro_f1")  # metrics that have a name for people
Z = 1.959964
ANCHOR = [["kobest_copa", "polyglot-ko-1.3b", None, 0.7114], ["kobest_hellaswag", "polyglot-ko-1.3b", 0.532, 0.4013]]


def macro_f1(rights, chosen):
    """Mean over classes of F1, of the classes that are right or chosen anywhere: scikit-learn's f1_score, of many
    resamples at once.

    rights, chosen: (..., N) ints. Returns (...).
    """
    rights, chosen = np.asarray(rights), np.asarray(chosen)
    total, present = 0.0, 0
    for label in np.union1d(rights, chosen):
        is_right, is_chosen = rights == label, chosen == label
        either = is_right.sum(-1) + is_chosen.sum(-1)  # 2 TP + FP + FN
        total = total + 2 * (is_right & is_chosen).sum(-1) / np.maximum(either, 1)
        present = present + (either > 0)
    return total / present


def macro_f1_interval(rights, chosen, seed=0, resamples=stats.RESAMPLES):
    """95 % percentile bootstrap interval of macro-F1, over items (Efron and Tibshirani 1993, chapter 13); None if no
    draw differs."""
    draws = np.random.default_rng(seed).integers(len(rights), size=(resamples, len(rights)))
    low, high = np.quantile(macro_f1(np.asarray(rights)[draws], np.asarray(chosen)[draws]), [0.025, 0.975])
    return (float(low), float(high)) if low < high else None


def interval(mean, stderr, scores):
    """95 % interval of a mean, or None if none can be given. scores: of the items, [] if they are not known; stderr: or
    None.

    mean +- 1.96 stderr, within 0 and 1 where all scores are; Wilson's where all items are right, or all wrong, which
    has no standard error.
    """
    if stderr and math.isfinite(stderr):
        low, high = mean - Z * stderr, mean + Z * stderr
        share = bool(scores) and min(scores) >= 0 and max(scores) <= 1  # not of a perplexity, or a score of 0 to 100
        return (max(0.0, low), min(1.0, high)) if share else (low, high)
    return stats.wilson(sum(scores), len(scores)) if scores and set(scores) <= {0.0, 1.0} else None


def guessing(items):
    """{"chance": share right by chance, "majority": by the most frequent position of the right option} of lists of
    items; None where options are not numbered."""
    every = [item for of_task in items for item in of_task]
    if any(item["options"] is None or not isinstance(item["right"], int) for item in every):
        return {"chance": None, "majority": None}
    most = sum(max(Counter(item["right"] for item in of_task).values()) for of_task in items)
    return {"chance": sum(1 / len(item["options"]) for item in every) / len(every), "majority": most / len(every)}


def _items(unit, model, outcomes):
    return [outcomes[model, task.task_name]["items"] for task in unit.tasks]


def _scores(items, metric):
    """The score of each item, or None if one has none."""
    scores = [item["scores"].get(metric) for of_task in items for item in of_task]
    return None if None in scores else scores


def figures(units, models, outcomes, seed):
    """[{"task", "model", "n", "metrics", "chance", "majority", "p"}] of every task once, and of every group after its
    tasks."""
    rows = {}
    for unit in units:
        names = [task.task_name for task in unit.tasks]
        for name in names:
            for model in models:
                values = lm_eval.metrics(outcomes[model, name]["results"], name)
                rows.setdefault((name, model), _row(name, model, [outcomes[model, name]["items"]], values, seed))
        for model in models if unit.group is not None else ():
            values = lm_eval.grouped(unit, {name: outcomes[model, name]["results"] for name in names})
            rows[unit.name, model] = _row(unit.name, model, _items(unit, model, outcomes), values, seed)
    return list(rows.values())


def _row(name, model, items, values, seed):
    figures, every = {}, [item for of_task in items for item in of_task]
    for metric, (mean, stderr) in values.items():
        if metric == "macro_f1" and len(items) == 1:
            around = macro_f1_interval([item["right"] for item in every], [item["choice"] for item in every], seed)
        else:
            around = interval(mean, stderr, _scores(items, metric) or [])
        low, high = around or (None, None)
        figures[metric] = {"value": mean, "low": low, "high": high}
    guess, right, p = guessing(items), _scores(items, "acc"), None
    if right and guess["chance"] is not None:
        p = float(binomtest(round(sum(right)), len(right), min(1.0, max(guess.values())), alternative="greater").pvalue)
    return {"task": name, "model": model, "n": len(every), "metrics": figures, **guess, "p": p}


def differences(units, models, outcomes, seed):
    """[{"task", "metric", "model", "other", "mean", "low", "high", "n", "only_model", "only_other", "p", "holm"}] over
    the same items."""
    rows = []
    for unit in units:
        for metric in PAIRED:
            scores = {model: _scores(_items(unit, model, outcomes), metric) for model in models}
            for model, other in comparison.pairs(models) if None not in scores.values() else ():
                a, b = scores[model], scores[other]
                gap, _ = stats.paired_difference(a, b, seed=seed)
                only = {"only_model": sum(x > y for x, y in zip(a, b)), "only_other": sum(x < y for x, y in zip(a, b))}
                names = {"task": unit.name, "metric": metric, "model": model, "other": other}
                values = {"mean": gap.mean, "low": gap.low, "high": gap.high, "n": gap.n}
                rows.append({**names, **values, **only, "p": stats.mcnemar(*only.values())})
    for row, adjusted in zip(rows, stats.holm([row["p"] for row in rows])):
        row["holm"] = adjusted
    return rows


def _metric(name):
    return say(f"kobest.metrics.{name}") if name in NAMED else both(name, name)


def tables(result, rows, gaps, show_anchor):
    """The figures, the differences, and the published figures, kept apart."""
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    names.sort(key=lambda name: NAMED.index(name) if name in NAMED else len(NAMED))
    head = columns("task model items") + [{**_metric(name), "digits": 3} for name in names]
    cells = [
        [
            *(row["task"], row["model"], row["n"]),
            *(m and cell({**m, "mean": m["value"]}) for m in map(row["metrics"].get, names)),
            *(row["chance"], row["majority"], row["p"]),
        ]
        for row in rows
    ]
    title = say("kobest.title" if all(row["task"].startswith("kobest") for row in rows) else "kobest.other_title")
    notes = [say("kobest.note", intervals=say("kobest.intervals")), say("kobest.guessing")]
    result.table(title, head + columns("chance most_frequent p:4"), cells, notes)
    cells = [
        [
            *(row["task"], _metric(row["metric"]), f"{row['model']} − {row['other']}", row["n"], cell(row)),
            *(row[key] for key in ("only_model", "only_other", "p", "holm")),
        ]
        for row in gaps
    ]
    if cells:
        head = columns("task measured models items difference only_first only_second p:4 p_adjusted:4")
        result.table(say("kobest.differences.title"), head, cells, [say("kobest.differences.note")])
    if show_anchor:
        head = columns("task model") + [{**_metric(name), "digits": 4} for name in ("acc_norm", "macro_f1")]
        result.table(say("kobest.anchor.title"), head, ANCHOR, [say("kobest.anchor.note")])


def warn(result, rows, outcomes, repeated):
    """What a reader must know before the figures. repeated: {task: number of items that are also among the
    examples}."""
    data_dir = result.settings["data_dir"]
    if data_dir and Path(data_dir).expanduser().resolve() == SAMPLE:
        result.warn(say("kobest.invented"))
    if small := [f"{task} {n}" for task, n in {row["task"]: row["n"] for row in rows}.items() if n < FEW]:
        result.warn(say("kobest.few", least=FEW, tasks=", ".join(small)))
    for model in dict.fromkeys(row["model"] for row in rows):
        weak = [row for row in rows if row["model"] == model and row["p"] is not None and row["p"] >= 0.05]
        listed = ", ".join(
            f"{r['task']} ({r['metrics']['acc']['value']:.3f}; {max(r['chance'], r['majority']):.3f})" for r in weak
        )
        if weak:
            result.warn(say("kobest.guesses", model=model, listed=listed))
    for task, n in repeated.items():
        if n:
            result.warn(say("kobest.repeated", task=task, n=n))
    for (model, task), outcome in outcomes.items():
        for key in ("cut", "not_finite"):
            if outcome[key]:
                result.warn(say(f"kobest.{key}", model=model, task=task, n=outcome[key]))
        for line in outcome["said"]:
            result.warn(say("kobest.said", model=model, task=task, line=line))


def note_protocol(result, models, units, outcomes, contents):
    """How it was measured. models: {name: Checkpoint}; contents: of lm_tasks.contents."""
    settings, first, protocol = result.settings, next(iter(models)), result.protocol
    protocol["harness"] = f"lm-evaluation-harness {lm_tasks.VERSION}"
    local, hub = [u.name for u in units if u.files], ", ".join(u.name for u in units if not u.files)
    data = [say("kobest.local", folder=settings["data_dir"])] if local else []
    data += [say("kobest.hub", names=hub)] if hub else []
    protocol["data"] = {language: ", ".join(part[language] for part in data) for language in ("en", "ko")}
    if settings["limit"]:
        protocol["items"] = say("kobest.limit", n=settings["limit"])
    shots = {task.task_name: outcomes[first, task.task_name]["shots"] for unit in units for task in unit.tasks}
    alike = len(set(shots.values())) == 1
    protocol["shots"] = next(iter(shots.values())) if alike else ", ".join(f"{task} {n}" for task, n in shots.items())
    line = template_line({name: template_of(checkpoint.codec) for name, checkpoint in models.items()})
    chat = settings["apply_chat_template"]
    protocol["chat template"] = say("kobest.template", text=line) if chat else say("kobest.no_template")
    for unit in units:
        name = unit.tasks[0].task_name
        text = contents[name]["config"].get("doc_to_text")
        protocol[f"doc_to_text of {name}"] = " ".join(str(text).split())
        prompt = outcomes[first, name]["prompt"]
        shown = prompt if len(prompt) <= SHOWN else f"{prompt[: SHOWN // 2]} [...] {prompt[-SHOWN // 2 :]}"
        protocol[f"first prompt of {name}"] = shown.replace("\n", "\\n")
    protocol["decoding"] = say("kobest.decoding")
    protocol["pairing"] = say("kobest.pairing")
    protocol["interval"] = say("kobest.interval", intervals=say("kobest.intervals"))
    protocol["precision"] = ", ".join(dict.fromkeys(checkpoint.dtype for checkpoint in models.values()))
    protocol["batch size"] = settings["batch_size"]
    protocol["seed"] = settings["seed"]


def rows(tasks, models, outcomes):
    """One row per item: each model's choice next to the right one."""
    out = []
    for task in tasks:
        by_model = {model: outcomes[model, task.task_name]["items"] for model in models}
        for i, first in enumerate(next(iter(by_model.values()))):
            shown = {key: {m: items[i][key] for m, items in by_model.items()} for key in ("choice", "scores")}
            out.append({"id": f"{task.task_name}/{i}", "category": task.task_name, **first, **shown})
    return out
