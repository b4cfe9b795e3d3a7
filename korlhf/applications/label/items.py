"""Files of prompts with answers -> items to label: a prompt and 2 to 6 different answers.

Read are the outputs of respond, score and rank, and files of one's own with `answers` or chosen and rejected. Left
out, and counted: answers that were cut off, are empty, garbled or the same as another (rank would drop labels on
them); prompts with fewer than two others."""

import hashlib
from collections import Counter
from dataclasses import dataclass

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.data import ranking
from korlhf.data import record as records
from korlhf.data.example import RowError, RowSkipped, read_row

MOST = 6  # answers that can be compared on one screen, and that have a number key
HEAD = ("id", "category", "source", "history", "prompt", "messages", "input")


@dataclass(frozen=True)
class Item:
    """id: 16 hex digits of the prompt and its answers. record: the columns of HEAD. answers: as the file has them."""

    id: str
    record: dict
    answers: tuple[ranking.Candidate, ...]


def read(paths):
    """Items of files -> (list of Item, Counter of what is left out, by reason). The same prompt with the same answers
    is one item, in whatever order they are.

    Records with `candidates` of one prompt are one item with all of them, also from several files; other rows are an
    item each. Raises InputError with file and line for what cannot be read."""
    groups = {}  # the record, its first place, its candidates
    for place, record in progress.bar(records.read(paths), desc="reading", unit="rows"):
        try:
            candidates = _candidates(record)
            ranking.read_answers(candidates)
        except RowError as error:
            raise InputError(f"{place}: {error}") from error
        key = record["id"] if "candidates" in record else (record["id"], place)
        groups.setdefault(key, (place, record, []))[2].extend(candidates)
    items, left_out = {}, Counter()
    for place, record, candidates in groups.values():
        answers, _, reasons = ranking.read_answers(candidates)
        if len(answers) > MOST:
            raise InputError(
                f"{place}: {len(answers)} different answers to one prompt; at most {MOST} can be compared at once; "
                "label fewer (respond --num_answers), or spread them over several files and databases"
            )
        left_out.update(f"answer: {reason}" for reason in reasons.elements())
        text = "\0".join([record["id"], *sorted(ranking.key(a.text) for a in answers)])
        item_id = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
        if len(answers) < 2:
            left_out["prompt: fewer than two answers"] += 1
        elif item_id in items:
            left_out["prompt: there already with the same answers"] += 1
        else:
            items[item_id] = Item(item_id, {c: record[c] for c in HEAD if c in record}, tuple(answers))
    return list(items.values()), left_out


def _candidates(record):
    """[{"text", "model", "score", ...}] of a record, as respond writes them. Raises RowError."""
    if "candidates" in record:
        return record["candidates"]
    try:
        texts = read_row(record).answers
    except RowSkipped:
        return []
    sides = ("chosen", "rejected") if "chosen" in record else [""] * len(texts)
    return [
        {"text": text, "model": record.get(f"{side}_model"), "score": record.get(f"{side}_score")}
        for side, text in zip(sides, texts)
    ]
