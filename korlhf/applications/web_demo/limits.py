"""What a visitor may ask for. What is not taken is refused with a code, for which the page has words in its languages.

Codes: malformed, empty, long, full, long_context, crowded, busy, expired, same, empty_answer, model, storage, who, wrong_password.
"""

import secrets
from dataclasses import dataclass

from korlhf.data import example as rows
from korlhf.llm.checkpoint import Sampling


class Refused(Exception):
    """Why a request is not taken. code: see above; values: numbers for the page's sentence."""

    def __init__(self, code, **values):
        super().__init__(code)
        self.code, self.values = code, values

    def reply(self):
        """What the page is sent."""
        return {"error": self.code, **self.values}


@dataclass(frozen=True)
class Limits:
    """max_characters: of a message; max_messages: of a visitor in one talk; max_new_tokens, max_temperature: of an answer;
    max_answers: on their way at once, of all visitors together, those that wait for their turn included."""

    max_characters: int
    max_messages: int
    max_new_tokens: int
    max_temperature: float
    max_answers: int

    def text(self, data):
        """The message of a request. Raises Refused."""
        text = data.get("text")
        if not is_text(text):
            raise Refused("malformed")
        text = text.strip()
        if is_empty(text):
            raise Refused("empty")
        if len(text) > self.max_characters:
            raise Refused("long", most=self.max_characters)
        return text

    def place(self, data):
        """How many exchanges of the talk the visitor sees before the message. Raises Refused."""
        at = data.get("at")
        if not _is_whole(at) or at < 0:
            raise Refused("malformed")
        if at >= self.max_messages:
            raise Refused("full", most=self.max_messages)
        return at

    def sampling(self, data, top_p):
        """How the answer is sampled, with a new seed. Raises Refused."""
        temperature, length = data.get("temperature"), data.get("max_new_tokens")
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not _is_whole(length):
            raise Refused("malformed")
        if not 0 <= temperature <= self.max_temperature or not 1 <= length <= self.max_new_tokens:  # NaN is not within
            raise Refused("malformed")
        return Sampling(float(temperature), top_p, length, secrets.randbelow(2**31))


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_empty(text):
    """Whether nothing is left of a text in training data, e.g. of one that is all blanks and invisible characters."""
    try:
        rows.bare(text, "the text")
    except rows.RowError:
        return True
    return False


def is_text(value):
    """Whether it is a string that can be written as UTF-8: JSON can hold half a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
