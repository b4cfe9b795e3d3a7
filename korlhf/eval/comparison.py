"""Scores of several models on the same prompts: means, paired differences, and how far a judge agrees with itself.

The unit is the prompt: a model's answers to one prompt are averaged first, since they are not independent. Intervals are over prompts, and
a difference of two models is over the prompts on which both have a score.
"""

import math
import random
from collections import Counter
from itertools import combinations

import numpy as np

from korlhf.core import stats
from korlhf.core.tables import both, words
from korlhf.data import record as records
from korlhf.judges.choice import GREEDY
from korlhf.judges.form import Item
from korlhf.judges.geval import PROBABILITIES, SAMPLES, Score
from korlhf.llm.client import Failure, Reply

ALL = both("all", "전체")
FEW = 30  # prompts, below which a bootstrap interval is too narrow
LEAST_RESCORED = 10  # answers
METHODS = {
    PROBABILITIES: "토큰 확률",
    SAMPLES: "채점표 여러 장의 평균",
    "reward model": "보상 모델",
    GREEDY: "확률 없이 고른 답",
    "equal answers": "똑같은 답변",
}


def groups(found):
    """[(category, numbers of its records)]; if there are several categories, all records come first, as category None."""
    of_category = {}
    for i, record in enumerate(found):
        of_category.setdefault(record["category"], []).append(i)
    return [*([(None, list(range(len(found))))] if len(of_category) > 1 else []), *of_category.items()]


def category_name(category):
    """A category for people. None: every category together; records of a file without categories have the category "all"."""
    return ALL if category in (None, "all") else category


def few(grouped):
    """A warning (tables.both) of the groups with few prompts, or None."""
    small = [(category, len(numbers)) for category, numbers in grouped if len(numbers) < FEW]
    if not small:
        return None
    en, ko = (
        ", ".join(f"{words(category_name(category), language)} {n}" for category, n in small)
        for language in ("en", "ko")
    )
    return both(
        f"fewer than {FEW} prompts, so few that the intervals are too narrow: {en}",
        f"프롬프트가 {FEW}개가 안 되어 구간이 실제보다 좁게 나옵니다: {ko}",
    )


def pairs(names, baseline=""):
    """[(model, other)]: every two models, the one named later first; with a baseline only the ones with it."""
    found = [(later, earlier) for earlier, later in combinations(names, 2)]
    return found if not baseline else [(name, baseline) for name in names if name != baseline]


def score(judge, of_category, found, answered):
    """Every answer judged by itself: {model: for each record a list of Score, the judge's Failure, or None where no answer is}.

    judge: of judges.open_judge; of_category: {category: Rubric}, {} for a reward model; found: records; answered: of responders.answers.
    """
    out = {}
    for name, of_model in answered.items():
        given = judge.rate(
            [
                Item(of_category.get(record["category"]), records.messages(record), _texts(replies))
                for record, replies in zip(found, of_model)
            ],
            desc=f"judging {name}",
        )
        out[name] = [_placed(replies, scores) for replies, scores in zip(of_model, given)]
    return out


def _texts(replies):
    return tuple(reply.text for reply in replies if isinstance(reply, Reply))


def _placed(replies, scores):
    scores = iter(scores)
    return [next(scores) if isinstance(reply, Reply) else None for reply in replies]


def rescore(judge, of_category, found, answered, scored, share, seed):
    """A share of the scored answers, at least LEAST_RESCORED, judged once more: [(Score, Score or Failure)], drawn by `seed`."""
    places = [
        (name, i, k)
        for name, of_model in scored.items()
        for i, of_record in enumerate(of_model)
        for k, one in enumerate(of_record)
        if isinstance(one, Score)
    ]
    n = min(len(places), max(LEAST_RESCORED, round(share * len(places))))
    drawn = [places[j] for j in sorted(random.Random(f"{seed}:rescore").sample(range(len(places)), n))]
    again = judge.rate(
        [
            Item(of_category[found[i]["category"]], records.messages(found[i]), (answered[name][i][k].text,))
            for name, i, k in drawn
        ],
        desc="judging again",
        again=True,
    )
    return [(scored[name][i][k], one) for (name, i, k), (one,) in zip(drawn, again)]


def noise(twice, key=None):
    """How far a judge is from itself: {"mean", "low", "high"} of |change|, "sd" and "shift" (mean) of the change, "n"; None without any.

    twice: of `rescore`; key: a criterion, None = the score.
    """
    usable = [(a, b) for a, b in twice if isinstance(b, Score) and (key is None or key in a.scores)]
    if not usable:
        return None
    changes = np.array([_value(b, key) - _value(a, key) for a, b in usable])
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
    """How far the difference of two models' means moves by the judge's noise alone, 95 %. sd: of the change of one answer, which holds the
    noise twice; answers, other_answers: how many of each model are scored."""
    return 1.959964 * sd * math.sqrt((1 / answers + 1 / other_answers) / 2)


def _value(one, key):
    return one.score if key is None else one.scores[key]


def by_prompt(of_model, numbers, key=None):
    """{number of the record: mean of the model's scores there}, of those of `numbers` that have any. key: a criterion, None = the score."""
    out = {}
    for i in numbers:
        values = [
            _value(one, key) for one in of_model[i] if isinstance(one, Score) and (key is None or key in one.scores)
        ]
        if values:
            out[i] = sum(values) / len(values)
    return out


def mean(values, seed):
    """{"mean", "low", "high", "n"} over prompts of `by_prompt`, or None without any; of a single prompt low and high are None: there is no
    interval."""
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
    """[{"model", "other", "category", "mean", "low", "high", "n", "p", "holm"}] of the pairs in every group; holm: p adjusted for all
    of them."""
    out = []
    for model, other in pairs(list(scored), baseline):
        for category, numbers in grouped:
            found = difference(by_prompt(scored[model], numbers), by_prompt(scored[other], numbers), seed)
            if found:
                out.append({"model": model, "other": other, "category": category, **found})
    for row, adjusted in zip(out, stats.holm([row["p"] for row in out])):
        row["holm"] = adjusted
    return out


def flat(of_model):
    """A model's Scores and Failures as one list."""
    return [one for of_record in of_model for one in of_record if one is not None]


def failures(of_model):
    return [one for one in flat(of_model) if isinstance(one, Failure)]


def usable(of_model):
    return [one for one in flat(of_model) if isinstance(one, Score)]


def methods(found, en, ko):
    """How scores or verdicts came, and how many (tables.both). found: what has a `method`; en, ko: what is counted."""
    counts = Counter(one.method for one in found)
    return both(
        ", ".join(f"{method}: {n} {en}" for method, n in counts.items()) or "none",
        ", ".join(f"{METHODS[method]} {n}{ko}" for method, n in counts.items()) or "없음",
    )
