"""--judge: who scores and compares answers: a server's model, a local language model, or a reward model."""

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.judges import choice, geval
from korlhf.judges.choice import Choice, Question
from korlhf.judges.flags import JudgeFlags, JudgingFlags
from korlhf.judges.form import Item
from korlhf.judges.geval import Score
from korlhf.judges.rubric import FOLDER, Rubric, load_rubric
from korlhf.llm.cache import Cache
from korlhf.llm.flags import CheckpointFlags, LlmFlags
from korlhf.llm.protocol import OPENAI, Failure
from korlhf.llm.responders import SERVER, open_clients

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


@dataclass(frozen=True)
class JudgeName:
    kind: str
    model: str
    url: str = ""


def read_name(text: str) -> JudgeName:
    """--judge -> its kind, model and address. Raises InputError."""
    kind, _, model = text.partition(":")
    if kind not in KINDS or not model:
        raise InputError(f"--judge {text}: {USAGE}")
    if kind != "openai":
        return JudgeName(kind, os.path.expanduser(model))
    server = SERVER.fullmatch(text)
    if server is None:
        raise InputError(f"--judge {text}: no model name; {USAGE}")
    return JudgeName(kind, server["model"], server["url"] or "")


def inputs(text: str) -> list[str]:
    """The folder that --judge names, as a list of what was read; [] of a server."""
    name = read_name(text)
    return [] if name.kind == "openai" else [name.model]


def open_judge(
    flags: JudgeFlags,
    checkpoint: CheckpointFlags,
    llm_flags: LlmFlags,
    cache: Cache,
    usage: dict[str, Any] | None = None,
) -> Judge:
    """The judge that --judge names.

    checkpoint: of it precision and trust hold (a judge always has the template of its own folder); usage: the account
    of the run (client.new_usage). Raises InputError if it cannot be had.
    """
    name = read_name(flags.judge)
    if name.kind == "openai":
        return ServerJudge(name, flags, llm_flags, cache, usage)
    checkpoint = CheckpointFlags(dtype=checkpoint.dtype, trust_remote_code=checkpoint.trust_remote_code)
    if name.kind == "checkpoint":
        from korlhf.judges.local import LocalJudge

        return LocalJudge(name.model, "--judge", checkpoint, flags.judge_batch_size, cache)
    return RewardModel(name.model, flags, checkpoint, cache)


def check(judging: JudgingFlags, parser: ArgumentParser) -> None:
    """Refuse values that cannot work together; exits like argparse does."""
    if judging.judge_temperature == 0 and judging.judge_samples > 1:
        parser.error(
            f"--judge_samples {judging.judge_samples}: at --judge_temperature 0 all are the same; give --judge_samples "
            "1, or a higher temperature"
        )


class ServerJudge:
    """A model of a server: forms are filled in and read strictly."""

    kind, repeats, fingerprint = "openai", False, ""

    def __init__(
        self, name: JudgeName, flags: JudgingFlags, llm_flags: LlmFlags, cache: Cache, usage: dict[str, Any] | None
    ):
        self.name, self.flags = name.model, flags
        url = name.url or llm_flags.base_url
        self.client = open_clients(llm_flags, [url], cache, usage)[url]
        self._abilities, self._url = None, url or OPENAI

    def _asked(self, rubric: Rubric | None = None) -> tuple[bool, bool]:
        """(structured, probabilities), found out once."""
        if self._abilities is None:
            rubric = rubric or load_rubric(FOLDER / "everyday.yaml")
            self._abilities = geval.abilities(
                self.client, rubric, self.name, self.flags.structured, self.flags.judge_temperature
            )
        return self._abilities

    def rate(self, items: Sequence[Item], desc: str = "judging", again: bool = False) -> list[list[Score | Failure]]:
        """As Judge.rate. again: with forms of their own, past those that the cache holds."""
        if not items:
            return []
        structured, probabilities = self._asked(items[0].rubric)
        samples = self.flags.judge_samples
        how = (structured, probabilities, samples, self.flags.judge_temperature, samples if again else 0)
        return [list(of.results) for of in geval.judge_answers(self.client, geval.Judge(self.name, *how), items)]

    def choose(self, questions: Sequence[Question], desc: str = "judging") -> list[Choice | Failure]:
        return choice.ask(self.client, self.name, *self._asked(), questions, desc)

    def protocol(self, choosing: bool = False) -> dict[str, str]:
        structured, probabilities = self._asked()
        n = self.flags.judge_samples
        if probabilities:
            how, ko = f"asked for {choice.PROBABILITIES}", "토큰 확률을 요청함"
        elif choosing:
            how, ko = choice.GREEDY, "확률 없이 고른 답 하나"
        else:
            how, ko = f"mean of {n} sampled forms", f"채점표 {n}장의 평균"
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
