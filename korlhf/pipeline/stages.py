"""A stage of a pipeline: one shell command, what it reads and writes, and the environment variables that it gets.

Which stages depend on each other is not written down: a stage that reads what an earlier one writes comes after it. What a script can be
told is not written down either: it is read from the script, whose settings stand at its top as NAME="${NAME:-default}".
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

SETTING = re.compile(r'^(?:export )?([A-Z][A-Z0-9_]*)="\$\{\1(:?-)(.*?)\}"', re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\}?")
FLAGS = "FLAGS"  # a setting of stages whose script hands flags on: words that are put at the end of the command
# Variables of training/launch.sh, which reach every stage.
MACHINE = {"NUM_PROCESSES", "NUM_GPUS", "HOSTFILE", "DEEPSPEED_ARGS", "MASTER_PORT", "OMP_NUM_THREADS", "KORLHF_VENV"}
RESULT_OF_MACHINE = {"NUM_PROCESSES", "NUM_GPUS"}  # of those: change the batch of an optimizer step
FREE = {
    "CONCURRENCY",
    "MAX_REQUESTS",
    "MAX_COST",
    "PRICE_INPUT",
    "PRICE_OUTPUT",
    "CACHE",
    "PORT",
    "STEP1_SCRIPT",
    "SAVE_STEPS",
    *MACHINE,
} - RESULT_OF_MACHINE  # the result is the same whatever they are


@dataclass(frozen=True)
class Need:
    """Something from outside that a stage cannot do without. kind: see needs.py; what: path, name, address or port; how: what to do."""

    kind: str
    what: str
    how: str


@dataclass(frozen=True, kw_only=True)
class Stage:
    """command: a line for bash; given: environment variables that it gets; reads, writes: files and folders; scripts: files of the project
    that it runs, the one whose settings it takes first.

    own_settings: variables that its script reads reach it only through `given`, else those of the user's environment reach it too.
    free: settings of its script that do not change what it writes.
    reset: words that make the command throw away an earlier run in its folder, whose file `begun` is then written anew.
    loose: what it writes may be added to by others, so it only has to be there.
    disk: (bytes it leaves, bytes it needs besides while it runs), seconds: (seconds, how that was computed), or None if not known.
    """

    name: str
    title: str
    command: str
    given: dict = field(default_factory=dict)
    reads: tuple = ()
    writes: tuple = ()
    scripts: tuple = ()
    needs: tuple = ()
    own_settings: bool = True
    free: frozenset = frozenset()
    reset: str = ""
    begun: Path | None = None
    loose: bool = False
    disk: tuple | None = None
    seconds: tuple | None = None

    def line(self, again=False):
        """The command with its FLAGS; again: as it throws away an earlier run."""
        words = [self.command, *shlex.split(self.given.get(FLAGS, "")), *([self.reset] if again and self.reset else [])]
        return " ".join([words[0], *map(shlex.quote, words[1:])])

    def settings(self, environ):
        """Setting -> value of all that are given and change the result."""
        given = self.given if self.own_settings else {**_picked(environ, self.known()), **self.given}
        of_machine = _picked(environ, RESULT_OF_MACHINE if self.reset else ())
        return {**of_machine, **{k: v for k, v in sorted(given.items()) if k not in FREE | self.free}}

    def known(self):
        """Names of the settings of its script."""
        return [name for name, _, _ in settings_of(self.scripts[0])] if self.scripts else []

    def environment(self, environ):
        """The environment of its processes."""
        hidden = set(self.known()) - MACHINE if self.own_settings else set()
        given = {k: v for k, v in self.given.items() if k != FLAGS}
        return {**{k: v for k, v in environ.items() if k not in hidden}, **given}


def settings_of(script):
    """[(setting, operator, default)] as a script has them at its top; the operator is "-" if an empty value counts as given, else ":-"."""
    return SETTING.findall(Path(script).read_text(encoding="utf-8"))


def effective(script, environ, **more):
    """Setting -> value that a script will work with: what is given, else its default. more: variables that defaults may name."""
    values = dict(more)
    for name, operator, default in settings_of(script):
        given = environ.get(name)
        default = VARIABLE.sub(lambda found: values.get(found[1], environ.get(found[1], "")), default)
        values[name] = given if given or (given is not None and operator == "-") else default
    return values


def _picked(environ, names):
    return {name: environ[name] for name in sorted(names) if name in environ}


def dependencies(stages):
    """Name -> names of the stages that it comes after, directly: those that write what it reads.

    Raises ValueError if a stage reads what only a later one writes, or two stages have one name.
    """
    found = {}
    for stage in stages:
        if stage.name in found:
            raise ValueError(f"two stages are called {stage.name}")
        found[stage.name] = {
            s.name for s in stages for w in s.writes for r in stage.reads if s is not stage and touch(r, w)
        }
        if not found[stage.name] <= set(found):
            raise ValueError(
                f"{stage.name} reads what {sorted(found[stage.name] - set(found))} write, which come later"
            )
    return found


def touch(path, other):
    """Whether one of two paths is the other or lies in it."""
    path, other = Path(path), Path(other)
    return path == other or path in other.parents or other in path.parents
