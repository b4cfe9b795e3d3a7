"""The record: one prompt on its way from a corpus to a training set; one JSON object per line in data_prep's files.

id         16 hex digits: hash of the normalised conversation, so the same prompt has the same id in every file
category   everyday, harmful, translated, ...
source     where it comes from, e.g. nikl/SDRW2000000777.1.1.1
history    what was done to it: [{"stage": "collect", ...}, ...]
prompt     the user's text; or, of several turns, messages: [{"role", "content"}, ...] that end with the user's
and, as far as the stages have brought it: input, output, chosen, rejected, candidates.

The steps of the training read these files by --data_path as they are: korlhf/data/example.py knows the columns.
"""

import hashlib
from collections.abc import Iterable, Iterator
from os import PathLike

from korlhf.core.errors import InputError
from korlhf.data.example import NO_INPUT, OUTPUTS, PROMPTS, Message, RowError, bare, conversation, read_row, recognise
from korlhf.data.readers import read_rows
from korlhf.data.split import conversation_key

Record = dict


def record_id(messages: Iterable[Message]) -> str:
    """16 hex digits of messages; case, spacing, final punctuation and a system message do not count."""
    return hashlib.sha256(conversation_key(messages).encode("utf-8")).hexdigest()[:16]


def make(prompt: str | Iterable[Message], category: str, source: str, **fields: object) -> Record:
    """A new record. prompt: text, or messages that end with the user's; one user message alone becomes `prompt`.

    fields: further columns; those that are None are left out. Raises RowError for a prompt that is no conversation.
    """
    if isinstance(prompt, str):
        messages = [{"role": "user", "content": bare(prompt, "the prompt")}]
    else:
        messages = conversation(list(prompt))
    last = messages[-1]
    if last["role"] != "user":
        raise RowError("the messages end with an assistant turn; expected the user's")
    own = fields.pop("input", None)
    context = NO_INPUT.sub("", bare(own, "input")) if own else last.pop("input", None)
    last |= {"input": context} if context else {}
    record = {"id": record_id(messages), "category": category, "source": source, "history": []}
    if len(messages) == 1:
        record["prompt"] = last["content"]
    else:
        record["messages"] = [{"role": m["role"], "content": m["content"]} for m in messages]
    record |= {"input": context} if context else {}
    return record | {k: v for k, v in fields.items() if v is not None}


def messages(record: Record) -> list[Message]:
    """The conversation of a record, which ends with the user's message; that may also have "input"."""
    found = [dict(m) for m in record.get("messages") or [{"role": "user", "content": record["prompt"]}]]
    if record.get("input"):
        found[-1]["input"] = record["input"]
    return found


def prompt(record: Record) -> str:
    """The last user text of a record."""
    return record["messages"][-1]["content"] if "messages" in record else record["prompt"]


def step(record: Record, stage: str, **what: object) -> Record:
    """A copy of the record with one more entry in its history."""
    return {**record, "history": [*record["history"], {"stage": stage, **what}]}


def read(paths: Iterable[str | PathLike]) -> Iterator[tuple[str, Record]]:
    """Yield ("FILE:LINE", record) of JSONL, JSON, CSV or parquet files.

    Rows of a user's own are made records: category falls to "all", source to the file's name. The id is always computed
    anew, so it fits an edited prompt. Raises InputError with file and line for a row that has no prompt or is broken.
    """
    for path in paths:
        for place, row in read_rows(path):
            try:
                yield place, from_row(row, str(path))
            except RowError as error:
                raise InputError(f"{place}: {error}") from error


def from_row(row: dict, source: str) -> Record:
    """A row with columns of the user's choice -> record; a single answer becomes `output`. Raises RowError."""
    row, columns = recognise(row)
    if not columns.prompt:
        found = ", ".join(map(str, row)) or "no columns"
        raise RowError(f"no prompt; found {found}; expected one of {', '.join(PROMPTS)}")
    example = read_row({k: v for k, v in row.items() if k != "system"}, prompt_only=True)
    fields = {k: v for k, v in row.items() if k not in (*PROMPTS, columns.prompt)}
    if columns.answers in OUTPUTS:
        fields["output"] = fields.pop(columns.answers)
    elif example.answers:
        fields["output"] = example.answers[0]
    own_id, history = fields.pop("id", None), fields.pop("history", [])
    if not isinstance(history, list):
        raise RowError(f"history is {type(history).__name__}; expected a list")
    fields.pop("category", None)
    source = fields.pop("source", None) or (source if own_id is None else f"{source}#{own_id}")
    return {**make(example.messages, example.category, source, **fields), "history": history}


def candidates(place: str, record: dict) -> list[dict]:
    """The candidates of a record, [] without any. Raises InputError, which names `place`, unless {"text": ...}."""
    found = record.get("candidates", [])
    if not isinstance(found, list) or not all(isinstance(c, dict) and isinstance(c.get("text"), str) for c in found):
        raise InputError(f'{place}: candidates must be a list of {{"text": ...}}; correct it, or delete the column')
    return found
