"""The stages of each recipe, with what the user changes. They are the scripts of data_prep, of the three steps and of eval; nothing of what
those do is repeated here.

    sample        the miniature corpora of samples/raw and a tiny model, on any machine (sample.py)
    v1, v2, v3    the recipes of data_prep on real corpora, for Polyglot-Ko or KULLM (corpora.py)
"""

import difflib
import shlex

from korlhf.core.errors import InputError
from korlhf.pipeline.corpora import corpora
from korlhf.pipeline.sample import sample
from korlhf.pipeline.stages import FLAGS, MACHINE

RECIPES = {"sample": sample, "v1": corpora, "v2": corpora, "v3": corpora}

OWN = {
    "MODEL",
    "MODELS",
    "RUN",
    "OUTPUT",
    *MACHINE,
}  # variables that have a meaning of their own for a run, or reach every stage


def build(wanted):
    """The list of Stage of what is wanted (parts.Wanted). Raises InputError for a recipe, model, stage or setting that does not exist."""
    if wanted.recipe not in RECIPES:
        raise InputError(f"RECIPE={wanted.recipe}: no such recipe; there are {', '.join(RECIPES)}")
    stages = RECIPES[wanted.recipe](wanted)
    by_name = {s.name: s for s in stages}
    for name, changes in wanted.changes.items():
        if name not in by_name:
            raise InputError(f"--set {name}.{next(iter(changes))}: no such stage; there are {', '.join(by_name)}")
        _check(by_name[name], changes)
    return stages


def _check(stage, changes):
    known = [*stage.known(), *([FLAGS] if takes_flags(stage) else [])]
    for setting, value in changes.items():
        if setting not in known:
            close = difflib.get_close_matches(setting, known, 3, cutoff=0.4)
            raise InputError(
                f"--set {stage.name}.{setting}: {stage.scripts[0].name} has no such setting; "
                + (f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}")
            )
        if setting == FLAGS:
            try:
                shlex.split(value)
            except ValueError as error:
                raise InputError(f"--set {stage.name}.{FLAGS}={value}: {error}; quote as in a shell") from error


def takes_flags(stage):
    """Whether words at the end of the command reach one program: a training, or a program itself."""
    return bool(stage.reset) or stage.command.startswith("python ")


def read_changes(texts):
    """--set: ["STAGE.NAME=VALUE"] -> {stage: {setting: value}}. Raises InputError for what does not look like that."""
    out = {}
    for text in texts:
        where, equals, value = text.partition("=")
        stage, dot, name = where.partition(".")
        if not (equals and dot and stage and name):
            raise InputError(
                f"--set {text}: write STAGE.NAME=VALUE, e.g. --set ppo.KL_COEF=0.1 'sft.FLAGS=--max_steps 100'"
            )
        out.setdefault(stage, {})[name] = value
    return out


def unheard(stages, environ):
    """Lines about variables of the environment that scripts of several stages would read and that reach none of them."""
    free = {name for s in stages if not s.own_settings for name in s.known()}
    out = []
    for stage in stages:
        for name in stage.known():
            if stage.own_settings and environ.get(name) and name not in free and name not in stage.given:
                out.append((name, stage.name))
    first = dict(reversed(out))
    return [
        f"{name} of the environment reaches no stage: say which, e.g. --set {first[name]}.{name}={environ[name]}"
        for name in dict.fromkeys(n for n, _ in out)
        if name not in OWN
    ]
