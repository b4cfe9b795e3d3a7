"""One PPO step with real models: sample, score, update.

The mathematics is in ppo.py; here are the forward passes. All of them are packed, and all processes run equally many.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from korlhf.data import packing
from korlhf.data.ngrams import repetition
from korlhf.data.tokenize import Tokens
from korlhf.rl import ppo, rollout
from korlhf.rl.advantages import gae
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt, ScoreShaping, kl_shaped_rewards
from korlhf.training.flags import PpoFlags
from korlhf.training.log import Clock
from korlhf.training.sft import sft_loss

FIGURES = ("loss", "clipped", "approx_kl", "ptx")  # of an actor step, as sums over tokens


def chunked(n: int, size: int) -> list[list[int]]:
    return [list(range(i, min(i + size, n))) for i in range(0, n, size)]


def packed_answers(
    prompts: Sequence[list[int]], answers: Sequence[list[int]], device: torch.device, extra: Sequence[Tokens] = ()
) -> tuple[packing.Packed, torch.Tensor, torch.Tensor]:
    """Pack prompt + answer sequences, then `extra`; returns (Packed, logits_at, targets) of the answers' (and
    extra's) tokens.
    """
    sequences = [p + a for p, a in zip(prompts, answers)] + [t.ids for t in extra]
    masks = [[0] * len(p) + [1] * len(a) for p, a in zip(prompts, answers)] + [t.mask for t in extra]
    packed = packing.pack(sequences).to(device)
    return packed, *packing.targets(packed, masks)


@torch.no_grad()
def answer_logps(
    models: Models, prompts: Sequence[list[int]], answers: Sequence[list[int]], batch_size: int, which: str
) -> tuple[torch.Tensor, float]:
    """Log-probabilities (M,) and mean entropy of the answers' tokens under the "actor" or the "reference"."""
    context: Any = contextlib.nullcontext(models.actor)
    if which == "reference":
        context = models.reference or _adapter_off(models.actor)
    flat, entropy = [], 0.0
    with context as module:
        for chunk in chunked(len(answers), batch_size):
            batch = [prompts[i] for i in chunk], [answers[i] for i in chunk]
            packed, logits_at, targets = packed_answers(*batch, models.world.device)
            logps, h = module(packed, logits_at, targets, with_entropy=True)
            flat.append(logps)
            entropy += float(h.sum())
    logps = torch.cat(flat)
    return logps, entropy / len(logps)


@contextlib.contextmanager
def _adapter_off(actor):
    with actor.module.lm.disable_adapter():
        yield actor


def sample(models: Models, prompts: Sequence[Prompt], seeds: Sequence[int], flags: PpoFlags) -> list[list[int]]:
    """Answer ids of `prompts` from the actor, which is left in evaluation mode."""
    models.actor.eval()
    limits = rollout.Limits(flags.max_answer_seq_len, flags.temperature, flags.top_p)
    ids, size = [p.ids for p in prompts], flags.per_device_generation_batch_size
    with models.actor.gathered_weights():
        return rollout.sample(models.actor.module.lm, ids, seeds, models.codec.eos_token_id, limits, size)


def collect(
    models: Models,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    flags: PpoFlags,
    kl_coef: float,
    score_shaping: ScoreShaping,
    clock: Clock,
) -> tuple[ppo.Experience, dict[str, float], dict[str, float]]:
    """Sample and score one answer per prompt: (Experience, figures of this process as sums, seconds)."""
    clock.lap()
    answers = sample(models, prompts, seeds, flags)
    sampling = clock.lap()
    device, size = models.world.device, flags.per_device_training_batch_size
    ids, lengths = [p.ids for p in prompts], [len(a) for a in answers]
    logps, entropy = answer_logps(models, ids, answers, size, "actor")
    ref_logps, _ = answer_logps(models, ids, answers, size, "reference")
    models.critic.eval()
    with torch.no_grad():
        chunks = chunked(len(answers), size)
        values = [_values(models.critic, [ids[i] for i in c], [answers[i] for i in c], device) for c in chunks]
    texts = [models.codec.decode(a) for a in answers]
    raw = models.reward(prompts, texts)
    ended = torch.tensor([a[-1] == models.codec.eos_token_id for a in answers], device=device)

    logps, ref_logps, values = (ppo.pad_rows(x, lengths) for x in (logps, ref_logps, torch.cat(values)))
    mask = ppo.length_mask(lengths, device)
    rewards = kl_shaped_rewards(score_shaping(raw, ended), logps, ref_logps, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, flags.gamma, flags.lam)
    scoring = clock.lap()
    k1, k3 = ppo.kl_estimates(logps, ref_logps, mask)
    sums = {
        "answers": len(answers),
        "tokens": sum(lengths),
        "score": float(raw.sum()),
        "reward": float(rewards.sum()),
        "kl": float(k1.sum()),
        "kl_k3": float(k3.sum()),
        "eos_rate": float(ended.sum()),
        "repetition": sum(map(repetition, answers)),
        "entropy": entropy * sum(lengths),
        "prompt_tokens": sum(map(len, ids)),
    }
    experience = ppo.Experience(ids, answers, texts, mask, logps, ref_logps, values, advantages, returns, raw)
    return experience, sums, {"sampling": sampling, "scoring": scoring}


def _values(critic, prompts, answers, device):
    packed, logits_at, _ = packed_answers(prompts, answers, device)
    return critic(packed)[logits_at]


def minibatches(n: int, batch_size: int, accumulation: int, epochs: int) -> Iterator[list[list[int]]]:
    """Random order of `n` answers, `epochs` times: lists of `accumulation` index lists, one per optimizer step.

    Uses torch's generator.
    """
    step = batch_size * accumulation
    for _ in range(epochs):
        order = torch.randperm(n).tolist()
        for at in range(0, n, step):
            yield [order[at + a * batch_size : at + (a + 1) * batch_size] for a in range(accumulation)]


@dataclass(frozen=True)
class _Minibatch:
    """Some answers of an Experience; tensors are (M,)."""

    prompts: list[list[int]]
    answers: list[list[int]]
    logps: torch.Tensor
    advantages: torch.Tensor
    values: torch.Tensor
    returns: torch.Tensor

    @classmethod
    def of(cls, exp, chunk):
        mask = exp.mask[chunk].bool()
        flat = (x[chunk][mask] for x in (exp.logps, exp.advantages, exp.values, exp.returns))
        return cls([exp.prompts[i] for i in chunk], [exp.answers[i] for i in chunk], *flat)


def update(
    models: Models,
    exp: ppo.Experience,
    flags: PpoFlags,
    train_actor: bool,
    unsupervised: Iterator[list[Tokens]] | None = None,
) -> dict[str, float | None]:
    """All gradient steps on one Experience. unsupervised: lists of Tokens (ptx), one per forward pass.

    Returns figures as means over this step's tokens (clip fraction, approximate KL, losses) and extremes of the
    ratio, over all processes.
    """
    world = models.world
    accumulation = flags.gradient_accumulation_steps
    batches = list(minibatches(len(exp), flags.per_device_training_batch_size, accumulation, flags.ppo_epochs))
    tokens = world.sum([sum(len(exp.answers[i]) for chunk in batch for i in chunk) for batch in batches]).tolist()
    sums, highest, lowest = torch.zeros(5, dtype=torch.float64), 1.0, 1.0
    models.actor.train()
    models.critic.train()
    for batch, total in zip(batches, tokens):
        normalizer = total / (world.size * accumulation)
        for chunk in batch:
            minibatch = _Minibatch.of(exp, chunk)
            if train_actor:
                extra = next(unsupervised) if unsupervised is not None else []
                figures = _actor_step(models, minibatch, flags, normalizer, extra)
                sums[:4] += torch.tensor([figures[k] for k in FIGURES], dtype=torch.float64)
                highest, lowest = max(highest, figures["ratio_max"]), min(lowest, figures["ratio_min"])
            values = _values(models.critic, minibatch.prompts, minibatch.answers, world.device)
            loss = ppo.value_loss(values, minibatch.values, minibatch.returns, flags.cliprange_value)
            models.critic.backward(loss / normalizer)
            models.critic.step()
            sums[4] += float(loss.detach())
    policy_loss, clipped, approx_kl, ptx, value_loss = world.sum(sums).tolist()
    every, passes = sum(tokens), world.size * sum(map(len, batches))
    extremes = world.gather((highest, lowest))
    return {
        "policy_loss": policy_loss / every,
        "clip_fraction": clipped / every,
        "approx_kl": approx_kl / every,
        "value_loss": value_loss / every,
        "ratio_max": max(high for high, _ in extremes),
        "ratio_min": min(low for _, low in extremes),
        "ptx_loss": ptx / passes if unsupervised is not None else None,
    }


def _actor_step(models, minibatch, flags, normalizer, extra):
    """One forward and backward pass of the actor; the ptx sequences share the answers' rows.

    Figures are sums over tokens.
    """
    actor, answers = models.actor, minibatch.answers
    packed, logits_at, targets = packed_answers(minibatch.prompts, answers, models.world.device, extra)
    logps = actor(packed, logits_at, targets)
    n = sum(map(len, answers))
    loss, statistics = ppo.policy_loss(logps[:n], minibatch.logps, minibatch.advantages, flags.cliprange)
    whole, ptx = loss / normalizer, torch.zeros(())
    if extra:
        ptx = sft_loss(logps[n:], len(logps) - n)
        whole = whole + flags.unsup_coef * ptx
    actor.backward(whole)
    actor.step()
    return {k: float(v.detach()) for k, v in {**statistics, "loss": loss, "ptx": ptx}.items()}
