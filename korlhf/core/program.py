"""What every program does around its work: one-line errors, exit codes, a progress bar, what the figures depend on."""

import os
import sys

from tqdm import tqdm

from korlhf import __version__
from korlhf.core.errors import InputError

TOO_MANY_FAILED = 3


def run(main, stopped="stopped", at_end=lambda: None):
    """Call main() and exit with the code it returns.

    An InputError becomes one line on stderr and exit code 2, Ctrl-C the line `stopped` (which says how to resume, where that is
    possible) and 130, a pipe that was closed 141. at_end: called in any case.
    """
    try:
        sys.exit(main() or 0)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(130)
    except (
        BrokenPipeError
    ):  # whoever read the output has gone; what had to be written is written, or the next start resumes
        nobody_reads(sys.stdout)
        sys.exit(141)
    finally:
        at_end()


def nobody_reads(out):
    """Send what is printed to the stream `out` from here on to nowhere; without it Python complains when it flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


def bar(iterable=None, total=None, desc="", unit="records"):
    """A progress bar with rate and time left."""
    return tqdm(iterable, total=total, desc=desc, unit=f" {unit}", dynamic_ncols=True, mininterval=0.5, file=sys.stderr)


def exit_code(failed, attempted, max_failed):
    """0, or TOO_MANY_FAILED with a line on stderr if more than the share `max_failed` of `attempted` failed."""
    if failed <= max_failed * attempted:
        return 0
    print(
        f"error: {failed} of {attempted} failed, more than --max_failed {max_failed}; all that succeeded is written; "
        "start the same command again, or raise --max_failed",
        file=sys.stderr,
        flush=True,
    )
    return TOO_MANY_FAILED


def versions():
    """Versions of what the figures depend on."""
    from importlib.metadata import version

    return {
        "korlhf": __version__,
        "python": sys.version.split()[0],
        **{p: version(p) for p in ("torch", "deepspeed", "transformers", "peft", "datasets")},
    }
