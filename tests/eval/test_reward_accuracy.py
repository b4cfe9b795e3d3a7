"""eval/reward_accuracy.py: its statistics against other libraries and hand arithmetic, and reward models whose scores are known."""

import importlib.util
import json
import math
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rigged_reward
from scipy import stats as scipy_stats
from sklearn.calibration import calibration_curve
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_union
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from korlhf.core import program as programs
from korlhf.core.errors import InputError
from korlhf.data.example import Example
from korlhf.eval import reward_figures, reward_warnings, trained_on
from korlhf.eval.bag import Bag
from korlhf.korean import trivial_rules as rules

PROGRAM = Path(__file__).resolve().parents[2] / "eval" / "reward_accuracy.py"
WORDS = [
    "오늘",
    "날씨",
    "산책",
    "저녁",
    "친구",
    "책",
    "영화",
    "음악",
    "바다",
    "커피",
    "여행",
    "운동",
    "공부",
    "요리",
    "주말",
    "아침",
    "사진",
    "그림",
    "노래",
    "가족",
    "꽃",
    "나무",
    "비",
    "눈",
    "바람",
    "시장",
    "버스",
    "기차",
    "공원",
    "학교",
]


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def text(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def by_length(n, longer=0.85, seed=1):
    """Pairs of which the longer answer is the better one in this share; nothing else tells them apart."""
    rng = random.Random(seed)
    rows = [
        {
            "prompt": f"{i}번 질문: {text(rng, 6)}",
            "chosen": text(rng, rng.randint(12, 20)),
            "rejected": text(rng, rng.randint(3, 9)),
        }
        for i in range(n)
    ]
    return [
        r if i < longer * n else {**r, "chosen": r["rejected"], "rejected": r["chosen"]} for i, r in enumerate(rows)
    ]


def by_mark(n, seed=2):
    """Pairs that only matches_marks can tell: the better answer has the mark that the prompt asks for."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        asked = rng.choice([("◆", "●", "○"), ("◇", "○", "●")])
        rows.append(
            {
                "prompt": f"{asked[0]} {i}번 질문: {text(rng, 6)}",
                "chosen": f"{asked[1]} {text(rng, rng.randint(3, 15))}",
                "rejected": f"{asked[2]} {text(rng, rng.randint(3, 15))}",
                "category": "everyday" if i % 3 else "evol",
            }
        )
    return rows


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("reward_accuracy", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    return rigged_reward.counts_tokens(tmp_path_factory.mktemp("rigged") / "counts")


@pytest.fixture(scope="module")
def matches(tmp_path_factory):
    return rigged_reward.matches_marks(tmp_path_factory.mktemp("rigged") / "matches")


def run(program, out, *flags):
    """(the JSON, the rows, all warnings in English as one text)"""
    assert not program.main(["--output_dir", str(out), "--dtype", "fp32", *map(str, flags)])
    found = json.loads((out / "reward_accuracy.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (out / "reward_accuracy.jsonl").read_text(encoding="utf-8").splitlines()]
    return found, rows, "\n".join(w["en"] for w in found["warnings"])


def pairs_of(*examples):
    """reward_figures.Pairs of (prompt, answers best first, category)."""
    made = [Example(({"role": "user", "content": p},), tuple(answers), category) for p, answers, category in examples]
    return reward_figures.all_pairs(made, [e.prompt for e in made])


# the statistics


def test_accuracy_with_both_intervals():
    pairs = pairs_of(("가", ["1", "2", "3"], "a"), ("나", ["1", "2"], "b"), ("다", ["1", "2"], "a"))
    margins = [1.0, 0.0, -2.0, -1.0, 4.0]  # 가: right, equal, wrong; 나: wrong; 다: right
    found = reward_figures.accuracy(pairs, margins, seed=0)
    assert (found["all"]["mean"], found["all"]["n"], found["all"]["prompts"]) == (2.5 / 5, 5, 3)
    assert found["all"]["mean_margin"] == pytest.approx((1 + 0 - 2 - 1 + 4) / 5)
    assert found["all"]["wilson"] == pytest.approx(proportion_confint(2.5, 5, method="wilson"))
    a = found["by_category"]["a"]
    assert (a["mean"], a["n"], a["prompts"], a["mean_margin"]) == (2.5 / 4, 4, 2, 0.75) and found["by_category"]["b"][
        "mean"
    ] == 0.0
    # 가 alone has 1.5 of 3, 다 alone 1 of 1: drawn twice each in a quarter of the bootstraps, more than 2.5 % on both sides
    assert a["bootstrap"] == [0.5, 1.0]
    assert reward_figures.wider(a) == (pytest.approx(proportion_confint(2.5, 4, method="wilson")[0]), 1.0)


def test_the_bootstrap_draws_whole_prompts():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(60) < 0.7, 3).astype(float)  # three pairs a prompt, all right or all wrong
    found = reward_figures.share(right, np.repeat(np.arange(60), 3), seed=1)
    theirs = scipy_stats.bootstrap(
        (right[::3],), np.mean, n_resamples=9000, method="percentile", random_state=2
    ).confidence_interval
    assert found["bootstrap"] == pytest.approx([theirs.low, theirs.high], abs=0.02)
    assert found["wilson"] == pytest.approx(proportion_confint(right.sum(), 180, method="wilson"))
    assert np.diff(found["bootstrap"]) > 1.5 * np.diff(found["wilson"])  # sqrt(3) = 1.73 times as wide


def test_calibration():
    found = reward_figures.calibration([math.log(3)] * 3 + [-math.log(3)] + [0.0, 0.0], range(6), 1)
    # probability .75 four times, right three times: no error; .5 twice, equal scores are half right: no error
    assert found["error"] == pytest.approx(0.0) and [(b["n"], b["predicted"], b["won"]) for b in found["bins"]] == [
        (2, 0.5, 0.5),
        (4, pytest.approx(0.75), 0.75),
    ]
    assert (
        found["bins"][1]["interval"] == pytest.approx(proportion_confint(3, 4, method="wilson"))
        and found["confidence"] == "fair"
    )
    margins = np.random.default_rng(4).normal(0.5, 2, 400)
    found = reward_figures.calibration(margins, range(400), 1)
    predicted, right = 1 / (1 + np.exp(-np.abs(margins))), margins > 0
    won, mean = calibration_curve(right, predicted, n_bins=20)  # twenty bins from 0 to 1: ten from .5
    assert [b["won"] for b in found["bins"]] == pytest.approx(won) and [
        b["predicted"] for b in found["bins"]
    ] == pytest.approx(mean)
    n = np.array([b["n"] for b in found["bins"]])
    assert found["error"] == pytest.approx((np.abs(won - mean) * n).sum() / 400)
    assert (found["predicted"], found["won"]) == (pytest.approx(predicted.mean()), right.mean())
    assert (
        found["confidence"] == "over" and reward_figures.calibration([0.1] * 50, range(50), 1)["confidence"] == "under"
    )
    # 60 of 100 right at probability .73: by pairs that is too little; if each ten are one prompt, ten prompts do not tell
    margins = [1.0] * 60 + [-1.0] * 40
    assert reward_figures.calibration(margins, range(100), 1)["confidence"] == "over"
    assert reward_figures.calibration(margins, [i // 10 for i in range(100)], 1)["confidence"] == "fair"


def test_length():
    rng = np.random.default_rng(5)
    lengths = rng.integers(1, 60, (50, 2))
    pairs = pairs_of(*((f"질문 {i}", ["가" * (a + 100), "나" * (b + 100)], "all") for i, (a, b) in enumerate(lengths)))
    scores = lengths * 0.1 + rng.normal(0, 2, (50, 2))
    found = reward_figures.length(pairs, scores, seed=0)
    assert (
        found["answers"] == pytest.approx(scipy_stats.spearmanr(lengths.ravel(), scores.ravel()).statistic)
        and found["n_answers"] == 100
    )
    by, margins = lengths[:, 0] - lengths[:, 1], scores[:, 0] - scores[:, 1]
    assert found["differences"] == pytest.approx(scipy_stats.spearmanr(by, margins).statistic)
    assert (found["longer"]["n"], found["longer"]["mean"]) == (
        (by > 0).sum(),
        pytest.approx((margins[by > 0] > 0).mean()),
    )
    assert (found["shorter"]["n"], found["shorter"]["mean"]) == (
        (by < 0).sum(),
        pytest.approx((margins[by < 0] > 0).mean()),
    )
    assert found["prefers_longer"] == pytest.approx(((by > 0) == (margins > 0))[by != 0].mean())
    assert found["chosen_longer"] == pytest.approx((by > 0).sum() / (by != 0).sum())
    ranked = pairs_of(
        ("질문", ["가" * 5, "나" * 3, "다"], "all")
    )  # three answers in three pairs: each answer counts once
    assert reward_figures.length(ranked, [[2.0, 1.0], [2.0, 3.0], [1.0, 3.0]], seed=0)["n_answers"] == 3


def test_being_right_about_longer_answers_is_no_correlation_with_length():
    """Margins that have nothing to do with the lengths, on pairs whose better answer is always longer."""
    rng = np.random.default_rng(6)
    pairs = pairs_of(
        *((f"질문 {i}", ["가" * int(rng.integers(50, 90)), "나" * int(rng.integers(5, 40))], "all") for i in range(200))
    )
    found = reward_figures.length(pairs, np.column_stack([rng.normal(3, 1, 200), rng.normal(0, 1, 200)]), seed=0)
    assert found["longer"]["mean"] > 0.95 and found["shorter"] is None and abs(found["differences"]) < 0.15


@pytest.mark.parametrize(
    "both_right, first, second, both_wrong", [(60, 25, 10, 5), (50, 12, 12, 26), (90, 0, 6, 4), (10, 0, 0, 0)]
)
def test_compare_is_mcnemars_exact_test(both_right, first, second, both_wrong):
    a = [1] * both_right + [1] * first + [0] * second + [0] * both_wrong
    b = [1] * both_right + [0] * first + [1] * second + [0] * both_wrong
    found = reward_figures.compare(a, b, range(len(a)), seed=0)
    assert found["p"] == pytest.approx(mcnemar([[both_right, first], [second, both_wrong]], exact=True).pvalue)
    assert (found["only_first"], found["only_second"], found["difference"]) == (
        first,
        second,
        pytest.approx((first - second) / len(a)),
    )
    assert reward_figures.significant(found) == (first == 25)


def test_ties_are_half_steps():
    # right against a tie twice, a tie against right once, right against wrong once
    found = reward_figures.compare([1, 1, 0.5, 1, 0.5], [0.5, 0.5, 1, 0, 0.5], range(5), seed=0)
    assert (found["only_first"], found["only_second"]) == (3, 1) and found["difference"] == pytest.approx(
        (0.5 + 0.5 - 0.5 + 1) / 5
    )
    assert found["p"] == pytest.approx(
        2 * (1 + 4) / 16
    )  # of four coins three or more alike: 2 x (C(4,3) + C(4,4)) / 2 ** 4


@pytest.mark.parametrize("differing", [0, 5, 6, 7, 20, 101])
def test_the_smallest_surplus_that_is_significant(differing):
    expected = next(
        (
            2 * k - differing
            for k in range(-(-differing // 2), differing + 1)
            if differing and scipy_stats.binomtest(k, differing).pvalue < 0.05
        ),
        None,
    )
    assert reward_figures.visible(differing) == expected
    assert (expected is None) == (differing < 6)  # 2 / 2 ** 5 = .06, 2 / 2 ** 6 = .03


def test_agreement():
    rng = np.random.default_rng(7)
    pairs = pairs_of(*((f"질문 {i}", ["가", "나"], "all") for i in range(80)))
    first = rng.normal(0, 1, (80, 2)) + [1, 0]
    second = first + rng.normal(0, 1, (80, 2))
    found = reward_figures.agreement(pairs, first, second, seed=0)
    a, b = first[:, 0] > first[:, 1], second[:, 0] > second[:, 1]
    assert found["alike"] == pytest.approx((a == b).mean()) and found["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert found["spearman"] == pytest.approx(scipy_stats.spearmanr(first.ravel(), second.ravel()).statistic)
    assert found["p"] == pytest.approx(
        mcnemar([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]], exact=True).pvalue
    )
    assert found["difference"] == pytest.approx(a.mean() - b.mean())


def test_spread():
    pairs = pairs_of(*((f"질문 {i}", ["가", "나"], "all") for i in range(4)))
    found = reward_figures.spread(pairs, [[9, 9], [9, 1], [9, 2], [3, 4]])
    assert found == {"low": 1.0, "high": 9.0, "commonest": 4 / 8, "equal": 1 / 4}
    assert (
        reward_figures.spread(pairs[:1], [[3, 1]])["commonest"] == 0
    )  # two answers of two scores: not half of them alike


def test_the_classifier_is_what_scikit_learn_makes_of_words_and_ngrams():
    rng = random.Random(8)
    pairs = [
        (
            "질문",
            f"{text(rng, 6)} {'그래요' if rng.random() < 0.7 else '몰라'}",
            f"{text(rng, 6)} {'몰라' if rng.random() < 0.7 else '그래요'}",
        )
        for _ in range(160)
    ]
    fit, test = pairs[:100], pairs[100:]
    union = make_union(
        TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True),
        TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True),
    ).fit([t for p in fit for t in p[1:]])
    x = union.transform([p[1] for p in fit]) - union.transform([p[2] for p in fit])
    # every pair both ways round at half the weight: C = 1.5 where Bag shows each once with C = 3
    both_ways = LogisticRegression(C=1.5, fit_intercept=False, tol=1e-6).fit(
        np.vstack([x.toarray(), -x.toarray()]), [1] * 100 + [0] * 100
    )
    theirs = both_ways.decision_function(
        (union.transform([p[1] for p in test]) - union.transform([p[2] for p in test])).toarray()
    )
    ours = Bag(fit, seed=0).margins(test)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999 and np.abs(ours - theirs).max() < 0.2 and (ours > 0).mean() > 0.7
    assert Bag(fit, seed=0).margins(test).tolist() == ours.tolist()
    assert Bag(fit, seed=0).margins([("질문", b, a) for _, a, b in test]) == pytest.approx(-ours)
    with pytest.raises(ValueError, match="at least 20"):
        Bag(fit[:19], seed=0)


def test_baselines_are_fitted_on_one_side_and_measured_on_the_other():
    fit = [(r["prompt"], r["chosen"], r["rejected"]) for r in by_length(60, longer=1.0)]
    measured = [(r["prompt"], r["chosen"], r["rejected"]) for r in by_length(40, longer=0.25, seed=9)]
    found = reward_figures.baselines(fit, measured, seed=0)
    assert found[0].name == "" and "shorter" not in [b.name for b in found]
    longer = next(b for b in found if b.name == "longer")
    assert (longer.fitted, longer.of.mean()) == (1.0, 0.25)
    assert {b.name: b.of.mean() for b in found[1:]} == pytest.approx(rules.best_trivial_rules(fit, measured))
    assert [b.fitted for b in found[1:]] == sorted((b.fitted for b in found[1:]), reverse=True)
    assert [b.name for b in reward_figures.baselines(fit[:10], measured, seed=0)].count(
        ""
    ) == 0  # too few for the classifier


def test_near_same_prompts():
    talk = "주말에 가족과 함께 바닷가로 여행을 가려고 하는데 무엇을 챙기면 좋을까요"
    examples = [
        Example(({"role": "user", "content": t},), ("가", "나"))
        for t in (talk + "?", talk + " 응?", "김치찌개 맛있게 끓이는 법", "네?")
    ]
    same, near = trained_on.seen(examples[:1], examples[1:])
    assert same == set() and near == {"".join((talk + " 응").split())}
    same, near = trained_on.seen(
        examples[:1], [*examples, Example(({"role": "user", "content": talk + "!!"},), ("가", "나"))]
    )
    assert same == {"".join(talk.split())} and len(near) == 1
    assert trained_on.seen(examples[:2], examples[2:]) == trained_on.seen(examples[2:], examples[:2]) == (set(), set())


# the program


def test_a_model_that_counts_characters_is_unmasked_where_it_looks_good(program, counts, tmp_path):
    data = write(tmp_path / "pairs.jsonl", by_length(200))
    found, rows, warnings = run(program, tmp_path / "out", "--model_name_or_path", counts, "--data_path", data)
    accuracy = found["figures"]["models"]["counts"]["accuracy"]["all"]
    assert (accuracy["mean"], accuracy["n"]) == (0.85, 200)
    assert "counts does not significantly beat the trivial rule 'longer'" in warnings and "McNemar p = 1;" in warnings
    assert "they do not differ on a single pair" in warnings
    assert (
        "counts mostly counts characters: it likes long answers (Spearman of score and length differences +1.00), and where the "
        "shorter answer is the better one it is right in only 0.000 (n = 30)" in warnings
    )
    assert "counts: its folder has no settings.json of step 2, so it is not known" in warnings
    assert all(any("가" <= c <= "힣" for c in w["ko"]) and "counts" in w["ko"] for w in found["warnings"])
    # fitted to one half, measured on the other, the model too
    beside = found["figures"]["beside"]
    compared = [r for r in rows if r["compared"]]
    assert len(compared) == beside["models"]["counts"]["n"] == 100 and len(rows) == 200
    assert beside["models"]["counts"]["mean"] == pytest.approx(sum(r["right"]["counts"] for r in compared) / 100)
    rule = next(b for b in beside["baselines"] if b["rule"] == "longer")
    assert rule["mean"] == beside["models"]["counts"]["mean"] and rule["against"]["counts"]["difference"] == 0.0
    table = next(t for t in found["tables"] if t["title"]["en"].startswith("Beside"))
    assert "random half of the prompts (100 pairs, seed 1234)" in table["notes"][0]["en"]
    # a row has all there is to a pair, and the score is what was written into the weights
    row = rows[0]
    assert row["margin"]["counts"] == pytest.approx(0.05 * (len(row["chosen"]) - len(row["rejected"])), abs=2e-3)
    assert (
        row["messages"] == [{"role": "user", "content": by_length(1)[0]["prompt"]}]
        and row["ranks"] == [1, 2]
        and row["in_figures"]
    )


def test_a_model_that_likes_short_answers_is_called_so():
    found = []

    class Result:
        def warn(self, en, ko):
            found.append(en)

    pairs = pairs_of(*((f"질문 {i}", ["가" * (5 + i % 7), "나" * (30 + i % 11)], "all") for i in range(40)))
    scores = np.array([[-len(p.chosen), -len(p.rejected)] for p in pairs], dtype=float)
    reward_warnings.length(Result(), "m", reward_figures.length(pairs, scores, seed=0))
    assert found == [
        "m mostly counts characters: it likes short answers (Spearman of score and length differences -1.00), and no pair "
        "here has the longer answer as the better one, which alone could show more"
    ]


def test_a_good_model_is_left_in_peace(program, matches, counts, tmp_path):
    data, train = write(tmp_path / "pairs.jsonl", by_mark(150)), write(tmp_path / "train.jsonl", by_mark(300, seed=3))
    found, rows, warnings = run(
        program,
        tmp_path / "out",
        "--model_name_or_path",
        f"good={matches}",
        f"rigged={counts}",
        "--data_path",
        data,
        "--train_data_path",
        train,
    )
    assert found["figures"]["models"]["good"]["accuracy"]["all"]["mean"] == 1.0 and "good" not in warnings
    assert "rigged: its accuracy over all pairs" in warnings and "not above that of a coin" in warnings
    assert "rigged does not significantly beat the classifier" in warnings
    agreement = found["figures"]["agreement"][0]
    right = sum(r["right"]["rigged"] is True for r in rows)
    ties = sum(r["right"]["rigged"] is None for r in rows)
    assert (agreement["first"], agreement["second"], agreement["n"]) == ("good", "rigged", 150)
    assert (
        agreement["alike"] == pytest.approx(right / 150)
        and agreement["only_first"] == 150 - right
        and agreement["only_second"] == 0
    )
    assert agreement["difference"] == pytest.approx(1 - (right + ties / 2) / 150)
    assert (
        found["figures"]["beside"]["models"]["good"]["n"] == 150
    )  # fitted to the training pairs: all of these are compared
    table = next(t for t in found["tables"] if t["title"]["en"].startswith("Beside"))
    assert f"300 pairs of {train} (300 prompts)" in table["notes"][0]["en"]
    assert found["protocol"]["pairs"]["en"].startswith("150 of") and "{prompt}" in found["protocol"]["template"]
    categories = found["figures"]["models"]["good"]["accuracy"]["by_category"]
    assert {c: f["n"] for c, f in categories.items()} == {"everyday": 100, "evol": 50}


def test_prompts_seen_in_training_are_left_out_and_told(program, counts, tmp_path):
    """settings.json names the training data; 20 of 60 prompts are in it, all of them pairs that the model has right."""
    model = tmp_path / "model"
    shutil.copytree(counts, model)
    rows = by_length(60, longer=0.5)
    near = [{**r, "prompt": r["prompt"] + " 어때"} for r in rows[30:33]]
    train = write(tmp_path / "train.jsonl", rows[:20] + near + by_length(80, seed=5)[60:])
    settings = {
        "data_path": [train],
        "data_split": "0,1,0",
        "eval_data_path": [],
        "eval_share": 0.0,
        "max_eval_examples": 0,
        "seed": 1,
    }
    (model / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    data = write(tmp_path / "pairs.jsonl", rows)
    found, written, warnings = run(program, tmp_path / "out", "--model_name_or_path", model, "--data_path", data)
    assert (
        "model: 20 of 60 prompts are in its training data; their pairs are in no figure "
        "(accuracy there 1.000, on the others 0.250)" in warnings
    )  # 10 of 40; less the 3 of the next line, 10 of 37
    assert (
        "model: 3 of 60 prompts differ little from one of its training data (accuracy there 0.000, on the rest 0.270)"
        in warnings
    )
    assert (
        found["figures"]["models"]["model"]["accuracy"]["all"]["mean"] == 10 / 40
        and sum(r["in_figures"] for r in written) == 40
    )
    assert len(written) == 60 and not any(r["compared"] for r in written if not r["in_figures"])
    table = next(t for t in found["tables"] if t["title"]["en"].startswith("Beside"))
    assert (
        "fitted to 23 pairs of the training data that settings.json names" in table["notes"][0]["en"]
    )  # 43 less the 20 asked here
    # --train_data_path goes before settings.json; and with no new prompt at all the figures stay, with a warning
    found, written, warnings = run(
        program, tmp_path / "out", "--model_name_or_path", model, "--data_path", data, "--train_data_path", data
    )
    assert "60 of 60 prompts are in its training data, and none is new to all models" in warnings
    assert (
        found["figures"]["models"]["model"]["accuracy"]["all"]["n"] == 60 and sum(r["compared"] for r in written) == 30
    )
    Path(train).unlink()
    assert (
        "its training data cannot be read"
        in run(program, tmp_path / "out", "--model_name_or_path", model, "--data_path", data)[2]
    )


def test_ranked_answers_too_long_ones_and_copies(program, counts, tmp_path):
    ranked = [{"prompt": f"질문 {i}", "answers": ["가" * 9, "나" * 6, "다" * 3], "category": "a"} for i in range(6)]
    pair = {"prompt": "다른 질문", "chosen": "라", "rejected": "마" * 300, "category": "b"}
    data = write(tmp_path / "pairs.jsonl", [*ranked, ranked[0], pair, {**pair, "rejected": "바" * 2}])
    found, rows, warnings = run(
        program, tmp_path / "out", "--model_name_or_path", counts, "--data_path", data, "--max_seq_len", 200
    )
    of = found["figures"]["models"]["counts"]["accuracy"]
    assert (of["all"]["n"], of["all"]["prompts"]) == (19, 7)
    assert (of["by_category"]["a"]["mean"], of["by_category"]["b"]["mean"]) == (1.0, 0.0)
    assert "counts: 1 of 22 answers have no score, e.g. too long" in warnings
    assert "1 of 20 pairs have an answer without a score" in warnings
    assert [(*r["ranks"], r["chosen"][0], r["rejected"][0]) for r in rows[:3]] == [
        (1, 2, "가", "나"),
        (1, 3, "가", "다"),
        (2, 3, "나", "다"),
    ]
    assert "19 pairs are few" in warnings and "no classifier beside: only" in warnings
    few, _, _ = run(
        program,
        tmp_path / "few",
        "--model_name_or_path",
        counts,
        "--data_path",
        data,
        "--max_seq_len",
        400,
        "--max_pairs",
        8,
    )
    assert 4 <= few["figures"]["models"]["counts"]["accuracy"]["all"]["n"] <= 12


def test_constant_scores(program, counts, tmp_path):
    data = write(
        tmp_path / "pairs.jsonl",
        [{"prompt": f"질문 {i}!"[-5:], "chosen": "좋아요", "rejected": "싫어요"} for i in range(10, 50)],
    )
    found, _, warnings = run(program, tmp_path / "out", "--model_name_or_path", counts, "--data_path", data)
    assert (
        "every answer has the same score" in warnings
        and found["figures"]["models"]["counts"]["accuracy"]["all"]["mean"] == 0.5
    )


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(program, counts, tmp_path):
    marked = [
        {**r, "prompt": f"{i:011b} ".translate({48: "○", 49: "●"}) + r["prompt"]} for i, r in enumerate(by_length(800))
    ]  # all unlike
    arguments = [
        "--model_name_or_path",
        counts,
        "--data_path",
        write(tmp_path / "pairs.jsonl", marked),
        "--batch_size",
        "1",
    ]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "--output_dir", str(killed), "--dtype", "fp32", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = []
    while len(before) < 20 and process.poll() is None:
        time.sleep(0.02)
        before = chunks(killed)
    process.kill()
    assert process.wait() == -9 and not list(killed.glob("*.json*"))
    before = chunks(killed)
    assert 20 <= len(before) < 1600
    run(program, killed, *arguments)
    run(program, whole, *arguments)
    assert len(chunks(killed)) == 1600 and set(before) <= set(
        chunks(killed)
    )  # what was computed before is still what is used
    assert (killed / "reward_accuracy.jsonl").read_bytes() == (whole / "reward_accuracy.jsonl").read_bytes()
    first, second = (
        json.loads((folder / "reward_accuracy.json").read_text(encoding="utf-8")) for folder in (killed, whole)
    )
    assert (
        first["figures"] == second["figures"]
        and first["tables"] == second["tables"]
        and first["warnings"] == second["warnings"]
    )


def chunks(folder):
    """(key, reply, when) of every chunk in the cache."""
    if not (folder / "cache.sqlite").is_file():
        return []
    db = sqlite3.connect(folder / "cache.sqlite", timeout=10)
    try:
        return db.execute("SELECT key, reply, created FROM answers").fetchall()
    except sqlite3.OperationalError:  # the table is not there yet
        return []
    finally:
        db.close()


def test_refusals(program, counts, folders, tmp_path, capsys):
    data = write(tmp_path / "pairs.jsonl", by_length(10))
    broken = write(tmp_path / "broken.jsonl", [by_length(1)[0], {"prompt": "가", "chosen": "나"}])
    for flags, message in (
        (["--model_name_or_path", counts, counts, "--data_path", data], "two are called 'counts'"),
        (["--model_name_or_path", folders["gpt2"], "--data_path", data], "not a reward model"),
        (["--model_name_or_path", tmp_path / "absent", "--data_path", data], "no such folder"),
        (["--model_name_or_path", counts, "--data_path", tmp_path / "absent.jsonl"], "absent.jsonl: no such file"),
        (
            ["--model_name_or_path", counts, "--data_path", broken],
            "broken.jsonl:2: step 2 needs two or more ranked answers",
        ),
        (
            ["--model_name_or_path", counts, "--data_path", data, "--train_data_path", broken],
            "broken.jsonl:2: step 2 needs",
        ),
        (
            ["--model_name_or_path", counts, "--data_path", data, "--max_seq_len", 5],
            "none of the 10 pairs has .*raise --max_seq_len",
        ),
        (["--model_name_or_path", counts, "--data_path", data, "--output_dir", data], "--output_dir .*: is a file"),
    ):
        with pytest.raises(InputError, match=message):
            program.main(["--output_dir", str(tmp_path / "out"), *map(str, flags)])
    for flags, message in (
        (["--batch_size", "0"], "--batch_size 0: must be above 0"),
        (["--max_pairs", "-1"], "--max_pairs -1"),
        (["--num_answers", "2"], "unknown flags"),
    ):
        with pytest.raises(SystemExit) as stopped:
            program.parse(["--output_dir", "o", "--model_name_or_path", "m", "--data_path", "d", *flags])
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_a_broken_file_is_one_line_and_exit_code_2(program, counts, tmp_path, capsys):
    data = tmp_path / "쌍.jsonl"
    data.write_text('{"prompt": "가", \n', encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        programs.run(
            lambda: program.main(
                ["--model_name_or_path", counts, "--data_path", str(data), "--output_dir", str(tmp_path / "out")]
            )
        )
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert (
        stopped.value.code == 2
        and len(errors) == 1
        and "쌍.jsonl:1: broken JSON" in errors[0]
        and not (tmp_path / "out").exists()
    )


def test_the_script(counts, tmp_path):
    """The shell script as a user runs it: a Korean path, two models."""
    folder = tmp_path / "한글 폴더"
    folder.mkdir()
    data, script = write(folder / "쌍.jsonl", by_length(30)), PROGRAM.with_name("run_reward_accuracy.sh")
    done = subprocess.run(
        ["bash", str(script), f"가={counts}\n나={counts}", str(folder / "out"), "--dtype", "fp32", "--data_path", data],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Agreement of the reward models" in done.stdout and "60/60" in done.stderr
    found = json.loads((folder / "out" / "reward_accuracy.json").read_text(encoding="utf-8"))
    assert list(found["figures"]["models"]) == ["가", "나"] and found["figures"]["agreement"][0]["kappa"] == 1.0
