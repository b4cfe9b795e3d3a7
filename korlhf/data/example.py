"""Example: the shape every dataset is brought into, and the one parser of rows whose columns the user named.

Prompt: messages | conversations | prompt | instruction (+ input) | question | input alone. Answers: answers |
chosen + rejected | output | answer | response | completion, or the last turn of messages. Else text, a plain document.
Also category | subset, and system. A column that is absent or null counts as not there. Text comes out bare: without
turn markers, surrounding blanks and EOS.
"""

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from korlhf.data.characters import SURROGATE

Message = dict[str, str]
ROLES = {
    "system": "system",
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model"), "assistant"),
}
CONVERSATIONS = ("messages", "conversations")
PROMPTS = (*CONVERSATIONS, "prompt", "instruction", "question")
OUTPUTS = ("output", "answer", "response", "completion")
ANSWERS = ("answers", "chosen", *OUTPUTS)
EXPECTED = (
    f"a prompt ({' | '.join(PROMPTS)}) and, unless only prompts are needed, answers "
    f"(answers: a list, best first | chosen + rejected | {' | '.join(OUTPUTS)}), or text"
)
NO_INPUT = re.compile(r"<\s*no\s*input\s*>", re.IGNORECASE)
_TURN = re.compile(r"\n\n(Human|Assistant):")
_CUE = re.compile(r"(^|\n\n)Assistant:$")
_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")  # zero-width space, word joiner, byte order mark; not emojis' joiner
_EOS = "<|endoftext|>"


class RowError(ValueError):
    """What is wrong with one row. In a user's file it becomes an InputError; hub rows are left out and counted."""


class RowSkipped(Exception):
    """Why a row that is not wrong is left out, e.g. two identical answers; counted everywhere."""


@dataclass(frozen=True)
class Example:
    """A conversation that ends with a user message, and its answers; or a plain document.

    messages: {"role": "system" | "user" | "assistant", "content": str}, and on a user message optionally "input",
    KULLM's context. answers: best first; () is a prompt only. text: a document for language modelling, then messages
    and answers are empty. raw: the answers with their blanks, as the file has them, () if those are the same: what a
    rule may see and a model does not. scores: a judge's, of each answer, () if unknown; of a pair whose margin alone is
    known (margin, 0.0). label: whether a single answer is good, None if nobody said. columns: the row as it was read,
    of step 3, whose rewards may read it. None of these makes an example another one.
    """

    messages: tuple[Message, ...] = ()
    answers: tuple[str, ...] = ()
    category: str = "all"
    text: str = ""
    raw: tuple[str, ...] = field(default=(), compare=False)
    scores: tuple[float, ...] = field(default=(), compare=False)
    label: bool | None = field(default=None, compare=False)
    columns: dict = field(default_factory=dict, compare=False)

    @property
    def written(self) -> tuple[str, ...]:
        """The answers as the file has them, best first."""
        return self.raw or self.answers

    @property
    def prompt(self) -> str:
        """The last user message's content; "" for a plain document."""
        return self.messages[-1]["content"] if self.messages else ""

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps this example can train."""
        if self.text:
            return (1,)
        if self.label is not None:
            return (2,)
        return tuple(step for step, least in ((1, 1), (2, 2), (3, 0)) if len(self.answers) >= least)


def bare(text: object, what: str) -> str:
    """`text` in composed form (NFC), without zero-width characters, surrounding blanks and a trailing end-of-text
    token.

    Raises RowError if it is no string, empty, or cannot be written as UTF-8.
    """
    if not isinstance(text, str):
        raise RowError(f"{what} is {type(text).__name__} {str(text)[:40]!r}; expected text")
    out = unicodedata.normalize("NFC", _INVISIBLE.sub("", text).replace("\r\n", "\n")).strip()
    while out.endswith(_EOS):
        out = out.removesuffix(_EOS).rstrip()
    if not out:
        raise RowError(f"{what} is empty ({text[:20]!r}); fill it in or delete the row")
    if SURROGATE.search(out):
        raise RowError(f"{what} holds half a surrogate pair, which is not UTF-8; write the character itself")
    return out


def bare_answer(text: object, what: str = "an answer") -> str:
    """An answer without the "Assistant:" that some English sets put before it."""
    text = bare(text, what)
    return bare(text.removeprefix("Assistant:"), what) if text.startswith("Assistant:") else text


def raw_answer(text: str) -> str:
    """An answer as `bare_answer` has it, but with the blanks around it."""
    out = unicodedata.normalize("NFC", _INVISIBLE.sub("", text).replace("\r\n", "\n"))
    while out.rstrip().endswith(_EOS):
        out = out.rstrip().removesuffix(_EOS)
    return out.lstrip().removeprefix("Assistant:") if out.lstrip().startswith("Assistant:") else out


def bare_category(value: object) -> str:
    """The category of a row; "all" if it names none."""
    return "all" if value in (None, "") else bare(value, "category")


def turns(text: object, what: str = "the prompt") -> list[Message]:
    """A prompt column -> messages: Dahoas' "\\n\\nHuman: ..\\n\\nAssistant: ..\\n\\nHuman: .." is several, anything
    else is one.

    Raises RowError if a turn is empty or the prompt ends with an answer.
    """
    text = bare(text, what)
    if not text.startswith("Human:"):
        return [{"role": "user", "content": bare(_CUE.sub("", text), what) if text.endswith("Assistant:") else text}]
    parts = _TURN.split("\n\n" + text)[1:]
    pairs = list(zip(parts[::2], parts[1::2]))
    if pairs[-1][0] == "Assistant" and not pairs[-1][1].strip():
        pairs.pop()
    if pairs[-1][0] != "Human":
        raise RowError("the prompt ends with an Assistant turn; expected it to end with Human's")
    return conversation([{"from": who, "value": content} for who, content in pairs])


def conversation(messages: object) -> list[Message]:
    """A list of {role, content} or {from, value} -> messages. The first may be a system message, then user and
    assistant alternate.

    Raises RowError for anything else.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise RowError(f"messages is {str(messages)[:40]!r}; expected a list of {{role, content}}")
    out = []
    for i, m in enumerate(messages, 1):
        if not isinstance(m, dict):
            raise RowError(f"message {i} is {type(m).__name__}; expected {{role, content}}")
        name = m.get("role", m.get("from"))
        role = ROLES.get(name.lower()) if isinstance(name, str) else None
        if role is None:
            raise RowError(f"message {i} has the role {name!r}; expected system, user or assistant (or human, gpt)")
        out.append({"role": role, "content": bare(m.get("content", m.get("value")), f"message {i}")})
        if role == "user" and m.get("input"):
            out[-1]["input"] = bare(m["input"], f"the input of message {i}")
    roles = [m["role"] for m in out]
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or any(role != ("user", "assistant")[i % 2] for i, role in enumerate(spoken)):
        raise RowError(f"the roles are {', '.join(roles)[:60]}; expected user and assistant in turn, user first")
    return out


def make_example(
    messages: list[Message],
    answers: Sequence[object] = (),
    input: object = None,
    system: object = None,
    category: object = None,
) -> Example:
    """Messages of `turns` or `conversation`, and raw values -> Example. Messages that end with an assistant's bring
    their answer along.

    Raises RowError for values of the wrong kind, RowSkipped if several answers turn out to be the same.
    """
    if messages[-1]["role"] == "assistant":
        if answers:
            what = "the messages end with an assistant turn although the row has answers of its own"
            raise RowError(f"{what}; end them with the user's")
        *messages, last = messages
        answers = [last["content"]]
    if isinstance(input, str) and (context := NO_INPUT.sub("", input)).strip():
        messages[-1]["input"] = bare(context, "input")
    elif input is not None and not isinstance(input, str):
        raise RowError(f"input is {type(input).__name__}; expected text")
    if system is not None and (not isinstance(system, str) or system.strip()):
        rest = [m for m in messages if m["role"] != "system"]
        messages = [{"role": "system", "content": bare(system, "system")}, *rest]
    first: dict[str, object] = {}
    for a in answers:
        first.setdefault(bare_answer(a), a)  # two equal ranks are one answer
    ranked, raw = tuple(first), tuple(raw_answer(str(a)) for a in first.values())
    if len(answers) > 1 and len(ranked) == 1:
        raise RowSkipped("identical answers")
    return Example(tuple(messages), ranked, bare_category(category), raw=() if raw == ranked else raw)


def with_scores(example: Example, row: dict, column: str) -> Example:
    """The example with what a judge said of its answers: `column` holds the margin of a pair, or a list with the score
    of each answer, best first. Null, or a row without the column: unknown.

    Raises RowError for anything else.
    """
    value, n = unpacked(row.get(column)), len(example.answers)
    if value is None or value == "" or n < 2:
        return example
    scores = value if isinstance(value, list | tuple) else [value, 0.0]
    if not all(isinstance(s, int | float) and not isinstance(s, bool) and math.isfinite(s) for s in scores):
        raise RowError(f"{column} is {str(value)[:40]!r}; expected the margin of a pair, or a list of scores, or null")
    if len(scores) != n:
        what = f"{len(scores)} scores" if scores is value else "one margin"
        raise RowError(f"{column} has {what} for {n} different answers; give a list with a score for each")
    return replace(example, scores=tuple(map(float, scores)))


def with_label(example: Example, row: dict) -> Example:
    """The example with what people said of its single answer: column `label`, true for good and false for bad. Ranked
    answers need none.

    Raises RowError for anything else.
    """
    if len(example.answers) != 1:
        return example
    value = unpacked(row.get("label"))
    if not isinstance(value, bool):
        said = "there is none" if value is None else f"it is {str(value)[:40]!r}"
        raise RowError(f"a single answer needs a label, and {said}; give true for good or false for bad")
    return replace(example, label=value)


@dataclass(frozen=True)
class Columns:
    """The columns of one row, "" for none. answers: one of ANSWERS; "chosen" brings "rejected" along."""

    prompt: str = ""
    input: str = ""
    answers: str = ""
    text: str = ""


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
    if columns.prompt in CONVERSATIONS:
        messages = conversation(_listed(row, columns.prompt))
    else:
        messages = turns(row[columns.prompt], columns.prompt)
    answers = [] if prompt_only else _answers(row, columns.answers)
    if prompt_only and columns.answers and messages[-1]["role"] == "assistant":
        answers = [columns.answers]  # make_example says that both are there
    return make_example(messages, answers, row.get(columns.input), row.get("system"), category)


def _answers(row: dict, column: str) -> list[str]:
    if column == "answers":
        answers = _listed(row, "answers")
        if not isinstance(answers, list | tuple) or not answers:
            raise RowError(f"answers is {str(answers)[:40]!r}; expected a list of texts, best first")
        named = {f"answer {i}": a for i, a in enumerate(answers, 1)}
        return _checked(named)
    if "rejected" in row and column != "chosen":
        raise RowError("rejected without chosen; give both")
    return _checked({c: row[c] for c in (column, "rejected" if column == "chosen" else "") if c in row})


def _checked(named: dict[str, str]) -> list[str]:
    """Texts as they are. Raises RowError, with the name, for one that `bare` refuses."""
    for name, text in named.items():
        bare(text, name)
    return list(named.values())


def _listed(row: dict, column: str) -> object:
    """A list, also when a CSV cell or a string holds it as JSON."""
    found = unpacked(row[column])
    if isinstance(found, str):
        raise RowError(f"{column} is the text {found[:40]!r}; expected a list (in a CSV cell: written as JSON)")
    return found


def unpacked(value: object) -> object:
    """What a text holds as JSON; anything else as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
