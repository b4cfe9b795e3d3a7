"""Figures of tasks in which one of several options is right: what guessing gets, macro-F1, intervals."""

import math
from collections import Counter

import numpy as np
from scipy import stats as distributions

from korlhf.core.stats import RESAMPLES, wilson

Z = 1.959964


def baselines(rights, counts):
    """(share right by chance, share of the most frequent place of the right option): what needs no reading.

    rights: number of the right option of each item, at least one; counts: how many options each item has.
    """
    return sum(1 / count for count in counts) / len(counts), max(Counter(rights).values()) / len(rights)


def p_beats(right, n, share):
    """Exact one-sided binomial p-value of at least `right` of n by one who is right with probability `share`."""
    return float(distributions.binomtest(right, n, min(1.0, share), alternative="greater").pvalue)


def macro_f1(rights, chosen):
    """Mean over classes of F1, of the classes that are right or chosen anywhere. rights, chosen: (..., N) ints. Returns (...)."""
    rights, chosen = np.asarray(rights), np.asarray(chosen)
    total, present = 0.0, 0
    for label in np.union1d(rights, chosen):
        is_right, is_chosen = rights == label, chosen == label
        both = (is_right & is_chosen).sum(-1)
        either = is_right.sum(-1) + is_chosen.sum(-1)  # 2 TP + FP + FN
        total = total + np.where(either > 0, 2 * both / np.maximum(either, 1), 0.0)
        present = present + (either > 0)
    return total / present


def macro_f1_interval(rights, chosen, seed=0, resamples=RESAMPLES):
    """95 % percentile bootstrap interval of macro-F1, over items (Efron and Tibshirani 1993, chapter 13); None if no draw differs."""
    draws = np.random.default_rng(seed).integers(len(rights), size=(resamples, len(rights)))
    low, high = np.quantile(macro_f1(np.asarray(rights)[draws], np.asarray(chosen)[draws]), [0.025, 0.975])
    return (float(low), float(high)) if low < high else None


def interval(mean, stderr, scores):
    """95 % interval of a mean, or None if none can be given. scores: of the items, [] if they are not known; stderr: or None.

    mean +- 1.96 stderr, within 0 and 1 where all scores are; Wilson's where all items are right, or all wrong, which has no standard error.
    """
    if stderr and math.isfinite(stderr):
        low, high = mean - Z * stderr, mean + Z * stderr
        share = bool(scores) and min(scores) >= 0 and max(scores) <= 1  # not of a perplexity, or a score of 0 to 100
        return (max(0.0, low), min(1.0, high)) if share else (low, high)
    if scores and set(scores) <= {0.0, 1.0}:
        return wilson(sum(scores), len(scores))
    return None
