"""The texts of a row as it stands in the file, each with its column and what it is for.

The columns are those of korlhf/data/example.py; nothing is stripped or refused here, because broken contents are what is looked for.
"""

import json
from typing import NamedTuple

from korlhf.data.example import ANSWERS, PROMPTS, ROLES

ANSWER_PARTS = ("output", "chosen", "rejected")


class Field(NamedTuple):
    """path: keys from the row down to the text. part: prompt, turn (an earlier answer), system, input, output, chosen, rejected or text."""

    path: tuple
    part: str
    text: str

    @property
    def column(self):
        """The path for people: messages[2].content"""
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")


def fields(row):
    """All texts of a row that training would read, prompt first. What is no text is left out: rows.free_example says what is wrong."""
    row = {k: v for k, v in row.items() if v is not None}
    column = next((c for c in PROMPTS if c in row), None)
    alone = column is None and "input" in row and any(c in row for c in ANSWERS)
    if column in ("messages", "conversations"):
        found = _conversation(column, unpacked(row[column]), any(c in row for c in ANSWERS))
    else:
        found = [((column or ("input" if alone else "text"),), "prompt" if column or alone else "text")]
    found += [(("system",), "system")] + ([] if alone else [(("input",), "input")])
    found += _answers(row)
    texts = ((path, part, _at(row, path)) for path, part in found)
    return [Field(path, part, text) for path, part, text in texts if isinstance(text, str)]


def unpacked(value):
    """A list, also when a string holds it as JSON, as in a CSV cell; anything else as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _conversation(column, messages, answered):
    if not isinstance(messages, list):
        return []
    found = []
    for i, message in enumerate(messages):
        if isinstance(message, dict):
            name = message.get("role", message.get("from"))
            part = {"user": "prompt", "assistant": "turn", "system": "system"}.get(
                ROLES.get(str(name).lower()), "prompt"
            )
            if part == "turn" and i == len(messages) - 1 and not answered:
                part = "output"
            found.append(((column, i, "content" if "content" in message else "value"), part))
            if message.get("input"):
                found.append(((column, i, "input"), "input"))
    return found


def _answers(row):
    column = next((c for c in ANSWERS if c in row), None)
    if column == "answers":
        ranked = unpacked(row["answers"])
        several = isinstance(ranked, list) and len(ranked) > 1
        return (
            [
                (("answers", i), ("chosen" if i == 0 else "rejected") if several else "output")
                for i in range(len(ranked))
            ]
            if isinstance(ranked, list)
            else []
        )
    if column == "chosen":
        return (
            [(("chosen",), "chosen"), (("rejected",), "rejected")] if "rejected" in row else [(("chosen",), "output")]
        )
    return [((column,), "output")] if column else []


def _at(row, path):
    value = row
    for key in path:
        value = unpacked(value) if isinstance(key, int) else value
        if isinstance(value, dict) and key in value or isinstance(value, list) and isinstance(key, int):
            value = value[key]
        else:
            return None
    return value


def replaced(row, texts):
    """A copy of the row with other texts: {path: text}. Lists that a cell held as JSON become lists."""
    row = {k: unpacked(v) if any(len(p) > 1 and p[0] == k for p in texts) else v for k, v in row.items()}
    row = json.loads(json.dumps(row, default=str))  # deep copy; what parquet holds beyond JSON becomes text
    for path, text in texts.items():
        at = row
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = text
    return row
