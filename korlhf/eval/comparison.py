"""Scores of several models on the same prompts: means, paired differences, and how far a judge agrees with itself.

The unit is the prompt: a model's answers to one prompt are averaged first, since they are not independent. Intervals
are over prompts, and a difference of two models is over the prompts on which both have a score.
"""

import math
import random
from collections import Counter
from itertools import combinations

import numpy as np

from korlhf.core import stats
from korlhf.core.tables import estimate, words
from korlhf.data import record
from korlhf.eval.texts import say
from korlhf.judges.form import Item
from korlhf.judges.geval import Score
from korlhf.llm.protocol import Reply

FEW = 30  # prompts, below which a bootstrap interval is too narrow
LEAST_RESCORED = 10  # answers


def groups(records):
    """[(category, numbers of its records)]; if there are several categories, all records come first, as category
    None."""
    of_category = {}
    for i, one in enumerate(records):
        of_category.setdefault(one["category"], []).append(i)
    return [*([(None, list(range(len(records))))] if len(of_category) > 1 else []), *of_category.items()]


def category_name(category):
    """A category for people. None: every category together; records of a file without categories have the category
    "all"."""
    return say("comparison.all") if category in (None, "all") else category


def listed(items):
    """[(text or tables.both, number)] -> one line of them in both languages."""
    return {language: ", ".join(f"{words(text, language)} {n}" for text, n in items) for language in ("en", "ko")}


def warn_of_few(result, grouped):
    """Warn of the groups with few prompts."""
    small = [(category_name(category), len(numbers)) for category, numbers in grouped if len(numbers) < FEW]
    if small:
        result.warn(say("comparison.few", least=FEW, groups=listed(small)))


def pairs(names, baseline=""):
    """[(model, other)]: every two models, the one named later first; with a baseline only the ones with it."""
    found = [(later, earlier) for earlier, later in combinations(names, 2)]
    return found if not baseline else [(name, baseline) for name in names if name != baseline]


def score(judge, rubrics, records, answers):
    """Every answer judged by itself: {model: for each record a list of Score, the judge's Failure, or None where no
    answer is}.

    judge: of judges.open_judge; rubrics: {category: Rubric}, {} for a reward model; answers: of responders.answers.
    """
    out = {}
    for name, by_record in answers.items():
        items = [
            Item(
                rubrics.get(one["category"]),
                record.messages(one),
                tuple(reply.text for reply in replies if isinstance(reply, Reply)),
            )
            for one, replies in zip(records, by_record)
        ]
        scores = map(iter, judge.rate(items, desc=f"judging {name}"))
        out[name] = [
            [next(of_record) if isinstance(reply, Reply) else None for reply in replies]
            for replies, of_record in zip(by_record, scores)
        ]
    return out


def rescore(judge, rubrics, session, scored, share):
    """A share of the scored answers, at least LEAST_RESCORED, judged once more: [(Score, Score or Failure)], drawn by
    the seed."""
    places = [
        (name, i, k)
        for name, by_record in scored.items()
        for i, of_record in enumerate(by_record)
        for k, one in enumerate(of_record)
        if isinstance(one, Score)
    ]
    n = min(len(places), max(LEAST_RESCORED, round(share * len(places))))
    draw = random.Random(f"{session.seed}:rescore").sample(range(len(places)), n)
    drawn = [places[j] for j in sorted(draw)]
    items = [
        Item(
            rubrics[session.records[i]["category"]],
            record.messages(session.records[i]),
            (session.answers[name][i][k].text,),
        )
        for name, i, k in drawn
    ]
    again = judge.rate(items, desc="judging again", again=True)
    return [(scored[name][i][k], one) for (name, i, k), (one,) in zip(drawn, again)]


def noise(twice, key=None):
    """How far a judge is from itself: {"mean", "low", "high"} of |change|, "sd" and "shift" (mean) of the change, "n";
    None without any.

    twice: of `rescore`; key: a criterion, None = the score.
    """
    pairs = [(_value(a, key), _value(b, key)) for a, b in twice if isinstance(b, Score)]
    changes = np.array([second - first for first, second in pairs if first is not None])
    if not len(changes):
        return None
    size = stats.mean_interval(np.abs(changes))
    return {
        "mean": size.mean,
        "low": size.low,
        "high": size.high,
        "sd": float(changes.std(ddof=1)) if len(changes) > 1 else 0.0,
        "shift": float(changes.mean()),
        "n": len(changes),
    }


def noise_of_difference(sd, answers, other_answers):
    """How far the difference of two models' means moves by the judge's noise alone, 95 %. sd: of the change of one
    answer, which holds the noise twice; answers, other_answers: how many of each model are scored."""
    return 1.959964 * sd * math.sqrt((1 / answers + 1 / other_answers) / 2)


def _value(one, key):
    """The score or a criterion of a Score; None of what is none, or has no such criterion."""
    return None if not isinstance(one, Score) else one.score if key is None else one.scores.get(key)


def by_prompt(of_model, numbers, key=None):
    """{number of the record: mean of the model's scores there}, of those of `numbers` that have any. key: a criterion,
    None = the score."""
    out = {}
    for i in numbers:
        values = [value for one in of_model[i] if (value := _value(one, key)) is not None]
        if values:
            out[i] = sum(values) / len(values)
    return out


def mean(values, seed):
    """{"mean", "low", "high", "n"} over prompts of `by_prompt`, or None without any; of a single prompt low and high
    are None: there is no interval."""
    return _estimate(stats.mean_interval(list(values.values()), seed=seed)) if values else None


def difference(values, other, seed):
    """As `mean`, and "p", of values - other over the prompts that both have."""
    common = [i for i in values if i in other]
    if not common:
        return None
    found, p = stats.paired_difference([values[i] for i in common], [other[i] for i in common], seed=seed)
    return {**_estimate(found), "p": p}


def _estimate(found):
    low, high = (found.low, found.high) if found.groups > 1 else (None, None)
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}


def differences(scored, grouped, seed, baseline=""):
    """[{"model", "other", "category", "mean", "low", "high", "n", "p", "holm"}] of the pairs in every group; holm: p
    adjusted for all of them."""
    out = []
    for model, other in pairs(list(scored), baseline):
        for category, numbers in grouped:
            found = difference(by_prompt(scored[model], numbers), by_prompt(scored[other], numbers), seed)
            if found:
                out.append({"model": model, "other": other, "category": category, **found})
    for row, adjusted in zip(out, stats.holm([row["p"] for row in out])):
        row["holm"] = adjusted
    return out


def cell(figure):
    """A figure with "mean", "low" and "high" as a table's cell; without an interval where low is None."""
    return figure and (
        figure["mean"] if figure["low"] is None else estimate(*(figure[k] for k in ("mean", "low", "high")))
    )


def judged(of_model):
    """A model's Scores and Failures as one list."""
    return [one for of_record in of_model for one in of_record if one is not None]


def usable(of_model):
    return [one for one in judged(of_model) if isinstance(one, Score)]


def methods(judgements, what):
    """How scores or verdicts came, and how many (tables.both). judgements: what has a `method`; what: key of what is
    counted."""
    counts = Counter(one.method for one in judgements)
    parts = [
        say(f"methods.{what}", method=say(f"methods.{method.replace(' ', '_')}"), n=n) for method, n in counts.items()
    ]
    return {language: ", ".join(part[language] for part in parts or [say("methods.none")]) for language in ("en", "ko")}
