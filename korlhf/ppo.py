"""Proximal policy optimisation on one batch of answers: what is rewarded, what is advantaged, what is lost.

Pure functions over tensors; imports nothing else of korlhf. Shapes: B answers, R answer tokens (right-padded); M = the real tokens of
several answers one after another. Masks are 1 on real tokens. Every log-probability is in nats.
An answer's tokens include the one that ends it (EOS), which is an action like every other; an answer cut at the length limit has none.
Sources: PPO (arXiv 1707.06347), GAE (1506.02438), RLHF (2009.01325, 2203.02155), the k1 and k3 estimators (Schulman 2020).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class Experience:
    """What one sampled batch leaves behind; everything is detached. tokens: lists of ids, the rest as shaped."""
    prompts: list[list[int]]    # B lists of prompt ids
    answers: list[list[int]]    # B lists of answer ids, each at least one token
    mask: torch.Tensor          # (B, R)
    logps: torch.Tensor         # (B, R) under the actor that sampled
    ref_logps: torch.Tensor     # (B, R) under the reference
    values: torch.Tensor        # (B, R) critic's, before each answer token
    advantages: torch.Tensor    # (B, R)
    returns: torch.Tensor       # (B, R)
    scores: torch.Tensor        # (B,)   reward model's, raw

    def __len__(self):
        return len(self.answers)


def pad_rows(flat, lengths):
    """(M,) values of several answers -> (B, R), zero where there is no token; lengths: tokens of each answer."""
    rows = flat.split(list(lengths))
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def length_mask(lengths, device=None):
    """Answer lengths -> mask (B, R) with R the longest."""
    lengths = torch.as_tensor(lengths, device=device)
    return (torch.arange(int(lengths.max()), device=device) < lengths.unsqueeze(1)).float()


def kl_shaped_rewards(scores, logps, ref_logps, mask, kl_coef):
    """Per-token reward: -kl_coef * (logp - ref_logp), plus the score on the last answer token (EOS, or the token where it was cut).

    scores (B,), as they shall count; logps, ref_logps, mask (B, R) -> (B, R), zero where mask is 0.
    """
    rewards = -kl_coef * (logps - ref_logps) * mask
    last = mask.long().sum(1, keepdim=True) - 1                                     # (B, 1)
    return rewards.scatter_add(1, last, scores.unsqueeze(1))


def gae(rewards, values, mask, gamma, lam):
    """Generalized Advantage Estimation; the value after the last answer token is 0.

    rewards, values, mask (B, R) -> advantages, returns (B, R), zero where mask is 0.
    """
    values = values * mask
    deltas = rewards + gamma * F.pad(values[:, 1:], (0, 1)) - values
    advantages, running = torch.zeros_like(deltas), torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.size(1))):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages * mask, (advantages + values) * mask


def whiten(advantages, mask, total=lambda sums: sums):
    """Advantages with mean 0 and standard deviation 1 over the real tokens of all ranks; padding stays 0.

    total: function that sums a fp64 tensor over ranks (none given = one rank).
    """
    x = advantages.double()
    n, s, q = total(torch.stack([mask.double().sum(), (x * mask).sum(), (x * x * mask).sum()]))
    mean = s / n
    variance = (q / n - mean ** 2).clamp(min=0)
    return ((x - mean) / (variance + 1e-8).sqrt() * mask).float()


def policy_loss(logps, old_logps, advantages, cliprange):
    """Clipped surrogate, summed over tokens. All (M,). Returns (loss, detached statistics as sums over tokens)."""
    log_ratio = logps - old_logps
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - cliprange, 1 + cliprange)
    loss = -torch.min(ratio * advantages, clipped * advantages).sum()
    with torch.no_grad():
        stats = {"clipped": (ratio != clipped).sum(), "approx_kl": (ratio - 1 - log_ratio).sum(), "ratio_max": ratio.max(), "ratio_min": ratio.min()}
    return loss, stats


def value_loss(values, old_values, returns, cliprange_value):
    """Half the larger of the plain and the clipped squared error, summed over tokens. All (M,)."""
    near = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    return 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2).sum()


def kl_estimates(logps, ref_logps, mask):
    """KL from reference to actor of each answer in nats, (B,) twice: k1 = sum of log-ratios, k3 = sum of (1/r - 1 + log r), r = actor / reference."""
    log_ratio = (logps - ref_logps) * mask
    return log_ratio.sum(1), ((-log_ratio).exp() - 1 + log_ratio).sum(1)


def explained_variance(values, returns, mask):
    """1 - Var(returns - values) / Var(returns) over real tokens; None if the returns do not vary."""
    picked = mask.bool()
    r, e = returns[picked], (returns - values)[picked]
    if r.numel() < 2 or float(r.var()) == 0:
        return None
    return 1 - float(e.var()) / float(r.var())


def repetition(answer, n=3):
    """Share of an answer's n-grams that occurred before in it; 0 for answers of fewer than n + 1 tokens."""
    grams = [tuple(answer[i:i + n]) for i in range(len(answer) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0


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
        self.m2 += m2 + delta ** 2 * self.count * n / both
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
