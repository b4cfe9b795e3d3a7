"""korlhf/eval/comparison.py by hand arithmetic, and the judge's noise by simulation."""

from types import SimpleNamespace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from korlhf.data import record as records
from korlhf.eval import comparison
from korlhf.judges.geval import Score
from korlhf.llm.protocol import Failure, Reply

LOST = Failure("unusable", "no score")


def scores(*values):
    """One prompt's Scores; of a tuple the criteria."""
    return [
        v
        if v in (None, LOST)
        else Score(dict(zip("xy", v)), sum(v) / len(v), "m", 1)
        if isinstance(v, tuple)
        else Score({}, v, "m", 1)
        for v in values
    ]


def replies(*texts):
    return [text if isinstance(text, Failure) else Reply(text, None, None, 0, 0) for text in texts]


class Judge:
    """Scores an answer by its digit, and by one more the second time."""

    def __init__(self):
        self.asked = []

    def rate(self, items, desc="", again=False):
        self.asked.append((again, items))
        return [
            [LOST if "모를" in text else Score({}, int(text[-1]) + again, "m", 1) for text in item.answers]
            for item in items
        ]


def test_groups_are_all_and_every_category():
    found = [{"category": c} for c in ("b", "a", "b")]
    assert comparison.groups(found) == [(None, [0, 1, 2]), ("b", [0, 2]), ("a", [1])]
    assert comparison.groups(found[:1]) == [("b", [0])]
    lines = few([(None, range(30)), ("b", range(29)), ("a", range(1))])
    assert lines["en"].endswith(": b 29, a 1") and lines["ko"].endswith(": b 29, a 1") and not few([(None, range(30))])
    assert few([(None, range(3))])["ko"].endswith(": 전체 3") and few([("all", [0, 1])])["ko"].endswith(": 전체 2")
    assert comparison.category_name(None) == comparison.category_name("all") == {"en": "all", "ko": "전체"}


def few(grouped):
    """The one warning of warn_of_few, or None."""
    lines = []
    comparison.warn_of_few(SimpleNamespace(warn=lines.append), grouped)
    return lines[0] if lines else None


def test_every_two_models_or_all_against_one():
    assert comparison.pairs(["a", "b", "c"]) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert comparison.pairs(["a", "b", "c"], "b") == [("a", "b"), ("c", "b")]


def test_answers_to_a_prompt_are_averaged_first():
    of_model = [scores(1.0, 3.0), scores(LOST, 4.0), scores(LOST), scores(None), scores(9.0)]
    assert comparison.by_prompt(of_model, [0, 1, 2, 3]) == {0: 2.0, 1: 4.0}
    of_model = [scores((1.0, 2.0)), scores((3.0,))]
    assert comparison.by_prompt(of_model, [0, 1], "y") == {0: 2.0}
    assert comparison.by_prompt(of_model, [0, 1]) == {0: 1.5, 1: 3.0}
    found = comparison.mean({0: 2.0, 1: 4.0}, seed=1)
    assert (found["mean"], found["n"]) == (3.0, 2) and 2.0 <= found["low"] <= found["high"] <= 4.0
    assert comparison.mean({}, seed=1) is None
    assert comparison.mean({0: 2.0}, seed=1) == {"mean": 2.0, "low": None, "high": None, "n": 1}


def test_differences_are_over_the_prompts_that_both_have():
    assert comparison.difference({0: 5.0, 1: 4.0, 3: 1.0}, {0: 1.0, 1: 2.0, 2: 9.0}, seed=1)["mean"] == 3.0
    assert comparison.difference({0: 5.0}, {1: 1.0}, seed=1) is None
    rng = np.random.default_rng(0)
    scored = {
        name: [scores(float(v)) for v in rng.normal(shift, 1, 40)] for name, shift in (("a", 0), ("b", 0.3), ("c", 1.0))
    }
    found = comparison.differences(scored, [(None, range(40)), ("x", range(20))], seed=1)
    assert [(f["model"], f["other"], f["category"], f["n"]) for f in found] == [
        (m, o, c, n) for m, o in (("b", "a"), ("c", "a"), ("c", "b")) for c, n in ((None, 40), ("x", 20))
    ]
    assert [f["holm"] for f in found] == pytest.approx(multipletests([f["p"] for f in found], method="holm")[1])
    assert found[2]["p"] < 0.01 < found[2]["mean"]
    assert [(f["model"], f["other"]) for f in comparison.differences(scored, [(None, range(40))], 1, "c")] == [
        ("a", "c"),
        ("b", "c"),
    ]


def test_scores_stand_in_the_places_of_their_answers():
    found = [records.make("하나", "a", "t"), records.make("둘", "a", "t")]
    lost = Failure("timeout", "late")
    answered = {"m": [replies("답 2", lost, "답 5"), replies(lost)], "n": [replies("모를 답 3"), replies("답 1")]}
    scored = comparison.score(Judge(), {}, found, answered)
    assert [[s and s.score for s in of_one] for of_one in scored["m"]] == [[2, None, 5], [None]]
    assert scored["n"][0] == [LOST] and comparison.judged(scored["n"]) == [LOST, scored["n"][1][0]]
    assert [one.score for one in comparison.usable(scored["m"])] == [2, 5]
    assert comparison.usable(scored["n"]) == [scored["n"][1][0]]


def test_methods_are_counted():
    of_one, of_many = Score({}, 1.0, "token probabilities", 1), Score({}, 1.0, "mean of samples", 5)
    found = comparison.methods([of_one, of_many, of_many], "answers")
    assert found == {
        "en": "token probabilities: 1 answers, mean of samples: 2 answers",
        "ko": "토큰 확률 1개, 채점표 여러 장의 평균 2개",
    }
    assert comparison.methods([], "pairs") == {"en": "none", "ko": "없음"}


def test_rescoring_draws_a_share_and_at_least_ten():
    found = [records.make(f"{i}번", "a", "t") for i in range(300)]
    answered = {"m": [replies(f"답 {i % 5}") for i in range(300)]}
    judge = Judge()
    scored = comparison.score(judge, {}, found, answered)
    asked = SimpleNamespace(records=found, answers=answered, seed=1)
    twice = comparison.rescore(judge, {"a": None}, asked, scored, 0.1)
    again, items = judge.asked[-1]
    assert len(twice) == len(items) == 30 and again and len({item.messages[0]["content"] for item in items}) == 30
    assert all(b.score == a.score + 1 for a, b in twice)
    assert comparison.rescore(judge, {"a": None}, asked, scored, 0.1) == twice
    assert len(comparison.rescore(judge, {"a": None}, asked, scored, 0.001)) == 10
    assert len(comparison.rescore(judge, {"a": None}, asked, {"m": scored["m"][:4]}, 0.5)) == 4


def test_noise_by_hand():
    twice = [
        (a, b)
        for a, b in zip(
            scores((1.0, 3.0), (2.0,), (4.0, 4.0), (3.0, 3.0)), scores((2.0, 2.0), (5.0,), (4.0, 5.0), LOST)
        )
    ]
    found = comparison.noise(twice)  # changes 0, 3, .5
    assert (found["mean"], found["shift"], found["n"]) == (pytest.approx(3.5 / 3), pytest.approx(3.5 / 3), 3)
    assert found["sd"] == pytest.approx(np.std([0, 3, 0.5], ddof=1)) and found["low"] <= found["mean"] <= found["high"]
    y = comparison.noise(twice, "y")  # -1 and 1
    assert (y["mean"], y["shift"], y["n"]) == (1.0, 0.0, 2) and y["sd"] == pytest.approx(2**0.5)
    assert comparison.noise([twice[-1]]) is None and comparison.noise(twice[:1])["sd"] == 0.0


def test_noise_of_a_difference_by_simulation():
    """A judge whose single scores have the noise .5: changes of one answer, and differences of two equal models."""
    rng = np.random.default_rng(0)
    sd_of_change = (rng.normal(0, 0.5, 20_000) - rng.normal(0, 0.5, 20_000)).std()
    moved = rng.normal(0, 0.5, (20_000, 40)).mean(1) - rng.normal(0, 0.5, (20_000, 20)).mean(1)
    assert comparison.noise_of_difference(sd_of_change, 40, 20) == pytest.approx(
        np.quantile(np.abs(moved), 0.95), rel=0.03
    )
