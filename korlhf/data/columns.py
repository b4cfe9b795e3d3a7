"""Which columns of a row hold what: the one parser of rows whose columns the user named.

`read_row` gives a checked Example, `record.from_row` a record that keeps all other columns, `fields` the texts as they
stand.

Prompt: messages | conversations | prompt | instruction (+ input) | question | input alone. Answers: answers | chosen +
rejected | output | answer | response | completion, or the last turn of messages. Else text, a plain document. Also
category | subset, and system. A column that is absent or null counts as not there.
"""

import json
from dataclasses import dataclass
from typing import NamedTuple

from korlhf.data.example import ROLES, Example, RowError, bare, bare_category, conversation, make_example, turns

CONVERSATIONS = ("messages", "conversations")
PROMPTS = (*CONVERSATIONS, "prompt", "instruction", "question")
OUTPUTS = ("output", "answer", "response", "completion")
ANSWERS = ("answers", "chosen", *OUTPUTS)
ANSWER_PARTS = ("output", "chosen", "rejected")
EXPECTED = (
    f"a prompt ({' | '.join(PROMPTS)}) and, unless only prompts are needed, answers "
    f"(answers: a list, best first | chosen + rejected | {' | '.join(OUTPUTS)}), or text"
)


@dataclass(frozen=True)
class Columns:
    """The columns of one row, "" for none. answers: one of ANSWERS; "chosen" brings "rejected" along."""

    prompt: str = ""
    input: str = ""
    answers: str = ""
    text: str = ""


class Field(NamedTuple):
    """path: keys from the row to the text. part: prompt, turn (earlier answer), system, input, text, or an answer's."""

    path: tuple
    part: str
    text: str

    @property
    def column(self) -> str:
        """The path for people: messages[2].content"""
        return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path).lstrip(".")


def recognise(row: dict) -> tuple[dict, Columns]:
    """(The row without columns that are null, what its columns hold)."""
    row = {k: v for k, v in row.items() if v is not None}
    prompt = next((c for c in PROMPTS if c in row), "")
    answers = next((c for c in ANSWERS if c in row), "")
    if prompt:
        return row, Columns(prompt, "input" if "input" in row else "", answers)
    if answers and "input" in row:
        return row, Columns("input", "", answers)
    return row, Columns(text="text") if "text" in row else Columns(answers=answers)


def read_row(row: dict, prompt_only: bool = False) -> Example:
    """A row -> Example. prompt_only: the columns of answers are not looked at, as a prompt is all that is needed.

    Raises RowError or RowSkipped.
    """
    row, columns = recognise(row)
    category = row.get("category", row.get("subset"))
    if columns.text:
        return Example(category=bare_category(category), text=bare(row["text"], "text"))
    if not columns.prompt:
        raise RowError(f"no known columns; found {', '.join(map(str, row)) or 'none'}; expected {EXPECTED}")
    value = row[columns.prompt]
    if columns.prompt in CONVERSATIONS:
        messages = conversation(_listed(value, columns.prompt))
    else:
        messages = turns(value, columns.prompt)
    answers = [] if prompt_only else _answers(row, columns.answers)
    if prompt_only and columns.answers and messages[-1]["role"] == "assistant":
        answers = [columns.answers]  # make_example says that both are there
    context = row[columns.input] if columns.input else None
    return make_example(messages, answers, context, row.get("system"), category)


def _answers(row: dict, column: str) -> list[str]:
    if column == "answers":
        answers = _listed(row["answers"], "answers")
        if not isinstance(answers, list | tuple) or not answers:
            raise RowError(f"answers is {str(answers)[:40]!r}; expected a list of texts, best first")
        return [bare(a, f"answer {i}") for i, a in enumerate(answers, 1)]
    if "rejected" in row and column != "chosen":
        raise RowError("rejected without chosen; give both")
    return [bare(row[c], c) for c in (column, "rejected" if column == "chosen" else "") if c in row]


def _listed(value: object, column: str) -> object:
    """A list, also when a CSV cell or a string holds it as JSON."""
    if isinstance(unpacked := _unpacked(value), str):
        raise RowError(f"{column} is the text {unpacked[:40]!r}; expected a list (in a CSV cell: written as JSON)")
    return unpacked


def _unpacked(value: object) -> object:
    """What a text holds as JSON; anything else as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def fields(row: dict) -> list[Field]:
    """All texts of a row that training would read, as they stand, prompt first. What is no text is left out."""
    row, columns = recognise(row)
    if columns.prompt in CONVERSATIONS:
        found = _messages(columns, _unpacked(row[columns.prompt]))
    else:
        found = [((columns.prompt or columns.text,), "prompt" if columns.prompt else "text")]
    found += [(("system",), "system"), ((columns.input,), "input")]
    if columns.answers == "answers":
        ranked = _unpacked(row["answers"])
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
    found = []
    for i, message in enumerate(messages if isinstance(messages, list) else []):
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
        row = _unpacked(row) if isinstance(key, int) else row
        if not (isinstance(row, dict) and key in row or isinstance(row, list) and isinstance(key, int)):
            return None
        row = row[key]
    return row


def replaced(row: dict, texts: dict[tuple, str]) -> dict:
    """A copy of the row with other texts: {path: text}. Lists that a cell held as JSON become lists."""
    row = {k: _unpacked(v) if any(len(p) > 1 and p[0] == k for p in texts) else v for k, v in row.items()}
    row = json.loads(json.dumps(row, default=str))  # deep copy; what parquet holds beyond JSON becomes text
    for path, text in texts.items():
        at = row
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = text
    return row
