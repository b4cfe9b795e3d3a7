"""Several rewards in one, by hand."""

import math
import threading

import pytest
import torch
from toy_policy import ALONE, collect, flags, make_models, toy_codec, toy_prompts

from korlhf.core.errors import Unavailable, Unscored
from korlhf.rl.evaluate import evaluate
from korlhf.rl.mixed import Mix, Part, agreed, means, scored, sums
from korlhf.rl.rewards import Prompt

TEXTS = ["가", "나나", "다다다", "라라라라"]
PROMPTS = [Prompt([1], ({"role": "user", "content": f"질문 {i}"},), "all") for i in range(4)]


def given(name, *scores):
    return Part(name, lambda prompts, texts: list(scores))


def mix(*groups, vetoes=(), penalty=0.0, world=ALONE):
    return Mix(groups, vetoes, penalty, world)


def test_one_reward_counts_as_it_is():
    total, each = mix((1.0, [given("a", 3, -1, 0.5, 8)]))(PROMPTS, TEXTS)
    assert total.tolist() == [3, -1, 0.5, 8] and each["a"].tolist() == total.tolist()


def test_several_are_whitened_and_weighed():
    """Mean 5, standard deviation sqrt(20/3); mean 0, sqrt(4/3): the first batch sets the scale."""
    a, b = given("a", 2, 4, 6, 8), given("b", 1, -1, 1, -1)
    both = mix((0.75, [a]), (-0.25, [b]))
    total, _ = both(PROMPTS, TEXTS)
    of_a, of_b = math.sqrt(20 / 3), math.sqrt(4 / 3)
    expected = [(0.75 * (x - 5) / of_a - 0.25 * y / of_b) for x, y in zip((2, 4, 6, 8), (1, -1, 1, -1))]
    assert total.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_spread_of_a_step_is_that_of_all_scores_so_far_and_the_zero_stays():
    part = given("a", 2, 4, 6, 8)
    both = mix((1.0, [part]), (1.0, [given("b", 0, 0, 0, 0)]))
    both.begin({"a": {"score": 1.0, "std": 2.0, "n": 3}, "b": {"score": 0.0, "std": 0.0, "n": 3}})
    before, _ = both(PROMPTS, TEXTS)
    assert before.tolist() == pytest.approx([0.25, 0.75, 1.25, 1.75])  # (x - 1) / 2, half of it as b's weight counts
    after, _ = both(PROMPTS, TEXTS, learn=True)
    # seven scores: squares about their means 2 x 2^2 and 20, and 3 x 4 / 7 x (5 - 1)^2 between the two
    std = math.sqrt((8 + 20 + 12 / 7 * 16) / 6)
    assert after.tolist() == pytest.approx([(x - 1) / std / 2 for x in (2, 4, 6, 8)], abs=1e-6)
    again, _ = both(PROMPTS, TEXTS)
    assert torch.equal(again, before)  # an evaluation is on the untrained actor's scale


def test_what_a_reward_does_not_score_is_weighed_by_the_others():
    both = mix((3.0, [given("a", 1, None, 3, None)]), (1.0, [given("b", 5, 7, None, 9)]))
    both.begin({name: {"score": 0.0, "std": 1.0, "n": 9} for name in "ab"})
    total, each = both(PROMPTS, TEXTS)
    assert total.tolist() == [(3 * 1 + 5) / 4, 7, 3, 9]
    assert means(sums(each), 4) == {"score/a": 2, "unscored/a": 0.5, "score/b": 7, "unscored/b": 0.25}
    with pytest.raises(Unscored, match="no reward scores the answer '나나' to '질문 1'; give a --reward"):
        mix((1.0, [given("a", 1, None, 3, 4)]))(PROMPTS, TEXTS)


def test_an_ensemble_is_its_mean_less_its_deviation():
    members = [given("a", 1, 2, 0, 4), given("b", 3, 2, 0, 4), given("c", 5, None, 0, 4)]
    one = mix((1.0, members), penalty=0.5)
    one.begin({name: {"score": 0.0, "std": 1.0, "n": 9} for name in "abc"})
    total, _ = one(PROMPTS, TEXTS)
    assert total.tolist() == pytest.approx([3 - 0.5 * math.sqrt(8 / 3), 2, 0, 4])


def test_a_guard_gives_the_lowest_score_of_the_batch():
    guard = given("guard", 0.5, 0.4, None, 1)
    total, each = mix((1.0, [given("a", 3, 9, 5, -2)]), vetoes=[(0.5, guard)])(PROMPTS, TEXTS)
    assert total.tolist() == [3, -2, 5, -2] and each["vetoed"].tolist() == [0, 1, 0, 0]
    assert means(sums(each), 4)["vetoed"] == 0.25


def test_its_state_goes_on_exactly():
    def fresh():
        return mix((1.0, [given("a", 2, 4, 6, 8)]), (0.5, [given("b", 1, 0, 1, 1)]))

    one = fresh()
    one(PROMPTS, TEXTS)
    one(PROMPTS, TEXTS, learn=True)
    two = fresh()
    two.resume(one.state())
    assert torch.equal(one(PROMPTS, TEXTS, learn=True)[0], two(PROMPTS, TEXTS, learn=True)[0])
    assert one.state() == two.state()


@pytest.mark.parametrize(
    "scores, says",
    [
        ([1, 2], "gave 2 scores for 4 answers"),
        ("네", "gave '네'; it must give a list of numbers"),
        (1.0, "gave '1.0'; it must give a list of numbers"),
        ([1, "좋음", 3, 4], "gave '좋음' for the answer '나나' to '질문 1'; a score must be a finite number, or None"),
        ([1, 2, float("nan"), 4], "gave nan for the answer '다다다'"),
        ([1, 2, 3, float("inf")], "gave inf for the answer '라라라라'"),
    ],
)
def test_what_is_no_score_is_refused(scores, says):
    one = mix((1.0, [Part("mine", lambda prompts, texts: scores)]))
    with pytest.raises(Unscored) as error:
        one(PROMPTS, TEXTS, learn=True)
    assert str(error.value).startswith("the reward mine ") and says in str(error.value)
    assert one.parts[0].moments.count == 0


class TwoWorlds:
    """Two processes as threads: gather waits for both."""

    def __init__(self):
        self.size, self.device, self.barrier, self.said = 2, torch.device("cpu"), threading.Barrier(2, timeout=20), {}

    def of(self, rank):
        world = TwoWorlds.__new__(TwoWorlds)
        world.__dict__ = {**self.__dict__, "rank": rank}
        return world

    def gather(self, thing):
        self.said[self.rank] = thing
        self.barrier.wait()
        both = [self.said[0], self.said[1]]
        self.barrier.wait()
        return both

    def sum(self, values):
        return sum(self.gather(torch.as_tensor(values, dtype=torch.float64)))


def in_both(make, *more):
    """What Mix(...) of each of two processes gives, or raises."""
    worlds, out = TwoWorlds(), [None, None]

    def run(rank):
        try:
            out[rank] = make(worlds.of(rank), rank)(PROMPTS, TEXTS, *more)[0].tolist()
        except Unscored as error:
            out[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def failing(prompts, texts):
    raise Unavailable("the reward x gave no scores")


def test_processes_agree_on_a_failure_and_none_waits():
    def make(world, rank):
        parts = [Part("x", failing if rank else lambda prompts, texts: [1, 2, 3, 4]), given("b", 1, 2, 3, 4)]
        return mix(*((1.0, [part]) for part in parts), world=world)

    first, second = in_both(make)
    assert isinstance(first, Unavailable) and str(first) == str(second) == "the reward x gave no scores"


def test_processes_share_moments_and_the_lowest_score():
    def make(world, rank):
        scores = ((0, 2, 4, 6), (8, 10, 12, 14))[rank]
        parts = [given("a", *scores), given("b", *([rank] * 4))]
        guard = given("g", *((1, 1, 1, 0) if rank else (1, 1, 1, 1)))
        return mix((1.0, [parts[0]]), (1.0, [parts[1]]), vetoes=[(0.5, guard)], world=world)

    first, second = in_both(make, True)
    of_a, of_b = math.sqrt(2 * (1 + 9 + 25 + 49) / 7), math.sqrt(8 * 0.25 / 7)
    # an evaluation's scale is set by the first batch, then the step takes the same batch in: 16 scores, 15 degrees
    of_a, of_b = of_a * math.sqrt(14 / 15), of_b * math.sqrt(14 / 15)
    lowest = (-7 / of_a - 0.5 / of_b) / 2
    assert first[0] == pytest.approx(lowest, abs=1e-6) and second[3] == pytest.approx(lowest, abs=1e-6)
    assert second[0] == pytest.approx((1 / of_a + 0.5 / of_b) / 2, abs=1e-6)


def test_other_errors_are_one_for_all_too():
    with pytest.raises(Unscored, match="mend it"):
        agreed(lambda: (_ for _ in ()).throw(Unscored("mend it")), ALONE)


def test_a_step_and_an_evaluation_tell_each_reward():
    codec = toy_codec()
    models, _ = make_models(codec)
    prompts = toy_prompts(codec)
    length = Part("length", lambda prompts, texts: [len(t) for t in texts])
    models.reward = mix((1.0, [Part("model", models.reward)]), (0.5, [length]))
    figures, _ = evaluate(models, prompts, flags(8), 1)
    assert figures["rewards"].keys() == {"model", "length"} and figures["rewards"]["length"]["n"] == 8
    exp, total, _ = collect(models, prompts, flags(8))
    assert total["score/length"] == sum(map(len, exp.texts)) and total["scored/length"] == 8
    assert total["score"] == pytest.approx(float(exp.scores.sum()))
    assert models.reward.parts[1].moments.count == 16  # of the first batch, which set the scale, and of the step
    assert scored(models.reward.parts[0].reward, prompts, exp.texts, ALONE)[1] == {}
