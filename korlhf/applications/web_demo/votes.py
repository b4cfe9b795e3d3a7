"""Votes between two answers, each on the disk before the voter is told that it counts.

A vote for one of two answers is a line of NAME.jsonl that step 2 reads by --data_path. A tie and two bad answers have
no better one, and step 2 ends at a row of a user's own file that it cannot train on; so they are lines of a file next
to it, NAME.undecided.jsonl, for figures of one's own. The same happens to a vote for a pair that step 2 would not
take, such as one with an empty answer."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from korlhf.applications import lines
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
    on the page; sampling: llm.checkpoint.Sampling, but for the seed that of both; help: what the guard
    found in the message, which goes into no file."""

    messages: list[dict]
    left: Shown
    right: Shown
    sampling: Sampling
    help: list[str] = field(default_factory=list)

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
        self.undecided = self.path.with_name(self.path.name.removesuffix(".jsonl") + ".undecided.jsonl")
        lines.check("--votes", self.path, self.undecided)

    def add(self, pair, vote, voter, category):
        """Write a vote; it is on the disk when this returns. Raises OSError, and then nothing was written."""
        row = record(pair, vote, voter, category)
        lines.append(self.path if _trains(row) else self.undecided, row)
