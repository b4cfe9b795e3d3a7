"""Command-line flags: how they are declared, parsed and read. Every flag is a dataclass field, declared once, on the floor that uses it."""

import argparse
import dataclasses

REQUIRED = dataclasses.MISSING


def flag(default, help, **argparse_kwargs):
    """Declare one flag; `default` may be a list, or REQUIRED."""
    metadata = {"help": help, **argparse_kwargs}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def add(parser, cls, prefix="", **defaults):
    """Add every field of `cls` to `parser` as --{prefix}{field}; `defaults` replace the declared ones."""
    group = parser.add_argument_group(f"{prefix.rstrip('_')} {cls.__doc__}".strip())
    unknown = set(defaults) - {f.name for f in dataclasses.fields(cls)}
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {sorted(unknown)}")
    for f in dataclasses.fields(cls):
        declared = f.default_factory() if f.default_factory is not REQUIRED else f.default
        default = defaults.get(f.name, declared)
        kw = dict(f.metadata)
        if default is not REQUIRED and default not in (None, "", []) and f.type is not bool:
            kw["help"] += f" (default: {default})".replace("%", "%%")
        if f.type is bool:
            kw["action"] = "store_true"
        elif f.type == list[str]:
            kw.update(nargs="+", **({"required": True} if default is REQUIRED else {"default": default}))
        else:
            kw["type"] = float if f.type == float | None else f.type
            kw.update({"required": True} if default is REQUIRED else {"default": default})
        if f.name == "print_answers":  # bare --print_answers, as DeepSpeed-Chat spells it, means every step
            kw.update(nargs="?", const=1)
        group.add_argument(f"--{prefix}{f.name}", **kw)


def read(args, cls, prefix=""):
    """The `cls` part of a parsed namespace, without its prefix."""
    return cls(**{f.name: getattr(args, prefix + f.name) for f in dataclasses.fields(cls)})


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that says why a removed flag is gone."""

    def __init__(self, removed=None, **kwargs):
        """removed: names of flags that are gone -> the reason and the remedy."""
        super().__init__(
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36, width=140),
            **kwargs,
        )
        self.removed = removed or {}

    def parse_args(self, argv=None, namespace=None):
        args, unknown = self.parse_known_args(argv, namespace)
        for name in unknown:
            name = name.split("=")[0]
            if name in self.removed:
                self.error(f"{name} was removed: {self.removed[name]}.")
        if unknown:
            self.error(f"unknown flags: {' '.join(unknown)} (see --help)")
        return args


def check_positive(values, parser):
    """`values` maps flag names to numbers that must be above 0."""
    for name, value in values.items():
        if not value > 0:
            parser.error(f"--{name} {value}: must be above 0")
