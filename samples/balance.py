"""Choose held-out preference pairs that no trivial rule tells apart.

From each record at most one pair is taken (best>middle, best>worst or middle>worst). A local search swaps pairs until each
rule's right and wrong verdicts nearly cancel, within every category and so over all. Only the surface of prompts and answers
is looked at, never a model: the choice cannot favour any reward model.
"""

import random

from compose import CATEGORIES, Record

from korlhf.korean.trivial_rules import Rule, Triple, trivial_rules

KINDS = ((0, 1), (0, 2), (1, 2))  # best>middle, best>worst, middle>worst
SWAPS = 6000  # tried in each category
SLACK = 0.04  # verdicts may lean this far, as a share of the pairs (an accuracy of .52), before it costs
KIND_WEIGHT = 2.0  # what an uneven share of the kinds costs, against a leaning rule

Choice = tuple[int, int]  # (record, kind)


def ranked_pairs(record: Record) -> list[Triple]:
    """Return the three (prompt, chosen, rejected) pairs of a ranking, in the order of KINDS."""
    return [(record.prompt, record.answers[better], record.answers[worse]) for better, worse in KINDS]


def signs(rules: dict[str, Rule], pair: Triple) -> list[int]:
    """Return each rule's verdict on a pair: 1 right, -1 wrong, 0 a tie."""
    verdicts = (rule(*pair) for rule in rules.values())
    return [0 if verdict is None else (1 if verdict else -1) for verdict in verdicts]


def cost(sums: list[int], kinds: list[int], count: int) -> float:
    """Return how far the verdict sums of the rules and the counts of the kinds are from even, for `count` pairs."""
    lean = sum(max(0.0, abs(total) / count - SLACK) ** 2 for total in sums)
    return lean + KIND_WEIGHT * sum((kind / count - 1 / 3) ** 2 for kind in kinds)


def start(sizes: list[int], counts: list[int], rng: random.Random) -> list[dict[int, int]]:
    """Return for each source {record: kind}: a random draw of the wanted counts; ValueError if a source has too few records."""
    drawn = []
    for size, count in zip(sizes, counts, strict=True):
        if size < count:
            raise ValueError(
                f"{count} held-out records wanted, only {size} there: write more in handwritten/ or grammar/"
            )
        drawn.append({record: position % len(KINDS) for position, record in enumerate(rng.sample(range(size), count))})
    return drawn


def search(options: list[list[list[list[int]]]], counts: list[int], rng: random.Random) -> list[dict[int, int]]:
    """Return for each source {record: kind}, `counts` of them; options[source][record][kind] are the signs of the pair."""
    chosen = start([len(source) for source in options], counts, rng)
    total = sum(counts)
    picked = [options[source][record][kind] for source, draw in enumerate(chosen) for record, kind in draw.items()]
    sums = [sum(column) for column in zip(*picked, strict=True)]
    kinds = [sum(kind == which for draw in chosen for kind in draw.values()) for which in range(len(KINDS))]
    best = cost(sums, kinds, total)
    for _ in range(SWAPS):
        source = rng.choices(range(len(options)), weights=counts)[0]
        draw = chosen[source]
        old = rng.choice(list(draw))
        new, kind = rng.randrange(len(options[source])), rng.randrange(len(KINDS))
        if new in draw:
            new = old  # the record stays and only its kind may change
        out, into = options[source][old][draw[old]], options[source][new][kind]
        new_sums = [value - gone + come for value, gone, come in zip(sums, out, into, strict=True)]
        new_kinds = list(kinds)
        new_kinds[draw[old]] -= 1
        new_kinds[kind] += 1
        new_cost = cost(new_sums, new_kinds, total)
        if new_cost <= best:
            best, sums, kinds = new_cost, new_sums, new_kinds
            del draw[old]
            draw[new] = kind
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
