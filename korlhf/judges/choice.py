"""One question to a judge with lettered options: which answer is better, what an answer does. Asked of a server, read strictly or not at all.

Left out: reasons in words before the choice (slower by a hundred times, and a judge's own words may talk it into a verdict).
"""

import json
import math
import re
from dataclasses import dataclass
from string import ascii_uppercase as LETTERS

from korlhf.llm.client import Failure, Request

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
    def letters(self):
        return LETTERS[: len(self.options)]

    @property
    def messages(self):
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(self.letters, self.options))
        asked = f"{self.text}\n\n{options}\n\n{INSTRUCTION.format(letters=', '.join(self.letters))}"
        return [{"role": "system", "content": self.system}, {"role": "user", "content": asked}]


@dataclass(frozen=True)
class Choice:
    """probabilities: of the options, together 1; method: how they came."""

    probabilities: tuple[float, ...]
    method: str

    @property
    def best(self):
        """Number of the likeliest option."""
        return max(range(len(self.probabilities)), key=lambda i: self.probabilities[i])


def body(question, model, structured, probabilities):
    """Arguments of a chat completion."""
    out = {"model": model, "temperature": 0.0, "messages": question.messages}
    if structured:
        schema = {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": list(question.letters)}},
            "required": ["choice"],
            "additionalProperties": False,
        }
        out["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "choice", "strict": True, "schema": schema},
        }
    if probabilities:
        out.update(logprobs=True, top_logprobs=TOP)
    return out


def ask(client, model, structured, probabilities, questions, desc="judging"):
    """A Choice, or a llm.Failure, for each question, from a server. structured, probabilities: what the server takes (geval.abilities)."""
    if not questions:
        return []
    requests = [Request(body(q, model, structured, probabilities)) for q in questions]
    out = [None] * len(questions)
    groups = {}
    for i, q in enumerate(questions):
        groups.setdefault(len(q.options), []).append(i)
    for count, numbers in groups.items():
        for i, (reply, choice) in zip(numbers, client.ask([requests[i] for i in numbers], _Read(count), desc=desc)):
            out[i] = reply if isinstance(reply, Failure) else choice
    return out


@dataclass(frozen=True)
class _Read:
    """Reads the reply to a question of `count` options."""

    count: int

    def __call__(self, reply):
        """Choice. Raises ValueError if the reply names no option."""
        picked = parse(reply.text, self.count)
        shares = _shares(reply, self.count)
        if shares is not None:
            return Choice(shares, PROBABILITIES)
        return Choice(tuple(float(i == picked) for i in range(self.count)), GREEDY)


def parse(text, count):
    """Number of the option that a reply names: a letter alone, or {"choice": letter}. Raises ValueError."""
    stripped = text.strip()
    if stripped.startswith("{"):
        try:
            found = json.loads(stripped).get("choice")
        except ValueError as error:
            raise ValueError(f"broken JSON: {error}") from error
    else:
        match = BARE.fullmatch(stripped)
        found = match[1] if match else None
    if not isinstance(found, str) or found not in LETTERS[:count] or len(found) != 1:
        raise ValueError(f"{stripped[:40]!r} is none of {', '.join(LETTERS[:count])}")
    return LETTERS.index(found)


def _shares(reply, count):
    """Probabilities of the options by the alternatives to the token that is the letter, or None."""
    letters = tuple(LETTERS[:count])  # not a string, in which "AB" would be found
    tokens = [t for t in reply.logprobs or () if _bare(t["token"]) in letters]
    if len(tokens) != 1 or not tokens[0]["top"]:  # a letter within other words would make the place doubtful
        return None
    logprobs = {t["token"]: t["logprob"] for t in (tokens[0], *tokens[0]["top"])}
    weights = [sum(math.exp(p) for t, p in logprobs.items() if _bare(t) == letter) for letter in letters]
    return (
        tuple(w / sum(weights) for w in weights) if sum(weights) else None
    )  # 0: a server forced a letter that the model would never write


def _bare(token):
    return token.strip(' \t\n▁Ġ"')
