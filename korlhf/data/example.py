"""One row -> Example: the shape every dataset is brought into, and the columns that are recognised in a user's own file.

Text comes out bare: no turn markers, no surrounding blanks, no EOS.
"""

import json
import re
import unicodedata
from dataclasses import dataclass

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
PROMPTS = ("messages", "conversations", "prompt", "instruction", "question")
ANSWERS = ("answers", "chosen", "output", "answer", "response", "completion")
EXPECTED = (
    f"a prompt ({' | '.join(PROMPTS)}) and, unless only prompts are needed, answers "
    "(answers: a list, best first | chosen + rejected | output | answer | response | completion), or text"
)

_TURN = re.compile(r"\n\n(Human|Assistant):")
_CUE = re.compile(r"(^|\n\n)Assistant:$")
NO_INPUT = re.compile(r"<\s*no\s*input\s*>", re.IGNORECASE)
_INVISIBLE = re.compile(
    "[\u200b\u2060\ufeff]"
)  # zero-width space, word joiner, byte order mark; not the joiner inside emojis
_EOS = "<|endoftext|>"
_SURROGATE = re.compile("[\ud800-\udfff]")


class RowError(ValueError):
    """What is wrong with one row. In a user's file it becomes an InputError with file and line; hub rows are left out and counted."""


class RowSkipped(Exception):
    """Why a row that is not wrong is left out, e.g. two identical answers; counted everywhere."""


@dataclass(frozen=True)
class Example:
    """A conversation that ends with a user message, and its answers; or a plain document.

    messages: {"role": "system" | "user" | "assistant", "content": str}, and on a user message optionally "input", KULLM's extra context.
    answers: best first; () is a prompt only. text: a document for language modelling, then messages and answers are empty.
    """

    messages: tuple[dict, ...] = ()
    answers: tuple[str, ...] = ()
    category: str = "all"
    text: str = ""

    @property
    def prompt(self):
        """The last user message's content; "" for a plain document."""
        return self.messages[-1]["content"] if self.messages else ""

    @property
    def steps(self):
        """The steps this example can train."""
        if self.text:
            return (1,)
        return tuple(step for step, least in ((1, 1), (2, 2), (3, 0)) if len(self.answers) >= least)


def bare(text, what):
    """`text` in composed form (NFC), without zero-width characters, surrounding blanks and a trailing end-of-text token.

    Raises RowError if it is no string, empty, or cannot be written as UTF-8.
    """
    if not isinstance(text, str):
        raise RowError(f"{what} is {type(text).__name__} {str(text)[:40]!r}; expected text")
    out = _INVISIBLE.sub("", unicodedata.normalize("NFC", text).replace("\r\n", "\n")).strip()
    while out.endswith(_EOS):
        out = out.removesuffix(_EOS).rstrip()
    if not out:
        raise RowError(f"{what} is empty ({text[:20]!r}); fill it in or delete the row")
    if _SURROGATE.search(out):
        raise RowError(f"{what} holds half a surrogate pair, which is not UTF-8; write the character itself")
    return out


def bare_answer(text, what="an answer"):
    """An answer without the "Assistant:" that some English sets put before it."""
    text = bare(text, what)
    return bare(text.removeprefix("Assistant:"), what) if text.startswith("Assistant:") else text


def turns(text):
    """A prompt column -> messages: Dahoas' "\\n\\nHuman: ..\\n\\nAssistant: ..\\n\\nHuman: .." is several, anything else is one.

    Raises RowError if a turn is empty or the prompt ends with an answer.
    """
    text = bare(text, "the prompt")
    if not text.startswith("Human:"):
        return [{"role": "user", "content": bare(_CUE.sub("", text), "the prompt")}]
    parts = _TURN.split("\n\n" + text)[1:]
    pairs = list(zip(parts[::2], parts[1::2]))
    if pairs[-1][0] == "Assistant" and not pairs[-1][1].strip():
        pairs.pop()
    if pairs[-1][0] != "Human":
        raise RowError("the prompt ends with an Assistant turn; expected it to end with Human's")
    return conversation([{"from": who, "value": said} for who, said in pairs])


def conversation(messages):
    """A list of {role, content} or {from, value} -> messages. The first may be a system message, then user and assistant alternate.

    Raises RowError for anything else.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise RowError(f"messages is {str(messages)[:40]!r}; expected a list of {{role, content}}")
    out = []
    for i, m in enumerate(messages, 1):
        if not isinstance(m, dict):
            raise RowError(f"message {i} is {type(m).__name__}; expected {{role, content}}")
        name = m.get("role", m.get("from"))
        role = ROLES.get(name.lower()) if isinstance(name, str) else None
        if role is None:
            raise RowError(f"message {i} has the role {name!r}; expected system, user or assistant (or human, gpt)")
        content = m.get("content", m.get("value"))
        out.append({"role": role, "content": bare(content, f"message {i}")})
        if role == "user" and m.get("input"):
            out[-1]["input"] = bare(m["input"], f"the input of message {i}")
    talk = out[1:] if out[0]["role"] == "system" else out
    if any(m["role"] != ("user", "assistant")[i % 2] for i, m in enumerate(talk)) or not talk:
        raise RowError(
            f"the roles are {', '.join(m['role'] for m in out)[:60]}; expected user and assistant in turn, user first"
        )
    return out


def example(prompt, answers=(), input=None, system=None, category=None):
    """Raw values -> Example. `prompt` is text or a list of messages; one that ends with an assistant message brings its answer along.

    Raises RowError for values of the wrong kind, RowSkipped if several answers turn out to be the same.
    """
    messages = turns(prompt) if isinstance(prompt, str) else conversation(prompt)
    if messages[-1]["role"] == "assistant":
        if answers:
            raise RowError(
                "the messages end with an assistant turn although the row has answers of its own; end them with the user's"
            )
        answers = [messages.pop()["content"]]
    if messages[-1]["role"] != "user":
        raise RowError("the messages hold no user turn")
    if isinstance(input, str) and NO_INPUT.sub("", input).strip():
        messages[-1]["input"] = bare(NO_INPUT.sub("", input), "input")
    elif input is not None and not isinstance(input, str):
        raise RowError(f"input is {type(input).__name__}; expected text")
    if system is not None and (not isinstance(system, str) or system.strip()):
        messages = [{"role": "system", "content": bare(system, "system")}] + [
            m for m in messages if m["role"] != "system"
        ]
    ranked = tuple(dict.fromkeys(bare_answer(a) for a in answers))  # two equal ranks are one answer
    if len(answers) > 1 and len(ranked) == 1:
        raise RowSkipped("identical answers")
    return Example(tuple(messages), ranked, "all" if category in (None, "") else bare(category, "category"))


def free_example(row):
    """A row with columns of the user's choice -> Example.

    Prompt: messages | conversations | prompt | instruction (+ input) | question | input alone. Answers: answers | chosen + rejected |
    output | answer | response | completion, or the last turn of messages. Else text, a plain document. Also category | subset, and system.
    A column that is absent or null counts as not there. Raises RowError or sources.RowSkipped.
    """
    row = {k: v for k, v in row.items() if v is not None}
    column = next((c for c in PROMPTS if c in row), None)
    category = row.get("category", row.get("subset"))
    context = row.get("input")
    if column is None and "input" in row and any(c in row for c in ANSWERS):
        column, context = "input", None
    if column is None and "text" in row:
        return Example(
            category="all" if category in (None, "") else bare(category, "category"), text=bare(row["text"], "text")
        )
    if column is None:
        raise RowError(f"no known columns; found {', '.join(map(str, row)) or 'none'}; expected {EXPECTED}")
    prompt = _unpacked(row[column], column) if column in ("messages", "conversations") else row[column]
    if column not in ("messages", "conversations"):
        bare(prompt, column)
    return example(prompt, _answers(row), context, row.get("system"), category)


def _answers(row):
    column = next((c for c in ANSWERS if c in row), None)
    if column == "answers":
        answers = _unpacked(row["answers"], "answers")
        if not isinstance(answers, (list, tuple)) or not answers:
            raise RowError(f"answers is {str(answers)[:40]!r}; expected a list of texts, best first")
        return [bare(a, f"answer {i}") for i, a in enumerate(answers, 1)]
    if "rejected" in row and column != "chosen":
        raise RowError("rejected without chosen; give both")
    if column == "chosen":
        return [bare(row[c], c) for c in ("chosen", "rejected") if c in row]
    return [] if column is None else [bare(row[column], column)]


def _unpacked(value, column):
    """A list, also when a CSV cell or a string holds it as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise RowError(
            f"{column} is the text {value[:40]!r}; expected a list (in a CSV cell: written as JSON)"
        ) from error
