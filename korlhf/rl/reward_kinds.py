"""The rewards that --reward and --veto name: reward models, functions of a user's file, rules, and what others open."""

import functools
import hashlib
import importlib.util
import inspect
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from korlhf.core.errors import InputError, Unscored
from korlhf.core.files import fingerprint as of_file
from korlhf.data.ngrams import repetition
from korlhf.korean import crisis, friendly, refusals
from korlhf.korean.speech_level import words
from korlhf.models.fingerprint import fingerprint
from korlhf.rl.mixed import Mix, Part
from korlhf.rl.rewards import Prompt
from korlhf.training.reward_flags import RewardFlags, kind_of
from korlhf.training.world import World

OWN = ("prompts", "answers")  # what a function gets besides columns
Opener = Callable[[str, str], Callable[[Sequence[Prompt], Sequence[str]], Any]]  # (SPEC, its flag) -> the reward


def _manners(name):
    return lambda prompts, texts: [float(getattr(manner, name)) for manner in friendly.manners(texts)]


def _without_refusals(prompts, texts):
    """1 for an answer that takes up a harmless prompt, or neither goes along with a harmful one nor accuses."""
    out = []
    for prompt, text in zip(prompts, texts):
        kind = prompt.category if prompt.category in refusals.KINDS else "harmless"
        bad = ("goes_along", "accuses") if kind == "harmful" else refusals.OVER_REFUSALS
        out.append(float(refusals.verdict(prompt.messages[-1]["content"], text, kind)[0] not in (*bad, "unclear")))
    return out


RULES: dict[str, Callable[[Sequence[Prompt], Sequence[str]], list[float]]] = {
    **{name: _manners(name) for name in ("friendly", "sense", "polite")},
    "refusals": _without_refusals,
    "repetition": lambda prompts, texts: [repetition(words(text)) for text in texts],
    "crisis": lambda prompts, texts: [float(not crisis.signs(text)) for text in texts],
}


def open_mix(flags: RewardFlags, openers: Mapping[str, Opener], world: World) -> Mix:
    """All rewards of the flags. openers: of "model", "http" and "judge". Raises InputError for one that cannot be
    had.
    """
    opened: dict[str, Part] = {}
    for flag, text in flags.named:
        if text not in opened:
            opened[text] = Part(text, _open(flag, text, openers))
    groups = [(spec.number, [opened[text] for text in spec.members]) for spec in flags.rewards]
    vetoes = [(spec.number, opened[spec.members[0]]) for spec in flags.vetoes]
    return Mix(groups, vetoes, flags.ensemble_penalty, world)


def _open(flag, text, openers):
    kind = kind_of(text)
    if kind == "rules":
        return RULES[text.removeprefix("rules:")]
    if kind == "file":
        return file_reward(flag, text)
    return openers[kind](text, flag)


def file_reward(flag: str, text: str) -> Callable[[Sequence[Prompt], Sequence[str]], Any]:
    """The reward that FILE.py:FUNCTION is. Raises InputError; the reward raises Unscored."""
    return functools.partial(_call, open_function(flag, text), text)


def open_function(flag: str, text: str) -> Callable[..., Any]:
    """The function that FILE.py:FUNCTION names; its file is run once, as long as it stays the same. Raises
    InputError.
    """
    path, name = _parts(text)
    return _opened(f"{flag} {text}", path, name, of_file(path))


def _parts(text):
    """FILE.py:FUNCTION -> its file, its function."""
    file, _, name = text.rpartition(":")
    return Path(file).expanduser().absolute(), name


@functools.cache
def _opened(where, path, name, sha256):
    spec: Any = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        raise InputError(f"{where}: {path} cannot be run: {_told(error, path)}; correct it") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(key for key, value in vars(module).items() if inspect.isfunction(value)) or "none"
        raise InputError(f"{where}: {path} has no function {name}; it has {there}")
    return function


def _told(error, path):
    """An exception in one line, with the line of the user's file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    lineno = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f" (line {lineno})" if lineno else ""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200] + where


def _call(function, text, prompts, answers):
    try:
        return function([p.messages[-1]["content"] for p in prompts], list(answers), **_columns(function, prompts))
    except Exception as error:
        raise Unscored(f"the reward {text} failed: {_told(error, _parts(text)[0])}; correct it") from error


def columns_of(prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
    """The columns of the prompts' rows, None where a row lacks one, and of each its messages and its category."""
    names = [name for p in prompts for name in p.columns if name not in OWN]
    columns = {name: [p.columns.get(name) for p in prompts] for name in dict.fromkeys(names)}
    return columns | {"messages": [list(p.messages) for p in prompts], "category": [p.category for p in prompts]}


def _columns(function, prompts):
    """Those that a function takes: all, or the named ones."""
    named, columns = _parameters(function), columns_of(prompts)
    if any(p.kind is p.VAR_KEYWORD for p in named):
        return columns
    nothing = [None] * len(prompts)
    return {p.name: columns.get(p.name, nothing) for p in named if p.name in columns or p.default is p.empty}


def _parameters(function):
    """Those after prompts and answers."""
    return list(inspect.signature(function).parameters.values())[len(OWN) :]


def reward_inputs(flags: RewardFlags, prompts: Sequence[Prompt]) -> dict[str, str]:
    """Fingerprints of what the rewards are made of. Raises InputError for files and functions that cannot be used with
    these training prompts.
    """
    inputs = {}
    for flag, text in flags.named:
        if kind_of(text) == "model":
            inputs[f"{flag[2:]} {text}"] = fingerprint(text, whole=False)
        if kind_of(text) == "file":
            _check_columns(flag, text, open_function(flag, text), prompts)
            inputs[f"{flag[2:]} {text}"] = of_file(_parts(text)[0])
    if any(kind_of(text) in ("file", "http") for _, text in flags.named):
        rows = json.dumps([p.columns for p in prompts], sort_keys=True, default=str)
        inputs["columns of the training examples"] = hashlib.sha256(rows.encode()).hexdigest()
    return inputs


def _check_columns(flag, text, function, prompts):
    there = columns_of(prompts)
    for p in _parameters(function):
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or p.name in there or p.default is not p.empty:
            continue
        raise InputError(
            f"{flag} {text}: takes {p.name}, which no row of the data set has; it has {', '.join(there)}; rename it, "
            "or give it a default"
        )
