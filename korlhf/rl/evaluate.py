"""The evaluation of an actor on held-out prompts."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from korlhf.core.seeds import derive
from korlhf.data.ngrams import repetition
from korlhf.korean import friendly
from korlhf.rl import ppo
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt, finite_scores
from korlhf.rl.step import answer_logps, sample
from korlhf.training.flags import PpoFlags

Row = tuple[int, str, float]  # place of the prompt, answer, score


@torch.no_grad()
def evaluate(models: Models, prompts: Sequence[Prompt], flags: PpoFlags, seed: int) -> tuple[dict[str, Any], list[Row]]:
    """Answers to held-out prompts, scored: figures over all processes, and the rows of all in the order of the
    prompts.

    Always the same sampling seeds, so two evaluations differ by the weights alone. kl is per answer, in nats, against
    the reference; ref_nll is what the reference pays for an answer, which garbled Korean makes high.
    """
    world, n = models.world, len(prompts)
    each = -(-n // world.size)
    places = range(world.rank * each, (world.rank + 1) * each)  # equally many in each process; repeats are not counted
    rows = [prompts[i % n] for i in places]
    answers = sample(models, rows, [derive(seed, i % n) for i in places], flags)
    size, ids, lengths = flags.per_device_generation_batch_size, [p.ids for p in rows], [len(a) for a in answers]
    logps, ref_logps = (
        ppo.pad_rows(answer_logps(models, ids, answers, size, which, flags.temperature)[0], lengths)
        for which in ("actor", "reference")
    )
    mask = ppo.length_mask(lengths, world.device)
    kl, _ = ppo.kl_estimates(logps, ref_logps, mask)
    ref_nll = -(ref_logps * mask).sum(1)
    texts = [models.codec.decode(a) for a in answers]
    scores = finite_scores(models.reward, rows, texts, world).tolist()
    ended = [a[-1] == models.codec.eos_token_id for a in answers]
    per_answer = zip(places, texts, scores, kl.tolist(), lengths, ended, map(repetition, answers), ref_nll.tolist())
    mine = [row for row in per_answer if row[0] < n]
    every = sorted(row for part in world.gather(mine) for row in part)
    return summarise(every, prompts), [(i, text, score) for i, text, score, *_ in every]


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
    means = {
        name: _mean(row[k] for row in rows) for k, name in enumerate(("kl", "length", "eos_rate", "repetition"), 3)
    }
    return {
        "score": float(scores.mean()),
        "score_std": float(scores.std()) if len(scores) > 1 else 0.0,
        **means,
        **friendly.shares(manners),
        "ref_nll": sum(row[7] for row in rows) / sum(row[4] for row in rows),
        "n": len(rows),
        "by_category": by_category,
    }


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)
