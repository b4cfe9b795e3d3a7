"""How far people agree: percent, Cohen's kappa of two, Fleiss' kappa of several.

What is compared is every two answers of an item: the first is better, the second is, they are equal, or both are bad.
Which of the two is called the first is drawn by a hash, for the order in a file (the chosen one first) would make the
same answer right every time, and chance agreement, which kappa takes off, too high. Pairs that somebody said nothing
about are left out for that person."""

import hashlib
from collections import Counter, defaultdict
from itertools import combinations

from korlhf.applications.label.ballot import VOTES, compare
from korlhf.data.ranking import Undecided


def judgements(items, labels):
    """{(item, i, j): {annotator: "first", "second", "tie" or "both_bad"}}, oldest label first. items: {number: Item};
    labels: of Store."""
    judged = defaultdict(dict)
    for number, given in labels.items():
        item = items[number]
        for label in given:
            if label.ballot.kind not in VOTES:
                continue
            for (i, j), better in compare(label.ballot, len(item.answers)).items():
                order = "first" if better == _first(item.id, i, j) else "second"
                judged[number, i, j][label.annotator] = better.name.lower() if isinstance(better, Undecided) else order
    return dict(judged)


def _first(item_id, i, j):
    return (i, j)[hashlib.sha256(f"{item_id}:{i}:{j}".encode()).digest()[0] % 2]


def percent(judged):
    """(share of equal judgements among all two people's judgements of the same two answers, number of those); None
    without any."""
    same = total = 0
    for by_person in judged.values():
        counts, n = Counter(by_person.values()), len(by_person)
        same += sum(c * (c - 1) // 2 for c in counts.values())
        total += n * (n - 1) // 2
    return (same / total, total) if total else None


def cohen(judged):
    """[{"first", "second": annotators, "kappa", "percent", "n"}] of every two people who judged the same pairs of
    answers."""
    from korlhf.core import stats  # slow to import

    both = defaultdict(list)
    for by_person in judged.values():
        for a, b in combinations(sorted(by_person), 2):
            both[a, b].append((by_person[a], by_person[b]))
    return [
        {
            "first": a,
            "second": b,
            "kappa": stats.kappa(*zip(*pairs)),
            "percent": sum(x == y for x, y in pairs) / len(pairs),
            "n": len(pairs),
        }
        for (a, b), pairs in sorted(both.items())
    ]


def fleiss(judged, raters):
    """(Fleiss' kappa, number of pairs of answers judged) over those that at least `raters` people judged, the first
    `raters` of them.

    1.0 if all judgements are the same, None if there is nothing that so many judged or raters is below 2 (Fleiss 1971).
    """
    tables = [Counter(list(by_person.values())[:raters]) for by_person in judged.values() if len(by_person) >= raters]
    if raters < 2 or not tables:
        return None
    said = list(sum(tables, Counter()))
    if len(said) == 1:
        return 1.0, len(tables)
    from statsmodels.stats.inter_rater import fleiss_kappa  # slow to import

    return float(fleiss_kappa([[table[one] for one in said] for table in tables])), len(tables)


def summary(items, labels, raters):
    """{"percent", "percent_n", "fleiss", "fleiss_n", "cohen": of `cohen`}; figures that cannot be had are None."""
    judged = judgements(items, labels)
    share, share_n = percent(judged) or (None, 0)
    kappa, kappa_n = fleiss(judged, raters) or (None, 0)
    return {"percent": share, "percent_n": share_n, "fleiss": kappa, "fleiss_n": kappa_n, "cohen": cohen(judged)}


def describe(figures):
    """A summary as a line for people."""
    if figures["percent"] is None:
        return "agreement: no two people have labelled the same item yet"
    parts = [f"{figures['percent']:.3f} of {figures['percent_n']:,} judgements of two people are equal"]
    if figures["fleiss"] is not None and len(figures["cohen"]) != 1:
        parts.append(f"Fleiss' kappa {figures['fleiss']:.3f} (n {figures['fleiss_n']:,})")
    parts += [
        f"Cohen's kappa {person(c['first'])}, {person(c['second'])}: {c['kappa']:.3f} (n {c['n']:,})"
        for c in figures["cohen"]
    ]
    return "agreement: " + "; ".join(parts)


def person(number):
    """The name under which a person leaves the database."""
    return f"annotator_{number:02d}"
