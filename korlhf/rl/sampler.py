"""Who samples the answers of step 3: the actor itself (`Local`), or vLLM servers (vllm.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from korlhf.rl import rollout
from korlhf.training.engine import Engine


@dataclass(frozen=True)
class Sampled:
    """B answers. answers: ids through EOS, or cut at the limit without it; logps: of each of their tokens under what
    sampled it, at the sampling temperature, None if that is the actor itself.
    """

    answers: list[list[int]]
    logps: list[list[float]] | None = None


class Sampler(Protocol):
    """figures: of the last `sync` that had something to do, until they are in the metrics."""

    figures: dict[str, float]

    def sync(self, actor: Engine) -> None:
        """Sample from the weights of `actor` from here on. All processes call it."""
        ...

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], limits: rollout.Limits, desc: str = ""
    ) -> Sampled:
        """One answer to each of this process's prompts; arguments as of rollout.sample. All processes call it."""
        ...


class Local:
    """The actor in this process, batch_size rows at once."""

    def __init__(self, actor: Engine, eos_token_id: int, batch_size: int):
        self.actor, self.eos_token_id, self.batch_size = actor, eos_token_id, batch_size
        self.figures: dict[str, float] = {}

    def sync(self, actor: Engine) -> None:
        self.actor = actor

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], limits: rollout.Limits, desc: str = ""
    ) -> Sampled:
        with self.actor.gathered_weights():
            lm = self.actor.module.lm
            return Sampled(rollout.sample(lm, prompts, seeds, self.eos_token_id, limits, self.batch_size, desc))
