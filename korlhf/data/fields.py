"""The texts of a row as they stand in the file, each with its column and what it is for; nothing is refused here."""

import json
from typing import NamedTuple

from korlhf.data.example import CONVERSATIONS, ROLES, Columns, recognise, unpacked

ANSWER_PARTS = ("output", "chosen", "rejected")


class Field(NamedTuple):
    """path: keys from the row to the text. part: prompt, turn (earlier answer), system, input, text, or an answer's."""

    path: tuple
    part: str
    text: str

    @property
    def column(self) -> str:
        """The path for people: messages[2].content"""
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")


def fields(row: dict) -> list[Field]:
    """All texts of a row that training would read, as they stand, prompt first. What is no text is left out."""
    row, columns = recognise(row)
    found: list[tuple[tuple, str]] = [((columns.prompt or columns.text,), "prompt" if columns.prompt else "text")]
    if columns.prompt in CONVERSATIONS:
        found = _messages(columns, unpacked(row[columns.prompt]))
    found += [(("system",), "system"), ((columns.input,), "input")]
    if columns.answers == "answers":
        ranked = unpacked(row["answers"])
        several = isinstance(ranked, list) and len(ranked) > 1
        paths = [("answers", i) for i in range(len(ranked))] if isinstance(ranked, list) else []
        found += [(path, ("rejected" if i else "chosen") if several else "output") for i, path in enumerate(paths)]
    elif columns.answers == "chosen" and "rejected" in row:
        found += [(("chosen",), "chosen"), (("rejected",), "rejected")]
    else:
        found.append(((columns.answers,), "output"))
    texts = ((path, part, _at(row, path)) for path, part in found)
    return [Field(path, part, text) for path, part, text in texts if isinstance(text, str)]


def _messages(columns: Columns, messages: object) -> list[tuple[tuple, str]]:
    """(path, part) of the texts of a conversation."""
    found, messages = [], messages if isinstance(messages, list) else []
    for i, message in enumerate(messages):
        if isinstance(message, dict):
            role = ROLES.get(str(message.get("role", message.get("from"))).lower())
            part = {"assistant": "turn", "system": "system"}.get(role or "", "prompt")
            if part == "turn" and i == len(messages) - 1 and not columns.answers:
                part = "output"
            found.append(((columns.prompt, i, "content" if "content" in message else "value"), part))
            if message.get("input"):
                found.append(((columns.prompt, i, "input"), "input"))
    return found


def _at(row: object, path: tuple) -> object:
    """What lies at a path, None if there is nothing."""
    for key in path:
        row = unpacked(row) if isinstance(key, int) else row
        if not (isinstance(row, dict) and key in row or isinstance(row, list) and isinstance(key, int)):
            return None
        row = row[key]
    return row


def replaced(row: dict, texts: dict[tuple, str]) -> dict:
    """A copy of the row with other texts: {path: text}. Lists that a cell held as JSON become lists."""
    row = {k: unpacked(v) if any(len(p) > 1 and p[0] == k for p in texts) else v for k, v in row.items()}
    row = json.loads(json.dumps(row, default=str))  # deep copy; what parquet holds beyond JSON becomes text
    for path, text in texts.items():
        at = row
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = text
    return row
