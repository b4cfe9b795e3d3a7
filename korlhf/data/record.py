"""The record: one prompt on its way from a corpus to a training set. One JSON object a line, in every file that data_prep writes.

id         16 hex digits: hash of the normalised conversation, so the same prompt has the same id in every file
category   everyday, harmful, translated, ...
source     where it comes from, e.g. nikl/SDRW2000000777.1.1.1
history    what was done to it: [{"stage": "collect", ...}, ...]
prompt     the user's text; or, of a conversation of several turns, messages: [{"role", "content"}, ...] that end with the user's
and, as far as the stages have brought it: input, output, chosen, rejected, candidates.

The steps of the training read these files by --data_path as they are: rows.free_example knows the columns.
"""

import hashlib

from korlhf.core.errors import InputError
from korlhf.data.example import NO_INPUT, RowError, bare, conversation, turns
from korlhf.data.readers import read_rows
from korlhf.data.split import conversation_key

PROMPTS = ("messages", "conversations", "prompt", "instruction", "question")
OUTPUTS = ("output", "answer", "response", "completion")


def record_id(conversation):
    """16 hex digits of a list of messages; case, spacing and final punctuation do not count, nor does a system message."""
    return hashlib.sha256(conversation_key(conversation).encode("utf-8")).hexdigest()[:16]


def make(prompt, category, source, **fields):
    """A new record. prompt: text, or a list of messages that ends with the user's; one user message alone becomes `prompt`.

    fields: further columns; those that are None are left out. Raises RowError for a prompt that is no conversation.
    """
    talk = (
        [{"role": "user", "content": bare(prompt, "the prompt")}] if isinstance(prompt, str) else conversation(prompt)
    )
    if talk[-1]["role"] != "user":
        raise RowError("the messages end with an assistant turn; expected the user's")
    context = NO_INPUT.sub("", bare(fields.pop("input"), "input")) if fields.get("input") else talk[-1].get("input")
    fields.pop("input", None)
    if context:
        talk[-1]["input"] = context
    head = {"id": record_id(talk), "category": category, "source": source, "history": []}
    text = {"prompt": talk[0]["content"]} if len(talk) == 1 else {"messages": [_without_input(m) for m in talk]}
    return {
        **head,
        **text,
        **({"input": context} if context else {}),
        **{k: v for k, v in fields.items() if v is not None},
    }


def _without_input(message):
    return {"role": message["role"], "content": message["content"]}


def messages(record):
    """The conversation of a record: list of {"role", "content"} that ends with the user's, which may also have "input"."""
    talk = (
        [dict(m) for m in record["messages"]]
        if "messages" in record
        else [{"role": "user", "content": record["prompt"]}]
    )
    if record.get("input"):
        talk[-1]["input"] = record["input"]
    return talk


def prompt(record):
    """The last user text of a record."""
    return record["messages"][-1]["content"] if "messages" in record else record["prompt"]


def step(record, stage, **what):
    """A copy of the record with one more entry in its history."""
    return {**record, "history": [*record["history"], {"stage": stage, **what}]}


def read(paths):
    """Yield ("FILE:LINE", record) of JSONL, JSON, CSV or parquet files.

    Rows of a user's own are made records: the prompt may be called instruction or question, the answer output, answer, response or
    completion; category falls to "all", source to the file's name. The id is always computed anew, so it fits an edited prompt.
    Raises InputError with file and line for a row that has no prompt or is broken.
    """
    for path in paths:
        for place, row in read_rows(path):
            try:
                yield place, from_row(row, str(path))
            except RowError as error:
                raise InputError(f"{place}: {error}") from error


def from_row(row, source):
    """A row of a file -> record. Raises RowError."""
    row = {k: v for k, v in row.items() if v is not None}
    column = next((c for c in PROMPTS if c in row), None)
    if column is None:
        raise RowError(
            f"no prompt; found {', '.join(map(str, row)) or 'no columns'}; expected one of {', '.join(PROMPTS)}"
        )
    said = row[column]
    if column not in ("messages", "conversations"):
        said = turns(said)
    elif not isinstance(said, list):
        raise RowError(f"{column} is {type(said).__name__}; expected a list of {{role, content}}")
    answer = next((c for c in OUTPUTS if c in row), None)
    fields = {"output": row.pop(answer)} if answer else {}
    said = conversation(said)
    if said[-1]["role"] == "assistant" and len(said) > 1 and not answer and "chosen" not in row:
        fields["output"] = said.pop()["content"]
    row = {k: v for k, v in row.items() if k not in PROMPTS}
    own_id, history = row.pop("id", None), row.pop("history", [])
    source = row.pop("source", None) or (source if own_id is None else f"{source}#{own_id}")
    category = row.pop("category", None) or "all"
    if not isinstance(history, list) or not isinstance(category, str):
        raise RowError(
            f"history is {type(history).__name__} and category is {type(category).__name__}; expected a list and text"
        )
    return {**make(said, category, source, **fields, **row), "history": history}


def candidates(place, record):
    """The candidates of a record, [] without any. Raises InputError, which names `place`, for anything but {"text": ...}."""
    found = record.get("candidates", [])
    if not isinstance(found, list) or not all(isinstance(c, dict) and isinstance(c.get("text"), str) for c in found):
        raise InputError(f'{place}: candidates must be a list of {{"text": ...}}; correct it, or delete the column')
    return found
