"""The exceptions for what a user can put right: every program prints their one line and exits non-zero."""

from collections.abc import Generator
from contextlib import contextmanager


class InputError(Exception):
    """Names the flag, or the file and line; the value; and what to do."""


@contextmanager
def told(what: str, remedy: str, kinds: tuple[type[Exception], ...] = (OSError,)) -> Generator[None]:
    """What fails in the block, as one line: "WHAT: its reason; REMEDY"."""
    try:
        yield
    except kinds as error:
        raise InputError(f"{what}: {getattr(error, 'strerror', None) or error}; {remedy}") from error


class Unscored(InputError):
    """Answers of a training could not be scored; no step has been changed by them."""


class Unavailable(Unscored):
    """What scores them did not answer, and may do so later."""


class Diverged(Exception):
    """A training that cannot go on: what is not finite, at which step, the last good checkpoint, and what to try.

    Empty where another process tells it.
    """


class Preempted(Exception):
    """A training was asked to stop and has saved itself; the text says how it goes on, empty where another process
    tells it.
    """
