"""Scores of a local reward model, in packed batches, kept in the cache. The score is the model's own, on no scale."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from korlhf.llm import batches
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import ModelFolder
from korlhf.llm.flags import CheckpointFlags
from korlhf.llm.protocol import Failure


class RewardJudge(ModelFolder):
    """A reward model: its codec at once, its weights when an answer is to be scored that is not in the cache.

    path: a folder or hub name; what: the flag that names it. name: for people. Raises InputError if it cannot be
    loaded.
    """

    scores_answers = True
    wrong_kind = "not a reward model (it has no score head); train one with step 2 and give its folder"

    def __init__(
        self,
        path: str,
        what: str,
        flags: CheckpointFlags,
        max_seq_len: int,
        batch_size: int,
        limit: str = "--max_seq_len",
    ):
        """max_seq_len: most tokens of prompt and answer, by the flag `limit`; batch_size: answers in a forward pass."""
        super().__init__(path, what, flags.prompt_template, flags.dtype, flags.trust_remote_code)
        self.max_seq_len, self.batch_size, self.limit = max_seq_len, batch_size, limit
        self.name = Path(path).resolve().name if Path(path).is_dir() else path

    def scores(
        self, conversations: Sequence[list[dict]], texts: Sequence[Sequence[str]], cache: Cache
    ) -> list[list[float | Failure]]:
        """texts: of each conversation a list of answers -> for each a list of float or Failure."""
        jobs = [[self._ids(messages, text) for text in of_one] for messages, of_one in zip(conversations, texts)]
        possible = [ids for of_one in jobs for ids in of_one if not isinstance(ids, Failure)]
        same = {"reward_model": self.fingerprint, "dtype": self.dtype, "device": self.device.type}
        values = iter(batches.compute(possible, cache, same, self._forward, self.batch_size, "scoring"))
        return [[ids if isinstance(ids, Failure) else _finite(next(values)) for ids in of_one] for of_one in jobs]

    def _ids(self, messages: list[dict], text: str) -> list[int] | Failure:
        """Token ids (template, messages and answer in one), or a Failure."""
        ids = self.encode(self.codec.with_answer, messages, text)
        if isinstance(ids, Failure):
            return ids
        length = f"prompt and answer have {len(ids)} tokens"
        if len(ids) > self.max_seq_len:
            return Failure("too long", f"{length}; raise {self.limit} {self.max_seq_len}")
        if self.positions and len(ids) > self.positions:
            return Failure("too long", f"{length}, the reward model {self.positions} positions")
        return ids

    @functools.cached_property
    def _frozen(self) -> tuple[Any, Any]:
        """The loaded model, and the one process it is in."""
        from korlhf.models import reward_model
        from korlhf.training import engine
        from korlhf.training.world import World

        alone = World(0, 1, self.device)
        with engine.loading(alone, self.dtype) as placed:
            trust = self.trust_remote_code
            loaded = reward_model.load_reward_model(self.path, self.what, trust_remote_code=trust, **placed)
        return engine.Frozen(reward_model.TokenValues(loaded), alone, self.dtype), alone

    def _forward(self, chunk: list[list[int]]) -> list[float]:
        """Lists of token ids -> scores, in one forward pass."""
        from korlhf.data.tokenize import Tokens
        from korlhf.training import pairs

        frozen, alone = self._frozen
        with frozen as module:
            groups = pairs.score_groups(module, [[Tokens(ids, [])] for ids in chunk], len(chunk), alone)
        return [score for (score,) in groups]


def _finite(score: float) -> float | Failure:
    return score if math.isfinite(score) else Failure("not finite", f"the reward model's score is {score}")
