"""What a visitor may ask for. What is not taken is refused with a code, for which the page has words in its languages.

Codes: malformed, empty, long, full, long_context, crowded, busy, expired, same, empty_answer, model, storage, who,
wrong_password, wait."""

import secrets
from dataclasses import dataclass

from korlhf.applications.web import Refused, whole_number
from korlhf.core.flags import flag
from korlhf.data.example import RowError, bare
from korlhf.llm.checkpoint import Sampling

SEEDS = 2**31  # how many there are


@dataclass(frozen=True, kw_only=True)
class Limits:
    """answers, and what visitors may ask for"""

    temperature: float = flag(0.7, "sampling temperature at first; 0 = greedy", low=0)
    max_temperature: float = flag(1.5, "highest temperature that a visitor may choose", low=0)
    top_p: float = flag(1.0, "nucleus sampling at first; 1 = off", above=0, high=1)
    max_new_tokens: int = flag(256, "longest answer in tokens; visitors may choose a shorter one", above=0)
    context_tokens: int = flag(
        0,
        "most tokens of history and answer (of a server: characters); older exchanges are left out; 0 = all that fit",
        low=0,
    )
    max_characters: int = flag(2000, "longest message of a visitor", above=0)
    max_messages: int = flag(50, "most messages of a visitor in one conversation", above=0)
    max_answers: int = flag(
        64, "answers on their way at once, those that wait included; who asks for more is told to try again", above=0
    )
    max_sessions: int = flag(
        1000, "conversations that are remembered; the one that was left longest ago is forgotten first", above=0
    )

    def check(self, parser):
        if self.temperature > self.max_temperature:
            most = f"--max_temperature {self.max_temperature}"
            parser.error(f"--temperature {self.temperature}: must be at most {most}")

    def text(self, data):
        """The message of a request. Raises Refused."""
        text = data.get("text")
        if not isinstance(text, str):
            raise Refused("malformed")
        text = text.strip()
        if is_empty(text):
            raise Refused("empty")
        if len(text) > self.max_characters:
            raise Refused("long", most=self.max_characters)
        return text

    def place(self, data):
        """How many exchanges of the conversation the visitor sees before the message. Raises Refused."""
        at = data.get("at")
        if not whole_number(at) or at < 0:
            raise Refused("malformed")
        if at >= self.max_messages:
            raise Refused("full", most=self.max_messages)
        return at

    def system(self, data):
        """The system message of a request, or None if it says nothing of one. Raises Refused."""
        text = data.get("system")
        if text is None or (isinstance(text, str) and len(text) <= self.max_characters):
            return text if text is None else text.strip()
        raise Refused("malformed")

    def sampling(self, data):
        """How the answer is sampled, with a new seed if the request has none. Raises Refused."""
        temperature, length = data.get("temperature"), data.get("max_new_tokens")
        top_p, seed = data.get("top_p", self.top_p), data.get("seed")
        if seed is None:
            seed = secrets.randbelow(SEEDS)
        if not all(isinstance(x, float) or whole_number(x) for x in (temperature, top_p)):
            raise Refused("malformed")
        if not all(map(whole_number, (length, seed))) or not 0 <= seed < SEEDS:
            raise Refused("malformed")
        in_range = 0 <= temperature <= self.max_temperature and 0 < top_p <= 1  # NaN is not
        if not in_range or not 1 <= length <= self.max_new_tokens:
            raise Refused("malformed")
        return Sampling(float(temperature), float(top_p), length, seed)


def is_empty(text):
    """Whether nothing is left of a text in training data, e.g. of one that is all blanks and invisible characters."""
    try:
        bare(text, "the text")
    except RowError:
        return True
    return False
