"""Labels of people -> what step 2 and rank read.

Of every two answers most votes decide, by the rule of rank (korlhf/data/ranking.py). An edited answer is a further
answer, with one vote: its author says that it is better than all the others. People are named by number."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations

from korlhf.applications.label.agreement import person
from korlhf.applications.label.ballot import VOTES, compare
from korlhf.core import program
from korlhf.data import ranking
from korlhf.data import record as records
from korlhf.data.ranking import Candidate, RankedPair, Undecided, key

BELOW = "agreement below --min_agreement"


@dataclass(frozen=True)
class Decided:
    """A pair that people decided. votes: {annotator: "chosen" if they said so too, else "rejected", "tie" or
    "both_bad"}."""

    pair: RankedPair
    votes: dict

    @property
    def agreement(self):
        """Share of the votes that are for the chosen answer."""
        return Counter(self.votes.values())["chosen"] / len(self.votes)


def voting(given):
    """Those of an item's labels that compare its answers."""
    return [label for label in given if label.ballot.kind in VOTES]


def answers(item, given):
    """The item's Answers, then the different edited ones: what is compared."""
    by_key = {key(a.text): a for a in item.answers}
    for label in given:
        if label.ballot.edit:
            by_key.setdefault(key(label.ballot.edit), Candidate(label.ballot.edit))
    return list(by_key.values())


def preferences(item, given):
    """What each label says of every two answers: ranking.Labels."""
    texts = [a.text for a in item.answers]
    for label in given:
        who = person(label.annotator)
        for (i, j), better in compare(label.ballot, len(texts)).items():
            yield ranking.Label((texts[i], texts[j]), better if isinstance(better, Undecided) else texts[better], who)
        if label.ballot.edit:
            for text in texts:
                yield ranking.Label((text, label.ballot.edit), label.ballot.edit, who)


def decide(item, given, min_agreement=0.0):
    """The pairs of one item -> ([Decided], Counter of the reasons why other two answers are no pair). given: of
    `voting`.

    min_agreement: least share of the votes on two answers that the winning verdict must have.
    """
    labels, cast = list(preferences(item, given)), defaultdict(dict)
    for label in labels:
        cast[frozenset(map(key, label.texts))][label.annotator] = label.verdict
    outcomes, decided, dropped = ranking.votes(labels), [], Counter()
    for a, b in combinations(answers(item, given), 2):
        outcome = outcomes.get(frozenset((key(a.text), key(b.text))))
        if outcome is None:  # nobody compared them
            continue
        if isinstance(outcome, Undecided):
            dropped[outcome.value] += 1
            continue
        chosen, rejected = (a, b) if key(a.text) == outcome else (b, a)
        votes = {who: _said(v, chosen.text) for who, v in cast[frozenset((key(a.text), key(b.text)))].items()}
        pair = Decided(RankedPair(chosen, rejected, "human"), votes)
        if pair.agreement < min_agreement:
            dropped[BELOW] += 1
        else:
            decided.append(pair)
    return decided, dropped


def _said(verdict, chosen):
    if isinstance(verdict, Undecided):
        return verdict.name.lower()
    return "chosen" if key(verdict) == key(chosen) else "rejected"


def chain(decided):
    """Answers, best first, of which every two are decided and none is better than one before it: the longest such
    list of [Decided].

    Votes of several people may go in a circle (a over b, b over c, c over a), or say nothing of some two; then some
    answers are left out. Nobody compares two edited answers, so one of them is in it: that with the most votes. Of
    lists as long as each other that with the most agreement is taken, then the first by text."""
    won = {(d.pair.chosen, d.pair.rejected): d for d in decided}
    texts = sorted({a for pair in won for a in pair}, key=lambda a: a.text)
    edits = [a for a in texts if a.place is None]
    if edits:
        best_edit = max(edits, key=lambda a: max(len(d.votes) for d in decided if d.pair.chosen == a))
        texts = [a for a in texts if a.place is not None or a == best_edit]
    for size in range(len(texts), 1, -1):
        orders = [order for subset in combinations(texts, size) if (order := _in_order(subset, won))]
        if orders:
            return max(orders, key=lambda order: order[0])[1]
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
            line["said"] = votes[line["annotator"]]
        out.append(line | _remarks(label))
    return out


def _remarks(label):
    remarks = {"edited": bool(label.ballot.edit), "revisions": label.revisions, "comment": label.ballot.comment}
    return {name: value for name, value in remarks.items() if value}


def pair_record(item, given, decided):
    """The record of a pair, in the columns of rank, with who said what of it."""
    chosen, rejected = decided.pair.chosen, decided.pair.rejected
    voters = [label for label in given if person(label.annotator) in decided.votes]
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
    best_first = chain(decided)
    if not best_first:
        return None
    inside = [d for d in decided if d.pair.chosen in best_first and d.pair.rejected in best_first]
    return {
        **_step(item, given),
        "answers": [a.text for a in best_first],
        "models": ["|".join(a.models) or None for a in best_first],
        "scores": [a.score for a in best_first],
        "by": "human",
        "agreement": round(sum(d.agreement for d in inside) / len(inside), 4),
        "votes": _who(given),
    }


def label_rows(item, given):
    """Lines for rank --labels: what each person says of every two answers."""
    for label in given:
        head = {"id": item.record["id"], "annotator": person(label.annotator), "at": label.at}
        for said in preferences(item, [label]):
            if isinstance(said.verdict, Undecided):
                yield {**head, "verdict": said.verdict.name.lower(), "answers": list(said.texts)}
            else:
                rejected = next(text for text in said.texts if text != said.verdict)
                yield {**head, "chosen": said.verdict, "rejected": rejected}


def full_rows(item, given):
    """Every label as it was given, also skipped and flagged items. Places are those of `answers`; `shown` is their
    order on the page."""
    for label in given:
        verdict = {k: v for k, v in label.ballot.as_dict().items() if k != "comment"}
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
            "verdict": verdict,
            **_remarks(label),
        }


FORMS = {"labels": label_rows, "full": full_rows}  # those that write what each person said


def write(args, items, labels, out):
    """One line or several for each item, in the order in which the items came.

    args: form, min_agreement, min_annotators; items, labels: of the Store; out: a data.stage.Stage.
    """
    for number, item in program.bar(items.items(), desc="exporting", unit="items"):
        given = labels.get(number, [])
        example = {"id": item.record["id"], "item": item.id}
        if args.form != "full" and any(label.ballot.kind == "flag" for label in given):
            out.drop("item: flagged", example)
        elif args.form in FORMS:
            for row in FORMS[args.form](item, given if args.form == "full" else voting(given)):
                out.write(row)
        elif len(voting(given)) < args.min_annotators:
            out.drop("item: too few labels yet" if voting(given) else "item: not labelled yet", example)
        else:
            _write_decided(args, item, voting(given), out)


def _write_decided(args, item, given, out):
    """The pairs of one item, or its answers best first, and why others are left out."""
    example = {"id": item.record["id"], "item": item.id}
    decided, dropped = decide(item, given, args.min_agreement)
    for reason in dropped.elements():
        out.drop(f"pair: {reason}", example)
    if args.form == "pairs":
        for pair in decided:
            out.write(pair_record(item, given, pair))
        return
    record = ranked_record(item, given, decided)
    if record:
        out.write(record)
        out.count("pairs that these answers make", len(record["answers"]) * (len(record["answers"]) - 1) // 2)
    else:
        out.drop("item: no pair was decided", example)
