"""What the page may ask for: an answer, a pair of answers, a vote. Plain data in, plain data or events (dicts) out;
no HTTP here.

Everything but the sampling, the scoring and the writing of votes runs in the server's event loop, so nothing here
needs a lock."""

import asyncio
import contextlib
import dataclasses
import secrets
import sys

from korlhf.applications.chat.conversation import TooLong
from korlhf.applications.web import Refused
from korlhf.applications.web_demo import streams, votes
from korlhf.applications.web_demo.limits import is_empty
from korlhf.applications.web_demo.sessions import Turn
from korlhf.core.errors import InputError


class Service:
    """bots: {name: LocalBot or ServerBot}; scorer: scorer.Scorer or None; vote_file: votes.VoteFile or None: no votes
    are taken; limits: limits.Limits; system: a system message or ""; category: of the votes."""

    def __init__(self, bots, scorer, vote_file, limits, system="", category="web_demo"):
        self.bots, self.scorer, self.vote_file, self.limits = bots, scorer, vote_file, limits
        self.system, self.category = system, category
        self._under_way = 0

    def state(self, session):
        """What the page shows of a session when it is opened (again)."""
        pair = None if session.pair is None else {"id": session.pair[0], **self._shown(session.pair[1])}
        return {
            "session": session.token,
            "chat": [dataclasses.asdict(turn) for turn in session.chat.turns],
            "compare": [{"user": turn.user, "answer": turn.answer} for turn in session.compare.turns],
            "pair": pair,
        }

    @staticmethod
    def _shown(pair):
        return {
            "user": pair.messages[-1]["content"],
            **{
                side: {"text": one.text, "reason": one.reason, "left_out": one.left_out}
                for side, one in pair.sides.items()
            },
        }

    async def chat(self, session, data):
        """Events of an answer: {"piece"}, ..., {"end", ...}, and {"score"} where there is a scorer; or {"error",
        ...}."""
        talk = session.chat
        try:
            name = self._model(data)
            with self._place(talk, 1):
                text, at, messages, sampling = self._asked(talk, data)
                answer = self._ask(name, messages, sampling)
                talk.answers.append(answer)
                async for _, piece in self._pieces({name: answer}):
                    if piece is not None:
                        yield {"piece": piece}
                turn = Turn(text, answer.text, name, answer.finish_reason, answer.left_out)
                del talk.turns[at:]  # not before: an answer that fails replaces none
                counted = not is_empty(turn.answer)  # there is nothing to refer to in one without text
                if counted:
                    talk.turns.append(turn)
                end = {"end": turn.reason, "left_out": turn.left_out, "turns": len(talk.turns), "counted": counted}
            yield end
            if self.scorer is not None and counted:
                turn.score = await self._score(messages, turn.answer)
                yield {"score": turn.score}
        except Refused as refused:
            yield refused.reply()

    async def compare(self, session, data):
        """Events of two answers by two models: {"side", "piece"}, {"side", "end", ...}, at last {"ready": id to vote
        with}, or {"stopped"} if they were cut off; or {"error", ...}. Which model is left is drawn anew each time,
        and told by `vote` alone."""
        talk = session.compare
        try:
            if self.vote_file is None:
                raise Refused("malformed")
            with self._place(talk, 2):
                _, at, messages, sampling = self._asked(talk, data)
                session.pair = None
                names = dict(zip(votes.SIDES, _shuffled(self.bots)))
                samplings = {side: dataclasses.replace(sampling, seed=secrets.randbelow(2**31)) for side in names}
                for side, name in names.items():
                    talk.answers.append(self._ask(name, messages, samplings[side]))
                answers = dict(zip(votes.SIDES, talk.answers))
                async for side, piece in self._pieces(answers):
                    answer = answers[side]
                    yield (
                        {"side": side, "piece": piece}
                        if piece is not None
                        else {"side": side, "end": answer.finish_reason, "left_out": answer.left_out}
                    )
                if any(answer.cancelled for answer in answers.values()):
                    yield {"stopped": True}
                    return
                shown = {
                    side: votes.Shown(
                        names[side],
                        answer.text,
                        answer.finish_reason,
                        answer.left_out,
                        samplings[side].seed,
                        await self._score(messages, answer.text),
                    )
                    for side, answer in answers.items()
                }
                pair = votes.BlindPair(
                    messages,
                    **shown,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_new_tokens=sampling.max_new_tokens,
                )
                del talk.turns[at:]
                session.pair = secrets.token_hex(8), pair
            yield {"ready": session.pair[0]}
        except Refused as refused:
            yield refused.reply()

    async def vote(self, session, data):
        """Take a vote: when this returns it is on the disk -> the names, the scores, and how the talk goes on. Raises
        Refused."""
        vote, ticket = data.get("vote"), data.get("id")
        if vote not in votes.VOTES:
            raise Refused("malformed")
        if session.voted is not None and session.voted[0] == ticket:  # sent again: its answer was lost
            return session.voted[1]
        if session.pair is None or session.pair[0] != ticket:
            raise Refused("expired")
        pair = session.pair[1]
        self._check_vote(pair, vote)
        waiting, session.pair = session.pair, None  # a second click finds nothing to vote on
        try:
            await asyncio.to_thread(self.vote_file.add, pair, vote, session.voter, self.category)
        except OSError as error:
            session.pair = waiting
            print(
                f"error: --votes {self.vote_file.path}: a vote could not be written: {error}; make room on its disk",
                file=sys.stderr,
                flush=True,
            )
            raise Refused("storage") from error
        kept = self._go_on(session.compare, pair, vote)
        reply = {
            "vote": vote,
            "kept": kept,
            "turns": len(session.compare.turns),
            "models": {side: one.model for side, one in pair.sides.items()},
            "scores": {side: one.score for side, one in pair.sides.items()},
        }
        session.voted = ticket, reply
        return reply

    @staticmethod
    def _go_on(talk, pair, vote):
        """The side whose answer the talk goes on from, or None: then it goes on without the message."""
        side = {"left": "left", "right": "right", "tie": "left"}.get(vote)  # left was drawn: of equal ones it is any
        if side is None or is_empty(pair.sides[side].text):
            return None
        kept = pair.sides[side]
        talk.turns.append(Turn(pair.messages[-1]["content"], kept.text, kept.model, kept.reason))
        return side

    @staticmethod
    def _check_vote(pair, vote):
        if vote in votes.SIDES and pair.same:
            raise Refused("same")
        if vote in votes.SIDES and is_empty(pair.sides[vote].text):
            raise Refused("empty_answer")

    @staticmethod
    def _talk(session, data):
        if data.get("page") not in ("chat", "compare"):
            raise Refused("malformed")
        return session.chat if data["page"] == "chat" else session.compare

    def stop(self, session, data):
        """Cut off what is on its way in a talk: its events end at once. Raises Refused."""
        self._talk(session, data).stop()
        return {}

    def reset(self, session, data):
        """Forget a talk. Raises Refused."""
        talk = self._talk(session, data)
        if talk.answers is not None:
            raise Refused("busy")
        talk.turns.clear()
        if talk is session.compare:
            session.pair = None
        return {}

    @contextlib.contextmanager
    def _place(self, talk, n):
        """Room for n answers, and the talk for oneself. Raises Refused. Whatever ends it, no answer goes on for
        nobody."""
        if talk.answers is not None:
            raise Refused("busy")
        if self._under_way + n > self.limits.max_answers:
            raise Refused("crowded")
        talk.answers, self._under_way = [], self._under_way + n
        try:
            yield
        finally:
            for answer in talk.answers:
                if answer.finish_reason is None:
                    answer.cancel()
            talk.answers, self._under_way = None, self._under_way - n

    def _asked(self, talk, data):
        """(message, after how many exchanges, the messages to be answered, Sampling) of a request. Raises Refused."""
        text, at, sampling = self.limits.text(data), self.limits.place(data), self.limits.sampling(data)
        return text, at, talk.messages(text, at, self.system), sampling

    def _model(self, data):
        name = data.get("model")
        if not isinstance(name, str) or name not in self.bots:
            raise Refused("malformed")
        return name

    def _ask(self, name, messages, sampling):
        try:
            return self.bots[name].ask(messages, sampling)
        except TooLong as error:
            raise Refused("long_context", most=self.bots[name].context_tokens) from error
        except InputError as error:
            raise _failed(error) from error

    async def _pieces(self, answers):
        """streams.pieces, what a user of the program could put right told on stderr."""
        async with contextlib.aclosing(streams.pieces(answers)) as found:
            try:
                async for name, piece in found:
                    yield name, piece
            except InputError as error:
                raise _failed(error) from error

    async def _score(self, messages, text):
        """The reward model's score, or None."""
        if self.scorer is None or is_empty(text):
            return None
        try:
            return await asyncio.to_thread(self.scorer.score, messages, text)
        except InputError as error:  # too long for it, or not to be written in its template
            print(f"warning: no score: {error}", file=sys.stderr, flush=True)
            return None


def _failed(error):
    """For the visitor there are no details: they name files and addresses."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return Refused("model")


def _shuffled(names):
    names = list(names)
    secrets.SystemRandom().shuffle(names)
    return names
