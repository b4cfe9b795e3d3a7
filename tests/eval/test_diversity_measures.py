"""korlhf/eval/diversity.py: counted by hand, by scipy, or by leaving prompts out for real."""

import random
from itertools import combinations
from statistics import fmean

import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import confint_proportions_2indep

from korlhf.eval import diversity
from korlhf.eval.diversity import Spread
from korlhf.llm.protocol import Reply

PHRASES = [[f"{k}구절{j}" for j in range(5)] for k in range(6)]


def reply(text, reason="stop", tokens=5):
    return Reply(text, reason, None, 0, tokens)


def drawn(rng, prompts, phrased, n=2):
    """For each prompt the n-grams of an answer of random words, a share of which end in one of a few fixed phrases."""
    words, weights = [str(i) for i in range(400)], [1 / (i + 1) for i in range(400)]
    out = []
    for _ in range(prompts):
        answer = rng.choices(words, weights, k=rng.randint(4, 16))
        out.append(diversity.ngrams(answer + (rng.choice(PHRASES) if rng.random() < phrased else []), n))
    return out


def test_distinct_n_by_hand():
    assert diversity.ngrams(["가", "나", "가", "나", "가"], 2) == [
        ("가", "나"),
        ("나", "가"),
        ("가", "나"),
        ("나", "가"),
    ]
    assert diversity.distinct(diversity.ngrams(["가", "나", "가", "나", "가"], 2)) == 0.5
    assert diversity.distinct([]) is None and diversity.ngrams(["가"], 2) == []


def test_distinct_on_a_budget_is_the_mean_over_all_ways_to_draw(monkeypatch):
    monkeypatch.setattr(diversity, "FEWEST", 1)
    items = [["a", "b"], ["a", "c", "a"], ["d", "b"]]
    flat = sum(items, [])
    for size in (1, 2, 3, 4):
        every = [len(set(draw)) / size for draw in combinations(flat, size)]
        assert diversity.equal_distinct(items, size).value == pytest.approx(fmean(every), abs=1e-12)
    assert diversity.equal_distinct(items, 5) is None  # without the second prompt there are four


def test_distinct_on_a_budget_agrees_with_the_hypergeometric_distribution():
    by_prompt = drawn(random.Random(1), 60, 0.5)
    flat = sum(by_prompt, [])
    seen = [scipy_stats.hypergeom(len(flat), flat.count(gram), 200).sf(0) for gram in set(flat)]
    assert diversity.equal_distinct(by_prompt, 200).value == pytest.approx(sum(seen) / 200, abs=1e-9)


@pytest.mark.parametrize(
    "of", [lambda items: diversity.equal_distinct(items, 100), diversity.shared], ids=["equal_distinct", "shared"]
)
def test_leaving_out_one_prompt_is_the_same_as_counting_again(of):
    by_prompt = [*drawn(random.Random(2), 30, 0.5), []]  # to the last prompt there is no answer
    spread = of(by_prompt)
    again = [of(by_prompt[:i] + by_prompt[i + 1 :]).value for i in range(len(by_prompt))]
    assert spread.without == pytest.approx(again, abs=1e-9) and len(set(again)) > 20


def test_of_a_mean_the_jackknife_is_students_t():
    values = [0.2, 0.5, 0.4, 0.9, 0.1, 0.3, 0.8]
    of_mean = Spread(fmean(values), tuple((sum(values) - v) / 6 for v in values), 7)
    found = diversity.estimate(of_mean)
    low, high = scipy_stats.t.interval(0.95, 6, fmean(values), scipy_stats.sem(values))
    assert (found.low, found.high, found.groups) == (pytest.approx(low), pytest.approx(high), 7)
    value, p = diversity.difference(of_mean, Spread(0.1, (0.1,) * 7, 7))
    assert value.mean == pytest.approx(fmean(values) - 0.1)
    assert p == pytest.approx(scipy_stats.ttest_1samp(values, 0.1).pvalue)
    with pytest.raises(ValueError):
        diversity.difference(of_mean, Spread(0.1, (0.1,) * 6, 6))


def test_an_interval_without_width_is_not_believed():
    none = diversity.estimate(diversity.shared([["가"], ["나"], ["다"], ["라"]]))
    assert (none.mean, none.low) == (0.0, 0.0) and none.high == pytest.approx(
        0.4899, abs=1e-4
    )  # Wilson, 0 of 4: 3.8415 / 7.8415
    assert diversity.difference(*[diversity.shared([["가"], ["나"]])] * 2)[1] == 1.0
    one_answer, all_apart = diversity.shared([["가"]] * 4), diversity.shared([["가"], ["나"], ["다"], ["라"]])
    for pair, sign in (((one_answer, all_apart), 1), ((all_apart, one_answer), -1)):  # every answer the same, and none
        found, p = diversity.difference(*pair)
        ends = confint_proportions_2indep(4, 4, 0, 4, method="newcomb")
        assert found.mean == sign
        assert sorted((sign * found.low, sign * found.high)) == pytest.approx(sorted(ends), abs=1e-4)
        assert p == pytest.approx(scipy_stats.binomtest(4, 4).pvalue)
    one_prompt, p = diversity.difference(diversity.shared([["가"]]), diversity.shared([["나"]]))
    assert (one_prompt.low, one_prompt.high, p) == (-1.0, 1.0, 1.0)  # it tells nothing


@pytest.mark.parametrize(
    "of", [lambda items: diversity.equal_distinct(items, 200), diversity.shared], ids=["equal_distinct", "shared"]
)
def test_95_percent_intervals_hold_what_they_should(of):
    rng = random.Random(3)
    spreads = [of(drawn(rng, 50, 0.3)) for _ in range(150)]
    truth = fmean(s.value for s in spreads)
    held = sum(e.low <= truth <= e.high for e in map(diversity.estimate, spreads))
    assert held >= 136  # 91 %; the jackknife errs to the wide side (Efron and Stein 1981)
    alarms = sum(diversity.difference(a, b)[1] < 0.05 for a, b in zip(spreads[::2], spreads[1::2]))
    assert alarms <= 8  # of 75
    phrased = of(drawn(rng, 50, 0.9))
    assert diversity.difference(phrased, spreads[0])[1] < 0.001


def test_the_budget_is_half_of_the_fewest():
    long, short, broken = [["a"] * 30] * 10, [["a"] * 12] * 10, [["a"]] * 10
    assert diversity.budget([long, short, broken]) == 60  # of 120; ten n-grams are too few to count
    assert diversity.budget([long, [["a"] * 100, ["a"] * 40]]) == 40  # without the first prompt there are no more
    assert diversity.budget([broken]) == 0
    assert diversity.equal_distinct(broken, 5) is None
    assert diversity.equal_distinct(long, 0) is None


def test_the_same_under_other_prompts_counts_and_under_its_own_does_not():
    spread = diversity.shared([["네, 그래요.", "네, 그래요."], ["좋아요."], ["아니요.", "좋아요."], []])
    assert (spread.value, spread.n) == (2 / 5, 5) and spread.without == (2 / 3, 0.0, 0.0, 2 / 5)
    assert diversity.shared([[], []]) is None


def test_sentences_and_openings():
    assert diversity.sentences("네. 작은 성공부터 함께 기뻐해요! 고마워요~ 안녕하세요?") == [
        "작은 성공부터 함께 기뻐해요",
        "안녕하세요",
    ]
    assert diversity.opening("네, 그래요. 좋아요.") == "네 그래요" and diversity.opening("네.") is None
    assert diversity.most_frequent([["a", "a"], ["b"], ["b", "c"]]) == ("b", 2)  # twice in one answer is one answer
    assert diversity.most_frequent([[], []]) is None


def test_answers_to_one_prompt():
    assert diversity.overlap(["가 나 다", "가 나 라"]) == 0.5  # one of two word pairs in common
    assert diversity.overlap(["가 나 다", "가 나, 다!"]) == 1.0
    assert diversity.overlap(["가 나 다", "가 나 라", "마 바"]) == pytest.approx(0.5 / 3)
    assert diversity.overlap(["네.", "네."]) == 1.0
    assert diversity.overlap(["네.", "아니요."]) == 0.0
    assert diversity.overlap(["네."]) is None


def test_figures_of_one_answer():
    whole = diversity.of_answer(reply("오늘 날씨가 참 좋네요!"))
    assert whole == {
        "words": 4.0,
        "characters": 13.0,
        "tokens": 5.0,
        "repetition": 0.0,
        "looping": 0.0,
        "empty": 0.0,
        "not_korean": 0.0,
        "ended": 1.0,
        "cut": 0.0,
    }
    loop = diversity.of_answer(reply("좋아요 네 좋아요 네 좋아요 네", "length"))
    assert (loop["repetition"], loop["looping"], loop["ended"], loop["cut"]) == (
        0.5,
        1.0,
        0.0,
        1.0,
    )  # 4 three-word grams, 2 of them new
    empty, english = diversity.of_answer(reply("", tokens=1)), diversity.of_answer(reply("Sorry, no.", None, None))
    assert (empty["empty"], empty["not_korean"], empty["words"]) == (1.0, 0.0, 0.0)
    assert (english["not_korean"], english["tokens"], english["ended"], english["cut"]) == (1.0, None, None, None)
