"""Rows as RewardBench 2 has them: credits and ties by hand, and the program."""

import math

import eval_harness
import pytest
import rigged_reward
from eval_harness import table, write

from korlhf.core.errors import InputError
from korlhf.eval import best_of_four


def test_credit_by_hand():
    assert best_of_four.credit([3, 1, 2, 0], 1) == 1
    assert best_of_four.credit([2, 1, 3, 0], 1) == 0
    assert best_of_four.credit([3, 3, 2, 3], 1) == pytest.approx(1 / 3)
    assert best_of_four.credit([1, 1, 1, 1], 1) == 0.25  # a model that scores all alike is at chance


def test_the_score_of_ties_by_hand():
    """K = 1: all right beat the wrong ones by 2, and are 1 apart; its ref by 4. K = 2: the best wrong one beats a right
    one by 1, they are 3 apart; its ref by 0.5."""
    rows = [
        ("ref:1", [5, 1, 0], 1),
        ("tied:1", [4, 3, 1, 0], 2),
        ("ref:2", [1, 0.5], 1),
        ("tied:2", [4, 1, 2], 2),
    ]
    score, accuracy = best_of_four.ties_score(rows)
    assert accuracy == {"ref": 1.0, "tied": 0.5}
    margin = (math.tanh(2 / 1 - 1) + math.tanh(-1 / 3 - 1)) / 2
    assert score == pytest.approx(0.3 * 1 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * margin)


def row(id, chosen, rejected, subset="Math"):
    return {"id": id, "prompt": "몇이에요?", "chosen": chosen, "rejected": rejected, "subset": subset}


ROWS = [
    row("1", ["길고 긴 답"], ["짧다", "더", "예"]),
    row("2", ["짧다"], ["길고 긴 답", "더", "예"]),
    row("3", ["같다"], ["둘이", "더", "예"]),
    row("ref:0", ["길고 긴 답"], ["짧다", "예"], "Ties"),
    row("tied:0", ["길고 긴 답", "길고 긴 말", "길고 긴 글"], ["짧다", "예"], "Ties"),
]


def test_the_program_alone_and_beside_pairs(tmp_path):
    """The longest answer has the highest score."""
    reward, file = rigged_reward.counts_tokens(tmp_path / "reward"), write(tmp_path / "rows.jsonl", ROWS)
    flags = ["--model_name_or_path", f"long={reward}", "--best_of_path", file]
    code, found, _ = eval_harness.run("reward_accuracy", tmp_path / "out", *flags)
    figures = found["figures"]["best_of_four"]["long"]
    assert code == 0 and figures["Math"]["score"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert figures["Math"]["chance"] == 0.25 and figures["Ties"]["score"] == pytest.approx(1.0, abs=0.011)
    assert figures["overall"]["score"] == pytest.approx((figures["Math"]["score"] + figures["Ties"]["score"]) / 2)
    assert [r[0] for r in table(found, "One right answer")["rows"][:2]] == ["Math", "Ties"]


@pytest.mark.parametrize(
    "bad, says",
    [
        (row("1", "짧다", ["더"]), "rows.jsonl:1: chosen is '짧다'; expected a list of texts"),
        (row("1", ["짧다"], []), "rows.jsonl:1: rejected is"),
        (row("1", ["짧다", "길다"], ["더"]), "rows.jsonl:1: chosen holds 2 texts; only rows of Ties have several"),
        (row("1", ["짧다"], ["더"], "Ties"), "rows.jsonl:1: the id '1' of a row of Ties must be ref:K or tied:K"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, bad, says):
    with pytest.raises(InputError, match=says):
        best_of_four.read(write(tmp_path / "rows.jsonl", [bad]))


def test_ties_without_their_other_half(tmp_path):
    with pytest.raises(InputError, match="no prompt as ref:K and as tied:K"):
        best_of_four.ties_score([("ref:1", [1, 0], 1)])
