"""Two answers side by side: which one is better, asked in both orders, since judges favour a place.

An answer wins if both orders name it; else it is a tie. Where the judge gives probabilities, what counts in a win rate
is their mean over both orders (a tie half), so that a slight but steady preference is not lost. A reward model is not
asked: the higher score wins. Zheng et al. 2023 (arXiv 2306.05685, section 3.4) call asking in both orders the
conservative way.

games: a DataFrame of verdicts with the columns model, other, prompt (number of the record), longer (characters of the
model's answer minus those of the other's), and those of Verdict.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from korlhf.core import stats
from korlhf.data import record
from korlhf.eval import comparison
from korlhf.judges import choice, form
from korlhf.llm.protocol import Failure

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


def play(judge, rubrics, s):
    """{(model, other, number of the record, of the answer): Verdict or Failure} of every two models; the k-th answer of
    one meets the k-th of the other. rubrics: {category: Rubric}; s: session.Session."""
    there = set(comparison.places(s.answers))
    scored = comparison.score(judge, {}, s) if judge.kind == "reward_model" else {}
    out = {}
    for a, b in comparison.pairs(s.answers):
        meetings = [(i, k) for name, i, k in sorted(there) if name == a and (b, i, k) in there]
        if scored:
            verdicts = [of_scores(scored[a, i, k], scored[b, i, k]) for i, k in meetings]
        else:
            asked = [
                (rubrics[r["category"]], record.messages(r), s.answers[a][i][k].text, s.answers[b][i][k].text)
                for i, k in meetings
                for r in [s.records[i]]
            ]
            verdicts = compare(judge, asked, desc=f"{a} against {b}")
        out |= {(a, b, i, k): verdict for (i, k), verdict in zip(meetings, verdicts)}
    return out


def games(verdicts, answers):
    """The games of the verdicts of `play` that are no Failures."""
    rows = [
        (a, b, i, len(answers[a][i][k].text) - len(answers[b][i][k].text), *vars(v).values())
        for (a, b, i, k), v in verdicts.items()
        if not isinstance(v, Failure)
    ]
    return pd.DataFrame(rows, columns=["model", "other", "prompt", "longer", *Verdict.__annotations__])


def question(rubric, messages, first, second, options=OPTIONS):
    """The choice.Question about two answers, the first one as A."""
    system = "\n".join([rubric.system, "", COMPARE, "", "[기준]", *criteria(rubric)])
    return choice.Question(system, "\n".join([*form.framed(messages, (first, second)), "", ASK]), options)


def criteria(rubric):
    """Lines: the criteria of a rubric without their levels."""
    return [f"■ {c.name}: {c.question}" for c in rubric.criteria]


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
    if choice.GREEDY in (given.method, reverse.method):
        return Verdict(verdict, verdict, picks, choice.GREEDY)
    p, q = given.probabilities, reverse.probabilities
    return Verdict((p[FIRST] + q[SECOND] + (p[TIE] + q[TIE]) / 2) / 2, verdict, picks, choice.PROBABILITIES)


def _pick(one):
    """The likeliest option; TIE if there are several."""
    return one.best if one.probabilities.count(max(one.probabilities)) == 1 else TIE


def of_scores(first, second):
    """The Verdict of two geval.Scores: the higher one wins; or the first Failure."""
    for one in (first, second):
        if isinstance(one, Failure):
            return one
    result = 0.5 + 0.5 * ((first.score > second.score) - (first.score < second.score))
    return Verdict(result, result, (), first.method)


def rate(values, prompts):
    """A mean of values from 0 to 1 with its 95 % interval over prompts: {"mean", "low", "high", "n"}, or None without
    values."""
    if not len(values):
        return None
    found = stats.mean_interval(values, prompts, stats.UNIT)
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def win_rate(games, seed):
    """Of the first model, over games of two: what `rate` gives, "prompts", "won", "tied", "lost", and "p" of no
    difference (signs of prompts flipped)."""
    _, p = stats.paired_difference(games.result, [0.5] * len(games), games.prompt, seed)
    counts = {word: int((games.verdict == v).sum()) for word, v in (("won", 1.0), ("tied", 0.5), ("lost", 0.0))}
    return {**rate(games.result, games.prompt), "prompts": games.prompt.nunique(), **counts, "p": p}


def length_controlled(games, seed):
    """The first model's win rate with answers as long as the other's (stats.length_controlled): {"mean", "low",
    "high"}, over prompts.

    None if the games cannot tell: hardly any answer of one model is as long as the other's. If all games end alike, so
    they do at any length: then it is the win rate itself, with its interval.
    """
    if min((games.longer >= 0).sum(), (games.longer <= 0).sum()) < LEAST_EACH_WAY:
        return None
    if games.result.nunique() == 1:
        return {key: value for key, value in rate(games.result, games.prompt).items() if key != "n"}
    (found,) = _fitted(games, lambda g: [stats.length_controlled(g.result, g.longer)], seed)
    return found


def _fitted(games, fit, seed):
    """Of each figure that `fit` finds in games {"mean", "low", "high"}: resampled are prompts, with all their games;
    the quantiles are `stats.expanded` for few prompts."""
    of_prompt = list(games.reset_index(drop=True).groupby("prompt").indices.values())
    draws = np.random.default_rng(seed).integers(len(of_prompt), size=(RESAMPLES, len(of_prompt)))
    fits = [fit(games.iloc[np.concatenate([of_prompt[k] for k in draw])]) for draw in draws]
    lows, highs = np.quantile(fits, stats.expanded(len(of_prompt)), axis=0)
    return [{"mean": m, "low": float(low), "high": float(high)} for m, low, high in zip(fit(games), lows, highs)]


def place_preference(games):
    """How much the place of an answer counts: "first" (rate of the first place among decided questions, or None),
    "asked" (pairs), and the shares of them in which the orders give different verdicts ("disagree"), and name different
    answers ("opposite"); None without pairs."""
    asked = games[games.picks.map(len) > 0]
    if asked.empty:
        return None
    decided = asked.explode("picks")
    decided = decided[decided.picks != TIE]
    agree, opposite = ((FIRST, SECOND), (SECOND, FIRST), (TIE, TIE)), ((FIRST, FIRST), (SECOND, SECOND))
    return {
        "first": rate((decided.picks == FIRST).astype(float), decided.prompt),
        "asked": len(asked),
        "disagree": sum(picks not in agree for picks in asked.picks) / len(asked),
        "opposite": sum(picks in opposite for picks in asked.picks) / len(asked),
    }


def length_preference(games):
    """The rate at which the longer answer wins, over pairs of different length; None without any."""
    unequal = games[games.longer != 0]
    return rate(unequal.result.where(unequal.longer > 0, 1 - unequal.result), unequal.prompt)


def strengths(names, games, seed):
    """{model: {"mean", "low", "high"}}: Bradley-Terry strengths in logits, their mean 0, with 95 % intervals over
    prompts."""

    def fit(games):
        return list(stats.bradley_terry(names, zip(games.model, games.other, games.result)).values())

    return dict(zip(names, _fitted(games, fit, seed)))
