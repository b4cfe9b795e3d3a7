"""Two answers side by side: which one is better, asked in both orders, since judges favour a place.

An answer wins if both orders name it; else it is a tie. Where the judge gives probabilities, what counts in a win rate
is their mean over both orders (a tie half), so that a slight but steady preference is not lost. A reward model is not
asked: the higher score wins. Zheng et al. 2023 (arXiv 2306.05685, section 3.4) call asking in both orders the
conservative way.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from korlhf.core import stats
from korlhf.data import record
from korlhf.eval import comparison
from korlhf.judges import choice, form
from korlhf.llm.protocol import Failure, Reply

FIRST, SECOND, TIE = range(3)  # numbers of the options
OPTIONS = ("답변 A가 더 좋다.", "답변 B가 더 좋다.", "두 답변의 수준이 비슷해서 우열을 가리기 어렵다.")
COMPARE = (
    "이번에는 점수를 매기지 않고, 두 답변을 견주어 더 좋은 쪽을 가립니다. "
    "어느 답변이 먼저 놓였는지는 상관하지 않습니다. "
    "아래 기준에 점수 이야기가 나오면 그만큼 부족한 답변이라는 뜻으로만 읽습니다."
)
ASK = (
    "위 대화의 마지막 말에 대한 답변 A와 답변 B를 견주어 보세요. 기준을 모두 아울러 볼 때 어느 쪽이 더 좋은 답변인가요?"
)
RESAMPLES = 500  # of what is fitted anew each time
LEAST_EACH_WAY = 5  # games in which an answer is no longer, and no shorter, than the other


@dataclass(frozen=True)
class Verdict:
    """On a pair of answers, seen from the first of them. result: what counts, 1 won, 0.5 tie, 0 lost, or between with
    probabilities; verdict: 1.0, 0.5 or 0.0; picks: what was named when the first answer stood first, and when it stood
    second (FIRST: the answer in the first place, SECOND or TIE), () if nobody was asked; method: how the result
    came."""

    result: float
    verdict: float
    picks: tuple
    method: str


EQUAL = Verdict(0.5, 0.5, (), "equal answers")


@dataclass(frozen=True)
class Game:
    """One verdict among others. prompt: number of its record; longer: characters of the first answer minus those of the
    second."""

    first: str
    second: str
    prompt: int
    longer: int
    verdict: Verdict


def play(judge, rubrics, s):
    """{(model, other): {(number of the record, of the answer): Verdict or Failure}} of every two models; the k-th
    answer of one meets the k-th of the other. rubrics: {category: Rubric}; s: session.Session."""
    scored = comparison.score(judge, {}, s.records, s.answers) if judge.kind == "reward_model" else None
    out = {}
    for a, b in comparison.pairs(list(s.answers)):
        places = [
            (i, k)
            for i, replies in enumerate(zip(s.answers[a], s.answers[b]))
            for k, pair in enumerate(zip(*replies))
            if all(isinstance(reply, Reply) for reply in pair)
        ]
        if scored:
            verdicts = [of_scores(scored[a][i][k], scored[b][i][k]) for i, k in places]
        else:
            asked = [
                (rubrics[s.records[i]["category"]], record.messages(s.records[i]), *texts)
                for i, k in places
                for texts in [(s.answers[a][i][k].text, s.answers[b][i][k].text)]
            ]
            verdicts = compare(judge, asked, desc=f"{a} against {b}")
        out[a, b] = dict(zip(places, verdicts))
    return out


def games(verdicts, answers):
    """The verdicts of `play` that are no Failures, as Games."""
    return [
        Game(a, b, i, len(answers[a][i][k].text) - len(answers[b][i][k].text), verdict)
        for (a, b), of_pair in verdicts.items()
        for (i, k), verdict in of_pair.items()
        if not isinstance(verdict, Failure)
    ]


def question(rubric, messages, first, second):
    """The choice.Question about two answers, the first one as A. The criteria are the rubric's, without their
    levels."""
    _, lines = form.framed(messages, (first, second))
    system = "\n".join(
        [rubric.system, "", COMPARE, "", "[기준]", *(f"■ {c.name}: {c.question}" for c in rubric.criteria)]
    )
    return choice.Question(system, "\n".join([*lines, "", ASK]), OPTIONS)


def compare(judge, asked, desc="judging"):
    """A Verdict, or the Failure of one of the orders, for each (rubric, messages, first answer, second answer).

    Equal answers are a tie without being asked about.
    """
    questions = [
        question(rubric, messages, *texts) for rubric, messages, a, b in asked if a != b for texts in ((a, b), (b, a))
    ]
    choices = iter(judge.choose(questions, desc=desc))
    return [EQUAL if a == b else of_orders(next(choices), next(choices)) for *_, a, b in asked]


def of_orders(given, reverse):
    """The Verdict of two choice.Choices, the second one asked with the answers exchanged, or the first Failure."""
    for one in (given, reverse):
        if isinstance(one, Failure):  # one order alone would favour a place
            return one
    picks = _pick(given), _pick(reverse)
    verdict = {(FIRST, SECOND): 1.0, (SECOND, FIRST): 0.0}.get(picks, 0.5)
    if given.method != choice.PROBABILITIES or reverse.method != choice.PROBABILITIES:
        return Verdict(verdict, verdict, picks, choice.GREEDY)
    p, q = given.probabilities, reverse.probabilities
    return Verdict((p[FIRST] + q[SECOND] + (p[TIE] + q[TIE]) / 2) / 2, verdict, picks, choice.PROBABILITIES)


def _pick(one):
    """The likeliest option; TIE if there are several."""
    best = [i for i, p in enumerate(one.probabilities) if p == max(one.probabilities)]
    return best[0] if len(best) == 1 else TIE


def of_scores(first, second):
    """The Verdict of two geval.Scores: the higher one wins; or the first Failure."""
    for one in (first, second):
        if isinstance(one, Failure):
            return one
    result = 0.5 + 0.5 * ((first.score > second.score) - (first.score < second.score))
    return Verdict(result, result, (), first.method)


def rate(values, prompts, seed):
    """A mean of values from 0 to 1 with its 95 % interval over prompts: {"mean", "low", "high", "n"}, or None without
    values.

    Where all prompts are alike, resampling sees no spread; then it is Wilson's interval for as many prompts.
    """
    if not len(values):
        return None
    found = stats.mean_interval(values, prompts, seed)
    low, high = (
        (found.low, found.high) if found.high > found.low else stats.wilson(found.mean * found.groups, found.groups)
    )
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}


def win_rate(games, seed):
    """Of the first model, over games of two: what `rate` gives, "prompts", "won", "tied", "lost", and "p" of no
    difference (signs of prompts flipped)."""
    results, prompts = [g.verdict.result for g in games], [g.prompt for g in games]
    _, p = stats.paired_difference(results, [0.5] * len(results), prompts, seed)
    verdicts = [g.verdict.verdict for g in games]
    return {
        **rate(results, prompts, seed),
        "prompts": len(set(prompts)),
        "won": verdicts.count(1.0),
        "tied": verdicts.count(0.5),
        "lost": verdicts.count(0.0),
        "p": p,
    }


def length_controlled(games, seed):
    """The first model's win rate with answers as long as the other's (stats.length_controlled): {"mean", "low",
    "high"}, over prompts.

    None if the games cannot tell: hardly any answer of one model is as long as the other's. If all games end alike, so
    they do at any length: then it is the win rate itself, with Wilson's interval.
    """
    if min(sum(g.longer >= 0 for g in games), sum(g.longer <= 0 for g in games)) < LEAST_EACH_WAY:
        return None
    results, longer = np.array([g.verdict.result for g in games]), np.array([g.longer for g in games])
    prompts = [g.prompt for g in games]
    if len(set(results)) == 1:
        return {key: value for key, value in rate(results, prompts, seed).items() if key != "n"}
    draws = [stats.length_controlled(results[i], longer[i]) for i in _resampled(prompts, RESAMPLES, seed)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"mean": stats.length_controlled(results, longer), "low": float(low), "high": float(high)}


def _resampled(prompts, resamples, seed):
    """For each resample the numbers of the games whose prompts are drawn, a prompt as often as it is."""
    of_prompt = {}
    for i, prompt in enumerate(prompts):
        of_prompt.setdefault(prompt, []).append(i)
    of_prompt = list(of_prompt.values())
    for draw in np.random.default_rng(seed).integers(len(of_prompt), size=(resamples, len(of_prompt))):
        yield [i for k in draw for i in of_prompt[k]]


def place_preference(games, seed):
    """How much the place of an answer counts: "first" (rate of the first place among decided questions, or None),
    "asked" (pairs), and the shares of them in which the orders give different verdicts ("disagree"), and name different
    answers ("opposite"); None without pairs."""
    asked = [g for g in games if g.verdict.picks]
    if not asked:
        return None
    decided = [(float(pick == FIRST), g.prompt) for g in asked for pick in g.verdict.picks if pick != TIE]
    disagree = [g.verdict.picks not in ((FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)) for g in asked]
    opposite = [g.verdict.picks in ((FIRST, FIRST), (SECOND, SECOND)) for g in asked]
    return {
        "first": rate(*zip(*decided), seed) if decided else None,
        "asked": len(asked),
        "disagree": sum(disagree) / len(asked),
        "opposite": sum(opposite) / len(asked),
    }


def length_preference(games, seed):
    """The rate at which the longer answer wins, over pairs of different length; None without any."""
    unequal = [(g.verdict.result if g.longer > 0 else 1 - g.verdict.result, g.prompt) for g in games if g.longer]
    return rate(*zip(*unequal), seed) if unequal else None


def strengths(names, games, seed, resamples=RESAMPLES):
    """{model: {"mean", "low", "high"}}: Bradley-Terry strengths in logits, their mean 0, with 95 % intervals over
    prompts."""
    strengths = stats.bradley_terry(names, _results(games))
    draws = [
        stats.bradley_terry(names, _results(games[i] for i in numbers))
        for numbers in _resampled([g.prompt for g in games], resamples, seed)
    ]
    low, high = np.quantile([[draw[name] for name in names] for draw in draws], [0.025, 0.975], axis=0)
    return {
        name: {"mean": strengths[name], "low": float(low[k]), "high": float(high[k])} for k, name in enumerate(names)
    }


def _results(games):
    return [(g.first, g.second, g.verdict.result) for g in games]


def cycles(names, rates):
    """Triples (a, b, c) in which a beats b, b beats c and c beats a, each once. rates: {(model, other): win rate of the
    model}."""
    beats = {(a, b) if mean > 0.5 else (b, a) for (a, b), mean in rates.items() if mean != 0.5}
    place = {name: i for i, name in enumerate(names)}
    return [
        (a, b, c)
        for a, b, c in permutations(names, 3)
        if place[a] < min(place[b], place[c]) and {(a, b), (b, c), (c, a)} <= beats
    ]
