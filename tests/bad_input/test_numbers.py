"""Every number flag of every program: it has a range, and what is just outside is refused in one line.

The cases come from the declared ranges; which ranges are right is written by hand in flags.yaml and in test_flags.py of
the programs.
"""

import math
from pathlib import Path

import bad_input
import pytest

from korlhf.core import flags

ANY = {"threshold"}  # a score may be any number


class Declared(Exception):
    """Carries a program's parser out of its main."""


def parser_of(name, monkeypatch):
    """The Parser of a program with everything that it declares."""

    def stop(self, *_):
        raise Declared(self)

    monkeypatch.setattr(flags.Parser, "parse_args", stop)
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(Declared) as declared:
        bad_input.module(name).main()
    return declared.value.args[0]


def numbers_of(name):
    """{flag: (kind, bounds)} of a program."""
    with pytest.MonkeyPatch.context() as patch:
        return parser_of(name, patch).ranges


def outside(kind, above=None, low=None, below=None, high=None):
    """[(value, what it must be)] next to a range's ends, and what is no number."""
    wrong = [(text, "number") for text in ("many", "1,5", "")] + [("1.5", "whole number")] * (kind is int)
    if kind is float:
        wrong += [(text, "finite number") for text in ("nan", "inf", "-inf")]
    if above is not None:
        wrong += [(str(above), f"above {above}"), (str(above - 1), f"above {above}")]
    if low is not None:
        wrong.append((str(low - 1 if kind is int else math.nextafter(low, -math.inf)), str(low)))
    if below is not None:
        wrong += [(str(below), f"but not, {below}"), ("1e30", str(below))]
    if high is not None:
        wrong.append((str(high + 1 if kind is int else math.nextafter(high, math.inf)), f" {high}"))
    elif kind is int:
        wrong.append((str(2**31), f"at most {2**31 - 1}"))
    return wrong


def test_every_program_is_known():
    """Without flags are the processes that compare.py starts, and what makes a table of results."""
    tops = ("applications", "benchmarks", "data_prep", "eval", "training")
    files = {p for top in tops for p in (bad_input.ROOT / top).rglob("*.py") if '"__main__"' in p.read_text()}
    found = {Path(bad_input.module(name).__file__) for name in bad_input.PROGRAMS}
    assert {p.name for p in files - found} <= {
        "our_runs.py",
        "trl_runs.py",
        "gpu_table.py",
        "memory.py",
    } and found <= files


@pytest.mark.parametrize("name", bad_input.PROGRAMS)
def test_every_number_flag_declares_its_range(name, monkeypatch):
    parser = parser_of(name, monkeypatch)
    for action in parser._actions:
        if action.type is None or action.type is str or action.choices:
            continue
        kind, bounds = parser.ranges[action.dest]
        least = {*bounds} & {"above", "low"}
        assert least or action.dest in ANY, f"--{action.dest}: a {kind} without a least value"


@pytest.mark.parametrize("name", bad_input.PROGRAMS)
def test_numbers_next_to_their_range_are_refused_in_one_line(name, monkeypatch, tmp_path):
    ranges = numbers_of(name)
    monkeypatch.chdir(tmp_path)
    wrong = [(flag, *case) for flag, (kind, bounds) in ranges.items() for case in outside(kind, **bounds)]
    for flag, value, right in wrong:
        argv = bad_input.command(name, [f"--{flag}", value])
        code, lines = bad_input.run(name, argv, monkeypatch)
        shown = str(float(value)) if right not in ("number", "whole number") and ranges[flag][0] is float else value
        assert code == 2 and len(lines) == 1, (argv, code, lines)
        assert lines[0].startswith(f"error: --{flag} {shown}") and right in lines[0], (argv, lines)
    assert not list(tmp_path.iterdir())
