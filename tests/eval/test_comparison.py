"""korlhf/eval/comparison.py by hand arithmetic, and the judge's noise by simulation."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from korlhf.data import record as records
from korlhf.eval import comparison
from korlhf.judges.geval import Score
from korlhf.llm.protocol import Failure, Reply

LOST = Failure("unusable", "no score")


def scored(**models):
    """{(model, prompt, answer): Score} of models that have a list of values per prompt; of a tuple the criteria."""
    out = {}
    for name, by_prompt in models.items():
        for i, values in enumerate(by_prompt):
            for k, v in enumerate(values):
                of = v if isinstance(v, tuple) else (v,)
                out[name, i, k] = v if v is LOST else Score(dict(zip("xy", of)), sum(of) / len(of), "m", 1)
    return out


def session(**answers):
    """A session of as many prompts of the category a; its answers are texts, or Failures."""
    replies = {
        name: [[t if isinstance(t, Failure) else Reply(t, None, None, 0, 0) for t in of_one] for of_one in by_prompt]
        for name, by_prompt in answers.items()
    }
    n = len(next(iter(answers.values())))
    return SimpleNamespace(records=[records.make(f"{i}번", "a", "t") for i in range(n)], answers=replies, seed=1)


class Judge:
    """Scores an answer by its digit, and by one more the second time."""

    def rate(self, items, desc="", again=False):
        return [
            [LOST if "모를" in text else Score({}, int(text[-1]) + again, "m", 1) for text in item.answers]
            for item in items
        ]


def test_groups_are_all_and_every_category():
    found = [{"category": c} for c in ("b", "a", "b")]
    assert comparison.groups(found) == [(None, [0, 1, 2]), ("b", [0, 2]), ("a", [1])]
    assert comparison.groups(found[:1]) == [("b", [0])]
    lines = []
    for grouped in ([(None, range(30)), ("b", range(29)), ("a", range(1))], [("all", [0, 1])], [(None, range(30))]):
        comparison.warn_of_few(SimpleNamespace(warn=lines.append), grouped)
    assert lines[0]["en"].endswith(": b 29, a 1") and lines[1]["ko"].endswith(": 전체 2") and len(lines) == 2


def test_every_two_models_or_all_against_one():
    assert comparison.pairs(["a", "b", "c"]) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert comparison.pairs(["a", "b", "c"], "b") == [("a", "b"), ("c", "b")]


def test_answers_to_a_prompt_are_averaged_first():
    given = scored(m=[[1.0, 3.0], [LOST, 4.0], [LOST], [], [(1.0, 2.0)]])
    found = comparison.by_prompt(given, ["m", "none"])
    assert found["m"].to_dict() == {0: 2.0, 1: 4.0, 4: 1.5} and found["none"].empty
    assert comparison.by_prompt(given, ["m"], "y")["m"].to_dict() == {4: 2.0}
    mean = comparison.mean(found["m"], [0, 1, 2, 3], (1, 5))
    assert (mean["mean"], mean["n"]) == (3.0, 2) and 1.0 <= mean["low"] <= mean["high"] <= 5.0
    assert comparison.mean(found["m"], [2]) is comparison.mean(found["none"], [0]) is None
    assert comparison.mean(found["m"], [0], (1, 5)) == {"mean": 2.0, "low": None, "high": None, "n": 1}


def test_differences_are_over_the_prompts_that_both_have():
    a, b = [[5.0], [4.0], [LOST], [1.0]], [[1.0], [2.0], [9.0], [LOST]]
    (found,) = comparison.differences(comparison.by_prompt(scored(b=b, a=a), "ba"), [(None, range(4))], 1)
    assert (found["mean"], found["n"]) == (3.0, 2)
    rng = np.random.default_rng(0)
    models = {name: [[v] for v in rng.normal(m, 1, 40).tolist()] for name, m in (("a", 0), ("b", 0.3), ("c", 1))}
    means, grouped = comparison.by_prompt(scored(**models), "abc"), [(None, range(40)), ("x", range(20))]
    found = comparison.differences(means, grouped, seed=1)
    assert [(f["model"] + f["other"], f["n"]) for f in found] == [(p, n) for p in ("ba", "ca", "cb") for n in (40, 20)]
    assert [f["holm"] for f in found] == pytest.approx(multipletests([f["p"] for f in found], method="holm")[1])
    assert found[2]["p"] < 0.01 < found[2]["mean"]
    found = comparison.differences(means, grouped[:1], 1, "c")
    assert [(f["model"], f["other"]) for f in found] == [("a", "c"), ("b", "c")]


def test_scores_stand_in_the_places_of_their_answers():
    found = comparison.score(Judge(), {}, session(m=[["답 2", LOST, "답 5"], [LOST]], n=[["모를 답 3"], ["답 1"]]))
    assert {place: one is LOST or one.score for place, one in found.items()} == {
        ("m", 0, 0): 2,
        ("m", 0, 2): 5,
        ("n", 0, 0): True,
        ("n", 1, 0): 1,
    }


def test_methods_are_counted():
    found = comparison.methods(
        [SimpleNamespace(method=m) for m in ("token probabilities", "mean of samples")], "answers"
    )
    assert found["en"] == "token probabilities: 1 answers, mean of samples: 1 answers"
    assert comparison.methods([], "pairs") == {"en": "none", "ko": "없음"}


def test_rescoring_draws_a_share_and_at_least_ten():
    s = session(m=[[f"답 {i % 5}"] for i in range(300)])
    score = partial(comparison.score, Judge(), {}, s)
    first = score()
    twice = comparison.rescore(score, s, first, 0.1)
    assert len(twice) == 30 and all(b.score == a.score + 1 for a, b in twice)
    assert comparison.rescore(score, s, first, 0.1) == twice
    assert len(comparison.rescore(score, s, first, 0.001)) == 10
    assert len(comparison.rescore(score, s, dict(list(first.items())[:4]), 0.5)) == 4


def test_noise_by_hand():
    first, second = (
        scored(m=[[(1.0, 3.0)], [2.0], [(4.0, 4.0)], [3.0]]),
        scored(m=[[(2.0, 2.0)], [5.0], [(4.0, 5.0)], [LOST]]),
    )
    twice = list(zip(first.values(), second.values()))
    found = comparison.noise(twice)  # changes 0, 3, .5
    assert (found["mean"], found["shift"], found["n"]) == (pytest.approx(3.5 / 3), pytest.approx(3.5 / 3), 3)
    assert found["sd"] == pytest.approx(np.std([0, 3, 0.5], ddof=1)) and found["low"] <= found["mean"] <= found["high"]
    y = comparison.noise(twice, "y")  # -1 and 1
    assert (y["mean"], y["shift"], y["n"]) == (1.0, 0.0, 2) and y["sd"] == pytest.approx(2**0.5)
    assert comparison.noise(twice[-1:]) is None and comparison.noise(twice[:1])["sd"] == 0.0


def test_noise_of_a_difference_by_simulation():
    """A judge whose single scores have the noise .5: changes of one answer, and differences of two equal models."""
    rng = np.random.default_rng(0)
    sd_of_change = (rng.normal(0, 0.5, 20_000) - rng.normal(0, 0.5, 20_000)).std()
    moved = rng.normal(0, 0.5, (20_000, 40)).mean(1) - rng.normal(0, 0.5, (20_000, 20)).mean(1)
    found = comparison.noise_of_difference(sd_of_change, 40, 20)
    assert found == pytest.approx(np.quantile(np.abs(moved), 0.95), rel=0.03)
