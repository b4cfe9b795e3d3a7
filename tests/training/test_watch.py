"""When warnings of a training begin, when they go away, and what they say."""

import json

import pytest

from korlhf.training.flags import RunFlags
from korlhf.training.watch import SIGNS, Watch, spread

PPO = {"answers": 8, "score": 1.0, "score_std": 0.5, "kl": 1.0, "length": 10.0, "eos_rate": 0.5, "entropy": 2.0}
PPO |= {
    "same_answer": 0.125,
    "clip_fraction": 0.1,
    "grad_norm": 1.0,
    "loss": 1.0,
    "policy_loss": 0.0,
    "value_loss": 1.0,
}
REMEDIES = {"": "a lower rate", "critic": "a lower critic rate", "value_loss": "a lower critic rate"}


def watch(processes=1, **flags):
    return Watch(RunFlags(output_dir="x", **flags), REMEDIES, processes)


def names(watch, rows, skipped=()):
    """The names that begin with each of the rows; `skipped`: models whose update is left out in all of them."""
    return [[w["name"] for w in watch.look(k, PPO | row, dict.fromkeys(skipped, 1))] for k, row in enumerate(rows, 1)]


@pytest.mark.parametrize(
    "name, bad, better, well",
    [
        ("scores_equal", {"score_std": 0.0}, {"score_std": 1e-7}, {"score_std": 0.1}),
        ("entropy_collapse", {"entropy": 0.19}, {"entropy": 0.39}, {"entropy": 0.41}),  # a tenth, a fifth of the first
        ("kl_explosion", {"kl": 21.0}, {"kl": 11.0}, {"kl": 9.0}),
        ("one_answer", {"same_answer": 0.6}, {"same_answer": 0.4}, {"same_answer": 0.3}),
        ("chosen_fall", {"chosen_fall": 0.3}, {"heldout_chosen_fall": 0.15, "chosen_fall": 0.0}, {"chosen_fall": 0.05}),
        ("clip_fraction", {"clip_fraction": 0.9}, {"clip_fraction": 0.6}, {"clip_fraction": 0.4}),
        ("grad_norm_spike", {"grad_norm": 11.0}, {"grad_norm": 6.0}, {"grad_norm": 4.0}),
    ],
)
def test_a_sign_is_told_once_and_again_after_it_has_gone(name, bad, better, well):
    rows = [{}] * 12 + [bad, bad, better, bad, well, bad]
    assert names(watch(), rows) == [[]] * 12 + [[name], [], [], [], [], [name]]


def test_no_answer_ends_three_steps_in_a_row():
    none, some = {"eos_rate": 0.0}, {"eos_rate": 0.1}
    assert names(watch(), [none, none, some, none, none, none, none]) == [[]] * 5 + [["no_eos"], []]


def test_every_sign_has_a_text_of_its_figures():
    rows = [{}] * 5 + [{"score_std": 0.0, "entropy": 0.0, "kl": 50.0, "same_answer": 1.0, "clip_fraction": 1.0}] * 2
    rows[-1]["chosen_fall"] = 0.25
    seen = watch()
    for step, row in enumerate(rows, 1):
        seen.look(step, PPO | row | {"eos_rate": 0.0, "grad_norm": 20.0 if step == 7 else 1.0}, {})
    told = {w["name"]: w["text"] for w in seen.told}
    assert told.keys() == SIGNS.keys() and "{" not in "".join(told.values())
    assert "rose to 50 nats" in told["kl_explosion"] and "100% of the prompts" in told["one_answer"]
    assert "lost 0.25 nats per token" in told["chosen_fall"]
    assert "20 is 20 times the usual one" in told["grad_norm_spike"]


@pytest.mark.parametrize("row", [{"answers": 3}, {"kl": 21.0, "length": 80.0}, {"kl": 8.0, "length": 3.0}])
def test_few_answers_long_answers_and_small_kl_are_no_sign(row):
    alike = {"score_std": 0.0, "same_answer": 1.0} if row.get("answers") else {}
    assert names(watch(), [row | alike] * 6) == [[]] * 6


def test_few_answers_of_each_process():
    row = {"score_std": 0.0, "same_answer": 1.0}
    assert names(watch(processes=3), [row]) == [[]] and names(watch(processes=2), [row])[0]


def test_a_run_without_these_figures():
    only = watch()
    assert [only.look(k, {"loss": 1.0, "lr": 0.1}, {"actor": 0}) for k in range(9)] == [[]] * 9


NAN, INF = float("nan"), float("inf")


def test_what_is_not_finite_is_named_once_with_the_flag_to_try():
    seen = watch()
    assert names(seen, [{"loss": NAN}, {"loss": NAN}, {}, {"loss": -INF}]) == [
        ["non_finite_loss"],
        [],
        [],
        ["non_finite_loss"],
    ]
    assert seen.told[0] == {"step": 1, "name": "non_finite_loss", "text": "loss not finite; try a lower rate"}


def test_a_gradient_that_is_not_finite_names_its_model():
    seen = watch()
    assert names(seen, [{}], skipped=["critic"]) == [["non_finite_grad_norm"]]
    assert seen.told[0]["text"] == (
        "gradient of the critic model not finite; the step was not applied; try a lower critic rate"
    )


def test_causes_come_first():
    """A critic that is broken breaks the policy's loss by its values."""
    seen = watch()
    names(seen, [{"policy_loss": NAN, "value_loss": NAN}], skipped=["actor", "critic"])
    assert seen.told[0]["text"].startswith("value_loss, policy_loss, gradient of the actor model, gradient")
    assert seen.told[0]["text"].endswith("try a lower critic rate")


def test_other_figures_and_what_fp16_leaves_out_are_no_divergence():
    seen = watch()
    assert names(seen, [{}] * 5 + [{"ratio_max": INF, "explained_variance": -INF, "grad_norm": INF}]) == [[]] * 6
    assert seen.bad == 0 and seen.norms == [1.0] * 5


def test_how_many_bad_steps_are_too_many():
    seen = watch(max_bad_steps=3)
    for step in (1, 2):
        seen.look(step, PPO | {"loss": NAN}, {})
    assert not seen.reason(2, 3)
    seen.look(3, PPO, {})
    for step in (4, 5, 6):
        assert not seen.reason(step, 3)
        seen.look(step, PPO | {"heldout_score": NAN}, {})
    assert seen.reason(6, 3) == (
        "diverged at step 6: heldout_score not finite in 3 steps in a row (--max_bad_steps 3); try a lower rate"
    )


@pytest.mark.parametrize("name", SIGNS)
def test_which_signs_stop_a_run(name):
    """A spike may be one odd batch, answers longer than the limit, and better answers less likely than before."""
    for stop in (False, True):
        seen = watch(stop_on_divergence=stop)
        seen.collapsed = "text" if SIGNS[name].collapse else ""
        stops = stop and name not in ("no_eos", "chosen_fall", "grad_norm_spike")
        assert bool(seen.reason(1, 10)) == stops


def test_resumed_it_goes_on_as_if_it_had_not_stopped():
    rows = [{}] * 4 + [{"eos_rate": 0.0}] * 3 + [{"grad_norm": 20.0, "loss": NAN}] * 2 + [{"grad_norm": 20.0}] * 2
    whole = watch()
    expected = names(whole, rows)
    for cut in range(len(rows)):
        before, after = watch(), watch()
        first = names(before, rows[:cut])
        after.resume(json.loads(json.dumps(before.state())))
        assert first + names(after, rows[cut:]) == expected and after.bad == whole.bad
    assert [w["name"] for w in whole.told] == ["no_eos", "non_finite_loss", "grad_norm_spike"]


def test_spread_by_hand():
    assert spread(4, 10.0, 30.0) == pytest.approx(1.25**0.5)  # of 1, 2, 3, 4
    assert spread(2, 2.0, 1.9999999) == 0.0  # rounding below zero
