"""Bots whose answers a test writes, and a Service of theirs."""

import asyncio

import pytest

from korlhf.applications import ratings
from korlhf.applications.chat.conversation import AnswerStream
from korlhf.applications.web_demo import votes
from korlhf.applications.web_demo.limits import Limits
from korlhf.applications.web_demo.service import Service, System

HOW = {"temperature": 0.5, "max_new_tokens": 8}
LIMITS = {"max_characters": 20, "max_messages": 3, "max_new_tokens": 8, "max_temperature": 1.0, "max_answers": 4}


class Bot:
    """Answers with `said`, else its name, and the number of messages it was sent; `hold`: with the first piece only.

    asked: [(messages, sampling)]; error: comes after the first piece; refuse: instead of any."""

    def __init__(self, name, said="", hold=False, error=None, refuse=None):
        self.name, self.said, self.hold, self.error, self.refuse = name, said or name, hold, error, refuse
        self.asked, self.answers, self.context_tokens = [], [], 100

    def ask(self, messages, sampling):
        if self.refuse:
            raise self.refuse
        self.asked.append((messages, sampling))
        answer = AnswerStream(left_out=1)
        self.answers.append(answer)
        answer.put(f"{self.said} ")
        if self.error:
            answer.fail(self.error)
        elif not self.hold:
            answer.put(f"{len(messages)}")
            answer.finish("stop")
        return answer


class Scorer:
    def score(self, messages, answer):
        return float(len(messages))


@pytest.fixture
def make(tmp_path):
    """Function: bots... -> a Service with small limits."""

    def service(*bots, scorer=None, guard=None, **limits):
        bounds = Limits(**{**LIMITS, **limits})
        file = votes.VoteFile(tmp_path / "votes.jsonl")
        return Service(
            {b.name: b for b in bots},
            (scorer, guard),
            file,
            bounds,
            System("다정하게"),
            "c",
            ratings.RatingFile(tmp_path / "ratings.jsonl"),
        )

    return service


async def collected(events):
    return [event async for event in events]


def run(events):
    return asyncio.run(collected(events))


def say(service, session, text, at, model="one", **more):
    return run(service.chat(session, {"text": text, "at": at, "model": model, **HOW, **more}))


def text_of(events, side=None):
    return "".join(e["piece"] for e in events if "piece" in e and e.get("side") == side)


async def started(service, session, name="chat", **data):
    """An answer under way: its events, of which the first has been read."""
    events = getattr(service, name)(session, {"text": "안녕", "at": 0, "model": "one", **HOW, **data})
    assert "piece" in await anext(events)
    return events
