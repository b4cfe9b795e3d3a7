"""Votes between two answers, each on the disk before the voter is told that it counts.

A vote for one of two answers is a line of NAME.jsonl that step 2 reads by --data_path. A tie and two bad answers have
no better one, and step 2 ends at a row of a user's own file that it cannot train on; so they are lines of a file next
to it, NAME.undecided.jsonl, for figures of one's own. The same happens to a vote for a pair that step 2 would not
take, such as one with an empty answer."""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from korlhf.core.errors import InputError
from korlhf.data.example import RowError, RowSkipped, read_row
from korlhf.llm.checkpoint import Sampling

SIDES = ("left", "right")
VOTES = (*SIDES, "tie", "both_bad")


@dataclass(frozen=True)
class Shown:
    """One of the two answers. model: its name; text: as it was shown; reason: why it ended ("stop" or "length");
    left_out: oldest exchanges that its model did not read, because they did not fit; seed: of its sampling; score: of
    the reward model, or None."""

    model: str
    text: str
    reason: str
    left_out: int
    seed: int
    score: float | None = None


@dataclass(frozen=True)
class BlindPair:
    """What is voted on. messages: the conversation, ending with the user's message; left, right: Shown, in the order
    on the page; sampling: llm.checkpoint.Sampling, but for the seed that of both."""

    messages: list[dict]
    left: Shown
    right: Shown
    sampling: Sampling

    def each(self, name):
        """{side: what its answer has under that name}"""
        return {side: getattr(getattr(self, side), name) for side in SIDES}

    @property
    def same(self):
        """Whether the answers are equal but for blanks around them."""
        return self.left.text.strip() == self.right.text.strip()


def record(pair, vote, voter, category):
    """The row of a vote. voter: an anonymous id."""
    texts, how = pair.each("text"), pair.sampling
    if vote in SIDES:
        texts = {"chosen": texts[vote], "rejected": texts["right" if vote == "left" else "left"]}
    return {
        "messages": pair.messages,
        **texts,
        "category": category,
        "vote": vote,
        "shown": pair.each("model"),
        "sampling": {name: getattr(how, name) for name in ("temperature", "top_p", "max_new_tokens")},
        "seeds": pair.each("seed"),
        "finish_reasons": pair.each("reason"),
        "left_out": pair.each("left_out"),
        "scores": pair.each("score"),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "session": voter,
        "source": "web_demo",
    }


def _trains(row):
    """Whether step 2 can read a row."""
    try:
        return "chosen" in row and 2 in read_row(row).steps
    except (RowError, RowSkipped):
        return False


class VoteFile:
    """NAME.jsonl and NAME.undecided.jsonl. Several threads and processes may add to the same files."""

    def __init__(self, path):
        """Raises InputError if the files cannot be written."""
        self.path = Path(path).expanduser()
        if self.path.suffix != ".jsonl":
            raise InputError(f"--votes {self.path}: give the name of a file that ends in .jsonl")
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
                f"--votes {self.path}: cannot be written: {error.strerror or error}; give another"
            ) from error

    def add(self, pair, vote, voter, category):
        """Write a vote; it is on the disk when this returns. Raises OSError, and then nothing was written."""
        row = record(pair, vote, voter, category)
        append(self.path if _trains(row) else self.undecided, row)


def append(path, row):
    """Add a JSON line to a file, whole or not at all, and wait until it is on the disk. Raises OSError.

    What a process that was killed, or a full disk, left of a line is taken away: nobody was told that it was written.
    """
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
    with FileLock(f"{path}.lock"):
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
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the file's name
            finally:
                os.close(folder)


def _mend(file, path):
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
