"""Advantages without a critic: by hand, against loops, over processes, and where there is nothing to compare."""

import pytest
import torch

from korlhf.rl.advantages import equal_groups, grpo, reinforce, rloo
from korlhf.rl.ppo import kl_loss, loss_weights, mean_per_answer, policy_loss

SCORES, GROUPS = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, -1.0]), torch.tensor([0, 0, 0, 1, 1, 2])


def close(a, b, tolerance=1e-4):
    return torch.allclose(a, torch.tensor(b, dtype=torch.float32), atol=tolerance)


def test_rloo_by_hand():
    # 1 - (2 + 6) / 2, 2 - (1 + 6) / 2, 6 - (1 + 2) / 2; equal ones have none; an only answer has no others
    assert close(rloo(SCORES, GROUPS), [-3.0, -1.5, 4.5, 0.0, 0.0, -1.0])


@pytest.mark.parametrize("scale, divisor", [("none", 1.0), ("group", 7**0.5), ("batch", 7.6**0.5)])
def test_grpo_by_hand(scale, divisor):
    # the first three have mean 3 and variance (4 + 1 + 9) / 2 = 7; all six mean 3, variance (4+1+9+4+4+16) / 5 = 7.6
    assert close(grpo(SCORES, GROUPS, scale), [-2 / divisor, -1 / divisor, 3 / divisor, 0, 0, 0], 1e-3)


def test_the_deviation_of_the_batch_is_that_of_all_processes():
    other = torch.tensor([4.0, 9.0])

    def total(sums):
        x = other.double()
        mean = (SCORES.sum() + other.sum()).double() / 8
        return sums + (
            torch.stack([x.new_tensor(2), x.sum()]) if len(sums) == 2 else ((x - mean) ** 2).sum().reshape(1)
        )

    both = grpo(torch.cat([SCORES, other]), torch.tensor([0, 0, 0, 1, 1, 2, 3, 3]), "batch")
    assert torch.allclose(grpo(SCORES, GROUPS, "batch", total), both[:6], atol=1e-5)


def test_reinforce_by_hand():
    rewards, mask = torch.tensor([[1.0, 0.0, 4.0], [2.0, 7.0, 7.0]]), torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    # with gamma .5 the sums are 1 + 0 + 1 = 2, 2, 4 and 2: mean 2.5
    assert close(reinforce(rewards * mask, mask, 0.5), [[-0.5, -0.5, 1.5], [-0.5, 0, 0]])


def test_equal_groups():
    assert equal_groups(SCORES, GROUPS).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("kind", [rloo, grpo])
def test_groups_of_one_and_equal_scores_are_finite(kind):
    assert kind(torch.tensor([3.0, 3.0]), torch.tensor([0, 0])).tolist() == [0, 0]
    assert kind(torch.tensor([3.0]), torch.tensor([0])).isfinite().all()


def test_how_tokens_count():
    mask, kept = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]), torch.tensor([True, True, False])
    weights, shares = loss_weights(mask, kept, "token", 10)
    assert weights.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]] and shares.tolist() == [3, 1, 0]
    weights, shares = loss_weights(mask, kept, "sequence", 10)
    assert close(weights, [[1 / 3, 1 / 3, 1 / 3, 0], [1, 0, 0, 0], [0, 0, 0, 0]]) and shares.tolist() == [1, 1, 0]
    weights, shares = loss_weights(mask, kept, "constant", 10)
    assert weights.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]] and shares.tolist() == [10, 10, 0]


def test_mean_per_answer():
    assert mean_per_answer(torch.tensor([1.0, 3.0, 5.0]), [2, 1]).tolist() == [2, 2, 5]


def test_a_higher_upper_clip_and_weights_by_hand():
    log_ratio = torch.tensor([1.5, 1.25, 0.5, 3.0]).log()
    loss, stats = policy_loss(log_ratio, torch.ones(4), torch.tensor([1.0, 0.5, 1.0, 0.0]), 0.2, 0.3)
    # min(1.5, 1.3) + .5 x min(1.25, 1.25) + min(.5, .8); the last does not count
    assert float(loss) == pytest.approx(-(1.3 + 0.625 + 0.5), abs=1e-6)
    assert int(stats["clipped"]) == 2 and float(stats["ratio_max"]) == pytest.approx(1.5)


def test_the_kl_in_the_loss_by_hand():
    logps = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = kl_loss(logps, torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 0.5]))
    # log-ratio -1: e - 1 - 1, halved; its gradient 1 - e, halved; at equal ones both are 0
    assert float(loss.detach()) == pytest.approx((2.718281828 - 2) / 2, abs=1e-5)
    loss.backward()
    assert close(logps.grad, [0, (1 - 2.718281828) / 2])
