"""Lines of JSON that are on the disk before somebody is told so, by several threads and processes at once."""

import json
import os
import sys
from pathlib import Path

from filelock import FileLock

from korlhf.core.errors import InputError, told
from korlhf.core.files import AtomicFile, sync


def check(what, *paths):
    """Raises InputError if one of the files could not be added to. what: the flag that names the first."""
    if paths[0].suffix != ".jsonl":
        raise InputError(f"{what} {paths[0]}: give the name of a file that ends in .jsonl")
    for path in paths:
        with told(f"{what} {paths[0]}: cannot be written", "give another"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                os.close(os.open(path, os.O_RDWR | os.O_APPEND))
            elif not os.access(path.parent, os.W_OK | os.X_OK):
                raise PermissionError(0, "the folder is not yours to write in")


def append(path, row):
    """Add a JSON line to a file, whole or not at all, and wait until it is on the disk. Raises OSError.

    What a process that was killed, or a full disk, left of a line is taken away: nobody was told that it was written.
    """
    with FileLock(f"{path}.lock"):
        _append(path, row)


def replace(path, row_id, row=None):
    """`append`, but `row` takes the place of the line whose "id" is `row_id`, if there is one; None: without it. Raises
    OSError or InputError, and then the file is as it was."""
    with FileLock(f"{path}.lock"):
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        others = [line for line in lines if _id(line) != row_id]
        if len(others) < len(lines):
            with AtomicFile(path, mode=0o644) as file:
                for line in (*others, *([_line(row)] if row else [])):
                    print(line, file=file)
        elif row:
            _append(path, row)


def _id(line):
    try:
        return json.loads(line).get("id")
    except (ValueError, AttributeError):  # not ours: it stays
        return None


def _line(row):
    return json.dumps(row, ensure_ascii=False)


def _append(path, row):
    line = (_line(row) + "\n").encode("utf-8")
    new = not path.exists()
    with open(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644), "r+b", buffering=0) as file:
        end = _mend(file, path)
        try:
            if file.write(line) != len(line):
                raise OSError(f"{path}: only a part of the line was written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    if new:
        sync(path.parent)  # the file's name


def _mend(file, path: Path):
    """End the last line if it has no end, or take it away if it is a piece -> the size of the file."""
    data = file.read()
    begin = data.rfind(b"\n") + 1
    last = data[begin:]
    if not last:
        return len(data)
    try:
        json.loads(last)
        file.write(b"\n")
        return len(data) + 1
    except ValueError:
        said = f"warning: {path}: took away a line that was not written to its end: {last[:80]!r}"
        print(said, file=sys.stderr, flush=True)
        file.truncate(begin)
        return begin
