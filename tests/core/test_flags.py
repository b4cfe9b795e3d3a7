"""korlhf/core/flags.py: what is declared is parsed, and out of its range refused in one line."""

from dataclasses import dataclass

import pytest

from korlhf.core import flags
from korlhf.core.flags import REQUIRED, flag


@dataclass(frozen=True, kw_only=True)
class Some:
    """of a test"""

    path: str = flag(REQUIRED, "a file")
    size: int = flag(4, "a size", above=0)
    share: float = flag(0.5, "100 % at most", low=0, high=1)
    rate: float | None = flag(None, "a rate", low=0.1)
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
        ("", "the following arguments are required: --path"),
        ("--path x --size 0", "--size 0: must be above 0"),
        ("--path x --share 1.5", "--share 1.5: must be from 0 to 1"),
        ("--path x --share nan", "--share nan: must be from 0 to 1"),
        ("--path x --numbers 3 0", "--numbers 0: must be above 0"),
        ("--path x --numbers a", "argument --numbers: invalid int value: 'a'"),
        ("--path x --rate 0", "--rate 0.0: must be 0.1 or above"),
        ("--path x --siz 3", "unknown flags: --siz 3 (see --help)"),
        ("--path x --gone=3", "--gone was removed: use --size."),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(capsys, words, said):
    with pytest.raises(SystemExit) as stop:
        parse(*words.split())
    assert stop.value.code == 2 and capsys.readouterr().err.splitlines()[-1] == f"p: error: {said}"


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert "a size (default: 4)" in shown and "100 % at most (default: 0.5)" in shown and "a file\n" in shown


def test_an_unknown_default_is_a_programming_error():
    with pytest.raises(TypeError, match="no_such_field"):
        parse(no_such_field=1)
