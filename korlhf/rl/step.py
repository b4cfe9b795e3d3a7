"""One PPO step with real models: sample, score, update; and the evaluation on held-out prompts.

The mathematics is in ppo.py; here are the forward passes. All of them are packed, and all ranks run equally many.
"""

import contextlib
from dataclasses import dataclass

import torch

from korlhf.data import packing
from korlhf.data.ngrams import repetition
from korlhf.data.tokenize import Codec
from korlhf.korean import friendly
from korlhf.rl import ppo, rollout
from korlhf.rl.advantages import gae
from korlhf.rl.rewards import kl_shaped_rewards
from korlhf.training import losses
from korlhf.training.engine import Engine, Frozen, Ranks


@dataclass
class Models:
    """The four models. reference None: the actor with its LoRA adapter off."""

    actor: Engine
    critic: Engine
    reference: Frozen | None
    reward: Frozen
    codec: Codec
    reward_codec: Codec
    ranks: Ranks


@dataclass(frozen=True)
class Prompt:
    """A prompt as the actor reads it, and the conversation it came from."""

    ids: list[int]
    messages: tuple
    category: str


def chunked(n, size):
    return [list(range(i, min(i + size, n))) for i in range(0, n, size)]


def packed_answers(prompts, answers, device, extra=()):
    """Pack prompt + answer sequences, then `extra` Tokens; returns (Packed, before, tokens) of the answers' (and extra's) tokens."""
    sequences = [p + a for p, a in zip(prompts, answers)] + [t.ids for t in extra]
    masks = [[0] * len(p) + [1] * len(a) for p, a in zip(prompts, answers)] + [t.mask for t in extra]
    packed = packing.pack(sequences).to(device)
    return packed, *packing.targets(packed, masks)


@torch.no_grad()
def score_text(models, prompts, texts, batch_size):
    """Raw reward-model scores (B,) of answer texts, written out with the reward model's own template and tokenizer.

    Every text gets the token that ends an answer, as the reward model saw in training; a missing EOS is the PPO penalty's business.
    """
    rows = [models.reward_codec.with_answer(p.messages, t).ids for p, t in zip(prompts, texts)]
    scores = torch.empty(len(rows), device=models.ranks.device)
    with models.reward as reward:
        for chunk in chunked(len(rows), batch_size):
            packed = packing.pack([rows[i] for i in chunk]).to(models.ranks.device)
            scores[chunk] = reward(packed.ids, packed.position_ids)[packed.last]
    return scores


@torch.no_grad()
def answer_logps(models, prompts, answers, batch_size, which):
    """Log-probabilities (M,) and mean entropy of the answers' tokens under the "actor" or the "reference"."""
    if which == "reference" and models.reference is not None:
        context = models.reference
    elif which == "reference":
        context = _adapter_off(models.actor)
    else:
        context = contextlib.nullcontext(models.actor)
    flat, entropy = [], 0.0
    with context as module:
        for chunk in chunked(len(answers), batch_size):
            packed, before, tokens = packed_answers(
                [prompts[i] for i in chunk], [answers[i] for i in chunk], models.ranks.device
            )
            logps, h = module(packed.ids, packed.position_ids, before, tokens, with_entropy=True)
            flat.append(logps)
            entropy += float(h.sum())
    flat = torch.cat(flat)
    return flat, entropy / len(flat)


@contextlib.contextmanager
def _adapter_off(actor):
    with actor.module.lm.disable_adapter():
        yield actor


def sample(models, prompts, seeds, batch_size, max_new_tokens, temperature, top_p):
    """Answer ids of `prompts` (Prompt) from the actor."""
    models.actor.eval()
    with models.actor.whole():
        return rollout.sample(
            models.actor.module.lm,
            [p.ids for p in prompts],
            models.codec.stop_id,
            max_new_tokens,
            seeds,
            batch_size,
            temperature,
            top_p,
        )


def collect(models, prompts, seeds, flags, kl_coef, shape, clock):
    """Sample and score one answer a prompt: (Experience, figures of this rank as sums, seconds).

    flags: PpoFlags. shape: function (raw scores, ended) -> scores as they count. clock: program.Clock.
    """
    clock.lap()
    answers = sample(
        models,
        prompts,
        seeds,
        flags.per_device_generation_batch_size,
        flags.max_answer_seq_len,
        flags.temperature,
        flags.top_p,
    )
    sampling = clock.lap()
    size, lengths, prompt_ids = (
        flags.per_device_training_batch_size,
        [len(a) for a in answers],
        [p.ids for p in prompts],
    )
    device = models.ranks.device
    logps, entropy = answer_logps(models, prompt_ids, answers, size, "actor")
    ref_logps, _ = answer_logps(models, prompt_ids, answers, size, "reference")
    models.critic.eval()
    with torch.no_grad():
        values = torch.cat(
            [
                _values(models.critic, [prompt_ids[i] for i in c], [answers[i] for i in c], device)
                for c in chunked(len(answers), size)
            ]
        )
    texts = [models.codec.decode(a) for a in answers]
    raw = score_text(models, prompts, texts, size)
    ended = torch.tensor([a[-1] == models.codec.stop_id for a in answers], device=device)

    logps, ref_logps, values = (ppo.pad_rows(x, lengths) for x in (logps, ref_logps, values))
    mask = ppo.length_mask(lengths, device)
    rewards = kl_shaped_rewards(shape(raw, ended), logps, ref_logps, mask, kl_coef)
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
        "prompt_tokens": sum(map(len, prompt_ids)),
    }
    exp = ppo.Experience(prompt_ids, answers, mask, logps, ref_logps, values, advantages, returns, raw)
    return exp, sums, {"sampling": sampling, "scoring": scoring}, texts


def _values(critic, prompts, answers, device):
    packed, before, _ = packed_answers(prompts, answers, device)
    return critic(packed.ids, packed.position_ids)[before]


def minibatches(n, batch_size, accumulation, epochs):
    """Random order of `n` answers, `epochs` times: lists (one an optimizer step) of `accumulation` index lists. Uses torch's generator."""
    step = batch_size * accumulation
    for _ in range(epochs):
        order = torch.randperm(n).tolist()
        for at in range(0, n, step):
            yield [order[at + a * batch_size : at + (a + 1) * batch_size] for a in range(accumulation)]


def update(models, exp, flags, train_actor, unsupervised=None, unsup_coef=0.0):
    """All gradient steps on one Experience. unsupervised: iterator of lists of Tokens (ptx), one list a forward pass.

    Returns figures as means over this step's tokens (clip fraction, approximate KL, losses) and extremes of the ratio, over all ranks.
    """
    ranks = models.ranks
    batches = list(
        minibatches(len(exp), flags.per_device_training_batch_size, flags.gradient_accumulation_steps, flags.ppo_epochs)
    )
    lengths = [len(a) for a in exp.answers]
    tokens = ranks.sum([sum(lengths[i] for chunk in batch for i in chunk) for batch in batches]).tolist()
    sums, extremes = torch.zeros(5, dtype=torch.float64), [1.0, 1.0]
    models.actor.train()
    models.critic.train()
    for batch, total in zip(batches, tokens):
        normalizer = total / (ranks.world * flags.gradient_accumulation_steps)
        for chunk in batch:
            pick = _picker(exp, chunk)
            prompts, answers = [exp.prompts[i] for i in chunk], [exp.answers[i] for i in chunk]
            if train_actor:
                extra = next(unsupervised) if unsupervised is not None else []
                stats = _actor_step(
                    models.actor,
                    prompts,
                    answers,
                    pick(exp.logps),
                    pick(exp.advantages),
                    flags.cliprange,
                    normalizer,
                    extra,
                    unsup_coef,
                    ranks.device,
                )
                sums[:4] += torch.tensor(
                    [float(stats[k]) for k in ("loss", "clipped", "approx_kl", "ptx")], dtype=torch.float64
                )
                extremes = [max(extremes[0], float(stats["ratio_max"])), min(extremes[1], float(stats["ratio_min"]))]
            values = _values(models.critic, prompts, answers, ranks.device)
            loss = ppo.value_loss(values, pick(exp.values), pick(exp.returns), flags.cliprange_value)
            models.critic.backward(loss / normalizer)
            models.critic.step()
            sums[4] += float(loss.detach())
    sums, every = ranks.sum(sums).tolist(), sum(tokens)
    spread = ranks.gather(extremes)
    return {
        "policy_loss": sums[0] / every,
        "clip_fraction": sums[1] / every,
        "approx_kl": sums[2] / every,
        "value_loss": sums[4] / every,
        "ratio_max": max(s[0] for s in spread),
        "ratio_min": min(s[1] for s in spread),
        "ptx_loss": sums[3] / (ranks.world * sum(map(len, batches))) if unsupervised is not None else None,
    }


def _picker(exp, chunk):
    """Function (B, R) -> (M,): the real tokens of the answers in `chunk`, one after another."""
    mask = exp.mask[chunk].bool()
    return lambda x: x[chunk][mask]


def _actor_step(actor, prompts, answers, old_logps, advantages, cliprange, normalizer, extra, unsup_coef, device):
    """One forward and backward pass of the actor; the ptx sequences share the answers' rows. Statistics are sums over tokens."""
    packed, before, tokens = packed_answers(prompts, answers, device, extra)
    logps = actor(packed.ids, packed.position_ids, before, tokens)
    n = sum(map(len, answers))
    loss, stats = ppo.policy_loss(logps[:n], old_logps, advantages, cliprange)
    whole = loss / normalizer
    ptx = torch.zeros(())
    if extra:
        ptx = losses.sft_loss(logps[n:], len(logps) - n)
        whole = whole + unsup_coef * ptx
    actor.backward(whole)
    actor.step()
    return {**stats, "loss": loss.detach(), "ptx": ptx.detach()}


@torch.no_grad()
def evaluate(models, prompts, flags, seed):
    """Answers to held-out prompts, scored: (figures over all ranks, [(prompt index, text, score)] of all ranks in prompt order).

    Always the same sampling seeds, so two evaluations differ by the weights alone. kl is per answer, in nats, against the reference.
    """
    ranks = models.ranks
    each = -(-len(prompts) // ranks.world)
    mine = [
        i % len(prompts) for i in range(ranks.rank * each, (ranks.rank + 1) * each)
    ]  # equally many on each rank; repeats are not counted
    counted = [ranks.rank * each + k < len(prompts) for k in range(each)]
    rows = [prompts[i] for i in mine]
    answers = sample(
        models,
        rows,
        [seed * 1_000_003 + i for i in mine],
        flags.per_device_generation_batch_size,
        flags.max_answer_seq_len,
        flags.temperature,
        flags.top_p,
    )
    models.actor.eval()
    size, ids, lengths = flags.per_device_training_batch_size, [p.ids for p in rows], [len(a) for a in answers]
    logps, _ = answer_logps(models, ids, answers, size, "actor")
    ref_logps, _ = answer_logps(models, ids, answers, size, "reference")
    kl, _ = ppo.kl_estimates(
        ppo.pad_rows(logps, lengths), ppo.pad_rows(ref_logps, lengths), ppo.length_mask(lengths, ranks.device)
    )
    texts = [models.codec.decode(a) for a in answers]
    scores = score_text(models, rows, texts, size).tolist()
    found = [
        (i, t, s, float(k), n, a[-1] == models.codec.stop_id, repetition(a))
        for i, t, s, k, n, a, c in zip(mine, texts, scores, kl, lengths, answers, counted)
        if c
    ]
    found = sorted(row for part in ranks.gather(found) for row in part)
    return summarise(found, prompts), [(i, t, s) for i, t, s, *_ in found]


def summarise(found, prompts):
    """Means over rows (index, text, score, kl, tokens, ended, repetition) of one evaluation, with the score's standard deviation."""

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    scores = torch.tensor([row[2] for row in found], dtype=torch.float64)
    categories = sorted({p.category for p in prompts})
    return {
        "score": float(scores.mean()),
        "score_std": float(scores.std()) if len(scores) > 1 else 0.0,
        "kl": mean(r[3] for r in found),
        "length": mean(r[4] for r in found),
        "eos_rate": mean(r[5] for r in found),
        "repetition": mean(r[6] for r in found),
        "friendly": mean(friendly.friendly(r[1])[0] for r in found),
        "n": len(found),
        "by_category": {
            c: {
                "score": mean(r[2] for r in found if prompts[r[0]].category == c),
                "friendly": mean(friendly.friendly(r[1])[0] for r in found if prompts[r[0]].category == c),
                "n": sum(p.category == c for p in prompts),
            }
            for c in categories
        },
    }
