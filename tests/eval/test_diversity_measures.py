"""korlhf/eval/diversity.py: counted by hand, by scipy, or by leaving prompts out for real."""

import random
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import confint_proportions_2indep

from korlhf.eval import diversity
from korlhf.eval.diversity import Spread, estimate, shared
from korlhf.llm.protocol import Reply

PHRASES = [[f"{k}구절{j}" for j in range(5)] for k in range(6)]
MEASURES = {"equal_distinct": lambda items: diversity.equal_distinct(items, 100), "shared": shared}


def drawn(rng, prompts, phrased):
    """For each prompt the word pairs of an answer of random words, a share of which end in one of a few phrases."""
    words, weights = [str(i) for i in range(400)], [1 / (i + 1) for i in range(400)]
    out = []
    for _ in range(prompts):
        answer = rng.choices(words, weights, k=rng.randint(4, 16))
        out.append(diversity.ngrams(" ".join(answer + (rng.choice(PHRASES) if rng.random() < phrased else [])), 2))
    return out


def test_distinct_on_a_budget_is_the_mean_over_all_ways_to_draw(monkeypatch):
    monkeypatch.setattr(diversity, "FEWEST", 1)
    items = [["a", "b"], ["a", "c", "a"], ["d", "b"]]
    for size in (1, 2, 3, 4):
        every = [len(set(draw)) / size for draw in combinations(sum(items, []), size)]
        assert diversity.equal_distinct(items, size).value == pytest.approx(fmean(every), abs=1e-12)
    assert diversity.equal_distinct(items, 5) is None  # without the second prompt there are four


@pytest.mark.parametrize("of", MEASURES.values(), ids=MEASURES)
def test_leaving_out_one_prompt_is_the_same_as_counting_again(of):
    by_prompt = [*drawn(random.Random(2), 30, 0.5), []]  # to the last prompt there is no answer
    spread = of(by_prompt)
    again = [of(by_prompt[:i] + by_prompt[i + 1 :]).value for i in range(len(by_prompt))]
    assert spread.without == pytest.approx(again, abs=1e-9) and len(set(again)) > 20


def test_of_a_mean_the_jackknife_is_students_t():
    values = np.array([0.2, 0.5, 0.4, 0.9, 0.1, 0.3, 0.8])
    of_mean = Spread(values.mean(), (values.sum() - values) / 6, 7)
    found, p = estimate(of_mean)
    low, high = scipy_stats.t.interval(0.95, 6, values.mean(), scipy_stats.sem(values))
    assert (found.low, found.high, found.groups) == (pytest.approx(low), pytest.approx(high), 7)
    gap, p = estimate(of_mean, Spread(0.1, np.full(7, 0.1), 7))
    assert gap.mean == pytest.approx(values.mean() - 0.1)
    assert p == pytest.approx(scipy_stats.ttest_1samp(values, 0.1).pvalue)


def test_an_interval_without_width_is_not_believed():
    same, apart = shared([["가"]] * 4), shared([["가"], ["나"], ["다"], ["라"]])  # every answer the same, and none
    none, _ = estimate(apart)
    assert (none.mean, none.low) == (0.0, 0.0) and none.high == pytest.approx(0.4899, abs=1e-4)  # Wilson: 3.8415/7.8415
    assert estimate(apart, apart)[1] == 1.0
    for pair, sign in (((same, apart), 1), ((apart, same), -1)):
        gap, p = estimate(*pair)
        ends = confint_proportions_2indep(4, 4, 0, 4, method="newcomb")
        assert gap.mean == sign and p == pytest.approx(scipy_stats.binomtest(4, 4).pvalue)
        assert sorted((sign * gap.low, sign * gap.high)) == pytest.approx(sorted(ends), abs=1e-4)
    one_prompt, p = estimate(shared([["가"]]), shared([["나"]]))
    assert (one_prompt.low, one_prompt.high, p) == (-1.0, 1.0, 1.0)  # it tells nothing


@pytest.mark.parametrize("of", MEASURES.values(), ids=MEASURES)
def test_95_percent_intervals_hold_what_they_should(of):
    rng = random.Random(3)
    spreads = [of(drawn(rng, 50, 0.3)) for _ in range(100)]
    truth = fmean(s.value for s in spreads)
    held = sum(e.low <= truth <= e.high for e, _ in map(estimate, spreads))
    assert held >= 90  # the jackknife errs to the wide side (Efron and Stein 1981)
    assert sum(estimate(a, b)[1] < 0.05 for a, b in zip(spreads[::2], spreads[1::2])) <= 6  # false alarms, of 50
    assert estimate(of(drawn(rng, 50, 0.9)), spreads[0])[1] < 0.001


def test_the_budget_is_half_of_the_fewest():
    long, short, broken = [["a"] * 30] * 10, [["a"] * 12] * 10, [["a"]] * 10
    assert diversity.budget([long, short, broken]) == 60  # of 120; ten n-grams are too few to count
    assert diversity.budget([long, [["a"] * 100, ["a"] * 40]]) == 40  # without the first prompt there are no more
    assert diversity.budget([broken]) == 0
    assert diversity.equal_distinct(broken, 5) is diversity.equal_distinct(long, 0) is None


def test_the_same_under_other_prompts_counts_and_under_its_own_does_not():
    spread = shared([["네, 그래요.", "네, 그래요."], ["좋아요."], ["아니요.", "좋아요."], []])
    assert (spread.value, spread.n) == (2 / 5, 5) and spread.without.tolist() == [2 / 3, 0.0, 0.0, 2 / 5]
    assert shared([[], []]) is None


def test_sentences_openings_and_answers_to_one_prompt():
    sentences = diversity.sentences("네. 작은 성공부터 함께 기뻐해요! 고마워요~ 안녕하세요?")
    assert sentences == ["작은 성공부터 함께 기뻐해요", "안녕하세요"]
    assert diversity.openings("네, 그래요. 좋아요.") == ["네 그래요"] and diversity.openings("네.") == []
    assert diversity.overlap(["가 나 다", "가 나 라"]) == 0.5  # one of two word pairs in common
    assert diversity.overlap(["가 나 다", "가 나, 다!"]) == diversity.overlap(["네.", "네."]) == 1.0
    assert diversity.overlap(["가 나 다", "가 나 라", "마 바"]) == pytest.approx(0.5 / 3)
    assert diversity.overlap(["네.", "아니요."]) == 0.0


@pytest.mark.parametrize(
    "reply, values",
    [
        (Reply("오늘 날씨가 참 좋네요!", "stop", None, 0, 5), (4, 13, 5, 0, 0, 0, 0, 1, 0)),
        # four word 3-grams, two of them new
        (Reply("좋아요 네 좋아요 네 좋아요 네", "length", None, 0, 5), (6, 17, 5, 0.5, 1, 0, 0, 0, 1)),
        (Reply("", "stop", None, 0, 1), (0, 0, 1, 0, 0, 1, 0, 1, 0)),
        (Reply("Sorry, no.", None, None, 0, None), (2, 10, None, 0, 0, 0, 1, None, None)),
    ],
)
def test_figures_of_one_answer(reply, values):
    assert tuple(diversity.of_answer(reply).values()) == values
