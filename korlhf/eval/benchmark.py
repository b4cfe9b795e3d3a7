"""Figures of what models chose in tasks of lm-evaluation-harness: values with intervals, beside what guessing gets, and paired differences.

Values and standard errors are the harness's (korlhf/eval/harness.py); what it has no interval for gets one here.
"""

from korlhf.core import stats
from korlhf.eval import comparison, harness
from korlhf.eval import multiple_choice as choice

PAIRED = ("acc", "acc_norm", "exact_match")  # metrics that are 0 or 1 on an item


def named(metrics, task):
    """KoBEST's f1 is macro-F1; other tasks mean other things by it."""
    return {
        "macro_f1" if name == "f1" and task.startswith("kobest") else name: value for name, value in metrics.items()
    }


def measure(problem, value, seed):
    """{metric: {"value", "low", "high"}} of one model on one task; low and high None where there is no interval."""
    out = {}
    rights, chosen = [item["right"] for item in problem.items], [item["choice"] for item in value["items"]]
    for name, (mean, error) in named(harness.metrics(value["results"]), problem.name).items():
        scores = [item["scores"][name] for item in value["items"] if name in item["scores"]]
        around = (
            choice.macro_f1_interval(rights, chosen, seed)
            if name == "macro_f1"
            else choice.interval(mean, error, scores)
        )
        out[name] = _figure(mean, around)
    return out


def _figure(mean, around):
    return {"value": mean, **dict(zip(("low", "high"), around or (None, None)))}


def guessing(problems):
    """{"chance", "majority"} over the items of all, or None where options are not numbered."""
    shares = []
    for problem in problems:
        if any(item["options"] is None or not isinstance(item["right"], int) for item in problem.items):
            return None
        shares.append(
            choice.baselines(
                [item["right"] for item in problem.items], [len(item["options"]) for item in problem.items]
            )
        )
    counts = [len(problem.items) for problem in problems]
    return {
        key: sum(n * share[k] for n, share in zip(counts, shares)) / sum(counts)
        for k, key in enumerate(("chance", "majority"))
    }


def scores(problems, found, model, metric):
    """A model's score on each item of all problems, or None if an item has none."""
    out = [item["scores"].get(metric) for problem in problems for item in found[model, problem.name]["items"]]
    return None if None in out else out


def figures(units, models, found, seed):
    """[{"task", "model", "n", "metrics", "chance", "majority", "p"}] of every task, and of every group after its tasks."""
    rows, done = [], set()
    for unit in units:
        for problem in unit.problems:
            if problem.name in done:  # asked for by its own name and in a group
                continue
            done.add(problem.name)
            rows += [
                _row(problem.name, model, [problem], found, measure(problem, found[model, problem.name], seed))
                for model in models
            ]
        if unit.group is not None:
            for model in models:
                whole = named(harness.grouped(unit, {p.name: found[model, p.name] for p in unit.problems}), unit.name)
                metrics = {
                    name: _figure(mean, choice.interval(mean, error, scores(unit.problems, found, model, name) or []))
                    for name, (mean, error) in whole.items()
                }
                rows.append(_row(unit.name, model, unit.problems, found, metrics))
    return rows


def _row(name, model, problems, found, metrics):
    base, right = guessing(problems), scores(problems, found, model, "acc")
    p = choice.p_beats(round(sum(right)), len(right), max(base.values())) if base and right else None
    return {
        "task": name,
        "model": model,
        "n": sum(len(problem.items) for problem in problems),
        "metrics": metrics,
        **(base or {"chance": None, "majority": None}),
        "p": p,
    }


def differences(units, models, found, seed):
    """[{"task", "metric", "model", "other", "mean", "low", "high", "n", "only_model", "only_other", "p", "holm"}] over the same items."""
    rows = []
    for unit in units:
        for metric in PAIRED:
            of_model = {model: scores(unit.problems, found, model, metric) for model in models}
            if None in of_model.values():
                continue
            for model, other in comparison.pairs(models):
                a, b = of_model[model], of_model[other]
                gap, _ = stats.paired_difference(a, b, seed=seed)
                only = sum(x > y for x, y in zip(a, b)), sum(x < y for x, y in zip(a, b))
                rows.append(
                    {
                        "task": unit.name,
                        "metric": metric,
                        "model": model,
                        "other": other,
                        "mean": gap.mean,
                        "low": gap.low,
                        "high": gap.high,
                        "n": gap.n,
                        "only_model": only[0],
                        "only_other": only[1],
                        "p": stats.mcnemar(*only),
                    }
                )
    for row, adjusted in zip(rows, stats.holm([row["p"] for row in rows])):
        row["holm"] = adjusted
    return rows
