"""The one exception for what a user can put right: every program prints its one line and exits non-zero."""


class InputError(Exception):
    """Names the flag, or the file and line; the value; and what to do."""


class Preempted(Exception):
    """A training was asked to stop and has saved itself; the text says how it goes on."""
