"""A conversation, and the answer that is on its way to it, whoever answers: local_bot.py or server_bot.py."""

import bisect
import queue
import threading
from dataclasses import dataclass

from korlhf.core.errors import InputError
from korlhf.data.example import RowError
from korlhf.data.example import conversation as checked_messages


class TooLong(InputError):
    """The last message does not fit, even without the history."""


class Conversation:
    """Whole exchanges of one user and one bot, as typed and as shown. system: a system message, "" = none."""

    def __init__(self, system=""):
        self.system, self.exchanges = system, []  # [(user's text, answer)]

    @property
    def messages(self):
        """All of it; as the `messages` of a JSON line step 1 trains its answers (--data_path)."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for text, answer in self.exchanges:
            messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
        return messages

    def with_user(self, text):
        """The messages to be answered if the user now says `text`."""
        return [*self.messages, {"role": "user", "content": text}]

    def add(self, text, answer):
        """Note an exchange. One without an answer's text is left out: there is nothing to refer to."""
        if answer.strip():
            self.exchanges.append((text, answer))


@dataclass(frozen=True)
class _End:
    reason: str


class AnswerStream:
    """An answer on its way. Iterate over it, once, for pieces of its text; no character is cut in parts.

    text: what the iteration has given so far; finish_reason: None until it has ended, then "stop", "length" (cut at
    max_new_tokens), "cancelled" or "failed"; left_out: how many of the oldest exchanges were not sent, because they
    did not fit."""

    def __init__(self, left_out=0):
        self.text, self.finish_reason, self.left_out = "", None, left_out
        self._items, self._blank = queue.SimpleQueue(), None  # blanks that are held back; None: nothing has come yet
        self._cancelled = threading.Event()

    def __iter__(self):
        """Raises what went wrong, as InputError if a user can put it right. An iteration that is given up stops the
        answer."""
        try:
            while self.finish_reason is None:
                item = self._items.get()
                if isinstance(item, _End):
                    self.finish_reason = item.reason
                elif isinstance(item, Exception):
                    self.finish_reason = "failed"
                    raise item
                else:
                    self.text += item
                    yield item
        finally:
            if self.finish_reason is None:
                self.cancel()
                self.finish_reason = "cancelled"

    def wait(self):
        for _ in self:
            pass
        return self.text

    def cancel(self):
        """Stop, from any thread: after the token that is being sampled there is no other."""
        self._cancelled.set()
        self._items.put(_End("cancelled"))

    @property
    def cancelled(self):
        """Whether the rest is not wanted."""
        return self._cancelled.is_set()

    def put(self, piece):
        """From the side that answers: text. Blanks at the beginning and the end do not belong to the answer."""
        text = piece.lstrip() if self._blank is None else self._blank + piece
        shown = text.rstrip()
        if shown:
            self._items.put(shown)
        if shown or self._blank is not None:
            self._blank = text[len(shown) :]

    def fail(self, error):
        """From the side that answers: an exception for the one who reads."""
        self._items.put(error)

    def finish(self, reason):
        """From the side that answers: that was all."""
        self._items.put(_End(reason))


def parts(messages):
    """([system message] or [], the other messages)"""
    n = int(bool(messages) and messages[0]["role"] == "system")
    return list(messages[:n]), list(messages[n:])


def checked(messages):
    """The conversation in the form that training data has (data/example.py), without exchanges that have no answer's
    text.

    Raises InputError if it is no conversation that ends with a user's message.
    """
    try:
        system, turns = parts(messages)
        exchanges = zip(turns[0:-1:2], turns[1::2])
        kept = [m for user, assistant in exchanges if assistant["content"].strip() for m in (user, assistant)]
        return checked_messages([*system, *kept, *turns[-1:]])
    except (RowError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"this cannot be sent: {error}") from error


def cut(messages, fits):
    """The conversation without its oldest exchanges, as few as possible, so that it fits; and how many are left out.

    The system message and the last message always stay, and no exchange is halved. fits: function of messages.
    """
    system, turns = parts(messages)
    left_out = bisect.bisect_left(range(len(turns) // 2), True, key=lambda n: fits(system + turns[2 * n :]))
    return system + turns[2 * left_out :], left_out
