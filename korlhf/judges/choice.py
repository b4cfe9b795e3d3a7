"""A question to a judge with lettered options: which answer is better, what an answer does. Read strictly or not.

Left out: reasons in words before the choice (slower by a hundred times, and a judge's own words may talk it into a
verdict).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from string import ascii_uppercase as LETTERS

from korlhf.judges import form
from korlhf.llm.client import Client, Request
from korlhf.llm.protocol import Failure, Reply

TOP = 20  # alternatives to a token that are asked for
PICKED = re.compile(r'\W*(?:"choice"\s*:\W*)?([A-Z])\W*')
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
    schema = form.json_object({"choice": {"type": "string", "enum": list(question.letters)}})
    top = TOP if probabilities else 0
    return form.completion(model, question.messages, 0.0, top, schema if structured else None)


def ask(
    client: Client, model: str, able: tuple[bool, bool], questions: Sequence[Question], desc: str, sample: int = 0
) -> list[Choice | Failure]:
    """A Choice or Failure for each question. able: what the server takes (geval.abilities); sample: another number asks
    again, past what the cache holds."""
    requests = [Request(body(q, model, *able), sample, partial(read, len(q.options))) for q in questions]
    return [reply if isinstance(reply, Failure) else read for reply, read in client.ask(requests, desc=desc)]


def read(count: int, reply: Reply) -> Choice:
    """The Choice in a reply to a question of `count` options: a letter alone, or {"choice": letter}.

    Raises ValueError if it names none.
    """
    letters = tuple(LETTERS[:count])  # not a string, in which "AB" would be found
    picked = PICKED.fullmatch(reply.text)
    if not picked or picked[1] not in letters:
        raise ValueError(f"{reply.text.strip()[:40]!r} is none of {', '.join(letters)}")
    tokens = [t for t in reply.logprobs or () if form.bare(t["token"]) in letters]
    # a letter within other words would make the place doubtful
    if len(tokens) == 1 and (shares := form.shares(tokens[0], letters)):
        return Choice(shares, PROBABILITIES)
    return Choice(tuple(float(letter == picked[1]) for letter in letters), GREEDY)
