"""The statistics of reward models on ranked answers: accuracy, calibration, length, agreement, and comparison with what
knows nothing.

A result is 1 where the better answer has the higher score, 0 where it has the lower, and .5 for equal scores. Pairs of
one prompt are not independent, so intervals come twice: Wilson's, as if they were, and a bootstrap over prompts.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import binom

from korlhf.core import stats
from korlhf.eval.ngram_classifier import LEAST_PAIRS, NgramClassifier
from korlhf.korean import trivial_rules

ALPHA = 0.05


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt, the better one first. example: number of the example, better, worse: places among its
    answers; prompt_id: the same for equal prompts."""

    example: int
    better: int
    worse: int
    prompt_id: str
    category: str
    prompt: str
    chosen: str
    rejected: str

    @property
    def texts(self):
        """(prompt, better answer, worse answer)"""
        return self.prompt, self.chosen, self.rejected

    @property
    def longer_by(self):
        """Characters that the better answer has more."""
        return len(self.chosen) - len(self.rejected)


def all_pairs(examples, prompt_ids):
    """Every pair of two answers of every example."""
    return [
        Pair(i, a, b, prompt_id, e.category, e.prompt, e.answers[a], e.answers[b])
        for i, (e, prompt_id) in enumerate(zip(examples, prompt_ids))
        for a, b in combinations(range(len(e.answers)), 2)
    ]


def results(margins):
    """1, .5 or 0 of each margin (score of the better answer minus that of the worse), (N,)."""
    return (np.sign(np.asarray(margins, dtype=float)) + 1) / 2


def share(of, groups, seed):
    """A mean of results. groups: the prompt of each. Returns {"mean", "n", "prompts", "wilson": [low, high],
    "bootstrap": [low, high]}."""
    mean = stats.mean_interval(of, groups, seed)
    return {
        "mean": mean.mean,
        "n": mean.n,
        "prompts": mean.groups,
        "wilson": list(stats.wilson(float(np.sum(of)), mean.n)),
        "bootstrap": [mean.low, mean.high],
    }


def wider(share):
    """(low, high) that hold both intervals of a `share`: what conclusions are drawn from."""
    return min(share["wilson"][0], share["bootstrap"][0]), max(share["wilson"][1], share["bootstrap"][1])


def accuracy(pairs, margins, seed):
    """{"all": share with "mean_margin", "by_category": {category: the same}}"""
    margins = np.asarray(margins, dtype=float)
    places = {
        category: [i for i, p in enumerate(pairs) if p.category == category]
        for category in sorted({p.category for p in pairs})
    }
    of = {category: _accuracy(pairs, margins, here, seed) for category, here in places.items()}
    return {"all": _accuracy(pairs, margins, list(range(len(pairs))), seed), "by_category": of}


def _accuracy(pairs, margins, places, seed):
    of = share(results(margins[places]), [pairs[i].prompt_id for i in places], seed)
    return {**of, "mean_margin": float(margins[places].mean())}


def calibration(margins, groups, seed):
    """How far sigmoid(score difference) is from the share of pairs that it is right about. groups: the prompt of each
    pair.

    Returns {"error": expected calibration error, "predicted": mean probability of the likelier answer, "won": how often
    it is the better one, "bins": as stats.calibration, each with its Wilson "interval", "confidence": "over" or
    "under", or "fair" if Wilson's interval of "won" holds "predicted", or the bootstrap interval of their difference,
    over prompts, holds 0}.
    """
    margins = np.asarray(margins, dtype=float)
    error, bins = stats.calibration(margins, np.where(margins == 0, 0.5, 1.0))
    predicted, won = (sum(b[key] * b["n"] for b in bins) / len(margins) for key in ("predicted", "won"))
    low, high = stats.wilson(won * len(margins), len(margins))
    gap = stats.mean_interval(1 / (1 + np.exp(-np.abs(margins))) - results(margins), groups, seed)
    confidence = "over" if predicted > high and gap.low > 0 else "under" if predicted < low and gap.high < 0 else "fair"
    return {
        "error": error,
        "predicted": predicted,
        "won": won,
        "confidence": confidence,
        "bins": [{**b, "interval": list(stats.wilson(b["won"] * b["n"], b["n"]))} for b in bins],
    }


def answer_scores(pairs, scores):
    """{(example, place): (length in characters, score)}: every answer once. scores: (N, 2) of the better and the
    worse."""
    out = {}
    for p, (better, worse) in zip(pairs, scores):
        out[p.example, p.better] = len(p.chosen), float(better)
        out[p.example, p.worse] = len(p.rejected), float(worse)
    return out


def length(pairs, scores, seed):
    """What the scores owe to length.

    Returns {"answers": Spearman of score and length, "n_answers", "differences": Spearman of the pairs' margins and
    differences in length, "prefers_longer": how often the longer answer has the higher score, "chosen_longer": how
    often it is the better one, "longer" and "shorter": `share` of the pairs whose better answer is the longer, or the
    shorter; None without such pairs}.

    Differences are better minus worse: a model that is merely right about pairs whose better answer is longer gets no
    correlation by it.
    """
    scores = np.asarray(scores, dtype=float)
    margins, by = scores[:, 0] - scores[:, 1], np.array([p.longer_by for p in pairs])
    of, groups = results(margins), np.array([p.prompt_id for p in pairs])
    parts = {
        name: share(of[here], groups[here], seed) if here.any() else None
        for name, here in (("longer", by > 0), ("shorter", by < 0))
    }
    unequal = by != 0
    answers = list(answer_scores(pairs, scores).values())
    return {
        "answers": stats.spearman([n for n, _ in answers], [s for _, s in answers]),
        "n_answers": len(answers),
        "differences": stats.spearman(margins.tolist(), by.tolist()),
        **parts,
        "prefers_longer": float(np.where(by > 0, of, 1 - of)[unequal].mean()) if unequal.any() else None,
        "chosen_longer": float((by > 0)[unequal].mean()) if unequal.any() else None,
    }


def spread(pairs, scores):
    """{"low", "high": of the scores, "commonest": share of the answers with the commonest, 0 if all differ, "equal":
    share of the pairs with equal ones}"""
    scores = np.asarray(scores, dtype=float)
    values = [s for _, s in answer_scores(pairs, scores).values()]
    _, counts = np.unique(values, return_counts=True)
    return {
        "low": float(min(values)),
        "high": float(max(values)),
        "commonest": float(counts.max() / len(values)) if counts.max() > 1 else 0.0,
        "equal": float((scores[:, 0] == scores[:, 1]).mean()),
    }


def compare(first, second, groups, seed):
    """The results of two judges on the same pairs.

    Returns {"difference": mean of first - second, "low", "high": its interval (the bootstrap over prompts),
    "only_first", "only_second": pairs on which one did better (right against wrong, or either against a tie), "p":
    McNemar's exact test of these two counts, "visible": the smallest difference that would have been significant here,
    None if none, "n"}.
    """
    step = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    gap = stats.mean_interval(step, groups, seed)
    up, down = int((step > 0).sum()), int((step < 0).sum())
    least = visible(up + down)
    seen = None
    if least is not None:
        seen = max(least * float(np.abs(step[step != 0]).mean()) / len(step), (gap.high - gap.low) / 2)
    return {
        "difference": gap.mean,
        "low": gap.low,
        "high": gap.high,
        "only_first": up,
        "only_second": down,
        "p": stats.mcnemar(up, down),
        "visible": seen,
        "n": len(step),
    }


def visible(differing):
    """The smallest surplus of one judge, in pairs, that McNemar's exact test calls significant if they differ on so
    many; None if none."""
    more = int(binom.isf(ALPHA / 2, differing, 0.5)) + 1  # the test is symmetric: half of ALPHA on each side
    return 2 * more - differing if more <= differing else None


def significant(comparison):
    """Whether the first of a `compare` is better: by McNemar's test, and by the interval over prompts."""
    return comparison["p"] < ALPHA and comparison["low"] > 0


def agreement(pairs, first, second, seed):
    """Two models, scores (N, 2) each: `compare` of their results and {"alike": share of the pairs ordered alike,
    "kappa": Cohen's kappa of right, wrong and equal (what their accuracies alone would make them share is no
    agreement), "spearman": of the answers' scores}."""
    a, b = (results(np.asarray(s)[:, 0] - np.asarray(s)[:, 1]) for s in (first, second))
    values = [[s for _, s in answer_scores(pairs, scores).values()] for scores in (first, second)]
    return {
        **compare(a, b, [p.prompt_id for p in pairs], seed),
        "alike": float((a == b).mean()),
        "kappa": stats.kappa((2 * a).astype(int).tolist(), (2 * b).astype(int).tolist()),
        "spearman": stats.spearman(*values),
    }


@dataclass(frozen=True)
class Baseline:
    """Something that knows nothing. name: of a rule, or "" of the classifier; fitted: its accuracy where it was fitted;
    of: its results."""

    name: str
    fitted: float
    of: np.ndarray


def baselines(fit, measured, seed):
    """The classifier, if `fit` has ngram_classifier.LEAST_PAIRS, and all trivial rules, the best on `fit` first -> list
    of Baseline on `measured`.

    fit, measured: (prompt, better, worse). A rule that says nothing of a pair is half right.
    """
    rules = []
    for name, rule in trivial_rules.trivial_rules(fit).items():
        verdicts = [rule(*pair) for pair in measured]
        of = np.array([0.5 if v is None else float(v) for v in verdicts])
        rules.append(Baseline(name, trivial_rules.accuracy(rule, fit), of))
    rules.sort(key=lambda b: -b.fitted)
    if len(fit) < LEAST_PAIRS:
        return rules
    classifier = NgramClassifier(fit, seed)
    fitted = float(results(classifier.margins(fit)).mean())
    return [Baseline("", fitted, results(classifier.margins(measured))), *rules]
