"""Labels of people -> what step 2 and rank read.

Of every two answers most votes decide, by the rule of rank (korlhf/data/ranking.py). An edited answer is a further
answer, with one vote: its author says that it is better than all the others. People are named by number."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations, permutations

from korlhf.applications.label.agreement import person
from korlhf.applications.label.ballot import VOTES, compare
from korlhf.core import progress
from korlhf.data import ranking
from korlhf.data import record as records
from korlhf.data.ranking import Candidate, RankedPair, Undecided, key

BELOW = "agreement below --min_agreement"


@dataclass(frozen=True)
class Decided(RankedPair):
    """A pair that people decided. votes: who said what of it, as in the file; agreement: share of the votes for the
    chosen answer."""

    votes: list[dict]
    agreement: float


def voting(given):
    """Those of an item's labels that compare its answers."""
    return [label for label in given if label.ballot.kind in VOTES]


def preferences(item, label):
    """What a label says of every two answers: ranking.Labels."""
    texts, who, edit = [a.text for a in item.answers], person(label.annotator), label.ballot.edit
    for (i, j), better in compare(label.ballot, len(texts)).items():
        yield ranking.Label((texts[i], texts[j]), better if isinstance(better, Undecided) else texts[better], who)
    for text in texts if edit else ():
        yield ranking.Label((text, edit), edit, who)


def decide(item, given, min_agreement=0.0):
    """The pairs of one item -> ([Decided], Counter of the reasons why other two answers are no pair). given: of
    `voting`.

    min_agreement: least share of the votes on two answers that the winning verdict must have.
    """
    answers, cast = {key(a.text): a for a in item.answers}, defaultdict(list)
    for label in given:
        answers.setdefault(key(label.ballot.edit), Candidate(label.ballot.edit))
        for said in preferences(item, label):
            cast[frozenset(map(key, said.texts))].append((label, said))
    decided, dropped = [], Counter()
    for pair, votes in cast.items():
        (better,) = ranking.votes(said for _, said in votes).values()
        if isinstance(better, Undecided):
            dropped[better.value] += 1
            continue
        (worse,) = pair - {better}
        told = [_provenance(label, said=_said(said.verdict, better)) for label, said in votes]
        agreement = sum(vote["said"] == "chosen" for vote in told) / len(told)
        if agreement < min_agreement:
            dropped[BELOW] += 1
        else:
            decided.append(Decided(answers[better], answers[worse], "human", told, agreement))
    return decided, dropped


def _said(verdict, better):
    if isinstance(verdict, Undecided):
        return verdict.name.lower()
    return "chosen" if key(verdict) == better else "rejected"


def _provenance(label, **more):
    """Who labelled when, with edited, revisions and comment where there are any."""
    remarks = {"edited": bool(label.ballot.edit), "revisions": label.revisions, "comment": label.ballot.comment}
    head = {"annotator": person(label.annotator), "at": label.at, "seconds": label.seconds, **more}
    return head | {name: value for name, value in remarks.items() if value}


def chain(decided):
    """Answers, best first, of which every two are decided and none is better than one before it: the longest such
    list of [Decided].

    Votes of several people may go in a circle (a over b, b over c, c over a), or say nothing of some two; then some
    answers are left out. An edit is better than all answers but those of other edits: the one with the most votes is
    the first. Of lists as long as each other that with the most agreement is taken, then the first by text."""
    won = {(d.chosen, d.rejected): d.agreement for d in decided}
    texts = sorted({a for pair in won for a in pair}, key=lambda a: a.text)
    votes = {d.chosen: len(d.votes) for d in decided}
    edits = sorted((a for a in texts if a.place is None), key=votes.get, reverse=True)[:1]
    texts = [a for a in texts if a.place is not None]
    for size in range(len(texts), 0, -1):
        orders = [o for o in permutations(texts, size) if all(pair in won for pair in combinations(o, 2))]
        if orders:
            return edits + list(max(orders, key=lambda o: sum(won[pair] for pair in combinations(o, 2))))
    return []


def _record(item, values, agreement, votes):
    """The item's record with the labelling in its history, and who gave it when."""
    step = records.step(item.record, "label", annotators=len(votes))
    return {**step, "item": item.id, **values, "by": "human", "agreement": round(agreement, 4), "votes": votes}


def pair_record(item, pair):
    """The record of a pair, in the columns of rank, with who said what of it."""
    return _record(item, pair.columns(), pair.agreement, pair.votes)


def ranked_record(item, given, decided):
    """The record of a prompt with `answers`, best first, or None if no two are decided."""
    best_first = chain(decided)
    if not best_first:
        return None
    inside = [d.agreement for d in decided if d.chosen in best_first and d.rejected in best_first]
    values = {
        "answers": [a.text for a in best_first],
        "models": [a.model for a in best_first],
        "scores": [a.score for a in best_first],
    }
    return _record(item, values, sum(inside) / len(inside), [_provenance(label) for label in given])


def label_rows(item, given):
    """Lines for rank --labels: what each person says of every two answers."""
    for label in voting(given):
        head = {"id": item.record["id"], "annotator": person(label.annotator), "at": label.at}
        for said in preferences(item, label):
            if isinstance(said.verdict, Undecided):
                yield {**head, "verdict": said.verdict.name.lower(), "answers": list(said.texts)}
            else:
                (rejected,) = {*said.texts} - {said.verdict}
                yield {**head, "chosen": said.verdict, "rejected": rejected}


def full_rows(item, given):
    """Every label as it was given, also skipped and flagged items. Places are those of `answers`; `shown` is their
    order on the page."""
    head = {"item": item.id, **{name: item.record[name] for name in ("id", "category", "source")}}
    head |= {"answers": [a.text for a in item.answers], "models": [a.model for a in item.answers]}
    for label in given:
        verdict = label.ballot.as_dict(exclude={"comment"})
        yield {**head, **_provenance(label, shown=label.shown, verdict=verdict)}


FORMS = {"labels": label_rows, "full": full_rows}  # those that write what each person said


def write(args, items, labels, out):
    """One line or several for each item, in the order in which the items came.

    args: form, min_agreement, min_annotators; items, labels: of the Store; out: a data.stage.Stage.
    """
    for number, item in progress.bar(items.items(), desc="exporting", unit="items"):
        given = labels.get(number, [])
        rows, reasons = _rows(args, item, given)
        for row in rows:
            out.write(row)
        for reason in reasons:
            out.drop(reason, {"id": item.record["id"], "item": item.id})


def _rows(args, item, given):
    """(lines, reasons why others are left out)"""
    if args.form != "full" and any(label.ballot.kind == "flag" for label in given):
        return [], ["item: flagged"]
    if args.form in FORMS:
        return FORMS[args.form](item, given), []
    given = voting(given)
    if len(given) < args.min_annotators:
        return [], ["item: too few labels yet" if given else "item: not labelled yet"]
    decided, dropped = decide(item, given, args.min_agreement)
    reasons = [f"pair: {reason}" for reason in dropped.elements()]
    if args.form == "pairs":
        return [pair_record(item, pair) for pair in decided], reasons
    record = ranked_record(item, given, decided)
    return [record] if record else [], reasons if record else [*reasons, "item: no pair was decided"]
