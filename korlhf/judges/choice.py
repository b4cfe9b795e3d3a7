"""A question to a judge with lettered options: which answer is better, what an answer does. Read strictly or not.

Left out: reasons in words before the choice (slower by a hundred times, and a judge's own words may talk it into a
verdict).
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from string import ascii_uppercase as LETTERS

from korlhf.judges import form
from korlhf.llm.client import Client, Request
from korlhf.llm.protocol import Failure, Reply

TOP = 20  # alternatives to a token that are asked for
BARE = re.compile(r"[\s\"'(\[*]*([A-Z])[\s\"')\].*]*")
INSTRUCTION = "다른 말 없이 {letters} 가운데 한 글자로만 답하세요."
PROBABILITIES, GREEDY = "token probabilities", "one greedy choice"


@dataclass(frozen=True)
class Question:
    """system: who the judge is; text: what is asked, with everything to read; options: what A, B, C ... stand for."""

    system: str
    text: str
    options: tuple[str, ...]

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.options)]

    @property
    def messages(self) -> list[dict]:
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(self.letters, self.options))
        asked = f"{self.text}\n\n{options}\n\n{INSTRUCTION.format(letters=', '.join(self.letters))}"
        return [{"role": "system", "content": self.system}, {"role": "user", "content": asked}]


@dataclass(frozen=True)
class Choice:
    """probabilities: of the options, together 1; method: how they came."""

    probabilities: tuple[float, ...]
    method: str

    @property
    def best(self) -> int:
        """Number of the likeliest option."""
        return max(range(len(self.probabilities)), key=lambda i: self.probabilities[i])


def body(question: Question, model: str, structured: bool, probabilities: bool) -> dict:
    """Arguments of a chat completion."""
    asked = form.completion(model, question.messages, 0.0, TOP if probabilities else 0)
    schema = form.json_object({"choice": {"type": "string", "enum": list(question.letters)}})
    return asked | (form.by_schema("choice", schema) if structured else {})


def ask(
    client: Client,
    model: str,
    structured: bool,
    probabilities: bool,
    questions: Sequence[Question],
    desc: str = "judging",
) -> list[Choice | Failure]:
    """A Choice or Failure for each question. structured, probabilities: what the server takes (geval.abilities)."""
    out: dict[int, Choice | Failure] = {}
    for count in {len(q.options) for q in questions}:
        numbers = [i for i, q in enumerate(questions) if len(q.options) == count]
        requests = [Request(body(questions[i], model, structured, probabilities)) for i in numbers]
        for i, (reply, choice) in zip(numbers, client.ask(requests, partial(read, count), desc=desc)):
            out[i] = reply if isinstance(reply, Failure) else choice
    return [out[i] for i in range(len(questions))]


def read(count: int, reply: Reply) -> Choice:
    """The Choice in a reply to a question of `count` options. Raises ValueError if it names none."""
    picked = parse(reply.text, count)
    shares = _shares(reply, count)
    if shares is not None:
        return Choice(shares, PROBABILITIES)
    return Choice(tuple(float(i == picked) for i in range(count)), GREEDY)


def parse(text: str, count: int) -> int:
    """Number of the option that a reply names: a letter alone, or {"choice": letter}. Raises ValueError."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            letter = json.loads(stripped).get("choice")
        except ValueError as error:
            raise ValueError(f"broken JSON: {error}") from error
    else:
        match = BARE.fullmatch(stripped)
        letter = match[1] if match else None
    if not isinstance(letter, str) or letter not in LETTERS[:count] or len(letter) != 1:
        raise ValueError(f"{stripped[:40]!r} is none of {', '.join(LETTERS[:count])}")
    return LETTERS.index(letter)


def _shares(reply: Reply, count: int) -> tuple[float, ...] | None:
    """Probabilities of the options by the alternatives to the token that is the letter, or None."""
    letters = tuple(LETTERS[:count])  # not a string, in which "AB" would be found
    tokens = [t for t in reply.logprobs or () if _bare(t["token"]) in letters]
    if len(tokens) != 1 or not tokens[0]["top"]:  # a letter within other words would make the place doubtful
        return None
    logprobs = {t["token"]: t["logprob"] for t in (tokens[0], *tokens[0]["top"])}
    weights = [sum(math.exp(p) for t, p in logprobs.items() if _bare(t) == letter) for letter in letters]
    total = sum(weights)  # 0: a server forced a letter that the model would never write
    return tuple(w / total for w in weights) if total else None


def _bare(token: str) -> str:
    return token.strip(' \t\n▁Ġ"')
