"""Answers to one prompt -> pairs: which of two is the better one, who says so, and why a pair is left out.

For every two answers people have the first word, then a rule between responders ("chatgpt>sft"), then the scores.
Nothing here depends on the order of the answers or on the names of responders. Every answer and every pair that is left
out has a reason that is counted. Left out: models of annotators or of judges; a pair is decided by most votes, or by
the difference of two scores.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import combinations

from korlhf.data.example import RowError, bare

WHO = ("human", "rule", "score")  # in this order one overrules the next
DIGITS = 9  # margins are rounded to these, or 1.2 - 1.0 would be under --min_margin 0.2


class Undecided(Enum):
    """What people say of two answers when neither is chosen; the value is the reason in the counts."""

    TIE = "people: a tie"
    BOTH_BAD = "people: both bad"
    EVEN = "people: as many votes for as against"


@dataclass(frozen=True)
class Candidate:
    """An answer to be ranked. text: as it was given. models: who gave it, several if they said the same.

    place: in the record's list, from 0; None: written by people.
    """

    text: str
    models: tuple[str, ...] = ()
    score: float | None = None
    place: int | None = None

    @property
    def model(self) -> str | None:
        """Its models in one column; None if nobody is known to have given it."""
        return "|".join(self.models) or None


@dataclass(frozen=True)
class RankedPair:
    """by: human, rule or score. margin: of scores, None if one is missing; below 0 where people or a rule overruled."""

    chosen: Candidate
    rejected: Candidate
    by: str

    @property
    def margin(self) -> float | None:
        better, worse = self.chosen.score, self.rejected.score
        return None if better is None or worse is None else round(better - worse, DIGITS)

    def columns(self) -> dict[str, str | float | None]:
        """What step 2 and people read of a pair, as columns of a record."""
        return {
            "chosen": self.chosen.text,
            "rejected": self.rejected.text,
            "chosen_model": self.chosen.model,
            "rejected_model": self.rejected.model,
            "chosen_score": self.chosen.score,
            "rejected_score": self.rejected.score,
            "margin": self.margin,
        }


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the answers of one category become pairs.

    best_worst: of the pairs decided by score only that of the best and the worst answer. threshold: a pair is no use if
    both scores are under it. min_margin: least difference of scores. prefer: (better, worse) responders. people_only:
    no pair without a human label. max_pairs: of one prompt, 0 = all; pairs of people go first, then of rules, then the
    widest margins.
    """

    best_worst: bool = False
    threshold: float | None = None
    min_margin: float = 0.0
    prefer: tuple[tuple[str, str], ...] = ()
    people_only: bool = False
    max_pairs: int = 0


DEFAULT = Rules()


@dataclass(frozen=True)
class Label:
    """One person's judgement of two texts. verdict: the better text, or Undecided.TIE or BOTH_BAD. annotator: "" if
    unknown.

    Raises RowError if the texts are empty or the same.
    """

    texts: tuple[str, str]
    verdict: str | Undecided
    annotator: str = ""

    def __post_init__(self):
        first, second = map(key, self.texts)
        if not first or not second or first == second:
            raise RowError(
                f"the two answers are {'the same' if first == second else 'not both there'}: {self.texts[0][:40]!r}; "
                "give two different ones or delete the label"
            )


@dataclass(frozen=True)
class Ranked:
    """pairs: best founded first. dropped: pairs by reason. left_out: answers by reason. further: labelled pairs."""

    pairs: list[RankedPair]
    dropped: Counter
    left_out: Counter
    further: int


@lru_cache(maxsize=1 << 10)  # the same few texts are compared again and again while their prompt is ranked
def key(text: str) -> str:
    """What makes two answers the same: spacing, Unicode form, invisible characters, a final EOS do not count."""
    try:
        return " ".join(bare(text, "the answer").split())
    except RowError:
        return ""


def read_answers(candidates: object) -> tuple[list[Candidate], dict[str, str], Counter]:
    """`candidates` of a record -> (Candidates of different texts, {key of a text that cannot be used: reason}, those
    left out).

    Answers that were cut off, are empty or hold half a character, as a model of bytes may write it, cannot be used;
    equal ones become one with the mean of their scores. Raises RowError for candidates that are not what respond and
    score write.
    """
    if not isinstance(candidates, list):
        raise RowError(f"candidates is {type(candidates).__name__}; expected a list")
    same, spoiled, left_out = defaultdict(list), {}, Counter()
    for place, raw in enumerate(candidates):
        answer, cut = _candidate(raw, place)
        k = key(answer.text)
        reason = "empty" if not k else "cut off" if cut else "garbled" if "\ufffd" in answer.text else ""
        if reason:
            spoiled[k] = reason
            left_out[reason] += 1
        else:
            left_out.update(["equal to another"] if k in same else [])
            same[k].append(answer)
    merged = [_merged(group) for group in same.values()]
    return merged, {k: reason for k, reason in spoiled.items() if k not in same}, left_out


def _candidate(raw, place):
    """(Candidate, whether it was cut off)"""
    if not isinstance(raw, dict) or not isinstance(raw.get("text"), str):
        expected = '{"text": ..., "model": ..., "score": ...}'
        raise RowError(f"candidate {place + 1} is {str(raw)[:40]!r}; expected {expected}")
    score, model = raw.get("score"), raw.get("model")
    number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
    if score is not None and not number:
        raise RowError(f"the score of candidate {place + 1} is {score!r}; expected a number, or null for none")
    if model is not None and not isinstance(model, str):
        raise RowError(f"the model of candidate {place + 1} is {model!r}; expected a responder's name")
    return Candidate(raw["text"], (model,) if model else (), score, place), raw.get("finish_reason") == "length"


def _merged(group):
    """One Candidate for several of equal text."""
    scores = [a.score for a in group if a.score is not None]
    return Candidate(
        min(a.text for a in group),
        tuple(sorted({m for a in group for m in a.models})),
        math.fsum(scores) / len(scores) if scores else None,
        min(a.place for a in group),
    )


def votes(labels: Iterable[Label]) -> dict[frozenset[str], str | Undecided]:
    """Labels of one prompt -> {frozenset of two keys: key of the better text, or why it is Undecided}.

    Most votes decide. An annotator has one vote on a pair, the last one given; labels without an annotator all count.
    """
    ballots = defaultdict(dict)
    for n, label in enumerate(labels):
        verdict = label.verdict if isinstance(label.verdict, Undecided) else key(label.verdict)
        ballots[frozenset(map(key, label.texts))][label.annotator or n] = verdict
    return {pair: _most(Counter(ballot.values())) for pair, ballot in ballots.items()}


def _most(counts):
    (first, n), *rest = counts.most_common(2)
    return Undecided.EVEN if rest and rest[0][1] == n else first


def rank(candidates: Sequence[object], rules: Rules = DEFAULT, labels: Sequence[Label] = ()) -> Ranked:
    """The pairs of one prompt -> Ranked.

    candidates: dicts with text and, as far as they are known, model, score and finish_reason. labels: on this prompt.
    Every two usable answers are one pair that is kept or dropped; so is every labelled pair with a text that is no
    usable answer's. Raises RowError for candidates that are not what respond and score write.
    """
    answers, spoiled, left_out = read_answers(candidates)
    said, ends = votes(labels), _ends(answers)
    decided = [_decide(a, b, rules, said, ends) for a, b in combinations(answers, 2)]
    known = {key(a.text): a for a in answers}
    further = [pair for pair in said if not pair <= set(known)]
    known = {key(text): Candidate(text) for label in labels for text in label.texts} | known
    for pair in further:
        first, second = sorted(pair)
        reason = spoiled.get(first) or spoiled.get(second)
        own = _by_people(known[first], known[second], said[pair])
        decided.append(f"people: an answer was {reason}" if reason else own)
    pairs = sorted((d for d in decided if isinstance(d, RankedPair)), key=_foundation)
    dropped = Counter(d for d in decided if isinstance(d, str))
    if 0 < rules.max_pairs < len(pairs):
        dropped["over the limit of a prompt"] = len(pairs) - rules.max_pairs
        pairs = pairs[: rules.max_pairs]
    return Ranked(pairs, dropped, left_out, len(further))


def _decide(a, b, rules, said, ends):
    """The RankedPair, or the reason why there is none."""
    verdict = said.get(frozenset((key(a.text), key(b.text))))
    if verdict is not None:
        return _by_people(a, b, verdict)
    if rules.people_only:
        return "not labelled by people"
    for better, worse in rules.prefer:
        forth, back = (better in x.models and worse in y.models for x, y in ((a, b), (b, a)))
        if forth != back:
            return RankedPair(*((a, b) if forth else (b, a)), "rule")
    if a.score is None or b.score is None:
        return "no score"
    if rules.best_worst and {a, b} != ends:
        return "not the best and the worst"
    if rules.threshold is not None and max(a.score, b.score) < rules.threshold:
        return "both under the threshold"
    pair = RankedPair(*((a, b) if a.score > b.score else (b, a)), "score")
    if pair.margin == 0:
        return "tie"
    return "margin too small" if pair.margin < rules.min_margin else pair


def _by_people(a, b, verdict):
    if isinstance(verdict, Undecided):
        return verdict.value
    return RankedPair(*((a, b) if key(a.text) == verdict else (b, a)), "human")


def _ends(answers):
    """The best and the worst of the scored answers; of equal scores a hash of the text decides."""
    scored = sorted((a for a in answers if a.score is not None), key=lambda a: (a.score, _digest(a)))
    return {scored[0], scored[-1]} if scored else set()


def _digest(answer):
    return hashlib.sha256(key(answer.text).encode("utf-8")).hexdigest()


def _foundation(pair):
    return WHO.index(pair.by), -(pair.margin or 0.0), _digest(pair.chosen), _digest(pair.rejected)
