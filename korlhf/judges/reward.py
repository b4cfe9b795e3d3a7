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
        jobs = [[self._job(messages, text) for text in of_one] for messages, of_one in zip(conversations, texts)]
        possible = [job for of_one in jobs for job in of_one if not isinstance(job, Failure)]
        same = {"reward_model": self.fingerprint, "dtype": self.dtype, "device": self.device.type, **self._preference}
        values = iter(batches.compute(possible, cache, same, self._forward, self.batch_size, "scoring"))
        return [[job if isinstance(job, Failure) else _finite(next(values)) for job in of_one] for of_one in jobs]

    @functools.cached_property
    def _preference(self) -> dict[str, Any]:
        """How an implicit reward model was trained; {} of one with a head."""
        from korlhf.training import implicit

        return {"preference": implicit.known(self.path, self.what)} if implicit.is_implicit(self.path) else {}

    def _job(self, messages: list[dict], text: str) -> batches.Job | Failure:
        """Token ids (template, messages and answer in one), for an implicit reward with the answer's length; or a
        Failure.
        """
        ids = self.encode(self.codec.with_answer, messages, text)
        if isinstance(ids, Failure):
            return ids
        length = f"prompt and answer have {len(ids)} tokens"
        if len(ids) > self.max_seq_len:
            return Failure("too long", f"{length}; raise {self.limit} {self.max_seq_len}")
        if self.positions and len(ids) > self.positions:
            return Failure("too long", f"{length}, the reward model {self.positions} positions")
        return (ids, len(self.codec.answer(text))) if self._preference else ids

    @functools.cached_property
    def _opened(self) -> tuple[Any, ...]:
        """The loaded model, what gives its scores, and the one process it is in."""
        from korlhf.training import implicit
        from korlhf.training.world import World

        alone = World(0, 1, self.device)
        how = self.codec.tokenizer, alone, self.dtype, self.trust_remote_code
        return *implicit.open_scorer(self.path, self.what, *how), alone

    def _forward(self, chunk: list[batches.Job]) -> list[float]:
        """Jobs -> scores, in one forward pass."""
        from korlhf.data.tokenize import Tokens
        from korlhf.training import pairs

        jobs: list[Any] = [job if isinstance(job, tuple) else (job, 0) for job in chunk]
        rows = [[Tokens(ids, [0] * (len(ids) - n) + [1] * n)] for ids, n in jobs]
        frozen, forward, alone = self._opened
        with frozen as module:
            groups = pairs.score_groups(module, rows, len(rows), alone, forward)
        return [score for (score,) in groups]


def _finite(score: float) -> float | Failure:
    return score if math.isfinite(score) else Failure("not finite", f"the reward model's score is {score}")
