"""Rewards to advantages."""

import torch
import torch.nn.functional as F


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
    variance = (q / n - mean**2).clamp(min=0)
    return ((x - mean) / (variance + 1e-8).sqrt() * mask).float()


def explained_variance(values, returns, mask):
    """1 - Var(returns - values) / Var(returns) over real tokens; None if the returns do not vary."""
    picked = mask.bool()
    r, e = returns[picked], (returns - values)[picked]
    if r.numel() < 2 or float(r.var()) == 0:
        return None
    return 1 - float(e.var()) / float(r.var())
