"""Accuracy, its interval, and the trivial rules beside it."""

import math
from dataclasses import replace

import pytest
import torch

from korlhf.core import progress, stats
from korlhf.core.errors import InputError
from korlhf.data.example import Example
from korlhf.data.tokenize import Tokens
from korlhf.korean.ngram_classifier import NAME
from korlhf.korean.trivial_rules import EACH
from korlhf.training import pairs
from korlhf.training.world import World


def example(category, n, prompt="가", **more):
    return Example(({"role": "user", "content": prompt},), tuple(f"답{i}" for i in range(n)), category, **more)


def test_accuracy_by_hand():
    examples = [example("a", 3, "가"), example("b", 2, "나"), example("a", 2, "다")]
    figures = pairs.accuracy(examples, [[3.0, 1.0, 3.0], [0.0, 2.0], [5.0, 1.0]])
    # a: margins 2 (right), 0 (half), -2 (wrong), 4 (right) -> 2.5 of 4; b: -2 -> 0 of 1
    assert figures["accuracy"] == 0.5 and figures["n"] == 5 and figures["prompts"] == 3
    assert figures["mean_margin"] == pytest.approx((2 + 0 - 2 + 4 - 2) / 5)
    assert figures["by_category"]["a"] == {
        "accuracy": 0.625,
        "n": 4,
        "prompts": 2,
        "ci95": list(stats.share_interval([1, 0.5, 0, 1], "가가가다")),
        "mean_margin": 1.0,
    }
    assert figures["by_category"]["b"]["accuracy"] == 0.0 and list(figures["by_category"]) == ["a", "b"]


def test_all_pairs_in_order():
    assert pairs.as_pairs([example("a", 3)]) == [("가", "답0", "답1"), ("가", "답0", "답2"), ("가", "답1", "답2")]


def sum_of_ids(packed):
    """A reward model of which every token's value is the sum of its sequence so far."""
    values = torch.zeros(len(packed.ids))
    for parts in packed.sequences():
        at = [i for part in parts for i in part]
        values[at] = packed.ids[at].cumsum(0).float()
    return values


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_answer_is_scored_at_its_own_last_token(batch_size):
    groups = [
        [Tokens(ids, [1] * len(ids)) for ids in group]
        for group in ([[1, 2], [3]], [[4, 5, 6], [7], [8, 9]], [[10, 11, 12, 13], [14]])
    ]
    assert pairs.score_groups(sum_of_ids, groups, batch_size, World(0, 1, torch.device("cpu"))) == [
        [3, 3],
        [15, 7, 17],
        [46, 14],
    ]


class Rank:
    """One of three ranks that records what it would send."""

    size, device = 3, torch.device("cpu")

    def __init__(self, rank, others=()):
        self.rank, self.others, self.sent = rank, others, None

    def gather(self, thing):
        self.sent = thing
        return [*self.others, thing]


def test_ranks_share_the_scoring_and_run_equally_many_passes():
    groups = [[Tokens([i], [1]), Tokens([i, 100], [1, 1])] for i in range(1, 5)]  # 4 groups in chunks of 1 over 3 ranks
    passes, sent = [], []
    for r in range(3):
        calls = []

        def reward(packed, calls=calls):
            calls.append(1)
            return sum_of_ids(packed)

        rank = Rank(r, sent)
        if r < 2:
            with pytest.raises(KeyError):  # the other ranks' part is not there yet
                pairs.score_groups(reward, groups, 1, rank)
        else:
            assert pairs.score_groups(reward, groups, 1, rank) == [[i, i + 100] for i in range(1, 5)]
        sent.append(rank.sent)
        passes.append(len(calls))
    assert passes == [2, 2, 2] and sorted(k for part in sent for k in part) == [0, 1, 2, 3]


def test_trivial_rules_see_what_length_alone_knows():
    longer = [
        Example(({"role": "user", "content": "가"},), ("아주 길고 길고 긴 답이에요 정말로" + "요" * i, "짧아"), "all")
        for i in range(12)
    ]
    found = pairs.beside(longer, longer)["trivial_rules"]
    assert max(found.values()) == 1.0 and list(found.values()) == sorted(found.values(), reverse=True)


def beside(rules):
    return {"trivial_rules": rules, "rules_by_category": {}, "left_out": {}, "with_left_out": None}


def test_report_warns_where_a_trivial_rule_is_as_good():
    figures = pairs.accuracy([example("a", 2, f"{i}번") for i in range(10)], [[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 2)
    assert "WARNING" in pairs.report(figures, "t", beside({"longer answer": 0.8}))
    text = pairs.report(figures, "t", beside({"longer answer": 0.4}))
    assert (
        "WARNING" not in text and "0.800" in text and "0.490 - 0.943" in text and math.isclose(figures["accuracy"], 0.8)
    )


def test_halves_share_no_prompt():
    """Two datasets ask the same: every copy of a prompt lands on the same side, and both sides have one if there are
    two.
    """
    examples = [
        Example(({"role": "user", "content": f"질문 {i % 5}{'?' * (i % 2)}"},), (f"가{i}", f"나{i}")) for i in range(20)
    ]
    first, second = pairs.halves(examples, seed=3)
    assert sorted(first + second) == list(range(20)) and (len(first), len(second)) == (
        12,
        8,
    )  # 3 prompts of 4 copies, and 2
    assert not {i % 5 for i in first} & {i % 5 for i in second}
    assert pairs.halves(examples[:1], seed=3) == ([0], [])


def pair(i, chosen, rejected, category="a", **more):
    return Example(({"role": "user", "content": f"{i}번 질문"},), (chosen, rejected), category, **more)


def test_copies_of_a_prompt_are_one_prompt():
    """Ten pairs of one prompt that all go the same way are no ten results."""
    examples = [pair(i // 10, f"답 {i}", "말") for i in range(50)]
    figures = pairs.accuracy(examples, [[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 20)
    assert (figures["n"], figures["prompts"], figures["accuracy"]) == (50, 5, 0.6)
    low, high = figures["ci95"]
    assert low < 0.25 and high > 0.85  # as independent pairs: .46 to .72


def test_rules_by_category_and_the_pairs_that_are_too_long():
    """Longer is better in a, shorter in b: no one rule is right in more than half."""

    def made(n, start):
        long, short = "아주 길고 긴 답이지요", "짧지"
        of_a = [pair(i, long + "네" * (i % 3), short) for i in range(start, start + n)]
        return of_a + [pair(1000 + i, short, long + "네" * (i % 3), "b") for i in range(start, start + n)]

    train, heldout = made(25, 0), made(10, 100)
    found = pairs.beside(train, heldout, [pair(7777, "짧", "긴 답 " * 50)])
    of_each = found["rules_by_category"]
    assert (of_each["a"]["accuracy"], of_each["b"]["accuracy"], of_each["a"]["n"]) == (1.0, 1.0, 10)
    assert list(found["trivial_rules"].items())[0] == (EACH, 1.0)
    rules, wider = found["trivial_rules"], found["with_left_out"]
    name = "longer" if "longer" in rules else "shorter"
    assert rules[name] == 0.5 and wider[name] == pytest.approx((10 + (name == "shorter")) / 21)
    assert found["left_out"] == {"a": 1}
    scores = [[1.0, 0.0]] * 20
    text = pairs.report(pairs.accuracy(heldout, scores), "t", found)
    assert (
        "with the 1 pairs that are left out as too long (a 1)" in text
        and f"best rule there: {of_each['a']['rule']} 1.000" in text
    )
    assert pairs.beside(train, heldout)["with_left_out"] is None


def test_accuracy_by_the_margin_of_the_labels():
    examples = [pair(i, "답", f"말 {i}", scores=(0.1 * (i + 1), 0.0)) for i in range(8)] + [pair(99, "답", "말")]
    figures = pairs.accuracy(examples, [[0.0, 1.0]] * 4 + [[1.0, 0.0]] * 5)
    assert [(b["n"], b["accuracy"]) for b in figures["by_margin"]] == [(2, 0), (2, 0), (2, 1), (2, 1)]
    assert figures["by_margin"][0]["to"] == pytest.approx(0.2) and figures["ceiling"] is None  # too few
    assert "by the margin of the labels: 0.1-0.2 0.000" in pairs.report(figures, "t")
    assert "by_margin" not in pairs.accuracy(examples[-1:], [[1.0, 0.0]])


def test_pairs_that_are_kept_by_their_margin():
    ranked = example("a", 3, scores=(3.0, 2.5, 0.0))
    assert pairs.label_margins(ranked) == [0.5, 3.0, 2.5] and pairs.kept_pairs(ranked, 1.0) == [False, True, True]
    assert pairs.kept_pairs(example("a", 3), 9.0) == [True] * 3  # nobody knows its margins


def test_pairs_far_apart_are_examples_of_their_own(capsys):
    ranked = pair(1, "가", "나", scores=(3.0, 2.5, 1.0))
    ranked = replace(ranked, answers=("가", "나", "다"), raw=("가 ", "나", "다"))
    found = pairs.far_apart([ranked, pair(2, "네", "몰라")], 1.0)
    assert [(e.answers, e.written, e.scores) for e in found] == [
        (("가", "다"), ("가 ", "다"), (2.0, 0.0)),
        (("나", "다"), ("나", "다"), (1.5, 0.0)),
        (("네", "몰라"), ("네", "몰라"), ()),
    ]
    assert "--min_margin 1: 1 of 4 pairs have a smaller margin and are left out" in capsys.readouterr().out
    with pytest.raises(InputError, match="--min_margin 9: all 3 pairs have a smaller margin; lower it"):
        pairs.far_apart([ranked], 9)


def test_n_grams_stand_beside_the_model():
    """Words alone tell the better answer: the classifier gets all right, and a model that does not is told so."""
    words = [("고마워요", "싫어요"), ("반가워요", "귀찮아요"), ("좋아요", "몰라요"), ("함께해요", "지겨워요")]
    train = [pair(i, f"{words[i % 4][0]} {i}", f"{words[i % 4][1]} {i}") for i in range(24)]
    heldout = [pair(100 + i, f"{words[i % 4][0]} 참", f"{words[i % 4][1]} 참") for i in range(12)]
    found = pairs.beside(train, heldout)
    assert found["trivial_rules"][NAME] == 1.0
    half = pairs.accuracy(heldout, [[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 6)
    text = pairs.report(half, "t", beside({NAME: 1.0, "longer": 0.5}))
    assert "n-gram classifier 1.000, longer 0.500" in text and "(0.500) loses to 'n-gram classifier' (1.000)" in text
    assert NAME not in pairs.beside(train[:19], heldout)["trivial_rules"]  # too few pairs to fit it to


def test_a_long_scoring_says_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.delenv("KORLHF_TERMINAL", raising=False)
    groups, alone = [[Tokens([k], [])] for k in range(5)], World(0, 1, torch.device("cpu"))
    ids = lambda _, sequences, device: torch.tensor([float(t.ids[0]) for t in sequences])  # noqa: E731
    assert pairs.score_groups(None, groups, 2, alone, ids) == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert capsys.readouterr().err == ""
    assert pairs.score_groups(None, groups, 2, alone, ids, desc="held-out")[4] == [4.0]
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in told] == [f"held-out: batches {k}/3" for k in (1, 2, 3)]
