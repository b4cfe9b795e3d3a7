"""How far people agree: percent, Cohen's kappa of two, Fleiss' kappa of several.

What is compared is every two answers of an item: the first is better, the second is, they are equal, or both are bad.
Which of the two is called the first is drawn by a hash, for the order in a file (the chosen one first) would make the
same answer right every time, and chance agreement, which kappa takes off, too high. Pairs that somebody said nothing
about are left out for that person."""

import hashlib
from collections import defaultdict
from itertools import combinations

from korlhf.applications.label.ballot import VOTES, compare
from korlhf.data.ranking import Undecided


def judgements(items, labels):
    """[{annotator: "first", "second", "TIE" or "BOTH_BAD"}] of every two answers, oldest label first. items: {number:
    Item}; labels: of Store."""
    judged = defaultdict(dict)
    for number, given in labels.items():
        item = items[number]
        for label in given:
            if label.ballot.kind not in VOTES:
                continue
            for (i, j), better in compare(label.ballot, len(item.answers)).items():
                order = "first" if better == _first(item.id, i, j) else "second"
                judged[number, i, j][label.annotator] = better.name if isinstance(better, Undecided) else order
    return list(judged.values())


def _first(item_id, i, j):
    return (i, j)[hashlib.sha256(f"{item_id}:{i}:{j}".encode()).digest()[0] % 2]


def summary(items, labels, raters):
    """{"percent": share of equal judgements among any two people's of the same two answers, "percent_n": their number,
    "fleiss", "fleiss_n": pairs of answers that at least `raters` people judged, "cohen": [{"first", "second":
    annotators, "kappa", "percent", "n"}]}; figures that cannot be had are None."""
    from korlhf.core import stats  # slow to import

    judged, both = judgements(items, labels), defaultdict(list)
    for by_person in judged:
        for a, b in combinations(sorted(by_person), 2):
            both[a, b].append((by_person[a], by_person[b]))
    cohen, same, n = [], 0, 0
    for (a, b), pairs in sorted(both.items()):
        equal = sum(x == y for x, y in pairs)
        same, n = same + equal, n + len(pairs)
        kappa = stats.kappa(*zip(*pairs))
        cohen.append({"first": a, "second": b, "kappa": kappa, "percent": equal / len(pairs), "n": len(pairs)})
    enough = [list(by_person.values())[:raters] for by_person in judged if len(by_person) >= raters > 1]
    figures = {"percent": same / n if n else None, "percent_n": n}
    return {**figures, "fleiss": _fleiss(enough), "fleiss_n": len(enough), "cohen": cohen}


def _fleiss(judged):
    """Fleiss' kappa (1971) of lists of as many judgements each; 1.0 if all are the same, None without any."""
    if len(said := {one for row in judged for one in row}) < 2:
        return 1.0 if said else None
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa  # slow to import

    return float(fleiss_kappa(aggregate_raters(judged)[0]))


def describe(figures):
    if figures["percent"] is None:
        return "agreement: no two people have labelled the same item yet"
    kappas = {
        f"Cohen's kappa {person(c['first'])}, {person(c['second'])}": (c["kappa"], c["n"]) for c in figures["cohen"]
    }
    if figures["fleiss"] is not None and len(kappas) > 1:
        kappas["Fleiss' kappa"] = figures["fleiss"], figures["fleiss_n"]
    share = f"agreement: {figures['percent']:.3f} of {figures['percent_n']:,} judgements of two people are equal"
    return "; ".join([share, *(f"{name} {kappa:.3f} (n {n:,})" for name, (kappa, n) in kappas.items())])


def person(number):
    """The name under which a person leaves the database."""
    return f"annotator_{number:02d}"
