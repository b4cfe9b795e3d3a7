"""Command-line flags: how they are declared, parsed and read.

Every flag is a dataclass field, declared once, on the floor that uses it.
"""

import argparse
import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar, cast

from korlhf.core import ranks
from korlhf.core.files import check_output

REQUIRED = dataclasses.MISSING
RANGE = ("above", "low", "below", "high")  # of a number: greater than; at least; less than; at most
MOST = 2**31 - 1  # of a whole number that declares no other bound: more fits into no tensor's size

Flags = TypeVar("Flags")


def flag(default: Any, help: str, **more: Any) -> Any:
    """Declare one flag; `default` may be a list, or REQUIRED.

    more: arguments of argparse, and the range of a number: above=0 (greater than 0), low=0, high=1 (0 and 1 included),
    below=1 (less than 1), in none of which are NaN and the infinities; output="file" or "folder" for what is written.
    """
    metadata = {"help": help, **more}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def seed_flag(help: str) -> Any:
    """Declare a seed: of 32 bits, which every generator takes."""
    return flag(1234, help, low=0, high=2**32 - 1)


def add(parser: "Parser", cls: Any, prefix: str = "", **defaults: Any) -> None:
    """Add every field of `cls` to `parser` as --{prefix}{field}; `defaults` replace the declared ones."""
    group = parser.add_argument_group(f"{prefix.rstrip('_')} {cls.__doc__}".strip())
    unknown = set(defaults) - {f.name for f in dataclasses.fields(cls)}
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {sorted(unknown)}")
    for f in dataclasses.fields(cls):
        declared = f.default_factory() if f.default_factory is not REQUIRED else f.default
        default = defaults.get(f.name, declared)
        kw: dict[str, Any] = {name: value for name, value in f.metadata.items() if name not in (*RANGE, "output")}
        if "output" in f.metadata:
            parser.outputs[prefix + f.name] = f.metadata["output"]
        if default is not REQUIRED and default not in (None, "", []) and f.type is not bool:
            kw["help"] += f" (default: {default})".replace("%", "%%")
        if f.type is bool:
            kw["action"] = "store_true"
        else:
            kw.update({"required": True} if default is REQUIRED else {"default": default})
            if f.type in (list[str], list[int]):
                kw["nargs"] = "+"
            if kind := {int: int, float: float, float | None: float, list[int]: int}.get(f.type):
                kw["type"] = _number(kind)
                if "choices" not in kw:
                    bounds = {name: f.metadata[name] for name in RANGE if name in f.metadata}
                    parser.ranges[prefix + f.name] = kind, bounds
        group.add_argument(f"--{prefix}{f.name}", **kw)


def read(args: argparse.Namespace, cls: type[Flags], prefix: str = "") -> Flags:
    """The `cls` part of a parsed namespace, without its prefix."""
    return cls(**{f.name: getattr(args, prefix + f.name) for f in dataclasses.fields(cast(Any, cls))})


def parse(argv: Iterable[str] | None, description: str, *groups: Any, **defaults: Any) -> tuple[Any, ...]:
    """The flags of a program: one instance of each of `groups`, checked by its `check(parser)` if it has one.

    defaults: of flags whose default is another one in this program. Values that cannot work exit as argparse does.
    """
    parser = Parser(description=description)
    for group in groups:
        names = {field.name for field in dataclasses.fields(group)}
        add(parser, group, **{name: value for name, value in defaults.items() if name in names})
    space = parser.parse_args(argv)
    found = tuple(read(space, group) for group in groups)
    for one in found:
        if hasattr(one, "check"):
            one.check(parser)
    return found


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that checks ranges and says why a removed flag is gone."""

    def __init__(self, removed: Mapping[str, str] | None = None, **kwargs: Any):
        """removed: names of flags that are gone -> the reason and the remedy."""
        super().__init__(
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36, width=140),
            **kwargs,
        )
        self.removed, self.ranges, self.outputs = removed or {}, {}, {}
        self._negative_number_matcher = re.compile(r"-(\d|\.\d|inf|nan)", re.IGNORECASE)  # -1e-5 is a value, no flag

    def error(self, message: str) -> NoReturn:
        """One line, without the usage (of a hundred lines), by the first of several processes; exit code 2."""
        if ranks.is_first():
            hint = " (see --help)" if message.startswith(("argument ", "the following ")) else ""
            print(f"error: {' '.join(message.split())}{hint}", file=sys.stderr, flush=True)
        sys.exit(2)

    def _unknown(self, words: list[str]) -> str:
        """What to say of words that no flag takes: of each flag among them which one it may have been meant as."""
        if not (names := [word.split("=")[0] for word in words if word.startswith("-")]):
            return f"{' '.join(words)}: belongs to no flag (see --help)"
        said = []
        for name in names:
            asked, there = (
                name.strip("-").replace("-", "_"),
                [f[2:] for f in self._option_string_actions if f[1] == "-"],
            )
            near = difflib.get_close_matches(asked, there, n=1, cutoff=0.7)
            inside = [f for f in there if asked in f]  # epochs in num_train_epochs
            near = near or (inside if len(inside) == 1 else [])
            said.append(f"{name}: no such flag" + (f"; did you mean --{near[0]}?" if near else ""))
        return f"{', '.join(said)} (--help lists all)"

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(None if args is None else list(args), namespace)
        for name in unknown:
            name = name.split("=")[0]
            if name in self.removed:
                self.error(f"{name} was removed: {self.removed[name]}.")
        if unknown:
            self.error(self._unknown(unknown))
        for name, (kind, bounds) in self.ranges.items():
            given = getattr(parsed, name)
            for value in given if isinstance(given, list) else [given]:
                if value is not None and (right := _expected(value, kind, **bounds)):
                    self.error(f"--{name} {str(value)[:40]}: must be {right}")
        for name, kind in self.outputs.items():
            if path := getattr(parsed, name):
                check_output(path, f"--{name}", kind == "folder")
        return parsed


def _number(kind: type) -> Callable[[str], Any]:
    """For argparse: what is no number stays a text, which parse_args refuses with the range in the same words."""

    def number(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return number


def _expected(value: Any, kind: type, **bounds: float) -> str:
    """What a number must be, if it is not, else ""."""
    above, low, below, high = map(bounds.get, RANGE)
    if low is not None and high is not None:
        right = f"from {low} to {high}"
    elif low is not None and below is not None:
        right = f"from {low} up to, but not, {below}"
    else:
        words = (("above {}", above), ("{} or above", low), ("below {}", below), ("at most {}", high))
        right = " and ".join(word.format(bound) for word, bound in words if bound is not None)
    if isinstance(value, str):
        return f"a {'whole ' if kind is int else ''}number {right}".strip()
    if not math.isfinite(value):
        return f"a finite number {right}".strip()
    inside = (above is None or value > above) and (low is None or value >= low)
    if not (inside and (below is None or value < below) and (high is None or value <= high)):
        return right
    return f"at most {MOST}" if kind is int and high is None and value > MOST else ""
