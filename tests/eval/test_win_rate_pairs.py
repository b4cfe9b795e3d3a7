"""korlhf/eval/win_rate.py by hand arithmetic, scipy, scikit-learn and statsmodels."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.proportion import proportion_confint

from korlhf.eval import win_rate as pairwise
from korlhf.eval.win_rate import FIRST, SECOND, TIE
from korlhf.judges import choice as choices
from korlhf.judges import rubric as rubrics
from korlhf.judges.geval import Score
from korlhf.llm.protocol import Failure

EVERYDAY = rubrics.load_rubric(Path(__file__).resolve().parents[2] / "korlhf" / "judges" / "rubrics" / "everyday.yaml")
USER = [{"role": "user", "content": "오늘 너무 더워요."}]
LOST = Failure("timeout", "late")


def game(result, prompt, longer=0, picks=(), verdict=None, pair=("a", "b")):
    return (*pair, prompt, longer, result, result if verdict is None else verdict, picks, "m")


def frame(games):
    names = ["model", "other", "prompt", "longer", "result", "verdict", "picks", "method"]
    return pd.DataFrame(list(games), columns=names)


def likely(*shares):
    return choices.Choice(shares, choices.PROBABILITIES)


def picked(option):
    return choices.Choice(tuple(float(i == option) for i in range(3)), choices.GREEDY)


@pytest.mark.parametrize(
    "given, reverse, verdict",
    [
        (FIRST, SECOND, 1.0),
        (SECOND, FIRST, 0.0),
        (FIRST, FIRST, 0.5),
        (SECOND, SECOND, 0.5),
        (TIE, TIE, 0.5),
        (FIRST, TIE, 0.5),
        (TIE, FIRST, 0.5),
    ],
)
def test_an_answer_wins_if_both_orders_name_it(given, reverse, verdict):
    found = pairwise.of_orders(picked(given), picked(reverse))
    assert (found.verdict, found.result, found.picks, found.method) == (
        verdict,
        verdict,
        (given, reverse),
        "one greedy choice",
    )


def test_probabilities_count_by_their_mean_over_both_orders():
    found = pairwise.of_orders(
        likely(0.6, 0.3, 0.1), likely(0.5, 0.2, 0.3)
    )  # .6 + .05 and .2 + .15 of the first answer
    assert found.result == pytest.approx((0.65 + 0.35) / 2) and found.verdict == 0.5 and found.picks == (FIRST, FIRST)
    found = pairwise.of_orders(likely(0.6, 0.3, 0.1), likely(0.1, 0.8, 0.1))
    assert found.result == pytest.approx((0.65 + 0.85) / 2) and found.verdict == 1.0
    assert pairwise.of_orders(likely(0.45, 0.45, 0.1), likely(0.1, 0.8, 0.1)).picks == (
        TIE,
        SECOND,
    )  # not the first by accident
    mixed = pairwise.of_orders(likely(0.6, 0.3, 0.1), picked(SECOND))
    assert (mixed.result, mixed.method) == (1.0, "one greedy choice")
    assert pairwise.of_orders(LOST, picked(0)) is pairwise.of_orders(picked(0), LOST) is LOST


def test_scores_decide_without_being_asked():
    low, high = Score({}, 1.0, "reward model", 1), Score({}, 1.5, "reward model", 1)
    assert [pairwise.of_scores(*pair).verdict for pair in ((low, high), (high, low), (low, low))] == [0.0, 1.0, 0.5]
    assert pairwise.of_scores(low, LOST) is LOST and pairwise.of_scores(high, low).picks == ()


class Judge:
    """Picks the answer with the higher last digit, whatever its place."""

    def __init__(self):
        self.asked = []

    def choose(self, questions, desc=""):
        self.asked += questions
        out = []
        for q in questions:
            a, b = re.findall(r"\[채점할 답변 [AB] [0-9a-f]{8}\]\n(.*)", q.text)
            out.append(picked(FIRST if a[-1] > b[-1] else SECOND if b[-1] > a[-1] else TIE))
        return out


def test_every_pair_is_asked_in_both_orders_but_equal_answers():
    judge = Judge()
    found = pairwise.compare(
        judge, [(EVERYDAY, USER, "답 2", "답 1"), (EVERYDAY, USER, "답 1", "답 1"), (EVERYDAY, USER, "답 3", "답 4")]
    )
    assert [v.verdict for v in found] == [1.0, 0.5, 0.0]
    assert [v.picks for v in found] == [(FIRST, SECOND), (), (SECOND, FIRST)]
    assert len(judge.asked) == 4
    assert pairwise.compare(judge, []) == []


def test_win_rate_by_hand_and_by_the_binomial_test():
    games = (
        [game(1.0, i) for i in range(13)]
        + [game(0.0, 20 + i) for i in range(4)]
        + [game(0.5, 30 + i) for i in range(3)]
    )
    games = frame(games)
    found = pairwise.win_rate(games, seed=1)
    assert (found["mean"], found["n"], found["prompts"]) == (14.5 / 20, 20, 20)
    assert (found["won"], found["tied"], found["lost"]) == (13, 3, 4)
    assert found["p"] == pytest.approx(scipy_stats.binomtest(13, 17, 0.5).pvalue, abs=0.015)  # ties change no sign
    low, high = scipy_stats.t.interval(0.95, 19, games.result.mean(), scipy_stats.sem(games.result))
    assert found["low"] <= low and found["high"] == pytest.approx(high)  # Wilson's reaches farther from the near bound


def test_where_all_prompts_are_alike_others_may_be_hidden():
    found = pairwise.rate([1.0] * 20, [i // 2 for i in range(20)])  # ten prompts
    assert (found["mean"], found["n"]) == (1.0, 20)
    assert (found["low"], found["high"]) == pytest.approx(proportion_confint(10, 10, method="beta"))
    assert pairwise.rate([], []) is None


def controlled(games):
    return pairwise.length_controlled(frame(games), seed=1)


def test_length_controlled():
    rng = np.random.default_rng(1)
    longer = rng.normal(10, 30, 400).round().astype(int)
    wins = (rng.random(400) < 1 / (1 + np.exp(-(1.0 + 1.5 * np.tanh(longer / longer.std()))))).astype(float)
    found = pairwise.length_controlled(
        frame([game(w, i, int(d)) for i, (w, d) in enumerate(zip(wins, longer))]), seed=1
    )
    x = np.tanh(longer / longer.std())[:, None]
    theirs = LogisticRegression(C=1.0).fit(x, wins)  # the same ridge on the slope, none on the intercept
    assert found["mean"] == pytest.approx(1 / (1 + math.exp(-theirs.intercept_[0])), abs=1e-3)
    assert found["low"] < found["mean"] < found["high"] and 0.05 < found["high"] - found["low"] < 0.2
    assert controlled([game(1.0, i, 9) for i in range(50)] + [game(0.0, 99, -9)]) is None
    always = pairwise.length_controlled(
        frame([game(1.0, i, 9 - i) for i in range(20)]), seed=1
    )  # longer or shorter, it wins
    assert (always["low"], always["high"]) == pytest.approx(proportion_confint(20, 20, method="beta"))
    assert always["mean"] == 1.0


def test_place_preference_by_hand():
    games = [
        game(0.5, 0, picks=(FIRST, FIRST)),
        game(1.0, 1, picks=(FIRST, SECOND)),
        game(0.5, 2, picks=(FIRST, TIE)),
        game(0.5, 3, picks=(TIE, TIE)),
        game(0.5, 4),
        game(0.5, 5, picks=(SECOND, SECOND)),
    ]
    found = pairwise.place_preference(frame(games))
    # decided: first first, first second, first, second second: 4 of 7; five pairs were asked about
    assert found["first"]["mean"] == pytest.approx(4 / 7) and found["first"]["n"] == 7
    assert (found["asked"], found["disagree"], found["opposite"]) == (5, 3 / 5, 2 / 5)
    assert pairwise.place_preference(frame([game(1.0, 0)])) is None
    assert pairwise.place_preference(frame([game(0.5, 0, picks=(TIE, TIE))]))["first"] is None


def test_length_preference_by_hand():
    games = frame([game(1.0, 0, 5), game(0.0, 1, -5), game(0.0, 2, 3), game(0.75, 3, -1), game(1.0, 4, 0)])
    assert pairwise.length_preference(games)["mean"] == pytest.approx((1 + 1 + 0 + 0.25) / 4)
    assert pairwise.length_preference(games[-1:]) is None


def test_strengths_and_their_intervals():
    """Two models: half the log odds each, with the delta method's standard error."""
    rng = np.random.default_rng(0)
    games = frame([game(float(rng.random() < 0.7), i) for i in range(400)])
    rate = games.result.mean()
    found = pairwise.strengths(["a", "b"], games, seed=1)
    assert found["a"]["mean"] == pytest.approx(math.log(rate / (1 - rate)) / 2, abs=0.005) == -found["b"]["mean"]
    half_width = 1.96 / (2 * math.sqrt(400 * rate * (1 - rate)))
    assert (found["a"]["high"] - found["a"]["low"]) / 2 == pytest.approx(half_width, rel=0.15)


def test_intervals_of_fits_are_over_prompts_too():
    """Ten answers a prompt that all end alike are worth one: the interval is sqrt(10) times as wide as theirs alone
    would be."""
    rng = np.random.default_rng(0)
    longer = rng.integers(-20, 20, 300).tolist()
    results = [float(i // 10 % 3 > 0) for i in range(300)]
    grouped, alone = (
        frame([game(r, i // size, d) for i, (r, d) in enumerate(zip(results, longer))]) for size in (10, 1)
    )

    def width(found):
        return found["high"] - found["low"]

    assert width(pairwise.strengths(["a", "b"], grouped, 1)["a"]) == pytest.approx(
        10**0.5 * width(pairwise.strengths(["a", "b"], alone, 1)["a"]), rel=0.25
    )
    assert width(pairwise.length_controlled(grouped, 1)) > 2 * width(pairwise.length_controlled(alone, 1))
