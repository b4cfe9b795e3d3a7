"""What the reference says, computed once with the model as it is before training (LoRA: with the adapter off), so that
no second model is in memory while it trains.

OUTPUT_DIR/reference.json holds the log-probabilities of all answers, and answers of the reference to held-out prompts
by which the drift from it is measured: KL(reference || model), as those answers are drawn once and serve every
evaluation. Step 3's KL is the other way round, of the actor's own answers.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from korlhf.core import progress, stats
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.core.seeds import derive
from korlhf.data.tokenize import Tokens
from korlhf.models.lora import adapter_off
from korlhf.training import pairs
from korlhf.training.engine import Engine
from korlhf.training.examples import draw
from korlhf.training.sft import sequence_logps
from korlhf.training.world import World

FILE = "reference.json"
AT_ONCE = 16  # batches of each process between two steps of the progress bar

Groups = Sequence[list[Tokens]]


@dataclass(frozen=True)
class Asked:
    """Held-out prompts that are answered. places: of them in the held-out rows; prompts: their ids; sample: (language
    model, prompts, a seed each) -> answer ids; batch_size: answers in a forward pass.
    """

    places: list[int]
    prompts: list[list[int]]
    seed: int
    sample: Callable[..., list[list[int]]]
    batch_size: int

    @classmethod
    def of(cls, groups: Groups, n: int, room: int, seed: int, sample: Any, batch_size: int) -> "Asked":
        """Up to n different prompts of `groups`, of at most `room` tokens each."""
        first: dict[tuple, int] = {}
        for i, group in enumerate(groups):
            first.setdefault(tuple(prompt_ids(group)), i)
        short = [i for prompt, i in first.items() if len(prompt) <= room]
        chosen = [short[k] for k in draw(len(short), n, seed)] if n else []
        return cls(chosen, [prompt_ids(groups[i]) for i in chosen], seed, sample, batch_size)

    def answers(self, actor: Engine, which: Sequence[int]) -> list[list[int]]:
        """An answer to each of the prompts `which`, in every process; processes share the work."""
        world, n = actor.world, len(which)
        each = -(-n // world.size)
        mine = [which[k % n] for k in range(world.rank * each, (world.rank + 1) * each)]
        actor.eval()
        with actor.gathered_weights():
            prompts, seeds = [self.prompts[i] for i in mine], [derive(self.seed, i) for i in mine]
            answers = self.sample(actor.module.lm, prompts, seeds)
        every = {i: answer for part in world.gather(list(zip(mine, answers))) for i, answer in part}
        return [every[i] for i in which]


def group_logps(actor: Engine, groups: Groups, batch_size: int, desc: str = "") -> list[list[float]]:
    """`sequence_logps` of every answer without a gradient, with a progress bar `desc`; in every process."""
    found, at_once = [], AT_ONCE * batch_size * actor.world.size
    show = bool(desc) and actor.world.first
    actor.eval()
    bar = progress.bar(total=len(groups), desc=desc, unit="prompts") if show else None
    for at in range(0, len(groups), at_once):
        part = groups[at : at + at_once]
        found += pairs.score_groups(actor, part, batch_size, actor.world, sequence_logps)
        if bar:
            bar.update(len(part))
    if bar:
        bar.close()
    return found


def prompt_ids(group: list[Tokens]) -> list[int]:
    """The tokens before the answers of a group."""
    return group[0].ids[: group[0].prompt]


def after(prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> list[list[Tokens]]:
    """Groups of one: the answers behind their prompts."""
    return [[Tokens(p + a, [0] * len(p) + [1] * len(a))] for p, a in zip(prompts, answers)]


def compute(actor: Engine, splits: Sequence[Groups], read: Sequence[int], asked: Asked) -> dict[str, Any]:
    """What reference.json holds. splits: training and held-out rows; read: places of those that training reads."""
    train: list[list[float] | None] = [None] * len(splits[0])
    with adapter_off(actor.module.lm):
        parts = [splits[0][i] for i in read], splits[1]
        known, heldout = (group_logps(actor, rows, asked.batch_size, "reference") for rows in parts)
        for i, logps in zip(read, known):
            train[i] = logps
        answers = asked.answers(actor, range(len(asked.prompts))) if asked.prompts else []
        drift = group_logps(actor, after(asked.prompts, answers), asked.batch_size)
    return {"train": train, "heldout": heldout, "answers": answers, "drift": drift}


def kept_in(path: Path, fingerprint: str, read: Sequence[int], world: World, computed: Callable[[], dict]) -> dict:
    """What `computed` gives, from `path` if it is there, with all training rows that are `read`.

    Raises InputError, in all processes, if the file is damaged or of another fingerprint.
    """
    known = world.gather(_read(path, fingerprint) if world.first else None)[0]
    if isinstance(known, str):
        raise InputError(f"{path}: {known}; delete it, and it is computed again")
    if known is None or any(known["train"][i] is None for i in read):  # more steps than before
        known = computed()
        if world.first:
            write_json(path, {"fingerprint": fingerprint, **known})
        world.barrier()
    return known


def _read(path, fingerprint):
    """The content, None if there is no file, or why it cannot be used."""
    if not path.exists():
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        own = known.pop("fingerprint")
    except (ValueError, LookupError, AttributeError) as error:
        return f"is damaged ({type(error).__name__})"
    return known if own == fingerprint else "is of other data or of another model"


def fingerprint(model: str, how: dict[str, Any], rows: Sequence[Groups], prompts: Sequence[list[int]]) -> str:
    """sha256 over what the reference depends on. model: its fingerprint; how: precision, seed and lengths."""
    digest = hashlib.sha256(json.dumps([model, how, prompts], sort_keys=True).encode())
    for group in (group for split in rows for group in split):
        digest.update(json.dumps([[t.ids, t.answer] for t in group]).encode())
    return digest.hexdigest()


def drift(known: Sequence[list[float]], now: Sequence[list[float]]) -> dict[str, Any]:
    """KL(reference || model) of each answer in nats: {"kl", "n", "ci95"}, from log-probabilities of the reference's
    answers under it and under the model now.
    """
    each = [before - after for (before,), (after,) in zip(known, now)]
    if not all(map(math.isfinite, each)):
        return {"kl": math.nan, "n": len(each)}
    estimate = stats.mean_interval(each)
    interval = {"ci95": {"kl": [estimate.low, estimate.high]}} if estimate.known else {}
    return {"kl": estimate.mean, "n": len(each), **interval}
