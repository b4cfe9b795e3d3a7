"""What a run's folder remembers: RUN/pipeline.json, and a lock so that two never write the same folder.

    {"version", "recipe": {...}, "files": fingerprints (prints.py), "stages": {name: entry}}

An entry has the state ("running" from the start of a stage until everything that it writes is there, then "done"), what the result depends
on (command, settings, scripts, inputs), the fingerprints of the outputs, and seconds and highest memory of all its starts.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.pipeline.process import say

VERSION = 1
LOCK_FD = 200  # above the numbers that scripts use for themselves
PATIENCE = 20.0  # seconds: what a killed run left behind is being stopped meanwhile


class Record:
    """`stages`: name -> entry; `files`: notes of prints.Prints. `save` writes the file whole."""

    def __init__(self, run, recipe):
        """recipe: a dict that tells what kind of run it is. Raises InputError if the folder holds another kind, or a broken record."""
        self.path = Path(run) / "pipeline.json"
        self.recipe, self.files, self.stages = recipe, {}, {}
        if self.path.exists():
            self._read()

    def _read(self):
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            version, recipe = found["version"], found["recipe"]
            self.files, self.stages = found["files"], found["stages"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}: not a readable record ({error}); move it away: finished trainings in the folder are then "
                "taken as they are, if their settings are the same"
            ) from error
        if version != VERSION:
            raise InputError(
                f"{self.path}: of another version of this program (format {version}, here {VERSION}); give another RUN"
            )
        if recipe != self.recipe:
            raise InputError(
                f"{self.path.parent} holds a run of {words(recipe)}, and this is {words(self.recipe)}; give another RUN"
            )

    def save(self):
        write_json(self.path, {"version": VERSION, "recipe": self.recipe, "files": self.files, "stages": self.stages})


def words(recipe):
    """A recipe's dict in words."""
    return " ".join(f"{k} {v}" for k, v in recipe.items() if v) or "nothing"


@contextlib.contextmanager
def hold(run, wait=PATIENCE):
    """Hold the lock of a run's folder; yields its file descriptor, which processes inherit, so that it is held until the last of them ends.

    Raises InputError if the folder cannot be written, or is still in use after `wait` seconds.
    """
    path = Path(run) / "pipeline.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        low = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"RUN={run}: cannot be written: {error.strerror or error}; give another folder") from error
    fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, LOCK_FD)
    os.close(low)
    try:
        _lock(fd, run, wait)
        os.truncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def owner(run):
    """Id of the process that holds the lock of a run's folder, as text; "" if none does."""
    path = Path(run) / "pipeline.lock"
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read(20).decode(errors="replace").strip()
    return ""


def _lock(fd, run, wait):
    until, said = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode(errors="replace").strip() or "not known"
        if Path(f"/proc/{holder}/cwd").exists():  # a process that has ended and is not yet reaped has none
            raise InputError(f"RUN={run}: process {holder} is running it; wait for it, or stop it with: kill {holder}")
        if time.monotonic() > until:
            raise InputError(
                f"RUN={run}: what process {holder} left behind is still running; find it with: fuser -v '{run}/pipeline.lock'"
            )
        if not said:
            say("waiting for what is left of a run that was killed")
            said = True
        time.sleep(0.2)
