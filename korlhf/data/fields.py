"""The texts of a row as they stand in the file, each with its column and what it is for; nothing is refused here."""

import json
from typing import Any, NamedTuple

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
    found: list[tuple[tuple, str, Any]]
    if columns.prompt in CONVERSATIONS:
        found = _messages(columns, unpacked(row[columns.prompt]))
    else:
        column = columns.prompt or columns.text
        found = [((column,), "prompt" if columns.prompt else "text", row.get(column))]
    found += [(("system",), "system", row.get("system")), ((columns.input,), "input", row.get(columns.input))]
    if columns.answers == "answers":
        ranked = unpacked(row["answers"])
        ranked = ranked if isinstance(ranked, list) else []
        parts = ["chosen", *["rejected"] * len(ranked)] if len(ranked) > 1 else ["output"]
        found += [(("answers", i), part, text) for i, (part, text) in enumerate(zip(parts, ranked))]
    elif columns.answers == "chosen" and "rejected" in row:
        found += [((side,), side, row[side]) for side in ("chosen", "rejected")]
    else:
        found.append(((columns.answers,), "output", row.get(columns.answers)))
    return [Field(*one) for one in found if isinstance(one[2], str)]


def _messages(columns: Columns, messages: object) -> list[tuple]:
    """(path, part, text) of a conversation."""
    found, messages = [], messages if isinstance(messages, list) else []
    for i, message in enumerate(messages):
        if isinstance(message, dict):
            role = ROLES.get(str(message.get("role", message.get("from"))).lower())
            answer = "output" if i == len(messages) - 1 and not columns.answers else "turn"
            part = {"assistant": answer, "system": "system"}.get(role or "", "prompt")
            key = "content" if "content" in message else "value"
            found.append(((columns.prompt, i, key), part, message.get(key)))
            found.append(((columns.prompt, i, "input"), "input", message.get("input") or None))
    return found


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
