"""The figures of answers to held-out prompts."""

import pytest

from korlhf.rl.evaluate import summarise
from korlhf.rl.rewards import Prompt

PROMPTS = [Prompt([1], ({"role": "user", "content": "가"},), "all")] * 2


def test_what_answers_cost_under_the_reference_is_a_mean_over_tokens():
    rows = [(0, "네, 좋아요.", 1.0, 0.5, 3, True, 0.0, 9.0), (1, "그래요.", 3.0, 1.5, 1, True, 0.0, 1.0)]
    figures = summarise(rows, PROMPTS)
    assert figures["ref_nll"] == pytest.approx((9.0 + 1.0) / (3 + 1))  # not the mean of 3 and 1, which is 2
    assert figures["kl"] == 1.0 and figures["n"] == 2


def test_without_a_reference_there_is_no_such_cost():
    rows = [(0, "네, 좋아요.", 1.0, None, 3, True, 0.0, None), (1, "그래요.", 3.0, None, 1, True, 0.0, None)]
    assert not {"ref_nll", "kl"} & set(summarise(rows, PROMPTS))
