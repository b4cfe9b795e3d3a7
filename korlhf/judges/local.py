"""A local language model as a judge: how likely it finds each of a few texts as the next ones of its answer.

No form is sampled: a score is the expected value over the next token's probabilities (G-Eval's equation 1), a choice
the probabilities of the letters. Each criterion is asked for by itself, so that no score leans on the one before. Works
with any causal language model, also a base model; how much of its probability it puts on the options at all is measured
(`mass`), because a model that does not understand the form puts little there.
"""

import functools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.judges import choice, form
from korlhf.judges.choice import Choice, Question
from korlhf.judges.form import Item
from korlhf.judges.geval import PROBABILITIES, Score
from korlhf.judges.rubric import Rubric
from korlhf.llm import batches
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Checkpoint
from korlhf.llm.flags import CheckpointFlags
from korlhf.llm.protocol import Failure

LOW_MASS = 0.5  # below this share of its probability on the options a judge does not follow the form

Asked = tuple[list[dict], str, Sequence[str]]  # messages, how the answer begins, options


class LocalJudge:
    """A checkpoint as a judge.Judge. path: folder or hub name; what: its flag; batch_size: questions in a forward pass.

    mass: share of the next token's probability on the options, summed over `asked` questions so far.
    """

    kind, repeats = "checkpoint", True

    def __init__(self, path: str, what: str, flags: CheckpointFlags, batch_size: int, cache: Cache):
        self.checkpoint = Checkpoint(path, what, flags.prompt_template, flags.dtype, flags.trust_remote_code)
        self.path, self.name = path, os.path.basename(os.path.normpath(path))
        self.fingerprint = self.checkpoint.fingerprint
        self._batch_size, self._cache = batch_size, cache
        self._forward = functools.partial(_forward, functools.cache(self.checkpoint.load), self.checkpoint.device)
        self.mass, self.asked = 0.0, 0

    def rate(self, items: Sequence[Item], desc: str = "judging") -> list[list[Score | Failure]]:
        asked: list[Asked] = []
        for item in items:
            options = [str(v) for v in range(item.rubric.low, item.rubric.high + 1)]
            for answer in item.answers:
                for c in item.rubric.criteria:
                    one = replace(item, rubric=replace(item.rubric, criteria=(c,)), answers=(answer,))
                    asked.append((form.messages(one, structured=False), f"{c.name}: ", options))
        shares = iter(self._shares(asked, desc))
        return [
            [_score(item.rubric, [next(shares) for _ in item.rubric.criteria]) for _ in item.answers] for item in items
        ]

    def choose(self, questions: Sequence[Question], desc: str = "judging") -> list[Choice | Failure]:
        shares = self._shares([(q.messages, "", q.letters) for q in questions], desc)
        return [s if isinstance(s, Failure) else Choice(s, choice.PROBABILITIES) for s in shares]

    def protocol(self, choosing: bool = False) -> dict[str, str]:
        path, dtype = self.path, self.checkpoint.dtype
        alone = ("", "") if choosing else (", each criterion asked for by itself", ", 기준마다 따로 물음")
        return tables.both(
            f"local model {path} ({dtype}, next-token probabilities{alone[0]})",
            f"로컬 모델 {path} ({dtype}, 다음 토큰의 확률{alone[1]})",
        )

    def warnings(self) -> list[dict[str, str]]:
        mass = self.mass / self.asked if self.asked else 1.0
        if mass >= LOW_MASS:
            return []
        return [
            tables.both(
                f"the judge {self.name} puts only {mass:.1%} of its probability on the options it is asked to choose "
                "from: it does not follow the form, and its verdicts mean little",
                f"심판 {self.name}은(는) 골라야 할 보기에 확률의 {mass:.1%}만 둡니다. 채점 양식을 따르지 못하므로 "
                "판정을 믿기 어렵습니다",
            )
        ]

    def _shares(self, asked: Sequence[Asked], desc: str) -> list[tuple[float, ...] | Failure]:
        """For each question the options' probabilities (together 1), or a Failure."""
        jobs = [_options(self.checkpoint, *one) for one in asked]
        same = {"local_judge": self.fingerprint, "dtype": self.checkpoint.dtype}
        possible = [job for job in jobs if not isinstance(job, Failure)]
        values = iter(batches.compute(possible, self._cache, same, self._forward, self._batch_size, desc, "questions"))
        return [job if isinstance(job, Failure) else self._normalised(next(values)) for job in jobs]

    def _normalised(self, logps: list[float]) -> tuple[float, ...] | Failure:
        weights = [math.exp(p) for p in logps]
        total = sum(weights)
        if not 0 < total < math.inf:  # NaN too
            return Failure("not finite", f"{self.path}: the probabilities of the options are {total}; try --dtype fp32")
        self.mass += total
        self.asked += 1
        return tuple(w / total for w in weights)


def _score(rubric: Rubric, shares: Sequence[tuple[float, ...] | Failure]) -> Score | Failure:
    """Score of one answer from the probabilities of each criterion's scores, or the first Failure."""
    scores = {}
    for c, of_one in zip(rubric.criteria, shares):
        if isinstance(of_one, Failure):
            return of_one
        scores[c.key] = sum(v * p for v, p in enumerate(of_one, rubric.low))
    return Score(scores, sum(scores.values()) / len(scores), PROBABILITIES, 1)


def _options(
    checkpoint: Checkpoint, messages: list[dict], begin: str, options: Sequence[str]
) -> tuple[list[int], list[int]] | Failure:
    """(token ids up to where the options part, the token with which each option continues), or a Failure.

    Each option is tokenised as a whole answer with what stands before it, as the model would write it: " 4" is one
    token in some vocabularies and two in others.
    """
    codec = checkpoint.codec
    prompt = checkpoint.encode(codec.prompt, messages)
    if isinstance(prompt, Failure):  # a template without a system role (Gemma 2): its text goes before the user's
        system, user = messages
        merged = [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}]
        prompt = checkpoint.encode(codec.prompt, merged)
    if isinstance(prompt, Failure):
        return prompt
    whole = [codec.answer(begin + option)[:-1] for option in options]
    lengths = range(max(map(len, whole)))
    common = next((i for i in lengths if len({tuple(ids[: i + 1]) for ids in whole}) > 1), 0)  # 0: all are alike
    tokens = [ids[common] for ids in whole if common < len(ids)]
    if len(set(tokens)) < len(options):
        raise InputError(
            f"{checkpoint.what} {checkpoint.path}: its tokenizer does not tell the options {', '.join(options)} apart "
            "by one token; give another judge"
        )
    ids = prompt + whole[0][:common]
    if checkpoint.positions and len(ids) > checkpoint.positions:
        return Failure(
            "too long",
            f"the question has {len(ids)} tokens, the judge {checkpoint.path} {checkpoint.positions} positions",
        )
    return ids, tokens


def _forward(load: Callable[[], Any], device: Any, chunk: list[tuple[list[int], list[int]]]) -> list[list[float]]:
    """(ids, option tokens) -> a list of log-probabilities (nats) each. load: called at the first chunk, then cached."""
    import torch

    from korlhf.data import packing
    from korlhf.models import causal_lm
    from korlhf.models.packed import hidden_states

    lm = load().eval()
    packed = packing.pack([ids for ids, _ in chunk]).to(device)
    with torch.no_grad():
        logps = causal_lm.head_logits(lm, hidden_states(lm, packed)[packed.last]).log_softmax(-1)
    return [row[torch.tensor(tokens, device=row.device)].tolist() for row, (_, tokens) in zip(logps, chunk)]
