"""The one exception for what a user can put right: every program prints its one line and exits non-zero."""


class InputError(Exception):
    """Names the flag, or the file and line; the value; and what to do."""
