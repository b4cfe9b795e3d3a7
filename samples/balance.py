"""Choose held-out preference pairs that no trivial rule tells apart.

From each record at most one pair is taken (best>middle, best>worst or middle>worst). A local search swaps pairs until
each rule's right and wrong verdicts nearly cancel, within every category and so over all. Only the surface of prompts
and answers is looked at, never a model: the choice cannot favour any reward model.
"""

import random

import numpy as np
from compose import CATEGORIES, Record

from korlhf.korean.trivial_rules import Rule, Triple, trivial_rules

KINDS = ((0, 1), (0, 2), (1, 2))  # best>middle, best>worst, middle>worst
SWAPS = 6000  # tried in each category
SLACK = 0.04  # verdicts may lean this far, as a share of the pairs (an accuracy of .52), before it costs
KIND_WEIGHT = 2.0  # what an uneven share of the kinds costs, against a leaning rule


def ranked_pairs(record: Record) -> list[Triple]:
    """Return the three (prompt, chosen, rejected) pairs of a ranking, in the order of KINDS."""
    return [(record.prompt, record.answers[better], record.answers[worse]) for better, worse in KINDS]


def signs(rules: dict[str, Rule], pair: Triple) -> list[int]:
    """Return each rule's verdict on a pair: 1 right, -1 wrong, 0 a tie."""
    return [{None: 0, True: 1, False: -1}[rule(*pair)] for rule in rules.values()]


def search(options: list[list[list[list[int]]]], counts: list[int], rng: random.Random) -> list[dict[int, int]]:
    """Return for each source {record: kind}, `counts` of them; options[source][record][kind]: signs of the pair.

    ValueError if a source has too few records.
    """
    if any(len(source) < count for source, count in zip(options, counts, strict=True)):
        raise ValueError(f"held-out records wanted: {counts}: write more in handwritten/ or grammar/")
    chosen = [
        {record: place % len(KINDS) for place, record in enumerate(rng.sample(range(len(source)), count))}
        for source, count in zip(options, counts)
    ]

    def cost():
        """How far the verdict sums of the rules and the counts of the kinds are from even."""
        lean = sum(max(0.0, abs(total) / sum(counts) - SLACK) ** 2 for total in sums.tolist())
        return lean + KIND_WEIGHT * sum((kind / sum(counts) - 1 / 3) ** 2 for kind in kinds.tolist())

    picked = [(options[s][record][kind], kind) for s, draw in enumerate(chosen) for record, kind in draw.items()]
    sums = np.sum([verdicts for verdicts, _ in picked], axis=0)
    kinds = np.bincount([kind for _, kind in picked], minlength=len(KINDS))
    best = cost()
    for _ in range(SWAPS):
        source = rng.choices(range(len(options)), weights=counts)[0]
        draw = chosen[source]
        old = rng.choice(list(draw))
        new, kind = rng.randrange(len(options[source])), rng.randrange(len(KINDS))
        new = old if new in draw else new  # the record stays and only its kind may change
        before = sums, kinds
        sums = sums - options[source][old][draw[old]] + options[source][new][kind]
        kinds = kinds - np.eye(len(KINDS), dtype=int)[draw[old]] + np.eye(len(KINDS), dtype=int)[kind]
        if (new_cost := cost()) <= best:
            best = new_cost
            del draw[old]
            draw[new] = kind
        else:
            sums, kinds = before
    return chosen


def choose_pairs(
    handwritten: list[Record], composed: list[Record], train_pairs: list[Triple], count: int, count_handwritten: int
) -> list[tuple[Record, Triple]]:
    """Return `count` (record, pair) a category, `count_handwritten` of them from handwritten records.

    The rules are those of `train_pairs`, direction and words included. ValueError if a category has too few records.
    """
    rules = trivial_rules(train_pairs)
    selection = []
    for category in CATEGORIES:
        sources = [[record for record in source if record.category == category] for source in (handwritten, composed)]
        options = [[[signs(rules, pair) for pair in ranked_pairs(record)] for record in source] for source in sources]
        chosen = search(options, [count_handwritten, count - count_handwritten], random.Random("balance " + category))
        for source, draw in zip(sources, chosen, strict=True):
            selection += [(source[record], ranked_pairs(source[record])[kind]) for record, kind in sorted(draw.items())]
    return selection
