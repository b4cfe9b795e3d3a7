"""The evaluation of an actor on held-out prompts."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from korlhf.core import stats
from korlhf.core.seeds import derive
from korlhf.data.ngrams import repetition
from korlhf.korean import friendly
from korlhf.rl import ppo
from korlhf.rl.mixed import scored
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt
from korlhf.rl.step import answer_logps, sample
from korlhf.training.ppo_flags import PpoFlags

Row = tuple[int, str, float]  # place of the prompt, answer, score


@torch.no_grad()
def evaluate(models: Models, prompts: Sequence[Prompt], flags: PpoFlags, seed: int) -> tuple[dict[str, Any], list[Row]]:
    """Answers to held-out prompts, scored: figures over all processes, and the rows of all in the order of the
    prompts.

    Always the same sampling seeds, so two evaluations differ by the weights alone. kl is per answer, in nats, against
    the reference; ref_nll is what the reference pays for an answer, which garbled Korean makes high; without a KL
    penalty there is neither.
    """
    world, n = models.world, len(prompts)
    each = -(-n // world.size)
    places = range(world.rank * each, (world.rank + 1) * each)  # equally many in each process; repeats are not counted
    rows = [prompts[i % n] for i in places]
    desc = "held-out" if world.first else ""
    answers = sample(models, rows, [derive(seed, i % n) for i in places], flags, desc).answers
    size, ids, lengths = flags.per_device_generation_batch_size, [p.ids for p in rows], [len(a) for a in answers]
    kl = ref_nll = [None] * len(rows)
    if models.measures_kl:
        logps, ref_logps = (
            ppo.pad_rows(answer_logps(models, ids, answers, size, which, flags.temperature)[0], lengths)
            for which in ("actor", "reference")
        )
        kl = ppo.kl_estimates(logps, ref_logps, ppo.length_mask(lengths, world.device))[0].tolist()
        ref_nll = (-ref_logps.sum(1)).tolist()  # zero where there is no token
    texts = [models.codec.decode(a) for a in answers]
    scores, each = scored(models.reward, rows, texts, world)
    ended = [a[-1] == models.codec.eos_token_id for a in answers]
    parts = zip(*(of_one.tolist() for of_one in each.values())) if each else [()] * len(rows)
    per_answer = zip(places, texts, scores.tolist(), kl, lengths, ended, map(repetition, answers), ref_nll, parts)
    mine = [row for row in per_answer if row[0] < n]
    every = sorted(row for part in world.gather(mine) for row in part)
    figures = summarise(every, prompts)
    if each:
        figures["rewards"] = {name: _of_reward([row[8][k] for row in every]) for k, name in enumerate(each)}
    return figures, [(i, text, score) for i, text, score, *_ in every]


def _of_reward(scores):
    """Figures of what one of several rewards gave; NaN: nothing."""
    known = [score for score in scores if not math.isnan(score)]
    std = float(torch.tensor(known, dtype=torch.float64).std()) if len(known) > 1 else 0.0
    return {"score": _mean(known), "std": std, "n": len(known)} if known else {"score": 0.0, "std": 0.0, "n": 0}


def summarise(rows: Sequence[tuple], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Means over rows (place, text, score, kl, tokens, ended, repetition, nats under the reference) of one evaluation,
    with the score's standard deviation, the shares of answers that are friendly, make sense and speak politely, and
    ref_nll, the reference's nats per token.
    """
    scores = torch.tensor([row[2] for row in rows], dtype=torch.float64)
    manners = friendly.manners([row[1] for row in rows])
    by_category = {}
    for category in sorted({p.category for p in prompts}):
        here = [k for k, row in enumerate(rows) if prompts[row[0]].category == category]
        by_category[category] = {
            "score": _mean(rows[k][2] for k in here),
            **friendly.shares([manners[k] for k in here]),
            "n": len(here),
        }
    placed = enumerate(("kl", "length", "eos_rate", "repetition"), 3)
    means = {name: _mean(row[k] for row in rows) for k, name in placed if rows[0][k] is not None}
    if rows[0][7] is not None:
        means["ref_nll"] = sum(row[7] for row in rows) / sum(row[4] for row in rows)
    columns = {name: [row[k] for row in rows] for name, k in (("score", 2), ("kl", 3), ("length", 4), ("eos_rate", 5))}
    columns = {name: values for name, values in columns.items() if values[0] is not None}
    columns |= {name: [getattr(m, name) for m in manners] for name in ("friendly", "sense")}
    return {
        "score": float(scores.mean()),
        "score_std": float(scores.std()) if len(scores) > 1 else 0.0,
        **means,
        **friendly.shares(manners),
        "n": len(rows),
        "ci95": _intervals(columns),
        "by_category": by_category,
    }


SHARES = ("eos_rate", "friendly", "sense")


def _intervals(columns):
    """name -> [low, high] of the mean of each column, where it can be told."""
    found = {
        name: stats.mean_interval(values, bounds=stats.UNIT if name in SHARES else None)
        for name, values in columns.items()
        if all(map(math.isfinite, values))
    }
    return {name: [e.low, e.high] for name, e in found.items() if e.known}


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
