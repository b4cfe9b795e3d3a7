"""Command-line flags: how they are declared, parsed and read.

Every flag is a dataclass field, declared once, on the floor that uses it.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast, get_args, get_origin

REQUIRED = dataclasses.MISSING
RANGE = ("above", "low", "high")  # of a number: greater than; at least; at most

Flags = TypeVar("Flags")


def flag(default: Any, help: str, **more: Any) -> Any:
    """Declare one flag; `default` may be a list, or REQUIRED.

    more: arguments of argparse, and the range of a number: above=0 (greater than 0), low=0, high=1 (0 and 1 included).
    """
    metadata = {"help": help, **more}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def add(parser: "Parser", cls: Any, prefix: str = "", **defaults: Any) -> None:
    """Add every field of `cls` to `parser` as --{prefix}{field}; `defaults` replace the declared ones."""
    group = parser.add_argument_group(f"{prefix.rstrip('_')} {cls.__doc__}".strip())
    unknown = set(defaults) - {f.name for f in dataclasses.fields(cls)}
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {sorted(unknown)}")
    for f in dataclasses.fields(cls):
        declared = f.default_factory() if f.default_factory is not REQUIRED else f.default
        default = defaults.get(f.name, declared)
        kw: dict[str, Any] = {name: value for name, value in f.metadata.items() if name not in RANGE}
        parser.ranges[prefix + f.name] = {name: f.metadata[name] for name in RANGE if name in f.metadata}
        if default is not REQUIRED and default not in (None, "", []) and f.type is not bool:
            kw["help"] += f" (default: {default})".replace("%", "%%")
        if f.type is bool:
            kw["action"] = "store_true"
        else:
            kw.update({"required": True} if default is REQUIRED else {"default": default})
            if get_origin(f.type) is list:
                kw.update({"nargs": "+", "type": get_args(f.type)[0]})
            else:
                kw["type"] = float if f.type == float | None else f.type
        group.add_argument(f"--{prefix}{f.name}", **kw)


def read(args: argparse.Namespace, cls: type[Flags], prefix: str = "") -> Flags:
    """The `cls` part of a parsed namespace, without its prefix."""
    return cls(**{f.name: getattr(args, prefix + f.name) for f in dataclasses.fields(cast(Any, cls))})


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that checks ranges and says why a removed flag is gone."""

    def __init__(self, removed: Mapping[str, str] | None = None, **kwargs: Any):
        """removed: names of flags that are gone -> the reason and the remedy."""
        super().__init__(
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36, width=140),
            **kwargs,
        )
        self.removed, self.ranges = removed or {}, {}

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(None if args is None else list(args), namespace)
        for name in unknown:
            name = name.split("=")[0]
            if name in self.removed:
                self.error(f"{name} was removed: {self.removed[name]}.")
        if unknown:
            self.error(f"unknown flags: {' '.join(unknown)} (see --help)")
        for name, bounds in self.ranges.items():
            given = getattr(parsed, name)
            for value in given if isinstance(given, list) else [given]:
                if bounds and value is not None and (wrong := _out_of_range(value, **bounds)):
                    self.error(f"--{name} {value}: {wrong}")
        return parsed


def _out_of_range(value: float, above: float | None = None, low: float | None = None, high: float | None = None) -> str:
    """What a number must be, if it is not, else ""."""
    if above is not None and not value > above:
        return f"must be above {above}"
    if low is not None and high is not None and not low <= value <= high:
        return f"must be from {low} to {high}"
    if low is not None and not value >= low:
        return f"must be {low} or above"
    if high is not None and not value <= high:
        return f"must be at most {high}"
    return ""


def check_positive(values: Mapping[str, float], parser: Parser) -> None:
    """`values` maps flag names to numbers that must be above 0."""
    for name, value in values.items():
        if not value > 0:
            parser.error(f"--{name} {value}: must be above 0")
