"""G-Eval: a language model reads a rubric and an answer and fills in a form (Liu et al. 2023, arXiv 2303.16634).

The score of a criterion is the expected value over the probabilities of the score tokens (the paper's equation 1); of a server that gives
no probabilities, the mean of n sampled forms. Left out: writing the evaluation steps with a model (a rubric has them, so that all runs
share them).
"""

from dataclasses import dataclass
from functools import partial

from korlhf.core.errors import InputError
from korlhf.judges import form as forms
from korlhf.judges.form import Item
from korlhf.llm.client import Failure, Reply, Request

PROBABILITIES, SAMPLES = "token probabilities", "mean of samples"
TRIAL = 4  # forms that show whether a server that takes `logprobs` gives any


@dataclass(frozen=True)
class Judge:
    """How a server's model is asked. samples, temperature: of forms without token probabilities; first_sample: number of the first form:
    another number is asked independently, past what the cache holds of the others."""

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
class Verdict:
    """results: a Score or Failure of every answer; orders: with several answers in one request, their scores in the given order and in
    the reverse (both lists in the order of the answers), else ()."""

    results: list
    orders: tuple = ()


def abilities(client, rubric, model, structured, temperature):
    """(whether to ask for structured output, whether to ask for token probabilities) of a server. structured: auto, on or off."""
    probe = Item(rubric, [{"role": "user", "content": "안녕하세요?"}], ("네, 안녕하세요!",))
    if structured == "auto":
        structured = "on" if client.supports(forms.body(probe, model, True, temperature)) else "off"
    return structured == "on", client.supports(forms.body(probe, model, structured == "on", 0.0, probabilities=True))


def judge_answers(client, judge, items, together=False):
    """Verdicts of the Items, in order. together: the answers of an Item are judged in one request in the given order and in one in the
    reverse order, and both count the same, because judges favour a place; otherwise every answer is judged alone.

    Raises InputError if an Item has more answers than there are labels, or as the client does.
    """
    requests = []
    for item in items:
        if together and len(item.answers) > 1:
            if len(item.answers) > len(forms.LABELS):
                raise InputError(
                    f"--together: {len(item.answers)} answers to {item.messages[-1]['content'][:40]!r} are more than the "
                    f"{len(forms.LABELS)} that one request can hold; leave the flag out"
                )
            requests += [item, Item(item.rubric, item.messages, item.answers[::-1])]
        else:
            requests += [Item(item.rubric, item.messages, (answer,)) for answer in item.answers]
    filled, out = iter(_fill(client, judge, requests)), []
    for item in items:
        if together and len(item.answers) > 1:
            out.append(_both_orders(len(item.answers), next(filled), next(filled)))
        else:
            results = [next(filled) for _ in item.answers]
            out.append(Verdict([r if isinstance(r, Failure) else r[0] for r in results]))
    return out


def _both_orders(count, given, reverse):
    for result in (given, reverse):
        if isinstance(result, Failure):  # one order alone would favour a place
            return Verdict([result] * count)
    reverse = reverse[::-1]
    results = [
        _average(
            [a.scores, b.scores],
            a.method if a.method == b.method else f"{a.method}, {b.method}",
            min(a.samples, b.samples),
        )
        for a, b in zip(given, reverse)
    ]
    return Verdict(results, ([s.score for s in given], [s.score for s in reverse]))


def _average(filled, method, samples):
    """Score of one answer from several {criterion: score}."""
    scores = {key: sum(form[key] for form in filled) / len(filled) for key in filled[0]}
    return Score(scores, sum(scores.values()) / len(scores), method, samples)


def _fill(client, judge, items):
    """For each Item, judged in the order it has: a list of Score, or a Failure."""
    found = _by_probabilities(client, judge, items) if judge.probabilities else {}
    return _by_samples(client, judge, items, found)


def _by_probabilities(client, judge, items):
    """{number of the Item: list of Score, or Failure}, without the Items of which the server gave no usable probabilities."""
    requests = [
        (item, Request(forms.body(item, judge.model, judge.structured, 0.0, probabilities=True), judge.first_sample))
        for item in items
    ]
    if not any(probable for _, (_, probable) in filter(_answered, _ask(client, requests[:TRIAL], "trial"))):
        return {}
    found = {}
    for i, (reply, read) in enumerate(_ask(client, requests, "judging")):
        if isinstance(reply, Failure):
            found[i] = reply
        elif read[1] is not None:
            found[i] = [_average([scores], PROBABILITIES, 1) for scores in read[1]]
    return found


def _by_samples(client, judge, items, found):
    """What is `found` already, and for the other Items means of sampled forms. A Failure is one of which no sample was usable."""
    rest = [i for i in range(len(items)) if i not in found]
    bodies = ((items[i], forms.body(items[i], judge.model, judge.structured, judge.temperature)) for i in rest)
    requests = [(item, Request(body, judge.first_sample + k)) for item, body in bodies for k in range(judge.samples)]
    replies, out = iter(_ask(client, requests, "judging, sampled")), dict(found)
    for i in rest:
        of_one = [next(replies) for _ in range(judge.samples)]
        usable = [scores for _, (scores, _) in filter(_answered, of_one)]
        out[i] = [_average(of_answer, SAMPLES, len(usable)) for of_answer in zip(*usable)] if usable else of_one[0][0]
    return [out[i] for i in range(len(items))]


def _answered(result):
    return isinstance(result[0], Reply)


def _ask(client, requests, desc):
    """Results of Client.ask for (Item, Request)s, in order; Items of one rubric and number of answers are asked together."""
    groups, out = {}, [None] * len(requests)
    for i, (item, _) in enumerate(requests):
        groups.setdefault((item.rubric.sha256, len(item.answers)), []).append(i)
    for numbers in groups.values():
        item = requests[numbers[0]][0]
        check = partial(_read, item.rubric, len(item.answers))
        for i, result in zip(
            numbers, client.ask([requests[i][1] for i in numbers], check, desc=f"{desc}: {item.rubric.category}")
        ):
            out[i] = result
    return out


def _read(rubric, count, reply):
    """(scores, expected scores or None) of a reply. Raises ValueError."""
    read = forms.parse(rubric, reply.text, count), forms.expected(rubric, reply, count)
    if reply.logprobs:
        reply.logprobs.clear()  # ten alternatives to every token of 100,000 replies would fill the memory
    return read


def preference(verdicts):
    """How much the place of an answer counts, over all pairs of answers that were judged together, in each of the two orders.

    first_place: share of the decided judgements in which the answer placed earlier got more (without a preference: one half);
    disagree: share of pairs for which the two orders name different winners, of those decided in both. Shares are None if n is 0.
    """
    wins = decided = both = disagree = 0
    for verdict in filter(lambda v: v.orders, verdicts):
        given, reverse = verdict.orders
        for j in range(len(given)):
            for i in range(j):
                first, second = (
                    given[i] - given[j],
                    reverse[i] - reverse[j],
                )  # answer i comes first in the given order, last in the reverse
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
