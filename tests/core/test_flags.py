"""korlhf/core/flags.py: what is declared is parsed, and out of its range refused in one line."""

from dataclasses import dataclass

import pytest

from korlhf.core import flags
from korlhf.core.flags import REQUIRED, flag, seed_flag


@dataclass(frozen=True, kw_only=True)
class Some:
    """of a test"""

    path: str = flag(REQUIRED, "a file")
    size: int = flag(4, "a size", above=0)
    share: float = flag(0.5, "100 % at most", low=0, high=1)
    rate: float | None = flag(None, "a rate", low=0.1)
    decay: float = flag(0.9, "a decay", low=0, below=1)
    offset: float = flag(0.0, "any number")
    sizes: list[int] = flag([1, 2], "sizes", above=0)
    seed: int = seed_flag("a seed")
    words: list[str] = flag(["a", "b"], "words")
    numbers: list[int] = flag([1], "numbers", above=0)
    every: int = flag(0, "bare means 1", nargs="?", const=1)
    yes: bool = flag(False, "a switch")


def parse(*argv, prefix="", **defaults):
    parser = flags.Parser({"--gone": "use --size"}, prog="p")
    flags.add(parser, Some, prefix, **defaults)
    return flags.read(parser.parse_args(argv), Some, prefix)


def test_flags_are_the_fields_of_a_dataclass():
    assert parse("--path", "x") == Some(path="x")
    given = ["--path", "x", "--size", "1", "--share", "1", "--rate", "0.1", "--words", "c", "--every", "--yes"]
    given += ["--numbers", "10", "20"]
    assert parse(*given) == Some(
        path="x", size=1, share=1.0, rate=0.1, words=["c"], numbers=[10, 20], every=1, yes=True
    )
    assert parse("--a_path", "x", prefix="a_", size=7) == Some(path="x", size=7)


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "the following arguments are required: --path (see --help)"),
        ("--path x --size 0", "--size 0: must be above 0"),
        ("--path x --share 1.5", "--share 1.5: must be from 0 to 1"),
        ("--path x --share nan", "--share nan: must be a finite number from 0 to 1"),
        ("--path x --offset=-inf", "--offset -inf: must be a finite number"),
        ("--path x --offset -inf", "--offset -inf: must be a finite number"),
        ("--path x --offset -1e-5x", "--offset -1e-5x: must be a number"),
        ("--path x --rate -1e-5", "--rate -1e-05: must be 0.1 or above"),
        ("--path x --decay 1", "--decay 1.0: must be from 0 up to, but not, 1"),
        ("--path x --size two", "--size two: must be a whole number above 0"),
        ("--path x --size 1.0", "--size 1.0: must be a whole number above 0"),
        ("--path x --size 2147483648", "--size 2147483648: must be at most 2147483647"),
        ("--path x --sizes 3 0", "--sizes 0: must be above 0"),
        ("--path x --seed -1", "--seed -1: must be from 0 to 4294967295"),
        ("--path x --seed 4294967296", "--seed 4294967296: must be from 0 to 4294967295"),
        ("--path x --size", "argument --size: expected one argument (see --help)"),
        ("--path x --rate 0", "--rate 0.0: must be 0.1 or above"),
        ("--path x --siz 3", "--siz: no such flag; did you mean --size? (--help lists all)"),
        (
            "--path x --max-sizes=3 -z",
            "--max-sizes: no such flag; did you mean --sizes?, -z: no such flag (--help lists all)",
        ),
        ("--path x --dec 1", "--dec: no such flag; did you mean --decay? (--help lists all)"),
        ("--path x 7", "7: belongs to no flag (see --help)"),
        ("--path x --gone=3", "--gone was removed: use --size."),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(capsys, words, said):
    with pytest.raises(SystemExit) as stop:
        parse(*words.split())
    assert stop.value.code == 2 and capsys.readouterr().err == f"error: {said}\n"


def test_the_first_of_several_processes_speaks_for_all(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stop:
        parse("--path", "x", "--size", "0")
    assert stop.value.code == 2 and capsys.readouterr().err == ""


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert "a size (default: 4)" in shown and "100 % at most (default: 0.5)" in shown and "a file\n" in shown


def test_an_unknown_default_is_a_programming_error():
    with pytest.raises(TypeError, match="no_such_field"):
        parse(no_such_field=1)
