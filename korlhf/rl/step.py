"""One step of policy optimisation with real models: sample, score, update.

The mathematics is in ppo.py; here are the forward passes. All of them are packed, and all processes run equally many.
Where a step is one update of one forward pass, actor and critic are run once: with a graph, whose values are the old
ones as well as those that are trained. Only GAE has a critic.
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
from korlhf.rl import advantages as estimators
from korlhf.rl import mismatch, ppo, rollout
from korlhf.rl.mixed import scored, sums
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt, ScoreShaping, kl_shaped_rewards
from korlhf.rl.sampler import Local, Sampled
from korlhf.training.log import Clock
from korlhf.training.ppo_flags import PpoFlags
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
    fronts = [len(p) for p in prompts] + [0] * len(extra)
    packed = packing.pack(sequences, fronts).to(device)
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


def sample(models: Models, prompts: Sequence[Prompt], seeds: Sequence[int], flags: PpoFlags, desc: str = "") -> Sampled:
    """Answers to `prompts` by the actor's weights; the actor is left in evaluation mode. desc: as of rollout.sample."""
    models.actor.eval()
    size = flags.per_device_generation_batch_size
    sampler = models.sampler or Local(models.actor, models.codec.eos_token_id, size)
    sampler.sync(models.actor)
    limits = rollout.Limits(flags.max_answer_seq_len, flags.temperature, flags.top_p)
    return sampler.sample([p.ids for p in prompts], seeds, limits, desc)


def collect(
    models: Models,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    flags: PpoFlags,
    kl_coef: float,
    score_shaping: ScoreShaping,
    clock: Clock,
) -> tuple[ppo.Experience, dict[str, float], dict[str, float]]:
    """Sample and score an answer to each of `prompts`, --num_generations in a row being the same one: (Experience,
    figures of this process as sums, seconds).
    """
    clock.lap()
    sampled = sample(models, prompts, seeds, flags)
    answers = sampled.answers
    seconds = {"sampling": clock.lap(), "scoring": 0.0, "training": 0.0}
    device, ids, lengths = models.world.device, [p.ids for p in prompts], [len(a) for a in answers]
    texts = [models.codec.decode(a) for a in answers]
    raw, each = scored(models.reward, prompts, texts, models.world, learn=True)
    ref_logps = None
    if models.measures_kl:
        how = flags.per_device_generation_batch_size, "reference", flags.temperature
        ref_logps = ppo.pad_rows(answer_logps(models, ids, answers, *how)[0], lengths)
    seconds["scoring"] += clock.lap()
    trains = flags.one_pass(len(answers))
    passes, entropies = (_passes if trains else _passes_without_graph)(models, ids, answers, flags)
    seconds["training" if trains else "scoring"] += clock.lap()

    logps = ppo.pad_rows(passes.logps.detach(), lengths)
    values = None if passes.values is None else ppo.pad_rows(passes.values.detach(), lengths)
    mask = ppo.length_mask(lengths, device)
    ended = torch.tensor([a[-1] == models.codec.eos_token_id for a in answers], device=device)
    groups = torch.arange(len(answers), device=device) // flags.num_generations
    against = logps if ref_logps is None or flags.kl_in == "loss" else ref_logps
    shaped = score_shaping(raw, ended)
    rewards = kl_shaped_rewards(shaped, logps, against, mask, kl_coef, flags.kl_estimator == "k3")
    advantages, returns = _advantages(rewards, values, mask, groups, flags, models.world)
    equal, kept = estimators.equal_groups(raw, groups), torch.ones_like(ended)
    kept &= ~equal if flags.dynamic_sampling else kept
    kept &= ended if flags.mask_truncated else kept
    weights, shares = ppo.loss_weights(mask, kept, flags.loss_aggregation, flags.max_answer_seq_len)
    exp = ppo.Experience(
        ids, answers, texts, mask, logps, ref_logps, advantages, raw, values, returns, weights, shares.tolist()
    )
    if sampled.logps is not None:
        _correct(exp, sampled.logps, models.rollout)
    tensors = {"reward": rewards.sum(), "eos_rate": ended.sum(), "entropy": entropies.sum(), "kept": kept.sum()}
    if flags.num_generations > 1:
        tensors |= {"equal_groups": equal.sum()}
    figures = _figures(exp, tensors) | sums(each)
    seconds["scoring"] += clock.lap()
    exp.passes = passes if trains else None
    return exp, figures, seconds


def _correct(exp, engine_logps, flags):
    """Weigh the tokens by the ratio of the actor to the engine that sampled them."""
    flat = torch.tensor([logp for row in engine_logps for logp in row], device=exp.mask.device)
    exp.mismatch = (exp.logps - ppo.pad_rows(flat, [len(row) for row in engine_logps])) * exp.mask
    how = flags.rollout_correction, flags.rollout_ratio_max
    exp.weights = exp.weights * mismatch.factors(exp.mismatch, exp.mask, *how)


def _figures(exp, tensors):
    """Sums over the answers of an Experience, those of `tensors` among them."""
    tensors |= {"score": exp.scores.sum(), "score_squares": (exp.scores.double() ** 2).sum()}
    if exp.ref_logps is not None:
        kl = ppo.kl_estimates(exp.logps, exp.ref_logps, exp.mask)
        tensors |= {name: estimate.sum() for name, estimate in zip(("kl", "kl_k3"), kl)}
    return {
        "answers": len(exp),
        "tokens": sum(map(len, exp.answers)),
        "prompt_tokens": sum(map(len, exp.prompts)),
        "repetition": sum(map(repetition, exp.answers)),
        "same_answer": max(Counter(exp.texts).values()),
        **dict(zip(tensors, torch.stack([t.double() for t in tensors.values()]).tolist())),
    }


def _advantages(rewards, values, mask, groups, flags, world):
    """Advantages (B, R), and what the critic learns or None. rewards (B, R) with the score on each last token."""
    if flags.advantage_estimator == "gae":
        return estimators.gae(rewards, values, mask, flags.gamma, flags.lam)
    if flags.advantage_estimator == "reinforce":
        return estimators.reinforce(rewards, mask, flags.gamma, world.sum), None
    total = rewards.sum(1)
    if flags.advantage_estimator == "rloo":
        each = estimators.rloo(total, groups)
    else:
        each = estimators.grpo(total, groups, flags.scale_rewards, world.sum)
    return each.unsqueeze(1) * mask, None


def _passes(models, prompts, answers, flags):
    """(Passes, entropies (M,)) of actor and critic."""
    for engine in models.trained.values():
        engine.train()
    packed, logits_at, targets = packed_answers(prompts, answers, models.world.device)
    logps, entropies = models.actor(packed, logits_at, targets, with_entropy=True, temperature=flags.temperature)
    return ppo.Passes(logps, models.critic(packed)[logits_at] if models.critic else None), entropies


@torch.no_grad()
def _passes_without_graph(models, prompts, answers, flags):
    size = flags.per_device_training_batch_size
    logps, entropies = answer_logps(models, prompts, answers, size, "actor", flags.temperature)
    if not models.critic:
        return ppo.Passes(logps, None), entropies
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
    """Some answers of an Experience; tensors are (M,), None as there."""

    prompts: list[list[int]]
    answers: list[list[int]]
    logps: torch.Tensor
    ref_logps: torch.Tensor | None
    advantages: torch.Tensor
    weights: torch.Tensor
    values: Any
    returns: Any

    @property
    def texts(self):
        return self.prompts, self.answers

    @classmethod
    def of(cls, exp, chunk):
        width = exp.mask.size(1)  # places by lengths, for a mask would make a GPU wait
        at = torch.tensor([i * width + t for i in chunk for t in range(len(exp.answers[i]))]).to(exp.mask.device)
        padded = exp.logps, exp.ref_logps, exp.advantages, exp.weights, exp.values, exp.returns
        flat: Any = (None if x is None else x.flatten()[at] for x in padded)
        return cls([exp.prompts[i] for i in chunk], [exp.answers[i] for i in chunk], *flat)


def update(
    models: Models,
    exp: ppo.Experience,
    flags: PpoFlags,
    train_actor: bool,
    unsupervised: Iterator[list[Tokens]] | None = None,
    kl_coef: float = 0.0,
) -> dict[str, float | None]:
    """All gradient steps on one Experience. unsupervised: lists of Tokens (ptx), one per forward pass; kl_coef: weight
    of the KL with --kl_in loss.

    Returns figures as means over this step's tokens that count (clip fraction, approximate KL, losses; policy_loss as
    --loss_aggregation has it) and extremes of the ratio, over all processes.
    """
    world = models.world
    accumulation = flags.gradient_accumulation_steps
    passes, exp.passes = exp.passes, None  # a graph serves once
    batches = list(minibatches(len(exp), flags.per_device_training_batch_size, accumulation, flags.ppo_epochs))
    if passes:
        batches = [[list(range(len(exp)))]]
    lengths = [len(a) for a in exp.answers]
    counted = [n * (share > 0) for n, share in zip(lengths, exp.shares)]
    divisors, tokens, counted = (
        world.sum([sum(x[i] for chunk in batch for i in chunk) for batch in batches]).tolist()
        for x in (exp.shares, lengths, counted)
    )
    sums = torch.zeros(len(FIGURES) + 1, dtype=torch.float64, device=world.device)
    highest = lowest = torch.ones((), device=world.device)
    for engine in models.trained.values():
        engine.train()
    for batch, divisor, total in zip(batches, divisors, tokens):
        passes_of_step = world.size * accumulation
        for chunk in batch:
            minibatch = _Minibatch.of(exp, chunk)
            if train_actor:
                extra = next(unsupervised) if unsupervised is not None else []
                logps, ptx = (passes.logps, None) if passes else _actor_pass(models, minibatch, flags, extra)
                normalizer = max(divisor, 1.0) / passes_of_step  # 0 if no answer counts
                loss, statistics = _policy_loss(logps, minibatch, flags, kl_coef)
                figures = statistics | _actor_step(models.actor, loss, normalizer, ptx, flags.unsup_coef)
                sums[:-1] += torch.stack([figures[k].double() for k in FIGURES])
                highest, lowest = highest.maximum(figures["ratio_max"]), lowest.minimum(figures["ratio_min"])
            if models.critic:
                values = passes.values if passes else _values(models.critic, *minibatch.texts, world.device)
                loss = ppo.value_loss(values, minibatch.values, minibatch.returns, flags.cliprange_value)
                models.critic.backward(loss / (total / passes_of_step))
                models.critic.step()
                sums[-1] += loss.detach()
    policy_loss, clipped, approx_kl, ptx, value_loss = world.sum(sums).tolist()
    steps = world.size * sum(map(len, batches))
    extremes = world.gather(torch.stack([highest, lowest]).tolist())
    return {
        "policy_loss": policy_loss / max(sum(divisors), 1.0),
        "clip_fraction": clipped / max(sum(counted), 1.0),
        "approx_kl": approx_kl / max(sum(counted), 1.0),
        "value_loss": value_loss / sum(tokens) if models.critic else None,
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


def _policy_loss(logps, minibatch, flags, kl_coef):
    """The loss of a minibatch, summed over tokens with their weights, and its statistics; logps (M,) with graph."""
    log_ratio = logps - minibatch.logps
    if flags.ratio == "sequence":
        log_ratio = ppo.mean_per_answer(log_ratio, [len(a) for a in minibatch.answers])
    how = minibatch.advantages, minibatch.weights, flags.cliprange, flags.cliprange_high
    loss, statistics = ppo.policy_loss(log_ratio, *how)
    if flags.kl_in == "loss" and minibatch.ref_logps is not None:
        loss = loss + kl_coef * ppo.kl_loss(logps, minibatch.ref_logps, minibatch.weights)
    return loss, statistics


def _actor_step(actor, loss, normalizer, extra, unsup_coef):
    """Backward pass of the actor; extra: log-probabilities of the ptx tokens or None. Returns both losses, detached."""
    whole, ptx = loss / normalizer, torch.zeros((), device=loss.device)
    if extra is not None:
        ptx = sft_loss(extra, len(extra))
        whole = whole + unsup_coef * ptx
    actor.backward(whole)
    actor.step()
    return {"loss": loss.detach(), "ptx": ptx.detach()}
