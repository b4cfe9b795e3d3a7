"""What the page may ask for: an answer, a pair of answers, a vote. Plain data in, plain data or events (dicts) out.

Everything but the sampling, the scoring and the writing of votes runs in the server's event loop, so nothing here
needs a lock. Left out: HTTP (routes.py)."""

import asyncio
import contextlib
import dataclasses
import secrets
import sys

from korlhf.applications import ratings
from korlhf.applications.chat.conversation import TooLong
from korlhf.applications.web import Refused, whole_number
from korlhf.applications.web_demo import streams, votes
from korlhf.applications.web_demo.limits import SEEDS, is_empty
from korlhf.applications.web_demo.sessions import Turn
from korlhf.core.errors import InputError

ROOM = "make room on its disk"


@dataclasses.dataclass(frozen=True)
class System:
    """The system message of a demo; fixed: visitors neither see nor change it."""

    text: str = ""
    fixed: bool = False


NO_SYSTEM = System()


class Service:
    """bots: {name: LocalBot or ServerBot}; helpers: (scorer.Scorer or None, guard.Guard or None); vote_file:
    votes.VoteFile or None: no votes are taken; limits: limits.Limits; system: System; category: of the votes;
    rating_file: ratings.RatingFile, or None: answers are not rated."""

    def __init__(self, bots, helpers, vote_file, limits, system=NO_SYSTEM, category="web_demo", rating_file=None):
        self.bots, self.vote_file, self.limits = bots, vote_file, limits
        self.scorer, self.guard = helpers
        self.system, self.category, self.rating_file = system, category, rating_file
        self._under_way = 0

    def state(self, session):
        """What the page shows of a session when it is opened (again)."""
        state = {
            "session": session.token,
            "chat": [dataclasses.asdict(turn) for turn in session.chat.turns],
            "compare": [{"user": t.user, "answer": t.answer, "help": t.help} for t in session.compare.turns],
            "pair": None,
        }
        if session.pair is not None:
            ticket, pair = session.pair
            shown = {
                side: {name: pair.each(name)[side] for name in ("text", "reason", "left_out")} for side in votes.SIDES
            }
            state["pair"] = {"id": ticket, "user": pair.messages[-1]["content"], "help": pair.help, **shown}
        return state

    async def chat(self, session, data):
        """Events of an answer: {"help": what the guard found}, {"piece"}, ..., {"end", ...}, and {"score"} where there
        is a scorer; or {"error"}."""
        talk = session.chat
        try:
            name = self._model(data)
            with self._place(talk, 1):
                text, at, messages, sampling = self._asked(talk, data)
                system = messages[0]["content"] if messages[0]["role"] == "system" else ""
                found = await self._signs(messages)
                if found:
                    yield {"help": found}
                answer = self._ask(talk, name, messages, sampling)
                async for _, piece in self._pieces({name: answer}):
                    if piece is not None:
                        yield {"piece": piece}
                turn = Turn(text, answer.text, name, answer.finish_reason, answer.left_out)
                turn.sampling, turn.system, turn.help = sampling, system, found
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
        """Events of two answers by two models: {"help"} as of `chat`, {"side", "piece"}, {"side", "end", ...}, at last
        {"ready": id to vote with}, or {"stopped"} if they were cut off; or {"error"}. Which model is left is drawn anew
        each time, and told by `vote` alone."""
        talk = session.compare
        try:
            if self.vote_file is None:
                raise Refused("malformed")
            with self._place(talk, 2):
                _, at, messages, sampling = self._asked(talk, data)
                session.pair = None
                found = await self._signs(messages)
                if found:
                    yield {"help": found}
                drawn = secrets.SystemRandom().sample(list(self.bots), 2)
                seeds = [sampling.seed] * 2 if "seed" in data else [secrets.randbelow(SEEDS) for _ in drawn]
                samplings = [dataclasses.replace(sampling, seed=seed) for seed in seeds]
                answers = {
                    side: self._ask(talk, name, messages, how) for side, name, how in zip(votes.SIDES, drawn, samplings)
                }
                async for side, piece in self._pieces(answers):
                    end = {"end": answers[side].finish_reason, "left_out": answers[side].left_out}
                    yield {"side": side, **(end if piece is None else {"piece": piece})}
                if any(answer.cancelled for answer in answers.values()):
                    yield {"stopped": True}
                    return
                shown = [
                    votes.Shown(
                        name, a.text, a.finish_reason, a.left_out, how.seed, await self._score(messages, a.text)
                    )
                    for name, a, how in zip(drawn, answers.values(), samplings)
                ]
                del talk.turns[at:]
                session.pair = secrets.token_hex(8), votes.BlindPair(messages, *shown, sampling, found)
            yield {"ready": session.pair[0]}
        except Refused as refused:
            yield refused.reply()

    async def vote(self, session, data):
        """Take a vote: when this returns it is on the disk -> the names, the scores, and how the talk continues.

        Raises Refused."""
        vote, ticket = data.get("vote"), data.get("id")
        if vote not in votes.VOTES:
            raise Refused("malformed")
        if session.voted is not None and session.voted[0] == ticket:  # sent again: its answer was lost
            return session.voted[1]
        if session.pair is None or session.pair[0] != ticket:
            raise Refused("expired")
        waiting, pair = session.pair, session.pair[1]
        if vote in votes.SIDES and pair.same:
            raise Refused("same")
        if vote in votes.SIDES and is_empty(pair.each("text")[vote]):
            raise Refused("empty_answer")
        session.pair = None  # a second click finds nothing to vote on
        try:
            await asyncio.to_thread(self.vote_file.add, pair, vote, session.voter, self.category)
        except OSError as error:
            session.pair = waiting
            said = f"--votes {self.vote_file.path}: a vote could not be written: {error}; {ROOM}"
            raise _failed(said, "storage") from error
        kept = self._continue(session.compare, pair, vote)
        told = {"turns": len(session.compare.turns), "models": pair.each("model"), "scores": pair.each("score")}
        session.voted = ticket, {"vote": vote, "kept": kept, **told}
        return session.voted[1]

    async def rate(self, session, data):
        """Take a thumb: when this returns it is on the disk. data: "at", the number of the exchange from 0, and
        "label": true, false, or null to take it back. Raises Refused."""
        at, label, turns = data.get("at"), data.get("label"), session.chat.turns
        if self.rating_file is None or not whole_number(at) or not (label is None or isinstance(label, bool)):
            raise Refused("malformed")
        if not 0 <= at < len(turns):
            raise Refused("expired")
        turn = turns[at]
        row = ratings.record(
            session.chat.messages(turn.user, at, turn.system), turn.answer, turn.model, turn.sampling, "web_demo"
        )
        row |= {"finish_reason": turn.reason, "score": turn.score, "session": session.voter}
        try:
            await asyncio.to_thread(self.rating_file.put, turn.id, label, row)
        except (OSError, InputError) as error:
            said = f"--ratings {self.rating_file.path}: a rating could not be written: {error}; {ROOM}"
            raise _failed(said, "storage") from error
        turn.rating = label
        return {"rating": label}

    @staticmethod
    def _continue(talk, pair, vote):
        """The side whose answer the talk continues from, or None: then it continues without the message."""
        side = "left" if vote == "tie" else vote  # left was drawn: of equal ones it is any
        if side not in votes.SIDES or is_empty(pair.each("text")[side]):
            return None
        kept = getattr(pair, side)
        talk.turns.append(Turn(pair.messages[-1]["content"], kept.text, kept.model, kept.reason, help=pair.help))
        return side

    @staticmethod
    def _talk(session, data):
        if data.get("page") not in ("chat", "compare"):
            raise Refused("malformed")
        return getattr(session, data["page"])

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
        """Room for n answers, and the talk for oneself. Raises Refused. Whatever ends it, no answer runs on for
        nobody."""
        if talk.answers is not None:
            raise Refused("busy")
        if self._under_way + n > self.limits.max_answers:
            raise Refused("crowded")
        talk.answers, talk.stopped, self._under_way = [], False, self._under_way + n
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
        system = None if self.system.fixed else self.limits.system(data)
        return text, at, talk.messages(text, at, self.system.text if system is None else system), sampling

    def _model(self, data):
        name = data.get("model")
        if not isinstance(name, str) or name not in self.bots:
            raise Refused("malformed")
        return name

    def _ask(self, talk, name, messages, sampling):
        """The AnswerStream of a bot, noted in the talk. Raises Refused."""
        try:
            answer = self.bots[name].ask(messages, sampling)
        except TooLong as error:
            raise Refused("long_context", most=self.bots[name].context_tokens) from error
        except InputError as error:
            raise _failed(error) from error
        talk.answers.append(answer)
        if talk.stopped:  # while the guard looked
            answer.cancel()
        return answer

    async def _pieces(self, answers):
        """streams.pieces, what a user of the program could put right told on stderr."""
        async with contextlib.aclosing(streams.pieces(answers)) as pieces:
            try:
                async for name, piece in pieces:
                    yield name, piece
            except InputError as error:
                raise _failed(error) from error

    async def _signs(self, messages):
        """What the guard finds in the last message: which helplines the page shows next to the answer."""
        return await asyncio.to_thread(self.guard, messages) if self.guard else []

    async def _score(self, messages, text):
        """The reward model's score, or None."""
        if self.scorer is None or is_empty(text):
            return None
        try:
            return await asyncio.to_thread(self.scorer.score, messages, text)
        except InputError as error:  # too long for it, or not to be written in its template
            print(f"warning: no score: {error}", file=sys.stderr, flush=True)
            return None


def _failed(error, code="model"):
    """For the visitor there are no details: they name files and addresses."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return Refused(code)
