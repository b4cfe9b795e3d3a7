"""One PPO step with real models: sample, score, update.

The mathematics is in ppo.py; here are the forward passes. All of them are packed, and all processes run equally many.
Where a step is one update of one forward pass, actor and critic are run once: with a graph, whose values are the old
ones as well as those that are trained.
"""

import contextlib
from collections import Counter
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
from korlhf.rl.rewards import Prompt, ScoreShaping, finite_scores, kl_shaped_rewards
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
    models: Models,
    prompts: Sequence[list[int]],
    answers: Sequence[list[int]],
    batch_size: int,
    which: str,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies (M,) of the answers' tokens under the "actor" or the "reference", both at the
    sampling temperature.
    """
    context: Any = contextlib.nullcontext(models.actor)
    if which == "reference":
        context = models.reference or _adapter_off(models.actor)
    with context as module:
        chunks = chunked(len(answers), batch_size)
        passes = [_logps(module, models, [prompts[i] for i in c], [answers[i] for i in c], temperature) for c in chunks]
    logps, entropies = (torch.cat(parts) for parts in zip(*passes))
    return logps, entropies


def _logps(module, models, prompts, answers, temperature):
    packed = packed_answers(prompts, answers, models.world.device)
    return module(*packed, with_entropy=True, temperature=temperature)


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
    seconds = {"sampling": clock.lap(), "scoring": 0.0, "training": 0.0}
    device, ids, lengths = models.world.device, [p.ids for p in prompts], [len(a) for a in answers]
    texts = [models.codec.decode(a) for a in answers]
    raw = finite_scores(models.reward, prompts, texts, models.world)
    how = flags.per_device_generation_batch_size, "reference", flags.temperature
    ref_logps, _ = answer_logps(models, ids, answers, *how)
    seconds["scoring"] += clock.lap()
    trains = flags.one_pass(len(answers))
    passes, entropies = (_passes if trains else _passes_without_graph)(models, ids, answers, flags)
    seconds["training" if trains else "scoring"] += clock.lap()

    flat = passes.logps.detach(), ref_logps, passes.values.detach()
    logps, ref_logps, values = (ppo.pad_rows(x, lengths) for x in flat)
    mask = ppo.length_mask(lengths, device)
    ended = torch.tensor([a[-1] == models.codec.eos_token_id for a in answers], device=device)
    rewards = kl_shaped_rewards(score_shaping(raw, ended), logps, ref_logps, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, flags.gamma, flags.lam)
    k1, k3 = (k.sum() for k in ppo.kl_estimates(logps, ref_logps, mask))
    tensors = {"score": raw.sum(), "reward": rewards.sum(), "kl": k1, "kl_k3": k3, "eos_rate": ended.sum()}
    tensors |= {"entropy": entropies.sum(), "score_squares": (raw.double() ** 2).sum()}
    sums = {
        "answers": len(answers),
        "tokens": sum(lengths),
        "prompt_tokens": sum(map(len, ids)),
        "repetition": sum(map(repetition, answers)),
        "same_answer": max(Counter(texts).values()),
        **dict(zip(tensors, torch.stack([t.double() for t in tensors.values()]).tolist())),
    }
    seconds["scoring"] += clock.lap()
    experience = ppo.Experience(ids, answers, texts, mask, logps, ref_logps, values, advantages, returns, raw)
    experience.passes = passes if trains else None
    return experience, sums, seconds


def _passes(models, prompts, answers, flags):
    """(Passes, entropies (M,)) of actor and critic."""
    models.actor.train()
    models.critic.train()
    packed, logits_at, targets = packed_answers(prompts, answers, models.world.device)
    logps, entropies = models.actor(packed, logits_at, targets, with_entropy=True, temperature=flags.temperature)
    return ppo.Passes(logps, models.critic(packed)[logits_at]), entropies


@torch.no_grad()
def _passes_without_graph(models, prompts, answers, flags):
    size = flags.per_device_training_batch_size
    logps, entropies = answer_logps(models, prompts, answers, size, "actor", flags.temperature)
    models.critic.eval()
    chunks, device = chunked(len(answers), size), models.world.device
    values = [_values(models.critic, [prompts[i] for i in c], [answers[i] for i in c], device) for c in chunks]
    return ppo.Passes(logps, torch.cat(values)), entropies


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

    @property
    def texts(self):
        return self.prompts, self.answers

    @classmethod
    def of(cls, exp, chunk):
        width = exp.mask.size(1)  # places by lengths, for a mask would make a GPU wait
        at = torch.tensor([i * width + t for i in chunk for t in range(len(exp.answers[i]))]).to(exp.mask.device)
        flat = (x.flatten()[at] for x in (exp.logps, exp.advantages, exp.values, exp.returns))
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
    passes, exp.passes = exp.passes, None  # a graph serves once
    batches = list(minibatches(len(exp), flags.per_device_training_batch_size, accumulation, flags.ppo_epochs))
    if passes:
        batches = [[list(range(len(exp)))]]
    tokens = world.sum([sum(len(exp.answers[i]) for chunk in batch for i in chunk) for batch in batches]).tolist()
    sums = torch.zeros(len(FIGURES) + 1, dtype=torch.float64, device=world.device)
    highest = lowest = torch.ones((), device=world.device)
    models.actor.train()
    models.critic.train()
    for batch, total in zip(batches, tokens):
        normalizer = total / (world.size * accumulation)
        for chunk in batch:
            minibatch = _Minibatch.of(exp, chunk)
            if train_actor:
                extra = next(unsupervised) if unsupervised is not None else []
                logps, ptx = (passes.logps, None) if passes else _actor_pass(models, minibatch, flags, extra)
                figures = _actor_step(models.actor, minibatch, flags, normalizer, (logps, ptx))
                sums[:-1] += torch.stack([figures[k].double() for k in FIGURES])
                highest, lowest = highest.maximum(figures["ratio_max"]), lowest.minimum(figures["ratio_min"])
            values = passes.values if passes else _values(models.critic, *minibatch.texts, world.device)
            loss = ppo.value_loss(values, minibatch.values, minibatch.returns, flags.cliprange_value)
            models.critic.backward(loss / normalizer)
            models.critic.step()
            sums[-1] += loss.detach()
    policy_loss, clipped, approx_kl, ptx, value_loss = world.sum(sums).tolist()
    every, steps = sum(tokens), world.size * sum(map(len, batches))
    extremes = world.gather(torch.stack([highest, lowest]).tolist())
    return {
        "policy_loss": policy_loss / every,
        "clip_fraction": clipped / every,
        "approx_kl": approx_kl / every,
        "value_loss": value_loss / every,
        "ratio_max": max(high for high, _ in extremes),
        "ratio_min": min(low for _, low in extremes),
        "ptx_loss": ptx / steps if unsupervised is not None else None,
    }


def _actor_pass(models, minibatch, flags, extra):
    """Log-probabilities of the answers' tokens, and of the ptx tokens or None; both share rows."""
    device, temperature = models.world.device, flags.temperature
    if not extra:
        return models.actor(*packed_answers(*minibatch.texts, device), temperature=temperature), None
    if temperature != 1:  # which is the sampler's alone
        apart = models.actor(*packed_answers([], [], device, extra))
        return models.actor(*packed_answers(*minibatch.texts, device), temperature=temperature), apart
    logps, n = models.actor(*packed_answers(*minibatch.texts, device, extra)), len(minibatch.logps)
    return logps[:n], logps[n:]


def _actor_step(actor, minibatch, flags, normalizer, passed):
    """Backward pass of the actor from what `_actor_pass` gave; detached figures as sums over tokens."""
    logps, extra = passed
    loss, statistics = ppo.policy_loss(logps, minibatch.logps, minibatch.advantages, flags.cliprange)
    whole, ptx = loss / normalizer, torch.zeros((), device=loss.device)
    if extra is not None:
        ptx = sft_loss(extra, len(extra))
        whole = whole + flags.unsup_coef * ptx
    actor.backward(whole)
    actor.step()
    return {**statistics, "loss": loss.detach(), "ptx": ptx.detach()}
