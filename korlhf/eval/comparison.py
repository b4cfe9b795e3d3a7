"""Scores of several models on the same prompts: means, paired differences, and how far a judge agrees with itself.

The unit is the prompt: a model's answers to one prompt are averaged first, since they are not independent. Intervals
are over prompts, and a difference of two models is over the prompts on which both have a score.
"""

import math
import random
from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd

from korlhf.core import stats
from korlhf.core.errors import InputError
from korlhf.core.tables import estimate, joined
from korlhf.data import record
from korlhf.data.prompts import prompts
from korlhf.eval.texts import say
from korlhf.judges import rubric as rubrics
from korlhf.judges.form import Item
from korlhf.judges.geval import Score
from korlhf.llm.protocol import Reply

FEW = 30  # prompts, below which a mean is a poor one
LEAST_RESCORED = 10  # answers


def groups(records):
    """[(category, numbers of its records)]; if there are several categories, all records come first, as category
    None."""
    of_category = {}
    for i, one in enumerate(records):
        of_category.setdefault(one["category"], []).append(i)
    return [*([(None, list(range(len(records))))] if len(of_category) > 1 else []), *of_category.items()]


def prepare(asked, judge, rubric, seed):
    """(records, their `groups`, {category: Rubric}) of AnswerFlags, --judge and --rubric; a reward model reads no
    rubric."""
    reward = judge.startswith("reward_model:")
    if rubric and reward:
        raise InputError("--rubric is for a judge that reads one; a reward model does not")
    records = prompts(asked.data_path, asked.max_prompts, seed)
    categories = list(dict.fromkeys(r["category"] for r in records))
    return records, groups(records), {} if reward else rubrics.for_categories(rubric, categories)


def category_name(category):
    """A category for people. None: every category together; records of a file without categories have the category
    "all"."""
    return say("comparison.all") if category in (None, "all") else category


def judged(s, judge, scored, grouped):
    """Count what `score` gave in a session.Session, and warn of all that makes it doubtful."""
    s.warn_of(judge)
    warn_of_few(s.result, grouped)
    for name in s.answers:
        s.result.lost(say("geval.judge_on", name=name), [one for place, one in scored.items() if place[0] == name])


def warn_of_few(result, grouped):
    small = [joined([category_name(c), str(len(numbers))], " ") for c, numbers in grouped if len(numbers) < FEW]
    if small:
        result.warn(say("comparison.few", least=FEW, groups=joined(small)))


def pairs(names, baseline=""):
    """[(model, other)]: every two models, the one named later first; with a baseline only the ones with it."""
    found = [(later, earlier) for earlier, later in combinations(names, 2)]
    return found if not baseline else [(name, baseline) for name in names if name != baseline]


def places(answers):
    """[(model, number of the record, of the answer)] of all llm.Replies. answers: of responders.answers."""
    return [
        (name, i, k)
        for name, by_record in answers.items()
        for i, replies in enumerate(by_record)
        for k, reply in enumerate(replies)
        if isinstance(reply, Reply)
    ]


def score(judge, rubrics, s, chosen=None, **again):
    """Answers judged by themselves: {place: Score, or the judge's Failure}.

    judge: of judges.open_judge; rubrics: {category: Rubric}, {} for a reward model; s: session.Session; chosen: of
    `places`, None = all.
    """
    chosen = places(s.answers) if chosen is None else chosen
    items = [
        Item(rubrics.get(s.records[i]["category"]), record.messages(s.records[i]), (s.answers[name][i][k].text,))
        for name, i, k in chosen
    ]
    return {place: one for place, (one,) in zip(chosen, judge.rate(items, **again))}


def rescore(score, s, scored, share):
    """A share of the scored answers judged once more: [(Score, Score or Failure)]. score: what judges places, as
    `score` does once it knows the judge."""
    drawn = redrawn(list(usable(scored)), share, s.seed)
    again = score(drawn, desc="judging again", again=True)
    return [(scored[place], again[place]) for place in drawn]


def redrawn(things, share, seed):
    """A share of things that were judged, at least LEAST_RESCORED, in their order."""
    n = min(len(things), max(LEAST_RESCORED, round(share * len(things))))
    return [things[j] for j in sorted(random.Random(f"{seed}:rescore").sample(range(len(things)), n))]


def noise(twice, key=None):
    """How far a judge is from itself: {"mean", "low", "high"} of |change|, "sd" and "shift" (mean) of the change,
    "same" (share that rounds to the same whole score), "n"; None without any.

    twice: of `rescore`; key: a criterion, None = the score.
    """
    pairs = [(_value(a, key), _value(b, key)) for a, b in twice if isinstance(b, Score)]
    changes = np.array([second - first for first, second in pairs if first is not None])
    if not len(changes):
        return None
    size = _estimate(stats.mean_interval(np.abs(changes)))
    sd = float(changes.std(ddof=1)) if len(changes) > 1 else 0.0
    same = sum(round(first) == round(second) for first, second in pairs if first is not None) / len(changes)
    return {**size, "sd": sd, "shift": float(changes.mean()), "same": same}


def noise_of_difference(sd, answers, other_answers):
    """How far the difference of two models' means moves by the judge's noise alone, 95 %. sd: of the change of one
    answer, which holds the noise twice; answers, other_answers: how many of each model are scored."""
    return stats.Z * sd * math.sqrt((1 / answers + 1 / other_answers) / 2)


def _value(one, key):
    """The score or a criterion of a Score; None if it has no such criterion."""
    return one.score if key is None else one.scores.get(key)


def usable(scored):
    """Those of `score` that are Scores."""
    return {place: one for place, one in scored.items() if isinstance(one, Score)}


def by_prompt(scored, names, key=None):
    """{model: Series of the mean of its scores, by number of the record}, of the records that have any. key: a
    criterion, None = the score."""
    values = [(name, i, _value(one, key)) for (name, i, _), one in usable(scored).items()]
    means = (
        pd.DataFrame(values, columns=["model", "prompt", "value"]).dropna().groupby(["model", "prompt"]).value.mean()
    )
    return {name: means.loc[[name]].droplevel("model") if name in means.index else pd.Series() for name in names}


def scale(rubrics):
    """The least and the largest score of {category: Rubric}; None of a reward model, which has no scale."""
    return (min(r.low for r in rubrics.values()), max(r.high for r in rubrics.values())) if rubrics else None


def mean(values, numbers, scale=None):
    """{"mean", "low", "high", "n"} over those prompts of `by_prompt` that are among numbers, or None without any."""
    values = values[values.index.isin(numbers)]
    return _estimate(stats.mean_interval(values, bounds=scale)) if len(values) else None


def _estimate(found):
    """Of a single prompt, and of equal values on no scale, low and high are None: there is no interval."""
    low, high = (found.low, found.high) if found.groups > 1 and found.known else (None, None)
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}


def differences(means, grouped, seed, baseline="", scale=None):
    """[{"model", "other", "category", "mean", "low", "high", "n", "p", "holm"}] of the pairs in every group, over the
    prompts that both have; holm: p adjusted for all of them. means: of `by_prompt`."""
    bounds, out = scale and (scale[0] - scale[1], scale[1] - scale[0]), []
    for model, other in pairs(list(means), baseline):
        both = pd.concat([means[model], means[other]], axis=1, join="inner")
        for category, numbers in grouped:
            if len(here := both[both.index.isin(numbers)]):
                found, p = stats.paired_difference(*here.to_numpy(float).T, seed=seed, bounds=bounds)
                out.append({"model": model, "other": other, "category": category, **_estimate(found), "p": p})
    for row, adjusted in zip(out, stats.holm([row["p"] for row in out])):
        row["holm"] = adjusted
    return out


def cell(figure):
    """A figure with "mean", "low" and "high" as a table's cell; without an interval where low is None."""
    return figure and (
        figure["mean"] if figure["low"] is None else estimate(*(figure[k] for k in ("mean", "low", "high")))
    )


def methods(judgements, what):
    """How scores or verdicts came, and how many (tables.both). judgements: what has a `method`; what: key of what is
    counted."""
    counts = Counter(one.method for one in judgements)
    parts = [
        say(f"methods.{what}", method=say(f"methods.{method.replace(' ', '_')}"), n=n) for method, n in counts.items()
    ]
    return joined(parts or [say("methods.none")])
