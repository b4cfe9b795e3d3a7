"""korlhf/eval/reward.py and the n-gram classifier against other libraries and hand arithmetic."""

import math
import random

import numpy as np
import pytest
from reward_pairs_data import by_length, pairs_of, text
from scipy import stats as scipy_stats
from sklearn.calibration import calibration_curve
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_union
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from korlhf.data.example import Example, read_row
from korlhf.eval import reward, reward_pairs
from korlhf.korean import trivial_rules
from korlhf.korean.ngram_classifier import NgramClassifier


def test_accuracy_and_its_interval_over_prompts():
    pairs = pairs_of(("가", ["1", "2", "3"], "a"), ("나", ["1", "2"], "b"), ("다", ["1", "2"], "a"))
    margins = [1.0, 0.0, -2.0, -1.0, 4.0]  # 가: right, equal, wrong; 나: wrong; 다: right
    found = reward.accuracy(pairs, margins)
    assert (found["all"]["mean"], found["all"]["n"], found["all"]["prompts"]) == (2.5 / 5, 5, 3)
    assert found["all"]["mean_margin"] == pytest.approx((1 + 0 - 2 - 1 + 4) / 5)
    a = found["by_category"]["a"]
    assert (a["mean"], a["n"], a["prompts"], a["mean_margin"]) == (2.5 / 4, 4, 2, 0.75)
    # of 가 1.5 of 3 and of 다 1 of 1: residuals -.375 and .375, variance 2 * 2 * .375 ** 2 / 4 ** 2, which 6.7
    # independent pairs would have; there are four
    effective = 4 * (1.959963984540054 / scipy_stats.t.ppf(0.975, 1)) ** 2
    assert a["interval"] == pytest.approx(proportion_confint(0.625 * effective, effective, method="wilson"))
    b = found["by_category"]["b"]
    assert b["mean"] == 0.0 and b["interval"] == pytest.approx(proportion_confint(0, 1, method="wilson"), abs=1e-9)


def test_calibration():
    found = reward.calibration([math.log(3)] * 3 + [-math.log(3)] + [0.0, 0.0], range(6))
    # probability .75 four times, right three times: no error; .5 twice, equal scores are half right: no error
    assert found["error"] == pytest.approx(0.0) and found["confidence"] == "fair"
    bins = [(b["n"], b["predicted"], b["won"]) for b in found["bins"]]
    assert bins == [(2, 0.5, 0.5), (4, pytest.approx(0.75), 0.75)]
    assert found["bins"][1]["interval"] == pytest.approx(proportion_confint(3, 4, method="wilson"))
    margins = np.random.default_rng(4).normal(0.5, 2, 400)
    found = reward.calibration(margins, range(400))
    predicted, right = 1 / (1 + np.exp(-np.abs(margins))), margins > 0
    won, mean = calibration_curve(right, predicted, n_bins=20)  # twenty bins from 0 to 1: ten from .5
    assert [b["won"] for b in found["bins"]] == pytest.approx(won)
    assert [b["predicted"] for b in found["bins"]] == pytest.approx(mean)
    n = np.array([b["n"] for b in found["bins"]])
    assert found["error"] == pytest.approx((np.abs(won - mean) * n).sum() / 400)
    assert (found["predicted"], found["won"]) == (pytest.approx(predicted.mean()), right.mean())
    assert found["confidence"] == "over" and reward.calibration([0.1] * 50, range(50))["confidence"] == "under"
    # 60 of 100 right at probability .73: by pairs that is too little; if each ten are one prompt, ten do not tell
    margins = [1.0] * 60 + [-1.0] * 40
    assert reward.calibration(margins, range(100))["confidence"] == "over"
    assert reward.calibration(margins, [i // 10 for i in range(100)])["confidence"] == "fair"


def test_length():
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 60, (50, 2))
    pairs = pairs_of(*((f"질문 {i}", ["가" * (a + 100), "나" * (b + 100)], "all") for i, (a, b) in enumerate(lengths)))
    scores = lengths * 0.1 + rng.normal(0, 2, (50, 2))
    found = reward.length(pairs, scores)
    assert found["answers"] == pytest.approx(scipy_stats.spearmanr(lengths.ravel(), scores.ravel()).statistic)
    by, margins = lengths[:, 0] - lengths[:, 1], scores[:, 0] - scores[:, 1]
    assert found["differences"] == pytest.approx(scipy_stats.spearmanr(by, margins).statistic)
    for name, here in (("longer", by > 0), ("shorter", by < 0)):
        assert (found[name]["n"], found[name]["mean"]) == (here.sum(), pytest.approx((margins[here] > 0).mean()))
    assert found["prefers_longer"] == pytest.approx(((by > 0) == (margins > 0))[by != 0].mean())
    assert found["chosen_longer"] == pytest.approx((by > 0).sum() / (by != 0).sum())
    ranked = pairs_of(("질문", ["가" * 5, "나" * 3, "다"], "all"))  # three answers in three pairs: each counts once
    assert reward.length(ranked, [[2.0, 1.0], [2.0, 3.0], [1.0, 3.0]])["n_answers"] == 3


def test_being_right_about_longer_answers_is_no_correlation_with_length():
    """Margins that have nothing to do with the lengths, on pairs whose better answer is always longer."""
    rng = np.random.default_rng(6)
    texts = [["가" * int(rng.integers(50, 90)), "나" * int(rng.integers(5, 40))] for _ in range(200)]
    pairs = pairs_of(*((f"질문 {i}", two, "all") for i, two in enumerate(texts)))
    found = reward.length(pairs, np.column_stack([rng.normal(3, 1, 200), rng.normal(0, 1, 200)]))
    assert found["longer"]["mean"] > 0.95 and found["shorter"] is None and abs(found["differences"]) < 0.15


@pytest.mark.parametrize("both_right, first, second, both_wrong", [(60, 25, 10, 5), (50, 12, 12, 26), (10, 0, 0, 0)])
def test_compare_is_mcnemars_exact_test(both_right, first, second, both_wrong):
    a = [1] * both_right + [1] * first + [0] * second + [0] * both_wrong
    b = [1] * both_right + [0] * first + [1] * second + [0] * both_wrong
    found = reward.compare(a, b, range(len(a)))
    assert found["p"] == pytest.approx(mcnemar([[both_right, first], [second, both_wrong]], exact=True).pvalue)
    assert (found["only_first"], found["only_second"]) == (first, second)
    assert found["difference"] == pytest.approx((first - second) / len(a))
    assert reward.significant(found) == (first == 25)


def test_ties_are_half_steps():
    # right against a tie twice, a tie against right once, right against wrong once
    found = reward.compare([1, 1, 0.5, 1, 0.5], [0.5, 0.5, 1, 0, 0.5], range(5))
    assert (found["only_first"], found["only_second"]) == (3, 1)
    assert found["difference"] == pytest.approx((0.5 + 0.5 - 0.5 + 1) / 5)
    assert found["p"] == pytest.approx(2 * (1 + 4) / 16)  # three or more of four coins alike: 2 (C(4,3) + C(4,4)) / 16


def test_agreement_and_spread():
    rng = np.random.default_rng(7)
    pairs = pairs_of(*((f"질문 {i}", ["가", "나"], "all") for i in range(80)))
    first = rng.normal(0, 1, (80, 2)) + [1, 0]
    second = first + rng.normal(0, 1, (80, 2))
    found = reward.agreement(pairs, first, second)
    a, b = first[:, 0] > first[:, 1], second[:, 0] > second[:, 1]
    assert found["alike"] == pytest.approx((a == b).mean()) and found["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert found["spearman"] == pytest.approx(scipy_stats.spearmanr(first.ravel(), second.ravel()).statistic)
    assert found["difference"] == pytest.approx(a.mean() - b.mean())
    found = reward.spread(pairs[:4], np.array([[9, 9], [9, 1], [9, 2], [3, 4]]))
    assert found == {"low": 1.0, "high": 9.0, "commonest": 4 / 8, "equal": 1 / 4}
    assert reward.spread(pairs[:1], np.array([[3, 1]]))["commonest"] == 0  # two answers of two scores: none are alike


def test_the_classifier_is_what_scikit_learn_makes_of_words_and_ngrams():
    rng = random.Random(8)

    def ends(word, other):
        return f"{text(rng, 6)} {word if rng.random() < 0.7 else other}"

    pairs = [("질문", ends("그래요", "몰라"), ends("몰라", "그래요")) for _ in range(160)]
    fit, test = pairs[:100], pairs[100:]
    union = make_union(
        TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True),
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True),
    ).fit([t for p in fit for t in p[1:]])

    def differences(of):
        return (union.transform([p[1] for p in of]) - union.transform([p[2] for p in of])).toarray()

    # every pair both ways round at half the weight: C = 1.5 where NgramClassifier shows each once with C = 3
    x = differences(fit)
    model = LogisticRegression(C=1.5, fit_intercept=False, tol=1e-6).fit(np.vstack([x, -x]), [1] * 100 + [0] * 100)
    theirs, ours = model.decision_function(differences(test)), NgramClassifier(fit, seed=0).margins(test)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999 and np.abs(ours - theirs).max() < 0.2 and (ours > 0).mean() > 0.7
    assert NgramClassifier(fit, seed=0).margins(test).tolist() == ours.tolist()
    assert NgramClassifier(fit, seed=0).margins([("질문", b, a) for _, a, b in test]) == pytest.approx(-ours)


def frame(rows):
    return pairs_of(*((r["prompt"], [r["chosen"], r["rejected"]], r.get("category", "all")) for r in rows))


NOTHING = pairs_of(("질문", ["가", "나"], "all"))[:0]


def test_baselines_are_fitted_on_one_side_and_measured_on_the_other():
    fit, measured = frame(by_length(60, longer=1.0)), frame(by_length(40, longer=0.25, seed=9))
    classifier, *rules = reward.baselines(fit, measured, NOTHING, seed=0)
    means = {b["rule"]: b["right"].mean() for b in rules}
    assert classifier["rule"] is None and means["longer"] == 0.25 and "shorter" not in means
    assert means == pytest.approx(trivial_rules.best_trivial_rules(reward.triples(fit), reward.triples(measured)))
    assert next(b for b in rules if b["rule"] == "longer")["fitted"] == 1.0
    assert [b["fitted"] for b in rules] == sorted((b["fitted"] for b in rules), reverse=True)
    assert all(b["rule"] for b in reward.baselines(fit[:10], measured, NOTHING, seed=0))  # too few for the classifier
    assert all(b["with_left_out"] is None for b in (classifier, *rules))


def categories(longer, seed):
    """60 pairs of each category; the longer answer is better in this share of it."""
    return [
        {**r, "prompt": f"{c} {r['prompt']}", "category": c}
        for k, (c, share) in enumerate(longer.items())
        for r in by_length(60, share, seed + k)
    ]


def test_one_rule_over_all_hides_the_rule_of_each_category():
    longer = {"everyday": 0.9, "evol": 0.1, "translation": 0.5}
    fit, measured = frame(categories(longer, 1)), frame(categories(longer, 11))
    found = {b["rule"]: b for b in reward.baselines(fit, measured, NOTHING, seed=0)}
    each, pooled = found[trivial_rules.EACH], found.get("longer") or found["shorter"]
    assert pooled["right"].mean() == 0.5 and each["right"].mean() > 0.7
    assert (each["of_category"]["everyday"], each["of_category"]["evol"]) == ("longer", "shorter")
    of = measured["category"].to_numpy()
    assert [each["right"][of == c].mean() for c in ("everyday", "evol")] == pytest.approx([0.9, 0.9])
    few = reward.baselines(fit[:75], measured, NOTHING, seed=0)  # 15 pairs of evol: the rule that is best over all
    best = next(b["rule"] for b in few if b["rule"] not in (None, trivial_rules.EACH))
    assert next(b for b in few if b["rule"] == trivial_rules.EACH)["of_category"]["evol"] == best


def test_rules_are_measured_with_the_pairs_that_are_left_out_too():
    fit, measured = frame(by_length(60, longer=1.0)), frame(by_length(40, longer=0.75, seed=9))
    out = frame(by_length(10, longer=0.0, seed=5))
    found = next(b for b in reward.baselines(fit, measured, out, seed=0) if b["rule"] == "longer")
    assert (len(found["right"]), found["right"].mean()) == (40, 0.75)
    assert found["with_left_out"] == pytest.approx(30 / 50)


def test_rules_read_the_text_as_it_was_and_models_the_bare_one():
    rows = [{"prompt": f"질문 {i}", "chosen": f"답 {i} ", "rejected": f"말 {i}"} for i in range(40)]
    examples = [read_row(r) for r in rows]
    pairs = reward.all_pairs(examples, [e.prompt for e in examples])
    assert reward.triples(pairs)[3] == ("질문 3", "답 3", "말 3")
    assert reward.triples(pairs, reward.RAW)[3] == ("질문 3", "답 3 ", "말 3")
    found = {b["rule"]: b["right"].mean() for b in reward.baselines(pairs[:20], pairs[20:], NOTHING, seed=0)}
    assert found["trailing space"] == 1.0


def test_near_same_prompts():
    talk = "주말에 가족과 함께 바닷가로 여행을 가려고 하는데 무엇을 챙기면 좋을까요"
    first, near, *others = (
        Example(({"role": "user", "content": t},), ("가", "나"))
        for t in (talk + "?", talk + " 응?", "김치찌개 맛있게 끓이는 법", "네?", talk + "!!")
    )
    assert reward_pairs.seen([first], [near, *others[:2]]) == (set(), {"".join((talk + " 응").split())})
    assert reward_pairs.seen([first], [others[2]]) == ({"".join(talk.split())}, set())
