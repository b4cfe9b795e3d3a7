"""Figures, tables and warnings of what models chose in tasks of lm-evaluation-harness, next to what guessing gets.

Values and standard errors are the harness's (lm_eval.py); what it has no interval for gets one here.
"""

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from korlhf.core import stats
from korlhf.core.tables import both, joined
from korlhf.eval import lm_eval, lm_tasks
from korlhf.eval.comparison import cell
from korlhf.eval.session import template_line, template_of
from korlhf.eval.texts import columns, say, table

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "kobest"
FEW = 100  # items, below which the interval of an accuracy reaches more than 10 points to each side
SHOWN = 400  # characters of a prompt
PAIRED = ("acc", "acc_norm", "exact_match")  # metrics that are 0 or 1 on an item
NAMED = ("acc", "acc_norm", "macro_f1")  # metrics that have a name for people


def macro_f1_interval(rights, chosen, seed):
    """95 % percentile bootstrap interval of macro-F1, over items, expanded for few (stats.expanded); (None, None) if no
    draw differs. To draw items is to draw the cells of their confusion matrix."""
    cells = confusion_matrix(rights, chosen)
    draws = np.random.default_rng(seed).multinomial(cells.sum(), cells.ravel() / cells.sum(), stats.RESAMPLES)
    draws = draws.reshape(-1, *cells.shape)
    either = draws.sum(1) + draws.sum(2)  # 2 TP + FP + FN of each class
    f1 = (2 * np.diagonal(draws, axis1=1, axis2=2) / np.maximum(either, 1)).sum(-1) / (either > 0).sum(-1)
    low, high = np.quantile(f1, stats.expanded(len(rights)))
    return (float(low), float(high)) if low < high else (None, None)


def interval(mean, stderr, scores):
    """95 % interval of a mean, (None, None) if none can be given. scores: of the items, [] if they are not known;
    stderr: or None.

    mean +- 1.96 stderr, within 0 and 1 where all scores are; Wilson's where all items are right, or all wrong, which
    has no standard error.
    """
    if stderr and math.isfinite(stderr):
        ends = mean - stats.Z * stderr, mean + stats.Z * stderr
        share = bool(scores) and min(scores) >= 0 and max(scores) <= 1  # not of a perplexity, or a score of 0 to 100
        return (max(0.0, ends[0]), min(1.0, ends[1])) if share else ends
    return stats.wilson(sum(scores), len(scores)) if scores and set(scores) <= {0.0, 1.0} else (None, None)


def guessing(items):
    """{"chance": share right by chance, "majority": by the most frequent position of the right option} of lists of
    items; None where options are not numbered."""
    every = [item for of_task in items for item in of_task]
    if any(item["options"] is None or not isinstance(item["right"], int) for item in every):
        return {"chance": None, "majority": None}
    most = sum(max(Counter(item["right"] for item in of_task).values()) for of_task in items)
    return {"chance": sum(1 / len(item["options"]) for item in every) / len(every), "majority": most / len(every)}


def _scores(items, metric):
    """The score of each item, [] if one has none."""
    scores = [item["scores"].get(metric) for of_task in items for item in of_task]
    return [] if None in scores else scores


def figures(units, models, outcomes, seed):
    """[{"task", "model", "n", "metrics", "chance", "majority", "p"}] of every task once, and of every group after its
    tasks."""
    rows = {}
    for unit in units:
        for task in [[task] for task in unit.tasks] + [unit.tasks] * (unit.group is not None):
            name = unit.name if task is unit.tasks else task[0].task_name
            for model in models:
                parts = {one.task_name: outcomes[model, one.task_name] for one in task}
                results = {one: outcome["results"] for one, outcome in parts.items()}
                alone = task is not unit.tasks or unit.group is None
                values = lm_eval.metrics(results[name], name) if alone else lm_eval.grouped(unit, results)
                if not values:  # a group that the harness has no mean of
                    continue
                items = [outcome["items"] for outcome in parts.values()]
                rows.setdefault((name, model), {"task": name, "model": model, **_figures(items, values, seed)})
    return list(rows.values())


def _figures(items, values, seed):
    metrics, every = {}, [item for of_task in items for item in of_task]
    for metric, (mean, stderr) in values.items():
        if metric == "macro_f1" and len(items) == 1:
            low, high = macro_f1_interval(*([item[key] for item in every] for key in ("right", "choice")), seed)
        else:
            low, high = interval(mean, stderr, _scores(items, metric))
        metrics[metric] = {"value": mean, "low": low, "high": high}
    guess, right, p = guessing(items), _scores(items, "acc"), None
    if right and guess["chance"] is not None:
        p = float(binomtest(round(sum(right)), len(right), min(1.0, max(guess.values())), alternative="greater").pvalue)
    return {"n": len(every), "metrics": metrics, **guess, "p": p}


def differences(units, models, outcomes, seed):
    """[{"task", "metric", "model", "other", "mean", "low", "high", "n", "only_model", "only_other", "p", "holm"}] over
    the same items."""
    rows = []
    for unit in units:
        items = {model: [outcomes[model, task.task_name]["items"] for task in unit.tasks] for model in models}
        for metric in PAIRED:
            for other, model in combinations(models, 2):
                a, b = np.array(_scores(items[model], metric)), np.array(_scores(items[other], metric))
                if len(a) and len(b):
                    gap = stats.mean_interval(a - b, bounds=stats.CHANGE)
                    only = int((a > b).sum()), int((a < b).sum())
                    names = {"task": unit.name, "metric": metric, "model": model, "other": other}
                    values = {"mean": gap.mean, "low": gap.low, "high": gap.high, "n": gap.n}
                    told = {"only_model": only[0], "only_other": only[1], "p": stats.mcnemar(*only)}
                    rows.append({**names, **values, **told})
    for row, adjusted in zip(rows, stats.holm([row["p"] for row in rows])):
        row["holm"] = adjusted
    return rows


def _metric(name):
    return {**(say(f"benchmark.metrics.{name}") if name in NAMED else both(name, name)), "digits": 3}


def tables(result, rows, gaps):
    names = dict.fromkeys((*NAMED, *(name for row in rows for name in row["metrics"])))
    names = [name for name in names if any(name in row["metrics"] for row in rows)]
    head = columns("task model items") + [_metric(name) for name in names] + columns("chance most_frequent p:4")
    cells = [
        [
            *(row["task"], row["model"], row["n"]),
            *(m and cell({**m, "mean": m["value"]}) for m in map(row["metrics"].get, names)),
            *(row["chance"], row["majority"], row["p"]),
        ]
        for row in rows
    ]
    notes = [say("benchmark.note", intervals=say("benchmark.intervals")), say("benchmark.guessing")]
    table(
        result,
        "benchmark.kobest" if all(row["task"].startswith("kobest") for row in rows) else "benchmark.other",
        head,
        cells,
        notes,
    )
    cells = [
        [
            *(row["task"], _metric(row["metric"]), f"{row['model']} − {row['other']}", row["n"], cell(row)),
            *(row[key] for key in ("only_model", "only_other", "p", "holm")),
        ]
        for row in gaps
    ]
    head = "task measured models items difference only_first only_second p:4 p_adjusted:4"
    table(result, "benchmark.differences", head, cells)


def warn(result, rows, outcomes):
    """What a reader must know before the figures."""
    data_dir = result.settings["data_dir"]
    if data_dir and Path(data_dir).expanduser().resolve() == SAMPLE:
        result.warn(say("benchmark.invented"))
    if small := [f"{task} {n}" for task, n in {row["task"]: row["n"] for row in rows}.items() if n < FEW]:
        result.warn(say("benchmark.few", least=FEW, tasks=", ".join(small)))
    weak = {}
    for row in rows:
        if row["p"] is not None and row["p"] >= 0.05:
            guess = max(row["chance"], row["majority"])
            weak.setdefault(row["model"], []).append(
                f"{row['task']} ({row['metrics']['acc']['value']:.3f}; {guess:.3f})"
            )
    for model, tasks in weak.items():
        result.warn(say("benchmark.guesses", model=model, listed=", ".join(tasks)))
    for (model, task), outcome in outcomes.items():
        for key in ("cut", "not_finite"):
            if outcome[key]:
                result.warn(say(f"benchmark.{key}", model=model, task=task, n=outcome[key]))
        for line in outcome["said"]:
            result.warn(say("benchmark.said", model=model, task=task, line=line))


def note_protocol(result, models, units, outcomes):
    """How it was measured. models: {name: Checkpoint}."""
    settings, first, protocol = result.settings, next(iter(models)), result.protocol
    hub = ", ".join(unit.name for unit in units if not unit.local)
    data = [say("benchmark.local", folder=settings["data_dir"])] * any(unit.local for unit in units)
    data += [say("benchmark.hub", names=hub)] if hub else []
    shots = {task.task_name: outcomes[first, task.task_name]["shots"] for unit in units for task in unit.tasks}
    alike = len(set(shots.values())) == 1
    line = template_line({name: template_of(checkpoint.codec) for name, checkpoint in models.items()})
    chat = settings["apply_chat_template"]
    protocol |= {
        "harness": f"lm-evaluation-harness {lm_tasks.VERSION}",
        "data": joined(data),
        **({"items": say("benchmark.limit", n=settings["limit"])} if settings["limit"] else {}),
        "shots": next(iter(shots.values())) if alike else ", ".join(f"{task} {n}" for task, n in shots.items()),
        "chat template": say("benchmark.template", text=line) if chat else say("benchmark.no_template"),
    }
    for unit in units:
        name = unit.tasks[0].task_name
        prompt = outcomes[first, name]["prompt"]
        shown = prompt if len(prompt) <= SHOWN else f"{prompt[: SHOWN // 2]} [...] {prompt[-SHOWN // 2 :]}"
        protocol[f"first prompt of {name}"] = shown.replace("\n", "\\n")
    protocol |= {
        "decoding": say("benchmark.decoding"),
        "pairing": say("benchmark.pairing"),
        "interval": say("benchmark.interval", intervals=say("benchmark.intervals")),
        "precision": ", ".join(dict.fromkeys(checkpoint.dtype for checkpoint in models.values())),
        "seed": settings["seed"],
    }


def rows(tasks, models, outcomes):
    """One row per item: each model's choice next to the right one."""
    out = []
    for task in tasks:
        by_model = [outcomes[model, task.task_name]["items"] for model in models]
        for i, of_models in enumerate(zip(*by_model)):
            shown = {key: {m: item[key] for m, item in zip(models, of_models)} for key in ("choice", "scores")}
            out.append({"id": f"{task.task_name}/{i}", "category": task.task_name, **of_models[0], **shown})
    return out
