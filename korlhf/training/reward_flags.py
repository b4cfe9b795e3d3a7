"""--reward and --veto of step 3: how they are written, and what cannot be one."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from korlhf.core.errors import InputError
from korlhf.core.flags import flag

RULES = (
    "friendly",
    "sense",
    "polite",
    "refusals",
    "repetition",
    "crisis",
)  # korlhf/rl/reward_kinds.py tells what they are
KINDS = "a reward model, FILE.py:FUNCTION, http(s)://..., judge:[RUBRIC:]openai:MODEL[@BASE_URL], rules:NAME"
VETO_BELOW = 0.5  # of rules, which give 0 or 1
SERVICES = ("http", "judge")
_THRESHOLD = re.compile(r"([-+]?[0-9.]+(?:e[-+]?[0-9]+)?):(.+)")


@dataclass(frozen=True)
class Spec:
    """One of --reward or --veto. number: its weight, or what a veto's score must not be below; members: the SPEC, or
    those of an ensemble.
    """

    number: float
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RewardFlags:
    """rewards"""

    reward: list[str] = flag(
        [],
        f"what answers are scored by: {KINDS}; several are weighed, as in 0.8*FOLDER 0.2*rules:friendly; FOLDER,FOLDER "
        "is an ensemble; not given = --reward_model_name_or_path",
    )
    veto: list[str] = flag(
        [],
        "guards, as --reward has them: an answer below [THRESHOLD:]SPEC gets the lowest score of its batch "
        f"(THRESHOLD not given = {VETO_BELOW})",
    )
    ensemble_penalty: float = flag(0.0, "an ensemble's score is its mean less this times its standard deviation", low=0)
    reward_wait: float = flag(
        600.0, "seconds that a step waits for a reward's server before the training is saved and stops", low=0
    )

    @property
    def rewards(self) -> list[Spec]:
        return [read_spec("--reward", text) for text in self.reward]

    @property
    def vetoes(self) -> list[Spec]:
        return [read_spec("--veto", text) for text in self.veto]

    @property
    def named(self) -> list[tuple[str, str]]:
        """(flag, SPEC) of all, members of ensembles each."""
        both = ("--reward", self.rewards), ("--veto", self.vetoes)
        return list(dict.fromkeys((name, text) for name, specs in both for spec in specs for text in spec.members))

    @property
    def models(self) -> list[tuple[str, str]]:
        """(flag, folder or hub name) of the reward models."""
        return [(name, text) for name, text in self.named if kind_of(text) == "model"]

    def check(self, given: str, ddp_timeout: float, request_timeout: float) -> None:
        """Raises InputError for what cannot work. given: --reward_model_name_or_path."""
        if self.veto and not self.reward:
            raise InputError(f"--veto {self.veto[0]}: holds with --reward; name the reward model there")
        if self.reward and given:
            raise InputError(
                f"--reward_model_name_or_path {given}: goes with no --reward; name it there, or delete one"
            )
        if self.ensemble_penalty and not any(len(spec.members) > 1 for spec in self.rewards):
            raise InputError(
                f"--ensemble_penalty {self.ensemble_penalty:g}: no --reward is an ensemble; write one as FOLDER,FOLDER"
            )
        seen: set[str] = set()
        for text in (text for spec in self.rewards for text in spec.members):
            if text in seen:
                raise InputError(f"--reward {text}: is there twice; give it once, with the weight of both")
            seen.add(text)
        served = any(kind_of(text) in SERVICES for _, text in self.named)
        if served and self.reward_wait + request_timeout >= ddp_timeout:
            raise InputError(
                f"--reward_wait {self.reward_wait:g} with --request_timeout {request_timeout:g}: other processes wait "
                f"only --ddp_timeout {ddp_timeout:g} seconds; lower one, or raise that"
            )


def kind_of(text: str) -> str:
    """ "model", "file", "http", "judge" or "rules"."""
    head = text.partition(":")[0]
    if head in ("rules", "judge"):
        return head
    if head in ("http", "https"):
        return "http"
    return "file" if re.search(r"\.py(:|$)", text) else "model"


def read_spec(name: str, text: str) -> Spec:
    """The Spec that a text of the flag `name` is: [WEIGHT*]SPEC of --reward, [THRESHOLD:]SPEC of guards. Raises
    InputError.
    """
    found = _parted(name, text)
    for member in found.members:
        _check(name, member)
    return found


def _parted(name, text):
    """The Spec, whose members may be none that can be had."""
    number, members = 1.0 if name == "--reward" else VETO_BELOW, (text,)
    if name == "--reward" and "*" in text:
        weight, _, rest = text.partition("*")
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or not number:
            raise InputError(
                f"--reward {text}: {weight!r} is no weight; give a finite number other than 0, as in 0.8*{rest}"
            )
        members = (rest,)
    elif name != "--reward" and (found := _THRESHOLD.fullmatch(text)):
        number, members = float(found[1]), (found[2],)
    if name == "--reward" and kind_of(members[0]) == "model":
        members = tuple(members[0].split(","))
    return Spec(number, members)


def _check(name, text):
    """Raises InputError for a SPEC that cannot be one; folders are looked for where all models are."""
    kind, where = kind_of(text), f"{name} {text}"
    if kind == "rules" and text.removeprefix("rules:") not in RULES:
        raise InputError(f"{where}: no such rule; give one of {', '.join('rules:' + rule for rule in RULES)}")
    if kind == "judge" and not re.fullmatch(r"judge:(.+:)?openai:.+", text):
        raise InputError(f"{where}: write judge:openai:MODEL[@BASE_URL], or judge:RUBRIC:openai:MODEL[@BASE_URL]")
    if kind == "http" and not re.match(r"https?://[^/\s]+", text):
        raise InputError(f"{where}: no address; give one as in http://127.0.0.1:8000/score")
    if kind == "file":
        path, _, function = text.rpartition(":")
        if not function.isidentifier():
            raise InputError(f"{where}: names no function; write FILE.py:FUNCTION")
        if not Path(path).expanduser().is_file():
            raise InputError(f"{where}: no such file {path}; write FILE.py:FUNCTION")
    if not text:
        raise InputError(f"{name}: an empty name; give {KINDS}")


def rewards_of(settings: dict[str, Any]) -> list[str]:
    """The SPECs of all rewards that the settings.json of a training of step 3 names, members of ensembles each; what
    they name may be gone.
    """
    if settings.get("reward"):
        return [member for text in settings["reward"] for member in _parted("--reward", text).members]
    own = settings.get("reward_model_name_or_path") or settings.get("critic_model_name_or_path")
    return [own] if own else []


def reward_model_of(settings: dict[str, Any]) -> str:
    """The reward model that the settings.json of a training of step 3 names, the first of several; "" if there is
    none.
    """
    return next((text for text in rewards_of(settings) if kind_of(text) == "model"), "")
