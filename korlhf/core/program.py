"""What every program does around its work: one-line errors, exit codes, what the figures depend on."""

import contextlib
import gc
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn, TextIO

from korlhf import __version__
from korlhf.core import ranks
from korlhf.core.errors import Diverged, InputError, Preempted

TOO_MANY_FAILED = 3
DIVERGED = 3
PREEMPTED = 75  # as sysexits.h has it: a failure that passes, start again
FIRST_SPEAKS = 5.0  # seconds; a launcher looks every second whether a process has ended, and then ends all


def run(main: Callable[[], int | None], stopped: str = "stopped") -> NoReturn:
    """Call main() and exit with the code it returns.

    An InputError becomes one line on stderr, one for all processes that meet it, and exit code 2, Diverged one and
    exit code 3, Preempted one and 75; Ctrl-C becomes 130 and the text of the KeyboardInterrupt or, without one, the
    line `stopped` (they say how to resume, where that is possible); a pipe that was closed becomes 141. Whatever else
    ends one of several processes becomes one line and exit code 1, and its whole text a file of `errors_in`.
    """
    try:
        sys.exit(main() or 0)
    except InputError as error:
        if not ranks.is_first():  # if the first has met it too, the launcher ends this one meanwhile
            time.sleep(FIRST_SPEAKS)
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except Diverged as error:
        if str(error):
            print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(DIVERGED)
    except Preempted as preempted:
        if str(preempted):  # of the first process alone
            print(preempted, file=sys.stderr, flush=True)
        sys.exit(PREEMPTED)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or stopped, file=sys.stderr, flush=True)
        sys.exit(130)
    except (
        BrokenPipeError
    ):  # nobody reads the output any more; what had to be written is written, or the next start resumes
        nobody_reads(sys.stdout)
        sys.exit(141)
    except Exception as error:
        if not ranks.several():
            raise
        _tell(error)
        os._exit(1)  # a usual end takes leave of the others, and might wait for those that are gone


@contextlib.contextmanager
def unwinding() -> Generator[None]:
    """Inside, SIGTERM and SIGHUP that would end the program at once leave every `with` first: for what would stay
    behind. Only the main thread hears them.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def errors_in(output_dir: str | Path) -> None:
    """Tracebacks of one of several processes go to output_dir/errors/rankN.txt from here on."""
    global _errors
    _errors = Path(output_dir) / "errors"


_errors: Path | None = None
# What torch, gloo and NCCL say if another process is gone or does not answer; gloo's errors have no class of their own.
LOST = re.compile(r"gloo|NCCL|c10d|TCPStore|connection (closed|reset|refused)|timed out (after|waiting)", re.IGNORECASE)


def _tell(error):
    """What ended one of several processes, as the last line on the console."""
    text, rank = "".join(traceback.format_exception(error)), ranks.rank()
    reason = " ".join(re.sub(r"\[\S+\.cc:\d+\]", "", str(error)).split())  # without places in C++ files
    reason = reason.split(". ")[0][:200]
    classes = {cls.__name__ for cls in type(error).__mro__}
    if "DistError" in classes or ("RuntimeError" in classes and LOST.search(str(error))):
        said = f"lost the others: {reason}"
        hints = getattr(error, "__notes__", ["stopped; start the same command again"])
    else:
        said, hints = f"{type(error).__name__}: {reason}".removesuffix(": "), []
    try:
        if _errors is None:
            raise FileNotFoundError
        _errors.mkdir(parents=True, exist_ok=True)
        with open(_errors / f"rank{rank}.txt", "a", encoding="utf-8") as file:
            print(time.strftime("== %Y-%m-%d %H:%M:%S"), text, sep="\n", file=file)
        hints = [*hints, f"all of it: {_errors}/rank{rank}.txt"]
    except OSError:
        print(text, file=sys.stderr)
    sys.stdout.flush()
    end = "\n" if rank else ""  # of the first process's progress bar, which may have died with it
    print(end + "; ".join([f"rank {rank}: {said}", *hints]), file=sys.stderr, flush=True)


@contextlib.contextmanager
def slow_imports() -> Generator[None]:
    """Around the imports of torch and what builds on it: a fifth faster, as no garbage is looked for among the modules,
    neither now nor later.
    """
    if "torch" in sys.modules:  # what has come to be besides modules may become garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def nobody_reads(out: TextIO) -> None:
    """Send what is printed to the stream `out` from here on to nowhere; else Python complains at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, out.fileno())
    os.close(nowhere)


def exit_code(failed: int, attempted: int, max_failed: float) -> int:
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


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {
        "korlhf": __version__,
        "python": sys.version.split()[0],
        **{p: version(p) for p in ("torch", "deepspeed", "transformers", "peft", "datasets")},
    }
