"""Votes between two answers, each on the disk before the voter is told that it counts.

A vote for one of two answers is a line of NAME.jsonl that step 2 reads by --data_path. A tie and two bad answers have no better one, and
step 2 ends at a row of a user's own file that it cannot train on; so they are lines of a file beside it, NAME.undecided.jsonl, for figures
of one's own. The same happens to a vote for a pair that step 2 would not take, such as one with an empty answer.
"""

import fcntl
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.columns import read_row
from korlhf.data.example import RowError, RowSkipped

SIDES = ("left", "right")
VOTES = (*SIDES, "tie", "both_bad")


@dataclass(frozen=True)
class Shown:
    """One of the two answers. model: its name; text: as it was shown; reason: why it ended ("stop" or "length"); left_out: oldest
    exchanges that its model did not read, because they did not fit; seed: of its sampling; score: of the reward model, or None."""

    model: str
    text: str
    reason: str
    left_out: int
    seed: int
    score: float | None = None


@dataclass(frozen=True)
class Pair:
    """What was voted on. messages: the conversation, ending with the user's message; left, right: in the order in which they were shown."""

    messages: list[dict]
    left: Shown
    right: Shown
    temperature: float
    top_p: float
    max_new_tokens: int

    @property
    def sides(self):
        """{side: Shown}"""
        return {"left": self.left, "right": self.right}

    @property
    def same(self):
        """Whether the answers are equal but for blanks around them."""
        return self.left.text.strip() == self.right.text.strip()


def record(pair, vote, voter, category, now):
    """(row, whether step 2 can read it) of a vote. voter: an anonymous id; now: seconds since 1970."""
    sides = pair.sides
    row = {"messages": pair.messages}
    if vote in SIDES:
        row.update(chosen=sides[vote].text, rejected=sides["right" if vote == "left" else "left"].text)
    else:
        row.update(left=pair.left.text, right=pair.right.text)
    row.update(
        category=category,
        vote=vote,
        shown={side: sides[side].model for side in SIDES},
        sampling={"temperature": pair.temperature, "top_p": pair.top_p, "max_new_tokens": pair.max_new_tokens},
        seeds={side: sides[side].seed for side in SIDES},
        finish_reasons={side: sides[side].reason for side in SIDES},
        left_out={side: sides[side].left_out for side in SIDES},
        scores={side: sides[side].score for side in SIDES},
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        session=voter,
        source="web_demo",
    )
    return row, vote in SIDES and _trains(row)


def _trains(row):
    try:
        return 2 in read_row(row).steps
    except (RowError, RowSkipped):
        return False


class VoteFile:
    """NAME.jsonl and NAME.undecided.jsonl. Several threads and processes may add to the same files."""

    def __init__(self, path, what="--votes"):
        """Raises InputError if the files cannot be written."""
        self.path, self.what = Path(path).expanduser(), what
        if self.path.suffix != ".jsonl":
            raise InputError(f"{what} {self.path}: give the name of a file that ends in .jsonl")
        self.undecided = self.path.with_name(self.path.name.removesuffix(".jsonl") + ".undecided.jsonl")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for file in (self.path, self.undecided):
                if file.exists():
                    os.close(os.open(file, os.O_RDWR | os.O_APPEND))
                elif not os.access(file.parent, os.W_OK | os.X_OK):
                    raise PermissionError(0, "the folder is not yours to write in")
        except OSError as error:
            raise InputError(
                f"{what} {self.path}: cannot be written: {error.strerror or error}; give another"
            ) from error

    def add(self, pair, vote, voter, category):
        """Write a vote; it is on the disk when this returns. Raises OSError, and then nothing was written."""
        row, decided = record(pair, vote, voter, category, time.time())
        append(self.path if decided else self.undecided, row)


def append(path, row):
    """Add a JSON line to a file, whole or not at all, and wait until it is on the disk. Raises OSError.

    What a process that was killed, or a full disk, left of a line is taken away: nobody was told that it was written.
    """
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
    new = not path.exists()
    with open(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        end = _mend(file, path)
        try:
            if file.write(line) != len(line):
                raise OSError(f"{path}: only a part of the line was written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    if new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name
        finally:
            os.close(folder)


def _mend(file, path):
    """End the last line if it has no end, or take it away if it is a piece -> the size of the file."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return end
    file.seek(0)
    data = file.read()
    begin = data.rfind(b"\n") + 1
    try:
        json.loads(data[begin:])
        file.write(b"\n")
        return end + 1
    except ValueError:
        print(
            f"warning: {path}: took away a line that was not written to its end: {data[begin:][:80]!r}",
            file=sys.stderr,
            flush=True,
        )
        file.truncate(begin)
        return begin
