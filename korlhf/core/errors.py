"""The one exception for what a user can put right: every program prints its one line and exits non-zero."""

import os


class InputError(Exception):
    """Names the flag, or the file and line; the value; and what to do."""


def is_first_process() -> bool:
    """Whether this process is alone or the first of several: the one that speaks where all would say the same."""
    return int(os.environ.get("RANK", 0)) == 0
