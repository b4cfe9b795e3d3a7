"""The statistics of reward models on ranked answers: accuracy, calibration, length, agreement, and comparison with what
knows nothing.

A result is 1 where the better answer has the higher score, 0 where it has the lower, and .5 for equal scores. Pairs of
one prompt are not independent, so intervals are over prompts.

Pairs are a DataFrame, a row for two answers to a prompt: "example" (its number), "better", "worse" (places among its
answers), "prompt_id" (the same for equal prompts), "category", "prompt", "chosen", "rejected", the same two as the data
has them ("raw_chosen", "raw_rejected": with their blanks), and "label_margin" (of a judge's scores; NaN if unknown).
Scores are (N, 2), of the better and the worse answer.
"""

import math
from itertools import combinations

import numpy as np
import pandas as pd

from korlhf.core import stats
from korlhf.korean import trivial_rules
from korlhf.korean.ngram_classifier import LEAST_PAIRS, NgramClassifier
from korlhf.training import margins as label_margins

ALPHA = 0.05
BINS = 10  # of calibration, of equal width from .5 to 1
TEXTS = ["prompt", "chosen", "rejected"]
RAW = ["prompt", "raw_chosen", "raw_rejected"]


def all_pairs(examples, prompt_ids):
    """Every pair of two answers of every example."""
    return pd.DataFrame(
        {
            **{"example": i, "better": a, "worse": b, "prompt_id": prompt_id, "category": e.category},
            **{"prompt": e.prompt, "chosen": e.answers[a], "rejected": e.answers[b]},
            **{"raw_chosen": e.written[a], "raw_rejected": e.written[b]},
            "label_margin": e.scores[a] - e.scores[b] if e.scores else math.nan,
        }
        for i, (e, prompt_id) in enumerate(zip(examples, prompt_ids))
        for a, b in combinations(range(len(e.answers)), 2)
    )


def triples(pairs, texts=TEXTS):
    """[(prompt, better answer, worse answer)]; texts: TEXTS, which models read, or RAW, which rules read."""
    return list(pairs[list(texts)].itertuples(index=False, name=None))


def results(margins):
    """1, .5 or 0 of each margin (score of the better answer minus that of the worse), (N,)."""
    return (np.sign(np.asarray(margins, dtype=float)) + 1) / 2


def margins_of(scores):
    """(N,)"""
    return scores[:, 0] - scores[:, 1]


def share(right, groups):
    """A mean of results. groups: the prompt of each. Returns {"mean", "n", "prompts", "interval": [low, high]}, None
    without any."""
    if not len(right):
        return None
    groups = list(groups)
    interval = list(stats.share_interval(right, groups))
    return {"mean": float(np.mean(right)), "n": len(right), "prompts": len(set(groups)), "interval": interval}


def accuracy(pairs, margins):
    """{"all": share with "mean_margin", "by_category": {category: the same}}"""
    margins = np.asarray(margins, dtype=float)

    def part(here):
        right = share(results(margins[here]), pairs["prompt_id"][here])
        return {**right, "mean_margin": float(margins[here].mean())}

    categories = pairs["category"].to_numpy()
    by_category = {category: part(categories == category) for category in sorted(set(categories))}
    return {"all": part(np.ones(len(pairs), dtype=bool)), "by_category": by_category}


def by_label_margin(pairs, margins):
    """{"bins", "ceiling"} of korlhf/training/margins.py over the pairs whose labels have a margin; None without any."""
    known = (pairs["label_margin"] > 0).to_numpy()
    if not known.any():
        return None
    of = (
        results(np.asarray(margins)[known]),
        pairs["label_margin"][known].to_numpy(),
        pairs["prompt_id"][known].tolist(),
    )
    return {"bins": label_margins.by_margin(*of), "ceiling": label_margins.ceiling(*of)}


def calibration(margins, groups):
    """How far sigmoid(score difference), the probability that the pairwise loss trains, is from the share of pairs that
    it is right about. groups: the prompt of each pair.

    Returns {"error": expected calibration error (Guo et al. 2017, equation 3), "predicted": mean probability of the
    likelier answer, "won": how often it is the better one, "bins": of those that hold pairs
    [{"from", "to", "predicted", "won", "n", "interval"}], "confidence": "over" or "under", or "fair" if the interval of
    their difference holds 0}.
    """
    groups = list(groups)
    likelier = pd.DataFrame({"predicted": 1 / (1 + np.exp(-np.abs(margins))), "won": results(margins)})
    edges = np.linspace(0.5, 1.0, BINS + 1)
    place = np.clip(np.digitize(likelier["predicted"], edges) - 1, 0, BINS - 1)
    gap = stats.mean_interval(likelier["predicted"] - likelier["won"], groups, stats.CHANGE)
    bins = []
    for k, part in likelier.groupby(place):
        ends, mean = {"from": float(edges[k]), "to": float(edges[k + 1])}, part.mean().to_dict()
        interval = list(stats.share_interval(part["won"], [groups[i] for i in part.index]))
        bins.append({**ends, **mean, "n": len(part), "interval": interval})
    return {
        "error": sum(abs(b["predicted"] - b["won"]) * b["n"] for b in bins) / len(likelier),
        **likelier.mean().to_dict(),
        "confidence": "over" if gap.low > 0 else "under" if gap.high < 0 else "fair",
        "bins": bins,
    }


def answers(pairs, scores):
    """DataFrame of every answer once: "length" in characters, "score"."""
    parts = [
        pd.DataFrame({"example": pairs["example"], "place": pairs[place], "length": pairs[text].str.len(), "score": of})
        for place, text, of in zip(("better", "worse"), TEXTS[1:], np.asarray(scores, dtype=float).T)
    ]
    return pd.concat(parts).drop_duplicates(["example", "place"])


def length(pairs, scores):
    """What the scores owe to length.

    Returns {"answers": Spearman of score and length, "n_answers", "differences": Spearman of the pairs' margins and
    differences in length, "prefers_longer": how often the longer answer has the higher score, "chosen_longer": how
    often it is the better one, "longer" and "shorter": `share` of the pairs whose better answer is the longer, or the
    shorter; None without such pairs}.

    Differences are better minus worse: a model that is merely right about pairs whose better answer is longer gets no
    correlation by it.
    """
    margins, every = margins_of(np.asarray(scores, dtype=float)), answers(pairs, scores)
    by = (pairs["chosen"].str.len() - pairs["rejected"].str.len()).to_numpy()
    right, unequal = results(margins), by != 0
    parts = {"longer": by > 0, "shorter": by < 0}
    return {
        "answers": stats.spearman(every["length"], every["score"]),
        "n_answers": len(every),
        "differences": stats.spearman(margins, by),
        **{name: share(right[here], pairs["prompt_id"][here]) for name, here in parts.items()},
        "prefers_longer": float(np.where(by > 0, right, 1 - right)[unequal].mean()) if unequal.any() else None,
        "chosen_longer": float((by > 0)[unequal].mean()) if unequal.any() else None,
    }


def spread(pairs, scores):
    """{"low", "high": of the scores, "commonest": share of the answers with the commonest, 0 if all differ, "equal":
    share of the pairs with equal ones}"""
    values = answers(pairs, scores)["score"]
    most = int(values.value_counts().max())
    commonest, equal = most / len(values) if most > 1 else 0.0, (results(margins_of(np.asarray(scores))) == 0.5).mean()
    return {"low": float(values.min()), "high": float(values.max()), "commonest": commonest, "equal": float(equal)}


def compare(first, second, groups):
    """The results of two judges on the same pairs.

    Returns {"difference": mean of first - second, "low", "high": its interval over prompts,
    "only_first", "only_second": pairs on which one did better (right against wrong, or either against a tie), "p":
    McNemar's exact test of these two counts, "n"}.
    """
    step = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    gap = stats.mean_interval(step, groups, stats.CHANGE)
    only = {"only_first": int((step > 0).sum()), "only_second": int((step < 0).sum())}
    values = {"difference": gap.mean, "low": gap.low, "high": gap.high, **only}
    return {**values, "p": stats.mcnemar(*only.values()), "n": gap.n}


def significant(comparison):
    """Whether the first of a `compare` is better: by McNemar's test, and by the interval over prompts."""
    return comparison["p"] < ALPHA and comparison["low"] > 0


def agreement(pairs, first, second):
    """Two models, scores (N, 2) each: `compare` of their results and {"alike": share of the pairs ordered alike,
    "kappa": Cohen's kappa of right, wrong and equal (what their accuracies alone would make them share is no
    agreement), "spearman": of the answers' scores}."""
    a, b = (results(margins_of(s)) for s in (first, second))
    return {
        **compare(a, b, pairs["prompt_id"]),
        "alike": float((a == b).mean()),
        "kappa": stats.kappa((2 * a).astype(int).tolist(), (2 * b).astype(int).tolist()),
        "spearman": stats.spearman(*(answers(pairs, s)["score"] for s in (first, second))),
    }


def baselines(fit, measured, left_out, seed):
    """What knows nothing: the classifier, if `fit` has ngram_classifier.LEAST_PAIRS, the best rule of each category, if
    there are several, and all trivial rules, the best on `fit` first.

    fit, measured, left_out: pairs; left_out: those that no model scored. Returns [{"rule": its name, None of the
    classifier, "fitted": accuracy on `fit`, "right": results on `measured`, "with_left_out": accuracy on `measured` and
    `left_out`, "of_category": {category: name of its rule}, of the best rule of each alone}]. A rule that says nothing
    of a pair is half right.
    """
    every = pd.concat([measured, left_out]) if len(left_out) else measured
    rules = [
        _baseline(name, (lambda pairs, rule=rule: _results(rule, pairs)), fit, every, len(measured))
        for name, rule in trivial_rules.trivial_rules(triples(fit, RAW)).items()
    ]
    rules.sort(key=lambda b: -b["fitted"])
    first = []
    if measured["category"].nunique() > 1:
        first.append(_best_of_each(fit, every, len(measured)))
    if len(fit) < LEAST_PAIRS:
        return [*first, *rules]
    classifier = NgramClassifier(triples(fit), seed)
    return [
        _baseline(None, lambda pairs: results(classifier.margins(triples(pairs))), fit, every, len(measured)),
        *first,
        *rules,
    ]


def _results(rule, pairs):
    return np.array(trivial_rules.results(rule, triples(pairs, RAW)))


def _baseline(name, judge, fit, every, n):
    """judge: pairs -> results (N,); every: the `n` measured pairs, then those left out."""
    right = judge(every)
    return {
        "rule": name,
        "fitted": float(judge(fit).mean()),
        "right": right[:n],
        "with_left_out": float(right.mean()) if len(right) > n else None,
    }


def _best_of_each(fit, every, n):
    chosen, best = trivial_rules.rules_of_each({c: triples(part, RAW) for c, part in fit.groupby("category")})

    def judge(pairs):
        parts = [
            pd.Series(_results(chosen.get(category, best)[1], part), part.index)
            for category, part in pairs.reset_index(drop=True).groupby("category")
        ]
        return pd.concat(parts).sort_index().to_numpy()

    names = {category: chosen.get(category, best)[0] for category in sorted(every["category"].unique())}
    return {**_baseline(trivial_rules.EACH, judge, fit, every, n), "of_category": names}
