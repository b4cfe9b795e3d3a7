"""What the server knows of each conversation: its talks and the pair of answers that waits for a vote. In memory only.

The page keeps a secret token for each. The talks are kept here and not in the page, because an answer may hold
what a visitor may not write (korlhf/applications/chat/markers.py), so nobody else may say what the model has said."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from korlhf.applications.chat.conversation import Conversation
from korlhf.applications.web import Refused
from korlhf.llm.checkpoint import Sampling


@dataclass
class Turn:
    """An exchange of a talk. model: name of who answered; reason, left_out: see AnswerStream; score: of the reward
    model, or None; sampling, system: what it was answered with; rating: True or False, None if nobody has said; help:
    what the guard found in `user`; id: of the answer, for its rating."""

    user: str
    answer: str
    model: str
    reason: str
    left_out: int = 0
    score: float | None = None
    sampling: Sampling | None = None
    system: str = ""
    rating: bool | None = None
    help: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass
class Talk:
    """turns: all that counts; answers: those that are on their way, None if none is asked for; stopped: whether they
    are to end."""

    turns: list[Turn] = field(default_factory=list)
    answers: list | None = None
    stopped: bool = False

    def messages(self, text, at, system):
        """The messages to be answered if the visitor says `text` after the first `at` exchanges.

        Raises Refused if there are fewer: the page shows a talk that is no longer known.
        """
        if at > len(self.turns):
            raise Refused("expired")
        conversation = Conversation(system)
        for turn in self.turns[:at]:
            conversation.add(turn.user, turn.answer)
        return conversation.with_user(text)

    def stop(self):
        """Cancel the answers that are on their way."""
        self.stopped = True
        for answer in self.answers or ():
            answer.cancel()


@dataclass
class Session:
    """voter: an id for the votes that tells nothing of the token; pair: (id, votes.BlindPair) that waits for a vote,
    or None; voted: (id, reply) of the last vote, so that the same vote sent again is told the same."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    voter: str = field(default_factory=lambda: secrets.token_hex(8))
    chat: Talk = field(default_factory=Talk)
    compare: Talk = field(default_factory=Talk)
    pair: tuple | None = None
    voted: tuple | None = None


class Sessions:
    """At most `most` sessions: the one that was used longest ago makes room. To be used from one thread."""

    def __init__(self, most):
        self._most, self._known = most, OrderedDict()

    def find(self, token):
        """The session of a token. Raises Refused if it is not known (any more)."""
        if not isinstance(token, str) or token not in self._known:
            raise Refused("expired")
        self._known.move_to_end(token)
        return self._known[token]

    def open(self, token):
        """The session of a token, or a new one."""
        try:
            return self.find(token)
        except Refused:
            session = Session()
        self._known[session.token] = session
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return session
