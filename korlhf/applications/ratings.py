"""Thumbs up and down: answers that people called good or bad, each on the disk before they are told so.

A line of the file: {"messages": a conversation that ends with the user's message, "answer", "label": true for good or
false for bad, "model", ...}. An answer has one line at most: a second thought takes its place, a thumb that is taken
back takes it away."""

import time
from dataclasses import asdict
from pathlib import Path

from korlhf.applications import lines


class RatingFile:
    """NAME.jsonl. Several threads and processes may write to it. Raises InputError if it cannot be written."""

    def __init__(self, path):
        self.path = Path(path).expanduser()
        lines.check("--ratings", self.path)

    def put(self, row_id, label, row):
        """Write what somebody thinks of an answer, or, if `label` is None, that they think nothing of it any more. It
        is on the disk when this returns. Raises OSError or InputError."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines.replace(self.path, row_id, None if label is None else {**row, "label": label, "id": row_id, "time": at})


def record(messages, answer, model, sampling, source):
    """The row of an answer without its label. messages: dicts, the last the user's; sampling: llm.checkpoint.Sampling,
    or None if it is not known."""
    row = {"messages": messages, "answer": answer, "model": model, "category": source, "source": source}
    return {**row, "sampling": asdict(sampling)} if sampling else row
