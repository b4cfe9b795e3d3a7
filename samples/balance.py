"""Choose held-out preference pairs that no trivial rule tells apart.

From each record at most one pair is taken (best>middle, best>worst or middle>worst). A local search swaps pairs until each
rule's right and wrong verdicts nearly cancel, within every category and so over all. Only prompts' and answers' surface is
looked at, never a model: the choice cannot favour any reward model.
"""

import random

from compose import CATEGORIES, Record

from korlhf.rules import Pair, trivial_rules

KINDS = ((0, 1), (0, 2), (1, 2))  # best>middle, best>worst, middle>worst
STEPS = 4000
SLACK = 0.04  # verdicts may lean this far, as a share of the pairs (an accuracy of .52), before it costs
KIND_WEIGHT = 0.5  # an uneven share of a kind costs this much against a leaning rule


def ranked_pairs(record: Record) -> list[Pair]:
    """Return the three (prompt, chosen, rejected) pairs of a ranking, in the order of KINDS."""
    return [(record.prompt, record.answers[better], record.answers[worse]) for better, worse in KINDS]


def _signs(rules: dict, pair: Pair) -> list[int]:
    verdicts = (rule(*pair) for rule in rules.values())
    return [0 if verdict is None else (1 if verdict else -1) for verdict in verdicts]


def _cost(sums: list[int], kinds: list[int], count: int) -> float:
    """Return how far the verdict sums of the rules, and the counts of the kinds, are from even."""
    lean = sum(max(0.0, abs(total) / count - SLACK) ** 2 for total in sums)
    return lean + KIND_WEIGHT * sum((kind / count - 1 / 3) ** 2 for kind in kinds)


def _search(options: list[list[list[int]]], chosen: list[list[int]], rng: random.Random) -> list[list[int]]:
    """Improve `chosen` ([record, kind], no record twice) over `options` (signs by record and kind); a record keeps its source.

    `chosen` entries are [record, kind, source]; a swap draws another record of the same source, or another kind.
    """
    count, width = len(chosen), len(options[0][0])
    sums = [sum(options[record][kind][rule] for record, kind, _ in chosen) for rule in range(width)]
    kinds = [sum(kind == which for _, kind, _ in chosen) for which in range(len(KINDS))]
    sources = {source: [r for r in range(len(options)) if (r in FIRST[id(options)]) == source] for source in (True, False)}
    return [sums, kinds, sources]
