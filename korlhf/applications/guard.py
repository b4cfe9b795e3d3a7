"""Where help is, shown next to an answer and never instead of it: a check of the user's message before the model
answers. Which helplines there are is in helplines.yaml.

The check is a SPEC as --veto of step 3 has them: it is given the message as a reward is given an answer, the bot's
answer before it as the prompt. A guard that gives no score is told on stderr, the helplines are shown with a line that
says why, and the answer comes all the same: whoever needed them must not miss them because a server is away. Of its
failure only the kind is told: the text may hold the user's message."""

import functools
import math
import sys
import threading
from dataclasses import dataclass

from korlhf.core.errors import InputError
from korlhf.core.flags import flag
from korlhf.core.texts import read_yaml
from korlhf.korean import crisis
from korlhf.training.reward_flags import kind_of, read_spec

OFF, OWN = "off", "rules:crisis"
ANY, UNCHECKED = "any", "unchecked"
SECONDS = 5.0  # that a server may take
OPENER = "안녕하세요."  # what a reward model reads as the prompt of a first message


@dataclass(frozen=True, kw_only=True)
class GuardFlags:
    """help in a crisis"""

    guard: str = flag(
        OWN,
        "what looks at each message, to show helplines next to the answer: [THRESHOLD:]SPEC as --veto of step 3, "
        "which is a reward model, FILE.py:FUNCTION, http(s)://... or rules:NAME; below THRESHOLD (0.5) they are shown; "
        "off = nobody looks, then you answer for it (applications/COMPLIANCE.md)",
    )


@functools.cache
def helplines():
    """{"lines": number -> words, "shown": what is found -> words and numbers} of helplines.yaml."""
    return read_yaml("korlhf.applications", "helplines.yaml")


def plain(found):
    """The helplines for what was found, for a terminal: lines in both languages."""
    said = helplines()
    out = []
    for name in found:
        of = said["shown"][name]
        out += [of["ko"], of["en"]]
    numbers = dict.fromkeys(number for name in found for number in said["shown"][name]["lines"])
    return out + [f"  {n:<10} {said['lines'][n]['ko']} · {said['lines'][n]['en']}" for n in numbers]


class Guard:
    """text: as --guard has it; checkpoint: llm.flags.CheckpointFlags of a reward model. Raises InputError. May be
    called from any thread."""

    def __init__(self, text, checkpoint):
        self._spec = read_spec("--guard", text)
        (self.name,) = self._spec.members
        if self.name == OWN != text:
            raise InputError(f"--guard {text}: {OWN} takes no threshold; write --guard {OWN}")
        self._score = None if self.name == OWN else _opened(self.name, checkpoint)

    def check(self):
        """Look at a greeting. Raises InputError if that gives no score: it is told before anybody talks."""
        try:
            if self._score is not None:
                self._score([{"role": "user", "content": OPENER}], OPENER)
        except InputError as error:
            raise InputError(f"--guard {self.name}: {error}") from error

    def warm(self):
        """The first look of the rules takes seconds: take them while the first message is typed."""
        if self._score is None:
            threading.Thread(target=crisis.signs, args=(OPENER,), name="guard").start()

    def __call__(self, messages):
        """What a conversation that ends with the user's message has signs of: names of helplines()["shown"]."""
        text = messages[-1]["content"]
        try:
            if self._score is None:
                return crisis.signs(text)
            score = self._score(messages, text)
        except Exception as error:  # whatever fails, memory too: the answer comes
            kind = type(error.__cause__ or error).__name__
            print(f"warning: --guard {self.name}: a message was not checked: {kind}", file=sys.stderr, flush=True)
            return [UNCHECKED]
        return [UNCHECKED] if not math.isfinite(score) else [ANY] if score < self._spec.number else []


def open_guard(flags, checkpoint):
    """The Guard of GuardFlags, or None if it is off. Raises InputError, also for one that gives no score now."""
    if flags.guard == OFF:
        return None
    guard = Guard(flags.guard, checkpoint)
    guard.check()
    return guard


def _opened(name, checkpoint):
    """Function: (messages, the last one's text) -> its score, NaN for none; raises InputError."""
    kind = kind_of(name)
    if kind == "judge":
        raise InputError(
            f"--guard {name}: a judge is no guard; give rules:crisis, FILE.py:FUNCTION, http://... or a model"
        )
    if kind == "http" and name.endswith("/classify"):
        raise InputError(f"--guard {name}: vLLM's /classify is no guard; give the reward model's folder")
    if kind == "model":
        from korlhf.applications.chat.scorer import Scorer  # imports torch

        scorer = Scorer(name, checkpoint.dtype, checkpoint.trust_remote_code, "--guard")
        return lambda messages, text: scorer.score([{"role": "user", "content": _before(messages) or OPENER}], text)
    from korlhf.rl import reward_kinds  # imports torch
    from korlhf.rl.http_reward import HttpReward
    from korlhf.rl.mixed import Part
    from korlhf.rl.rewards import Prompt

    if kind == "http":
        reward = HttpReward(name, "--guard", SECONDS, concurrency=1, wait=0.0)
    else:
        rules = {f"rules:{rule}": reward for rule, reward in reward_kinds.RULES.items()}
        reward = rules[name] if kind == "rules" else reward_kinds.file_reward("--guard", name)
    part = Part(name, reward)

    def score(messages, text):
        prompt = Prompt([], tuple(messages[:-1]) or ({"role": "assistant", "content": ""},), "guard")
        return float(part.scores([prompt], [text])[0])

    return score


def _before(messages):
    """What the bot said before the last message, "" if that is the first."""
    return messages[-2]["content"] if len(messages) > 1 and messages[-2]["role"] == "assistant" else ""
