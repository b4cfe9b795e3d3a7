"""The exceptions for what a user can put right: every program prints their one line and exits non-zero."""

import os


class InputError(Exception):
    """Names the flag, or the file and line; the value; and what to do."""


class Diverged(Exception):
    """A training that cannot go on: what is not finite, at which step, the last good checkpoint, and what to try.

    Empty where another process tells it.
    """


class Preempted(Exception):
    """A training was asked to stop and has saved itself; the text says how it goes on, empty where another process
    tells it.
    """


def is_first_process() -> bool:
    """Whether this process is alone or the first of several: the one that speaks where all would say the same."""
    return int(os.environ.get("RANK", 0)) == 0
