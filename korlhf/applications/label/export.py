"""Labels of people -> what step 2 and rank read.

Of every two answers most votes decide; where the two most frequent verdicts (first, second, equal, both bad) have as many votes, or the
winning one is that two are equal or both bad, they make no pair: the rule of rank (korlhf/data/ranking.py). An edited answer is a further
answer, with one vote: its author says that it is better than all the others. People are named by number.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations

from korlhf.applications.label.verdicts import BOTH_BAD, FIRST, SECOND, TIE, VOTES, compare
from korlhf.data import record as records
from korlhf.data.ranking import Candidate, RankedPair, key

UNDECIDED = {TIE: "people: a tie", BOTH_BAD: "people: both bad"}
EVEN, BELOW = "people: as many votes for as against", "agreement below --min_agreement"


def person(number):
    """The name under which a person leaves the database."""
    return f"annotator_{number:02d}"


@dataclass(frozen=True)
class Decided:
    """A pair that people decided. votes: {annotator: what they said of (chosen, rejected), FIRST meaning chosen}."""

    pair: RankedPair
    votes: dict

    @property
    def agreement(self):
        """Share of the votes that are for the chosen answer."""
        return Counter(self.votes.values())[FIRST] / len(self.votes)


def voting(given):
    """Those of an item's labels that compare its answers."""
    return [label for label in given if label.verdict.kind in VOTES]


def answers(item, given):
    """The item's Answers, then the different edited ones: what is compared."""
    found = {key(a.text): a for a in item.answers}
    for label in given:
        if label.verdict.edit:
            found.setdefault(key(label.verdict.edit), Candidate(label.verdict.edit))
    return list(found.values())


def ballots(item, given):
    """{(i, j): {annotator: what they said}} for the places i < j of `answers`."""
    texts = answers(item, given)
    place, n, found = {key(a.text): i for i, a in enumerate(texts)}, len(item.answers), defaultdict(dict)
    for label in given:
        for pair, said in compare(label.verdict, n).items():
            found[pair][label.annotator] = said
        if label.verdict.edit:
            for i in range(n):
                found[i, place[key(label.verdict.edit)]][label.annotator] = SECOND
    return dict(found)


def decide(item, given, min_agreement=0.0):
    """The pairs of one item -> ([Decided], Counter of the reasons why other two answers are no pair). given: of `voting`.

    min_agreement: least share of the votes on two answers that the winning verdict must have.
    """
    texts, decided, dropped = answers(item, given), [], Counter()
    for (i, j), votes in sorted(ballots(item, given).items()):
        (said, most), *rest = Counter(votes.values()).most_common()
        if rest and rest[0][1] == most:
            dropped[EVEN] += 1
        elif said in UNDECIDED:
            dropped[UNDECIDED[said]] += 1
        elif most < min_agreement * len(votes):
            dropped[BELOW] += 1
        elif said == FIRST:
            decided.append(Decided(RankedPair(texts[i], texts[j], "human"), votes))
        else:
            turned = {who: {FIRST: SECOND, SECOND: FIRST}.get(v, v) for who, v in votes.items()}
            decided.append(Decided(RankedPair(texts[j], texts[i], "human"), turned))
    return decided, dropped


def chain(decided):
    """Answers, best first, of which every two are decided and none is better than one before it: the longest such list of [Decided].

    Votes of several people may go in a circle (a over b, b over c, c over a), or say nothing of some two; then some answers are left out.
    Nobody compares two edited answers, so one of them is in it: that with the most votes. Of lists as long as each other that with the most
    agreement is taken, then the first by text.
    """
    won = {(d.pair.chosen, d.pair.rejected): d for d in decided}
    texts = sorted({a for pair in won for a in pair}, key=lambda a: a.text)
    edits = [a for a in texts if a.place is None]
    if edits:
        best_edit = max(edits, key=lambda a: max(len(d.votes) for d in decided if d.pair.chosen == a))
        texts = [a for a in texts if a.place is not None or a == best_edit]
    for size in range(len(texts), 1, -1):
        best = max(
            (found for subset in combinations(texts, size) if (found := _in_order(subset, won))),
            key=lambda f: f[0],
            default=None,
        )
        if best:
            return best[1]
    return []


def _in_order(subset, won):
    """(agreement of all pairs, the list best first) if every two are decided without a circle, else None."""
    wins = {a: sum((a, b) in won for b in subset) for a in subset}
    if sorted(wins.values()) != list(range(len(subset))):
        return None
    ordered = sorted(subset, key=lambda a: -wins[a])
    return sum(won[pair].agreement for pair in combinations(ordered, 2)), ordered


def _step(item, given):
    """The item's record with the labelling in its history, and who gave it when."""
    return {**records.step(item.record, "label", annotators=len(given)), "item": item.id}


def _who(given, votes=None):
    """Provenance: [{"annotator", "at", "seconds"}], with said, edited, revisions and comment where there are any."""
    out = []
    for label in given:
        line = {"annotator": person(label.annotator), "at": label.at, "seconds": label.seconds}
        if votes is not None:
            line["said"] = {FIRST: "chosen", SECOND: "rejected"}.get(votes[label.annotator], votes[label.annotator])
        out.append(line | _remarks(label))
    return out


def _remarks(label):
    found = {"edited": bool(label.verdict.edit), "revisions": label.revisions, "comment": label.verdict.comment}
    return {name: value for name, value in found.items() if value}


def pair_record(item, given, decided):
    """The record of a pair, in the columns of rank, with who said what of it."""
    chosen, rejected = decided.pair.chosen, decided.pair.rejected
    voters = [label for label in given if label.annotator in decided.votes]
    return {
        **_step(item, voters),
        "chosen": chosen.text,
        "rejected": rejected.text,
        "chosen_model": "|".join(chosen.models) or None,
        "rejected_model": "|".join(rejected.models) or None,
        "chosen_score": chosen.score,
        "rejected_score": rejected.score,
        "margin": decided.pair.margin,
        "by": "human",
        "agreement": round(decided.agreement, 4),
        "votes": _who(voters, decided.votes),
    }


def ranked_record(item, given, decided):
    """The record of a prompt with `answers`, best first, or None if no two are decided."""
    found = chain(decided)
    if not found:
        return None
    inside = [d for d in decided if d.pair.chosen in found and d.pair.rejected in found]
    return {
        **_step(item, given),
        "answers": [a.text for a in found],
        "models": ["|".join(a.models) or None for a in found],
        "scores": [a.score for a in found],
        "by": "human",
        "agreement": round(sum(d.agreement for d in inside) / len(inside), 4),
        "votes": _who(given),
    }


def label_rows(item, given):
    """Lines for rank --labels: what each person says of every two answers."""
    for label in given:
        head = {"id": item.record["id"], "annotator": person(label.annotator), "at": label.at}
        texts = [a.text for a in answers(item, [label])]
        for (i, j), votes in ballots(item, [label]).items():
            said = votes[label.annotator]
            first, second = (texts[i], texts[j]) if said != SECOND else (texts[j], texts[i])
            yield head | (
                {"verdict": said, "answers": [first, second]}
                if said in UNDECIDED
                else {"chosen": first, "rejected": second}
            )


def full_rows(item, given):
    """Every label as it was given, also skipped and flagged items. Places are those of `answers`; `shown` is their order on the page."""
    for label in given:
        verdict = {**label.verdict.as_dict(), "comment": None}
        yield {
            "item": item.id,
            "id": item.record["id"],
            "category": item.record["category"],
            "source": item.record["source"],
            "answers": [a.text for a in item.answers],
            "models": ["|".join(a.models) or None for a in item.answers],
            "annotator": person(label.annotator),
            "at": label.at,
            "seconds": label.seconds,
            "shown": list(label.shown),
            "verdict": {k: v for k, v in verdict.items() if v is not None},
            **_remarks(label),
        }
