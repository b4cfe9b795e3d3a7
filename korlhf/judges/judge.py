"""--judge: who scores and compares answers in eval/. A server's model, a local language model, or a reward model, behind one interface.

rate         answers -> geval.Score with a rubric's criteria; of a reward model its own score, on no scale
choose       questions with lettered options -> choices.Choice; a reward model answers none
repeats      whether the same answer always gets the same score, so that rescoring it would show nothing
fingerprint  of a local model's folder; "" of a server's
"""

import os
from dataclasses import dataclass

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.core.flags import check_positive
from korlhf.judges import choice as choices
from korlhf.judges import geval
from korlhf.judges import rubric as rubrics
from korlhf.llm import client as llm
from korlhf.llm import responders
from korlhf.llm.client import Failure
from korlhf.llm.flags import CheckpointFlags

KINDS = ("openai", "checkpoint", "reward_model")
USAGE = "give openai:MODEL[@BASE_URL], checkpoint:FOLDER (a language model on this machine) or reward_model:FOLDER"


@dataclass(frozen=True)
class _Name:
    kind: str
    model: str
    url: str = ""


def read_name(text):
    """--judge -> its kind, model and address. Raises InputError."""
    kind, _, model = text.partition(":")
    if kind not in KINDS or not model:
        raise InputError(f"--judge {text}: {USAGE}")
    if kind == "openai":
        server = responders.SERVER.fullmatch(text)
        return _Name(kind, server["model"], server["url"] or "")
    return _Name(kind, os.path.expanduser(model))


def inputs(text):
    """The folder that --judge names, as a list of what was read; [] of a server."""
    name = read_name(text)
    return [] if name.kind == "openai" else [name.model]


def open_judge(judge, checkpoint, llm_flags, cache, usage=None):
    """The judge that --judge names.

    judge: flags.JudgeFlags; checkpoint: flags.CheckpointFlags, of which precision and trust hold (a judge always has the template of its own
    folder); llm_flags: flags.LlmFlags; usage: the account of the run (llm.new_usage). Raises InputError if it cannot be had.
    """
    name, flags = read_name(judge.judge), judge
    checkpoint = CheckpointFlags(dtype=checkpoint.dtype, trust_remote_code=checkpoint.trust_remote_code)
    if name.kind == "openai":
        return _Server(name, flags, llm_flags, cache, usage)
    if name.kind == "checkpoint":
        return _Local(name.model, flags, checkpoint, cache)
    return _Reward(name.model, flags, checkpoint, cache)


def check(judging, parser):
    """Refuse values of flags.JudgingFlags that cannot work; exits like argparse does."""
    check_positive(
        {name: getattr(judging, name) for name in ("judge_samples", "judge_batch_size", "judge_max_seq_len")}, parser
    )
    if judging.judge_temperature < 0:
        parser.error(f"--judge_temperature {judging.judge_temperature:g}: must be 0 or above")
    if judging.judge_temperature == 0 and judging.judge_samples > 1:
        parser.error(
            f"--judge_samples {judging.judge_samples}: at --judge_temperature 0 all are the same; give --judge_samples 1, "
            "or a higher temperature"
        )


class _Server:
    """A model of a server: forms are filled in and read strictly."""

    kind, repeats, fingerprint = "openai", False, ""

    def __init__(self, name, flags, llm_flags, cache, usage):
        self.name, self.flags = name.model, flags
        urls = [name.url or llm_flags.base_url]
        self._client = responders.open_clients(llm_flags, urls, cache, usage)[urls[0]]
        self._abilities, self._url = None, urls[0] or llm.OPENAI

    def _asked(self, rubric=None):
        """(structured, probabilities), found out once."""
        if self._abilities is None:
            rubric = rubric or rubrics.load_rubric(rubrics.FOLDER / "everyday.yaml")
            self._abilities = geval.abilities(
                self._client, rubric, self.name, self.flags.structured, self.flags.judge_temperature
            )
        return self._abilities

    def rate(self, items, desc="judging", again=False):
        """forms.Items -> for each a list of geval.Score or Failure, one an answer; every answer is judged alone.

        again: with forms of their own, past those that the cache holds.
        """
        if not items:
            return []
        structured, probabilities = self._asked(items[0].rubric)
        judge = geval.Judge(
            self.name,
            structured,
            probabilities,
            self.flags.judge_samples,
            self.flags.judge_temperature,
            self.flags.judge_samples if again else 0,
        )
        return [verdict.results for verdict in geval.judge_answers(self._client, judge, items)]

    def choose(self, questions, desc="judging"):
        """choices.Questions -> a Choice or Failure each."""
        return choices.ask(self._client, self.name, *self._asked(), questions, desc)

    def protocol(self, choosing=False):
        """How it judges, in both languages. choosing: what it was asked is `choose`."""
        structured, probabilities = self._asked()
        n = self.flags.judge_samples
        if probabilities:
            how, ko = f"asked for {choices.PROBABILITIES}", "토큰 확률을 요청함"
        else:
            how, ko = (
                (choices.GREEDY, "확률 없이 고른 답 하나")
                if choosing
                else (f"mean of {n} sampled forms", f"채점표 {n}장의 평균")
            )
        return tables.both(
            f"{self.name} at {self._url} ({how}; structured output {'on' if structured else 'off'})",
            f"{self._url}의 {self.name} ({ko}; 구조화 출력 {'사용' if structured else '사용 안 함'})",
        )

    def warnings(self):
        return []


class _Local:
    """A language model on this machine."""

    kind, repeats = "checkpoint", True

    def __init__(self, path, flags, checkpoint, cache):
        from korlhf.judges.local import LocalJudge  # slow to import

        self._judge, self._cache = LocalJudge(path, "--judge", checkpoint, flags.judge_batch_size), cache
        self.name, self.fingerprint = os.path.basename(os.path.normpath(path)), self._judge.checkpoint.fingerprint

    def rate(self, items, desc="judging"):
        return self._judge.rate(items, self._cache)

    def choose(self, questions, desc="judging"):
        return self._judge.choose(questions, self._cache)

    def protocol(self, choosing=False):
        path, dtype = self._judge.checkpoint.path, self._judge.checkpoint.dtype
        alone = ("", "") if choosing else (", each criterion asked for by itself", ", 기준마다 따로 물음")
        return tables.both(
            f"local model {path} ({dtype}, next-token probabilities{alone[0]})",
            f"로컬 모델 {path} ({dtype}, 다음 토큰의 확률{alone[1]})",
        )

    def warnings(self):
        """tables.both lines, once it has judged."""
        from korlhf.judges.local import LOW_MASS

        mass = self._judge.mass / self._judge.asked if self._judge.asked else 1.0
        if mass >= LOW_MASS:
            return []
        return [
            tables.both(
                f"the judge {self.name} puts only {mass:.1%} of its probability on the options it is asked to choose from: "
                "it does not follow the form, and its verdicts mean little",
                f"심판 {self.name}은(는) 골라야 할 보기에 확률의 {mass:.1%}만 둡니다. 채점 양식을 따르지 못하므로 판정을 믿기 어렵습니다",
            )
        ]


class _Reward:
    """A reward model: a score on no scale, no criteria."""

    kind, repeats = "reward_model", True

    def __init__(self, path, flags, checkpoint, cache):
        from korlhf.judges.reward import RewardJudge  # slow to import

        self._judge = RewardJudge(
            path, "--judge", checkpoint, flags.judge_max_seq_len, flags.judge_batch_size, "--judge_max_seq_len"
        )
        self._cache = cache
        self.path, self.name, self.fingerprint = path, self._judge.name, self._judge.fingerprint

    def rate(self, items, desc="scoring"):
        """As the others; the Score has no criteria, and the Items need no rubric."""
        found = self._judge.scores([item.messages for item in items], [item.answers for item in items], self._cache)
        return [
            [s if isinstance(s, Failure) else geval.Score({}, s, "reward model", 1) for s in of_item]
            for of_item in found
        ]

    def choose(self, questions, desc="judging"):
        raise InputError(
            f"--judge reward_model:{self._judge.path}: a reward model answers no questions; {USAGE.replace(' or reward_model:FOLDER', '')}"
        )

    def protocol(self, choosing=False):
        j = self._judge
        return tables.both(
            f"reward model {j.path} ({j.dtype}): its own score, on no scale; no rubric is read",
            f"보상 모델 {j.path} ({j.dtype}): 눈금 없는 자체 점수이며 채점 기준표는 읽지 않음",
        )

    def warnings(self):
        return []
