"""The mathematics of PPO by hand; the arithmetic stands in the comments."""

import math

import numpy as np
import pytest
import torch

from korlhf.rl import ppo
from korlhf.rl.advantages import explained_variance, gae, whiten
from korlhf.rl.rewards import KLController, RunningMoments, kl_shaped_rewards, shaped_scores


def close(a, b, tolerance=1e-6):
    return torch.allclose(
        torch.as_tensor(a, dtype=torch.float32), torch.as_tensor(b, dtype=torch.float32), atol=tolerance
    )


def test_pad_rows_and_mask():
    assert ppo.pad_rows(torch.tensor([1.0, 2, 3, 4]), [1, 3]).tolist() == [[1, 0, 0], [2, 3, 4]]
    assert ppo.length_mask([1, 3]).tolist() == [[1, 0, 0], [1, 1, 1]]


def test_kl_shaped_rewards():
    logps, ref = (
        torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 9.0, 9.0]]),
        torch.tensor([[-1.5, -1.0, -3.0], [-3.0, 0.0, 0.0]]),
    )
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    # row 0: -.1 x (.5, -1, 0), the score 2 on the third; row 1: -.1 x 2 + the score -1 on its only token, nothing on
    # padding
    assert close(kl_shaped_rewards(torch.tensor([2.0, -1.0]), logps, ref, mask, 0.1), [[-0.05, 0.1, 2.0], [-1.2, 0, 0]])


def test_gae_by_hand():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]), torch.tensor([[0.5, 1.0, 1.5], [1.0, 7.0, 7.0]])
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    # gamma .9, lambda .5. Row 0: deltas 3 - 1.5 = 1.5; 2 + .9 x 1.5 - 1 = 2.35; 1 + .9 x 1 - .5 = 1.4
    # advantages 1.5; 2.35 + .45 x 1.5 = 3.025; 1.4 + .45 x 3.025 = 2.76125. Row 1: 4 - 1 = 3, the 7 behind the end
    # does not count
    advantages, returns = gae(rewards, values, mask, 0.9, 0.5)
    assert close(advantages, [[2.76125, 3.025, 1.5], [3, 0, 0]])
    assert close(returns, [[3.26125, 4.025, 3.0], [4, 0, 0]])


@pytest.mark.parametrize("gamma, lam", [(1.0, 1.0), (1.0, 0.95), (0.99, 0.9), (1.0, 1e-3), (0.9, 0.0)])
@pytest.mark.parametrize("length", [1, 2, 37, 1024])
def test_gae_is_the_recursion_of_the_paper(length, gamma, lam):
    """A_t = r_t + gamma V_t+1 - V_t + gamma lambda A_t+1, token by token in fp64, behind an answer's end 0."""
    torch.manual_seed(length)
    lengths = [length, max(length // 3, 1)]
    rewards, values, mask = torch.randn(2, length), 10 * torch.randn(2, length), ppo.length_mask(lengths)
    advantages, returns = gae(rewards * mask, values, mask, gamma, lam)
    for row, n in enumerate(lengths):
        after = later = 0.0
        for t in reversed(range(n)):
            v = float(values[row, t])
            later = float(rewards[row, t]) + gamma * after - v + gamma * lam * later
            after = v
            assert float(advantages[row, t]) == pytest.approx(later, abs=1e-3, rel=1e-4)
            assert float(returns[row, t]) == pytest.approx(later + v, abs=1e-3, rel=1e-4)
        assert not advantages[row, n:].any() and not returns[row, n:].any()


def test_gae_with_lambda_one_returns_the_rewards_to_come():
    torch.manual_seed(0)
    rewards, values = torch.randn(1, 5), torch.randn(1, 5)
    _, returns = gae(rewards, values, torch.ones(1, 5), 1.0, 1.0)
    assert close(returns, rewards.flip(1).cumsum(1).flip(1), 1e-5)


def test_whiten():
    # real tokens 1, 3, 8: mean 4, variance (9 + 1 + 16) / 3 = 26 / 3
    out = whiten(torch.tensor([[1.0, 3.0, 50.0], [8.0, 60.0, 70.0]]), torch.tensor([[1.0, 1, 0], [1, 0, 0]]))
    s = math.sqrt(26 / 3)
    assert close(out, [[-3 / s, -1 / s, 0], [4 / s, 0, 0]])
    assert close(whiten(torch.full((1, 3), 2.0), torch.ones(1, 3)), [[0, 0, 0]])


def test_whiten_over_two_ranks_is_whiten_of_both():
    torch.manual_seed(0)
    a, mask = torch.randn(4, 3) * 3 + 5, torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    parts = []

    def other_rank_added(sums):
        x = a[2:].double()
        return sums + torch.stack([mask[2:].double().sum(), (x * mask[2:]).sum(), (x * x * mask[2:]).sum()])

    parts = whiten(a[:2], mask[:2], other_rank_added)
    assert close(parts, whiten(a, mask)[:2])


def test_policy_loss_and_its_statistics():
    old, new = torch.zeros(4), torch.tensor([1.5, 1.5, 0.5, 1.1]).log()
    loss, stats = ppo.policy_loss(new - old, torch.tensor([2.0, -2.0, 1.0, 1.0]), torch.ones(4), 0.2)
    # ratio 1.5, advantage 2: min(3, 1.2 x 2) = 2.4; advantage -2: min(-3, -2.4) = -3; .5: min(.5, .8) = .5; 1.1 ->
    # 1.1; sum 1.0
    assert float(loss) == pytest.approx(-1.0, abs=1e-6)
    assert int(stats["clipped"]) == 3
    assert float(stats["ratio_max"]) == pytest.approx(1.5) and float(stats["ratio_min"]) == pytest.approx(0.5)
    # r - 1 - ln r: 2 x (.5 - ln 1.5) + (-.5 + ln 2) + (.1 - ln 1.1)
    assert float(stats["approx_kl"]) == pytest.approx(
        2 * (0.5 - math.log(1.5)) - 0.5 + math.log(2) + 0.1 - math.log(1.1), abs=1e-6
    )


def test_policy_gradient_stops_where_it_is_clipped():
    new = torch.tensor([1.5, 1.5, 1.0]).log().requires_grad_()
    ppo.policy_loss(new, torch.tensor([2.0, -2.0, 3.0]), torch.ones(3), 0.2)[0].backward()
    assert close(
        new.grad, [0, 3.0, -3.0]
    )  # -d(ratio x advantage)/d(log ratio) = -ratio x advantage, 0 where the clipped one counts


def test_value_loss():
    # old 1, return 2: new 1.1 -> .81 unclipped; new 1.5 -> max(.25, (1.2 - 2)^2 = .64); new 2.5, return 1.1 ->
    # max(1.96, (1.2 - 1.1)^2) ; half
    values, old, returns = torch.tensor([1.1, 1.5, 2.5]), torch.ones(3), torch.tensor([2.0, 2.0, 1.1])
    assert float(ppo.value_loss(values, old, returns, 0.2)) == pytest.approx(0.5 * (0.81 + 0.64 + 1.96), abs=1e-6)


def test_kl_estimates_by_hand_and_in_the_mean():
    k1, k3 = ppo.kl_estimates(
        torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[math.log(2), 1.0, 0.0]]), torch.tensor([[1.0, 1, 0]])
    )
    assert float(k1) == pytest.approx(-math.log(2), abs=1e-6)
    assert float(k3) == pytest.approx(2 - 1 - math.log(2), abs=1e-6)  # 1/r = reference / actor = 2
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    exact = float((p * (p / q).log()).sum())
    both = [
        float((p * k).sum()) for k in ppo.kl_estimates(p.log().unsqueeze(1), q.log().unsqueeze(1), torch.ones(3, 1))
    ]
    assert both == pytest.approx([exact, exact], abs=1e-6)  # under the actor's own samples both are unbiased


def test_explained_variance():
    mask = torch.tensor([[1.0, 1, 1, 0]])
    returns = torch.tensor([[1.0, 2, 3, 99]])
    # errors (0, 1, 1): variance 1/3; returns: variance 1
    assert explained_variance(torch.tensor([[1.0, 1, 2, 0]]), returns, mask) == pytest.approx(2 / 3, abs=1e-6)
    assert explained_variance(returns + 5, returns, mask) == pytest.approx(1)
    assert explained_variance(returns, torch.full((1, 4), 0.1), mask) is None
    assert explained_variance(returns[:, :1], returns[:, :1], mask[:, :1]) is None


def test_explained_variance_is_that_of_all_processes():
    torch.manual_seed(0)
    values, returns = torch.randn(4, 3), torch.randn(4, 3) + 5
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    calls = []

    def total(sums):  # of this process, whose part is the first two answers, and of the other
        picked = mask[2:].bool()
        r, e = returns[2:][picked].double(), (returns - values)[2:][picked].double()
        calls.append(sums)
        if len(calls) == 1:
            return sums + torch.stack([mask[2:].sum().double(), r.sum(), e.sum()])
        means = [x[mask.bool()].double().mean() for x in (returns, returns - values)]
        return sums + torch.stack([((x - m) ** 2).sum() for x, m in zip((r, e), means)])

    expected = explained_variance(values, returns, mask)
    assert explained_variance(values[:2], returns[:2], mask[:2], total) == pytest.approx(expected, abs=1e-9)
    assert explained_variance(values[:2], returns[:2], mask[:2]) != pytest.approx(expected, abs=0.01)
    errors = (returns - values)[mask.bool()].var() / returns[mask.bool()].var()
    assert expected == pytest.approx(1 - float(errors), abs=1e-5)


def test_running_moments_are_those_of_all_scores():
    generator = np.random.default_rng(0)
    chunks = [generator.normal(3, 2, n) for n in (5, 1, 17, 2)]
    moments = RunningMoments()
    assert moments.std == 1.0
    for c in chunks:
        moments.update(torch.tensor(c))
    every = np.concatenate(chunks)
    assert moments.mean == pytest.approx(every.mean(), abs=1e-12) and moments.std == pytest.approx(
        every.std(ddof=1), abs=1e-12
    )
    again = RunningMoments(**moments.state())
    again.update(torch.tensor([4.0]))
    assert again.std == pytest.approx(float(torch.tensor([*every, 4.0], dtype=torch.float64).std()), abs=1e-12)


def test_running_moments_over_two_ranks():
    here, there = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([10.0])
    both, calls = torch.cat([here, there]).double(), []

    def total(sums):
        calls.append(sums)
        if len(calls) == 1:
            return sums + torch.tensor([1.0, 10.0], dtype=torch.float64)
        return sums + (10.0 - both.mean()) ** 2

    moments = RunningMoments()
    moments.update(here, total)
    assert (moments.count, moments.mean) == (4, pytest.approx(4.75)) and moments.std == pytest.approx(float(both.std()))


def test_running_moments_of_equal_scores_stay_usable():
    moments = RunningMoments()
    moments.update(torch.full((4,), 2.0))
    assert moments.std == 1e-4


def test_shaped_scores():
    # (3 - 1) / 2 = 1; (21 - 1) / 2 = 10, clipped to 5; (-1 - 1) / 2 = -1, less .5 for the missing EOS
    out = shaped_scores(torch.tensor([3.0, 21.0, -1.0]), torch.tensor([True, True, False]), 1.0, 2.0, 5.0, 0.5)
    assert close(out, [1.0, 5.0, -1.5])


def test_kl_controller():
    fixed = KLController(0.05)
    fixed.update(100.0, 64)
    assert fixed.coef == 0.05
    controlled = KLController(0.1, target=10.0, horizon=1000)
    controlled.update(11.0, 100)  # error .1: x (1 + .1 x 100 / 1000)
    assert controlled.coef == pytest.approx(0.1 * 1.01)
    controlled.update(50.0, 100)  # error 4, held to .2
    assert controlled.coef == pytest.approx(0.1 * 1.01 * 1.02)
    controlled.update(0.0, 100)  # error -1, held to -.2
    assert controlled.coef == pytest.approx(0.1 * 1.01 * 1.02 * 0.98)
