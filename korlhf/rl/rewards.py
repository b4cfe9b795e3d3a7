"""Answers to scores, and scores to rewards: the reward model, normalisation, the penalty of a missing EOS, the KL
penalty per token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from korlhf.core.errors import Unscored
from korlhf.data.tokenize import Codec
from korlhf.rl.advantages import Total
from korlhf.training import pairs
from korlhf.training.engine import Frozen
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.world import World


@dataclass(frozen=True)
class Prompt:
    """A prompt as the actor reads it, and the conversation it came from. columns: of its row in the data set."""

    ids: list[int]
    messages: tuple
    category: str
    columns: dict = field(default_factory=dict)


Reward = Callable[[Sequence[Prompt], Sequence[str]], torch.Tensor]  # prompts and answers -> raw scores (B,)


def finite_scores(reward: Reward, prompts: Sequence[Prompt], texts: Sequence[str], world: World) -> torch.Tensor:
    """What `reward` gives; raises Unscored on all processes if a score of one of them is not finite."""
    scores = reward(prompts, texts)
    wrong = ~scores.isfinite()
    if not float(world.sum([wrong.sum()])[0]):
        return scores
    told = None
    if wrong.any():
        k = int(wrong.nonzero()[0])
        question = prompts[k].messages[-1]["content"]
        told = f"{scores[k]} for the answer {texts[k]!r} to {question!r}"
    first = next(text for text in world.gather(told) if text)
    name = getattr(reward, "name", None) or getattr(reward, "__name__", type(reward).__name__)
    raise Unscored(f"the reward {name} gave {first}; a score must be a finite number: mend the reward, or give another")


class RewardModel:
    """The Reward of a reward model, which reads with its own template and tokenizer.

    Every text gets the token that ends an answer, as the reward model saw in training; a missing EOS is the PPO
    penalty's business.
    """

    def __init__(self, model: Frozen, codec: Codec, batch_size: int, name: str = "model"):
        """name: by which it is known in errors."""
        self.name = name
        self.model, self.codec, self.batch_size = model, codec, batch_size

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> torch.Tensor:
        rows = [self.codec.with_answer(p.messages, t) for p, t in zip(prompts, texts)]
        device, scores = self.model.world.device, []
        with self.model as module:
            for start in range(0, len(rows), self.batch_size):
                scores.append(pairs.forward(module, rows[start : start + self.batch_size], device))
        return torch.cat(scores)


def kl_shaped_rewards(
    scores: torch.Tensor,
    logps: torch.Tensor,
    ref_logps: torch.Tensor,
    mask: torch.Tensor,
    kl_coef: float,
    k3: bool = False,
) -> torch.Tensor:
    """Per-token reward: -kl_coef * (logp - ref_logp), plus the score on the last answer token (EOS, or the token
    where it was cut).

    scores (B,), as they shall count; logps, ref_logps, mask (B, R) -> (B, R), zero where mask is 0. k3: the estimate
    of the KL is k3 in place of the log-ratio.
    """
    log_ratio = logps - ref_logps
    rewards = -kl_coef * ((-log_ratio).exp() - 1 + log_ratio if k3 else log_ratio) * mask
    last = mask.long().sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores.unsqueeze(1))


class RunningMoments:
    """Mean and standard deviation of all scores seen so far (Chan et al. 1979), over all processes."""

    def __init__(self, count: float = 0.0, mean: float = 0.0, m2: float = 0.0):
        self.count, self.mean, self.m2 = count, mean, m2

    def update(self, scores: torch.Tensor, total: Total = lambda sums: sums) -> None:
        """Take in scores (B,) of every process."""
        x = scores.double()
        n, s = (float(v) for v in total(torch.stack([torch.tensor(float(len(x)), dtype=torch.float64), x.sum().cpu()])))
        if not n:
            return
        mean = s / n
        m2 = float(total(((x - mean) ** 2).sum().cpu().reshape(1))[0])
        delta, both = mean - self.mean, self.count + n
        self.m2 += m2 + delta**2 * self.count * n / both
        self.mean += delta * n / both
        self.count = both

    @property
    def std(self) -> float:
        return max((self.m2 / (self.count - 1)) ** 0.5, 1e-4) if self.count > 1 else 1.0

    def state(self) -> dict[str, float]:
        return {"count": self.count, "mean": self.mean, "m2": self.m2}


def shaped_scores(
    scores: torch.Tensor, ended: torch.Tensor, offset: float, std: float, clip: float, missing_eos_penalty: float
) -> torch.Tensor:
    """Scores as PPO counts them: (score - offset) / std, clipped to +-clip, less the penalty where the answer did not
    end.

    scores (B,), ended (B,) bool; offset: the mean score of the reference's answers, so that those average 0.
    """
    return ((scores - offset) / std).clamp(-clip, clip) - missing_eos_penalty * (~ended).float()


ScoreShaping = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (raw scores, ended) -> scores as they count


class RunningShaping:
    """The ScoreShaping of a training: takes every batch into the running moments of the score."""

    def __init__(self, moments: RunningMoments, offset: float, flags: PpoFlags, total: Total):
        self.moments, self.offset, self.flags, self.total = moments, offset, flags, total

    def __call__(self, raw: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        self.moments.update(raw, self.total)
        if self.flags.no_score_normalization:
            return shaped_scores(raw, ended, 0.0, 1.0, float("inf"), self.flags.missing_eos_penalty)
        scale = self.offset, self.moments.std, self.flags.reward_clip
        return shaped_scores(raw, ended, *scale, self.flags.missing_eos_penalty)


class KLController:
    """Weight of the KL penalty: fixed, or controlled to a target KL per answer (Ziegler et al. 2019, section 2.2)."""

    def __init__(self, coef: float, target: float = 0.0, horizon: int = 2000):
        self.coef, self.target, self.horizon = coef, target, horizon

    def update(self, kl: float, answers: int) -> None:
        """kl: mean KL per answer (nats) of the last `answers` answers."""
        if self.target:
            error = max(-0.2, min(0.2, kl / self.target - 1))
            self.coef *= 1 + error * answers / self.horizon
