"""Add a person to the password file of label.py, or give them a new password. It is asked for, or read from a pipe;
never a flag."""

import getpass
import sys
from dataclasses import dataclass

from korlhf.applications import accounts
from korlhf.core import flags, program
from korlhf.core.errors import InputError

SHORTEST = 8  # characters of a password


@dataclass(frozen=True, kw_only=True)
class PersonFlags:
    """person"""

    auth_file: str = flags.flag(flags.REQUIRED, "the file; made if it is not there, for its owner's eyes only")
    name: str = flags.flag(flags.REQUIRED, "name to log in with")


def ask_password():
    """The password, twice from a terminal, or one line of a pipe. Raises InputError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != password:
        raise InputError("the two passwords differ; nothing was written")
    return password


def main(argv=None):
    (args,) = flags.parse(argv, "A person who may label", PersonFlags)
    name = accounts.clean_name(args.name)
    if not name:
        raise InputError(f"--name {args.name}: give 1 to {accounts.LONGEST_NAME} characters without a colon")
    password = ask_password()
    if not SHORTEST <= len(password) <= accounts.LONGEST_PASSWORD:
        raise InputError(
            f"the password has {len(password)} characters; give at least {SHORTEST}, "
            f"at most {accounts.LONGEST_PASSWORD}"
        )
    accounts.write_password(args.auth_file, name, password)
    print(f"{name} can log in; start label.py (again) with --auth_file {args.auth_file}")


if __name__ == "__main__":
    program.run(main, "stopped; nothing was written")
