"""The texts of a row as it stands in the file, each with its column and what it is for, and how they are shown.

The columns are those of korlhf/data/example.py; nothing is stripped or refused here: broken contents are looked for.
"""

import json
from typing import NamedTuple

from korlhf.data.characters import visible
from korlhf.data.example import ANSWERS, PROMPTS, ROLES
from korlhf.data_prep.audit.content import mask_personal

ANSWER_PARTS = ("output", "chosen", "rejected")
PARTS = {"user": "prompt", "assistant": "turn", "system": "system"}
CONTEXT = 60  # characters shown before and after a spot
LONGEST = 160  # of the spot itself
ARROWS = {" ": "␣", "\n": "↵\n", "\t": "⇥", "\r": "␍", "\u00a0": "␣", "\u3000": "␣"}


class Field(NamedTuple):
    """path: keys from the row down to the text.

    part: prompt, turn (an earlier answer), system, input, output, chosen, rejected or text.
    """

    path: tuple
    part: str
    text: str

    @property
    def column(self):
        """The path for people: messages[2].content"""
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")


def fields(row):
    """All texts of a row that training would read, prompt first; what is no text is left out."""
    row = {k: v for k, v in row.items() if v is not None}
    answered = any(c in row for c in ANSWERS)
    column = next((c for c in PROMPTS if c in row), None)
    if column in ("messages", "conversations"):
        found = _conversation(column, unpacked(row[column]), answered)
    elif column:
        found = [((column,), "prompt")]
    else:
        found = [(("input",), "prompt")] if "input" in row and answered else [(("text",), "text")]
    found += [(("system",), "system"), *([] if found == [(("input",), "prompt")] else [(("input",), "input")])]
    texts = ((path, part, _at(row, path)) for path, part in found + _answers(row))
    return [Field(path, part, text) for path, part, text in texts if isinstance(text, str)]


def unpacked(value):
    """A list, also when a string holds it as JSON, as in a CSV cell; anything else as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _conversation(column, messages, answered):
    found = []
    for i, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict):
            name = message.get("role", message.get("from"))
            part = PARTS.get(ROLES.get(str(name).lower()), "prompt")
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
        places = range(len(ranked)) if isinstance(ranked, list) else ()
        parts = ["output"] if len(places) == 1 else ["chosen", *["rejected"] * len(places)]
        return [(("answers", i), part) for i, part in zip(places, parts)]
    if column == "chosen" and "rejected" in row:
        return [(("chosen",), "chosen"), (("rejected",), "rejected")]
    return [((column,), "output")] if column else []


def _at(row, path):
    value = row
    for key in path:
        value = unpacked(value) if isinstance(key, int) else value
        try:
            value = value[key]
        except (TypeError, KeyError, IndexError):
            return None
    return value


def replaced(row, texts):
    """A copy of the row with other texts: {path: text}. Lists that a cell held as JSON become lists."""
    nested = {path[0] for path in texts if len(path) > 1}
    row = {k: unpacked(v) if k in nested else v for k, v in row.items()}
    row = json.loads(json.dumps(row, default=str))  # deep copy; what parquet holds beyond JSON becomes text
    for path, text in texts.items():
        at = row
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = text
    return row


class Passage(NamedTuple):
    """A spot in its surroundings, fit to be shown: invisible characters are spelt out, personal data blotted out."""

    place: str
    column: str
    before: str
    spot: str
    after: str


def passage(place, column, text, spot):
    """The Passage of one Spot of a text."""
    text = mask_personal(text)
    start, end = spot.start, min(spot.end, spot.start + LONGEST)
    before = ("…" if start > CONTEXT else "") + visible(text[max(0, start - CONTEXT) : start])
    after = visible(text[end : end + CONTEXT]) + ("…" if end + CONTEXT < len(text) else "")
    found = text[start:end]
    shown = found if found.strip() else "".join(ARROWS.get(c, c) for c in found)
    shown = visible(shown, joiners=True) + ("…" if end < spot.end else "")
    return Passage(place, column, before, shown if text else "∅", after)


def shortened(text, length=200):
    """The beginning of a text, fit to be shown."""
    return visible(mask_personal(text[: length + CONTEXT])[:length]) + (" …" if len(text) > length else "")
