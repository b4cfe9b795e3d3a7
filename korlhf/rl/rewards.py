"""Scores to rewards: normalisation, the penalty of a missing EOS, the KL penalty per token, its controller."""

import torch


def kl_shaped_rewards(scores, logps, ref_logps, mask, kl_coef):
    """Per-token reward: -kl_coef * (logp - ref_logp), plus the score on the last answer token (EOS, or the token where it was cut).

    scores (B,), as they shall count; logps, ref_logps, mask (B, R) -> (B, R), zero where mask is 0.
    """
    rewards = -kl_coef * (logps - ref_logps) * mask
    last = mask.long().sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores.unsqueeze(1))


class RunningMoments:
    """Mean and standard deviation of all scores seen so far (Chan et al. 1979), over all ranks."""

    def __init__(self, count=0.0, mean=0.0, m2=0.0):
        self.count, self.mean, self.m2 = count, mean, m2

    def update(self, scores, total=lambda sums: sums):
        """Take in scores (B,) of every rank; total: as in whiten."""
        x = scores.double()
        n, s = (float(v) for v in total(torch.stack([torch.tensor(float(len(x)), dtype=torch.float64), x.sum().cpu()])))
        mean = s / n
        m2 = float(total(((x - mean) ** 2).sum().cpu().reshape(1))[0])
        delta, both = mean - self.mean, self.count + n
        self.m2 += m2 + delta**2 * self.count * n / both
        self.mean += delta * n / both
        self.count = both

    @property
    def std(self):
        return max((self.m2 / (self.count - 1)) ** 0.5, 1e-4) if self.count > 1 else 1.0

    def state(self):
        return {"count": self.count, "mean": self.mean, "m2": self.m2}


def shaped_scores(scores, ended, offset, std, clip, missing_eos_penalty):
    """Scores as PPO counts them: (score - offset) / std, clipped to +-clip, less the penalty where the answer did not end.

    scores (B,), ended (B,) bool; offset: the mean score of the reference's answers, so that those average 0.
    """
    return ((scores - offset) / std).clamp(-clip, clip) - missing_eos_penalty * (~ended).float()


class KLController:
    """Weight of the KL penalty: fixed, or steered to a target KL per answer (Ziegler et al. 2019, section 2.2)."""

    def __init__(self, coef, target=0.0, horizon=2000):
        self.coef, self.target, self.horizon = coef, target, horizon

    def update(self, kl, answers):
        """kl: mean KL per answer (nats) of the last `answers` answers."""
        if self.target:
            error = max(-0.2, min(0.2, kl / self.target - 1))
            self.coef *= 1 + error * answers / self.horizon
