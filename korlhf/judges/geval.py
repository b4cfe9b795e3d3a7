"""G-Eval: a language model reads a rubric and an answer and fills in a form (Liu et al. 2023, arXiv 2303.16634).

The score of a criterion is the expected value over the probabilities of the score tokens (the paper's equation 1); of a
server that gives no probabilities, the mean of n sampled forms. Left out: writing the evaluation steps with a model (a
rubric has them, so that all runs share them).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from korlhf.core.errors import InputError
from korlhf.judges import form
from korlhf.judges.form import Item
from korlhf.judges.rubric import Rubric
from korlhf.llm.client import Client, Request, Result
from korlhf.llm.protocol import Failure, Reply

PROBABILITIES, SAMPLES = "token probabilities", "mean of samples"
TRIAL = 4  # forms that show whether a server that takes `logprobs` gives any


@dataclass(frozen=True)
class Judge:
    """How a server's model is asked. samples, temperature: of forms without token probabilities.

    first_sample: number of the first form; another number is asked independently, past what the cache holds of the
    others.
    """

    model: str
    structured: bool
    probabilities: bool
    samples: int
    temperature: float
    first_sample: int = 0


@dataclass(frozen=True)
class Score:
    """Of one answer. scores: by criterion; score: their mean; samples: forms that were used, of each order."""

    scores: dict[str, float]
    score: float
    method: str
    samples: int


@dataclass(frozen=True)
class ItemScores:
    """results: a Score or Failure of every answer of an Item.

    orders: with several answers in one request their scores in the given order and in the reverse (both lists in the
    order of the answers), else ().
    """

    results: Sequence[Score | Failure]
    orders: tuple = ()


Filled = list[Score] | Failure  # of all answers of a request


def abilities(client: Client, rubric: Rubric, model: str, structured: str, temperature: float) -> tuple[bool, bool]:
    """(whether to ask for JSON by a schema, whether to ask for token probabilities). structured: auto, on or off."""
    probe = Item(rubric, [{"role": "user", "content": "안녕하세요?"}], ("네, 안녕하세요!",))
    by_schema = structured == "on"
    if structured == "auto":
        by_schema = client.supports(form.body(probe, model, True, temperature), ["response_format"])
    asked = form.body(probe, model, by_schema, 0.0, probabilities=True)
    return by_schema, client.supports(asked, ["logprobs", "top_logprobs"])


def judge_answers(client: Client, judge: Judge, items: Sequence[Item], together: bool = False) -> list[ItemScores]:
    """ItemScores in the order of the Items.

    together: the answers of an Item are judged in one request in the given order and in one in the reverse order, and
    both count the same, because judges favour a place; otherwise every answer is judged alone.

    Raises InputError if an Item has more answers than there are labels, or as the client does.
    """
    requests: list[Item] = []
    for item in items:
        if not (together and item.labels):
            requests += [replace(item, answers=(answer,)) for answer in item.answers]
        elif len(item.answers) > len(form.LABELS):
            raise InputError(
                f"--together: {len(item.answers)} answers to {item.messages[-1]['content'][:40]!r} are more than "
                f"the {len(form.LABELS)} that one request can hold; leave the flag out"
            )
        else:
            requests += [item, replace(item, answers=item.answers[::-1])]
    filled, out = iter(_fill(client, judge, requests)), []
    for item in items:
        if together and item.labels:
            out.append(_both_orders(len(item.answers), next(filled), next(filled)))
        else:
            results = [next(filled) for _ in item.answers]
            out.append(ItemScores([r if isinstance(r, Failure) else r[0] for r in results]))
    return out


def _both_orders(count: int, given: Filled, reverse: Filled) -> ItemScores:
    if isinstance(given, Failure) or isinstance(reverse, Failure):  # one order alone would favour a place
        return ItemScores([given if isinstance(given, Failure) else reverse] * count)  # type: ignore[list-item]
    reverse = reverse[::-1]
    results = [
        _average([a.scores, b.scores], ", ".join(dict.fromkeys((a.method, b.method))), min(a.samples, b.samples))
        for a, b in zip(given, reverse)
    ]
    return ItemScores(results, ([s.score for s in given], [s.score for s in reverse]))


def _average(filled: Sequence[dict[str, float]], method: str, samples: int) -> Score:
    """Score of one answer from several {criterion: score}."""
    scores = {key: sum(form[key] for form in filled) / len(filled) for key in filled[0]}
    return Score(scores, sum(scores.values()) / len(scores), method, samples)


def _fill(client: Client, judge: Judge, items: list[Item]) -> list[Filled]:
    """For each Item, judged in the order it has: a list of Score, or a Failure.

    First by token probabilities, if the server gives any; what is left then by the mean of sampled forms.
    """
    everything, out = range(len(items)), {}

    def ask(numbers: Iterable[int], probabilities: bool, samples: int, desc: str) -> list[Result]:
        temperature, first = 0.0 if probabilities else judge.temperature, judge.first_sample
        return client.ask(
            [_request(items[i], judge, temperature, probabilities, first + k) for i in numbers for k in range(samples)],
            desc=desc,
        )

    trial = ask(everything[:TRIAL], True, 1, "trial") if judge.probabilities else []
    if any(read[1] for reply, read in trial if isinstance(reply, Reply)):
        for i, (reply, read) in enumerate(ask(everything, True, 1, "judging")):
            if isinstance(reply, Failure):
                out[i] = reply
            elif read[1] is not None:
                out[i] = [_average([scores], PROBABILITIES, 1) for scores in read[1]]
    rest = [i for i in everything if i not in out]
    replies = iter(ask(rest, False, judge.samples, "judging, sampled"))
    for i in rest:
        of_one = [next(replies) for _ in range(judge.samples)]
        usable = [read[0] for reply, read in of_one if isinstance(reply, Reply)]
        failures = [reply for reply, _ in of_one if isinstance(reply, Failure)]
        out[i] = [_average(scores, SAMPLES, len(usable)) for scores in zip(*usable)] if usable else failures[0]
    return [out[i] for i in everything]


def _request(item: Item, judge: Judge, temperature: float, probabilities: bool, sample: int) -> Request:
    def check(reply: Reply) -> tuple[list, list | None]:
        read = form.read(item.rubric, reply, len(item.answers))
        if reply.logprobs:
            reply.logprobs.clear()  # ten alternatives to every token of 100,000 replies would fill the memory
        return read

    return Request(form.body(item, judge.model, judge.structured, temperature, probabilities), sample, check)


def preference(judged: Iterable[ItemScores]) -> dict[str, Any]:
    """How much the place of an answer counts, over all pairs of answers that were judged together in both orders.

    first_place: share of the decided judgements in which the answer placed earlier got more (without a preference: one
    half); disagree: share of pairs for which the two orders name different winners, of those decided in both. Shares
    are None if n is 0.
    """
    wins = decided = both = disagree = 0
    for given, reverse in (of_item.orders for of_item in judged if of_item.orders):
        for j in range(len(given)):
            for i in range(j):
                # answer i comes first in the given order, last in the reverse
                first, second = given[i] - given[j], reverse[i] - reverse[j]
                wins += (first > 0) + (second < 0)
                decided += (first != 0) + (second != 0)
                both += first * second != 0
                disagree += first * second < 0
    return {
        "first_place": wins / decided if decided else None,
        "n_decided": decided,
        "disagree": disagree / both if both else None,
        "n_decided_in_both": both,
    }
