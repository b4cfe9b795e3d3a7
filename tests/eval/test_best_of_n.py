"""Best of N: the estimates against a loop over all subsets, and the program as a user runs it."""

import itertools
import math

import eval_harness
import numpy as np
import pytest
import rigged_reward
from eval_harness import answers, prompts, table
from openai_server import Server
from rigged_judge import form_of

from korlhf.core.errors import InputError
from korlhf.eval import best_of_n


def naive(picking, judged, n):
    """(win rate, mean of what picks, mean of the judge) over every subset of n, and every answer outside of it."""
    won, picked, liked = [], [], []
    for subset in itertools.combinations(range(len(picking)), n):
        best = max(subset, key=lambda k: picking[k])
        picked.append(picking[best])
        liked.append(judged[best])
        for other in set(range(len(picking))) - set(subset):
            won.append((judged[best] > judged[other]) + 0.5 * (judged[best] == judged[other]))
    return tuple(sum(x) / len(x) for x in (won, picked, liked))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_estimates_are_those_of_all_subsets(n):
    picking, judged = [0.3, -1.0, 2.0, 0.9, 0.5], [1, 0, 1, 3, 2]
    order = np.argsort(picking)
    sorted_picking, sorted_judged = np.array(picking)[order], np.array(judged, dtype=float)[order]
    found = best_of_n.wins(sorted_judged, n), best_of_n.best_of(sorted_picking, n), best_of_n.best_of(sorted_judged, n)
    assert found == pytest.approx(naive(picking, judged, n))
    if n == 1:
        assert found[0] == pytest.approx(0.5)


def test_sizes_and_kl_by_hand():
    assert best_of_n.sizes(65) == [1, 2, 4, 8, 16, 32, 64] and best_of_n.sizes(64)[-1] == 32
    assert best_of_n.sizes(2) == [1] and best_of_n.sizes(0) == []
    assert best_of_n.kl(1) == 0 and best_of_n.kl(4) == pytest.approx(math.log(4) - 0.75)


@pytest.fixture
def run(tmp_path):
    """Function: (answers of a model to each prompt, flags) -> exit code, result, rows."""

    def run(texts, *flags):
        data = prompts(tmp_path / "prompts.jsonl", len(texts))
        file = answers(tmp_path / "sft.jsonl", texts)
        return eval_harness.run("best_of_n", tmp_path / "out", "--data_path", data, "--responder", file, *flags)

    return run


OTHERS = [["가", "나나", "다다다"]] * 5  # the reward model likes the longest


def test_a_judge_that_agrees(run, tmp_path):
    reward = rigged_reward.counts_tokens(tmp_path / "reward")
    with Server(form_of(lambda answer, place: len(answer))) as server:
        judge = ["--judge", f"openai:test-model@{server.url}", "--judge_samples", 1, "--structured", "off"]
        code, found, rows = run(OTHERS, "--reward_model", reward, *judge)
    one, two = found["figures"]["best_of_n"]["sft"]
    assert code == 0 and (one["n"], two["n"], one["prompts"]) == (1, 2, 5)
    # of two among three: the second and the longest twice; the longest wins, and the second loses against it
    assert (one["win_rate"]["mean"], two["win_rate"]["mean"]) == pytest.approx((1 / 2, 2 / 3))
    assert (one["judged"]["mean"], two["judged"]["mean"]) == pytest.approx((2, 8 / 3))
    assert one["win_rate"]["low"] is None and two["win_rate"]["low"] < 2 / 3
    assert two["reward"]["mean"] > one["reward"]["mean"] and two["kl"] == pytest.approx(math.log(2) - 0.5)
    assert [row[1] for row in table(found, "Best of N")["rows"]] == [1, 2]
    shown = rows[0]["answers"]["sft"]
    assert [(a["text"], a["picked"], a["judge"]) for a in shown] == [("가", "first", 1.0), ("다다다", "best of 3", 3.0)]
    assert (tmp_path / "out" / "best_of_n.png").stat().st_size > 1000


def test_a_judge_that_does_not_is_told_first(run, tmp_path, capsys):
    reward = rigged_reward.counts_tokens(tmp_path / "reward")
    texts = [["응.", "아니 그래 알았어.", "뭐라고 하는 거야 그걸 나한테 왜 물어."], ["네요.", "그래.", "응 그래 그래."]]
    code, found, _ = run(texts, "--reward_model", reward, "--judge", "rules:polite")
    rate = found["figures"]["best_of_n"]["sft"][-1]["win_rate"]
    assert code == 0 and rate["low"] <= 0.5
    assert "at N = 2 what the reward model picks does not win" in found["warnings"][0]["en"]


def test_what_cannot_work(run, tmp_path):
    reward = rigged_reward.counts_tokens(tmp_path / "reward")
    again = rigged_reward.counts_tokens(tmp_path / "again")
    for texts, judge, says in (
        (OTHERS, "rules:kind", "--judge rules:kind: no such rule"),
        (OTHERS, f"reward_model:{again}", "is the model that picks"),
        ([["가", "나나"]], "rules:polite", "give 3 or more"),
    ):
        with pytest.raises(InputError, match=says):
            run(texts, "--reward_model", reward, "--judge", judge)
