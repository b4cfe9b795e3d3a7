"""--judge: who scores and compares answers: a server's model, a local language model, or a reward model."""

import functools
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.judges import choice, geval
from korlhf.judges.choice import Choice, Question
from korlhf.judges.flags import JudgingFlags, ServerJudgeFlags
from korlhf.judges.form import Item
from korlhf.judges.geval import Score
from korlhf.judges.rubric import FOLDER, load_rubric
from korlhf.llm.cache import Cache
from korlhf.llm.client import Client
from korlhf.llm.flags import CheckpointFlags, LlmFlags
from korlhf.llm.protocol import OPENAI, Failure
from korlhf.llm.responders import SERVER

KINDS = ("openai", "checkpoint", "reward_model")
CHOOSING = "openai:MODEL[@BASE_URL], checkpoint:FOLDER (a language model on this machine)"
USAGE = f"give {CHOOSING} or reward_model:FOLDER"


class Judge(Protocol):
    """kind: of KINDS; fingerprint: of a local model's folder, "" of a server's.

    repeats: whether the same answer always gets the same score, so that rescoring it would show nothing.
    """

    kind: str
    name: str
    repeats: bool
    fingerprint: str

    def rate(self, items: Sequence[Item], desc: str = ...) -> list[list[Score | Failure]]:
        """For each Item one Score per answer, each judged alone; of a reward model its own score, with no criteria."""
        ...

    def choose(self, questions: Sequence[Question], desc: str = ...) -> list[Choice | Failure]:
        """For each question a Choice; a reward model answers none."""
        ...

    def protocol(self, choosing: bool = ...) -> dict[str, str]:
        """How it judges, in both languages. choosing: what it was asked is `choose`."""
        ...

    def warnings(self) -> list[dict[str, str]]:
        """What a reader must know, in both languages, once it has judged."""
        ...


def read_name(text: str) -> tuple[str, str, str]:
    """--judge -> its kind, its model (a server's, or a folder), and a server's address or "". Raises InputError."""
    kind, _, model = text.partition(":")
    server = SERVER.fullmatch(text)
    if kind not in KINDS or not model or (kind == "openai" and server is None):
        raise InputError(f"--judge {text}: {USAGE}")
    return (kind, server["model"], server["url"] or "") if server else (kind, os.path.expanduser(model), "")


def open_judge(
    text: str,
    flags: JudgingFlags,
    checkpoint: CheckpointFlags,
    llm_flags: LlmFlags,
    cache: Cache,
    usage: dict[str, Any] | None = None,
) -> Judge:
    """The judge that `text`, of --judge, names.

    checkpoint: of it precision and trust hold (a judge always has the template of its own folder); usage: the account
    of the run (client.new_usage). Raises InputError if it cannot be had.
    """
    kind, model, url = read_name(text)
    if kind == "openai":
        return ServerJudge(model, url or llm_flags.base_url, flags, llm_flags, cache, usage)
    checkpoint = CheckpointFlags(dtype=checkpoint.dtype, trust_remote_code=checkpoint.trust_remote_code)
    if kind == "checkpoint":
        from korlhf.judges.local import LocalJudge

        return LocalJudge(model, "--judge", checkpoint, flags.judge_batch_size, cache)
    return RewardModel(model, flags, checkpoint, cache)


class ServerJudge:
    """A model of a server: forms are filled in and read strictly."""

    kind, repeats, fingerprint = "openai", False, ""

    def __init__(
        self, model: str, url: str, flags: ServerJudgeFlags, llm_flags: LlmFlags, cache: Cache, usage: dict | None
    ):
        self.name, self.flags, self._url = model, flags, url or OPENAI
        self.client = Client(replace(llm_flags, base_url=url), cache, usage)

    @functools.cached_property
    def _asked(self) -> tuple[bool, bool]:
        """(structured, probabilities), found out once."""
        rubric, flags = load_rubric(FOLDER / "everyday.yaml"), self.flags
        return geval.abilities(self.client, rubric, self.name, flags.structured, flags.judge_temperature)

    def rate(self, items: Sequence[Item], desc: str = "judging", again: bool = False) -> list[list[Score | Failure]]:
        """As Judge.rate. again: with forms of their own, past those that the cache holds."""
        samples = self.flags.judge_samples
        judge = geval.Judge(self.name, *self._asked, samples, self.flags.judge_temperature, samples if again else 0)
        return [list(of.results) for of in geval.judge_answers(self.client, judge, items)]

    def choose(
        self, questions: Sequence[Question], desc: str = "judging", again: bool = False
    ) -> list[Choice | Failure]:
        """As Judge.choose. again: asked anew, past what the cache holds."""
        return choice.ask(self.client, self.name, self._asked, questions, desc, int(again))

    def protocol(self, choosing: bool = False) -> dict[str, str]:
        structured, probabilities = self._asked
        n = self.flags.judge_samples
        how, ko = f"mean of {n} sampled forms", f"채점표 {n}장의 평균"
        if probabilities:
            how, ko = f"asked for {choice.PROBABILITIES}", "토큰 확률을 요청함"
        elif choosing:
            how, ko = choice.GREEDY, "확률 없이 고른 답 하나"
        return tables.both(
            f"{self.name} at {self._url} ({how}; structured output {'on' if structured else 'off'})",
            f"{self._url}의 {self.name} ({ko}; 구조화 출력 {'사용' if structured else '사용 안 함'})",
        )

    def warnings(self) -> list[dict[str, str]]:
        return []


class RewardModel:
    """A reward model: a score on no scale, no criteria; the Items need no rubric."""

    kind, repeats = "reward_model", True

    def __init__(self, path: str, flags: JudgingFlags, checkpoint: CheckpointFlags, cache: Cache):
        from korlhf.judges.reward import RewardJudge

        limits = (flags.judge_max_seq_len, flags.judge_batch_size, "--judge_max_seq_len")
        self._judge, self._cache = RewardJudge(path, "--judge", checkpoint, *limits), cache
        self.path, self.name, self.fingerprint = path, self._judge.name, self._judge.fingerprint

    def rate(self, items: Sequence[Item], desc: str = "scoring") -> list[list[Score | Failure]]:
        scores = self._judge.scores([item.messages for item in items], [item.answers for item in items], self._cache)
        return [
            [s if isinstance(s, Failure) else Score({}, s, "reward model", 1) for s in of_item] for of_item in scores
        ]

    def choose(self, questions: Sequence[Question], desc: str = "judging") -> list[Choice | Failure]:
        raise InputError(f"--judge reward_model:{self.path}: a reward model answers no questions; give {CHOOSING}")

    def protocol(self, choosing: bool = False) -> dict[str, str]:
        return tables.both(
            f"reward model {self.path} ({self._judge.dtype}): its own score, on no scale; no rubric is read",
            f"보상 모델 {self.path} ({self._judge.dtype}): 눈금 없는 자체 점수이며 채점 기준표는 읽지 않음",
        )

    def warnings(self) -> list[dict[str, str]]:
        return []
