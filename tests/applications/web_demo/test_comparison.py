"""Two models side by side: blind, in random order, and what a vote does."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from web_demo_bots import HOW, Bot, Scorer, collected, make, run, started, text_of  # noqa: F401 (fixture)

from korlhf.applications.chat.conversation import TooLong
from korlhf.applications.web import Refused
from korlhf.applications.web_demo import votes
from korlhf.applications.web_demo.sessions import Session
from korlhf.core.errors import InputError
from korlhf.data.load import load_examples


def compare(service, session, at=0, text="안녕"):
    return run(service.compare(session, {"text": text, "at": at, **HOW}))


def vote(service, session, ticket, choice):
    return asyncio.run(service.vote(session, {"id": ticket, "vote": choice}))


def test_the_order_is_random_and_nothing_before_the_vote_tells_it(make, tmp_path):
    service, sides = make(Bot("가나", "첫 답"), Bot("다라", "둘째 답"), scorer=Scorer()), []
    for _ in range(40):
        session = Session()
        events = compare(service, session)
        sent = json.dumps([events, service.state(session)], ensure_ascii=False)
        assert "가나" not in sent and "다라" not in sent and "score" not in json.dumps(events)
        shown = {side: text_of(events, side) for side in votes.SIDES}
        reply = vote(service, session, events[-1]["ready"], "left")
        names = {"첫 답 2": "가나", "둘째 답 2": "다라"}
        assert reply["models"] == {side: names[text] for side, text in shown.items()}
        assert reply["scores"] == {"left": 2.0, "right": 2.0}
        sides.append(reply["models"]["left"])
    assert 8 <= sides.count("가나") <= 32  # 40 tosses: outside with a probability of 0.00004
    rows = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["shown"]["left"] for row in rows] == sides and len({row["session"] for row in rows}) == 40
    assert all(row["seeds"]["left"] != row["seeds"]["right"] for row in rows)
    assert [e.answers[0] for e in load_examples(str(tmp_path / "votes.jsonl"), 2)] == [
        {"가나": "첫 답 2", "다라": "둘째 답 2"}[s] for s in sides
    ]


def test_the_talk_goes_on_from_the_answer_that_won(make):
    bots, session = [Bot("one"), Bot("two")], Session()
    service = make(*bots)
    events = compare(service, session)
    reply = vote(service, session, events[-1]["ready"], "right")
    assert (reply["kept"], reply["turns"]) == ("right", 1)
    events = compare(service, session, 1, "또")
    assert (
        [m["content"] for m in bots[0].asked[1][0]]
        == ["다정하게", "안녕", f"{reply['models']['right']} 2", "또"]
        == [m["content"] for m in bots[1].asked[1][0]]
    )
    reply = vote(service, session, events[-1]["ready"], "both_bad")
    assert (reply["kept"], reply["turns"]) == (None, 1)
    reply = vote(service, session, compare(service, session, 1, "셋")[-1]["ready"], "tie")
    assert (reply["kept"], reply["turns"]) == ("left", 2)


def test_a_vote_counts_once_and_is_told_again_if_it_is_sent_again(make, tmp_path):
    session, service = Session(), make(Bot("one"), Bot("two"))
    ticket = compare(service, session)[-1]["ready"]
    for data, code in (
        ({"id": "other", "vote": "left"}, "expired"),
        ({"id": ticket, "vote": "both"}, "malformed"),
        ({"id": ticket}, "malformed"),
    ):
        with pytest.raises(Refused, match=code):
            asyncio.run(service.vote(session, data))
    assert vote(service, session, ticket, "left") == vote(service, session, ticket, "left")
    with pytest.raises(Refused, match="expired"):
        vote(service, Session(), ticket, "left")
    assert len((tmp_path / "votes.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_vote_that_cannot_be_saved_is_refused_and_can_be_given_again(make, monkeypatch):
    session, service = Session(), make(Bot("one"), Bot("two"))
    ticket = compare(service, session)[-1]["ready"]
    add = service.vote_file.add

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(service.vote_file, "add", full)
    with pytest.raises(Refused, match="storage"):
        vote(service, session, ticket, "left")
    assert session.compare.turns == []
    monkeypatch.setattr(service.vote_file, "add", add)
    assert vote(service, session, ticket, "left")["turns"] == 1


def test_equal_and_empty_answers_are_not_better(make):
    session, service = Session(), make(Bot("one"), Bot("two"))
    ticket, pair = compare(service, session)[-1]["ready"], session.pair[1]
    for left, right, code in (("같은 답", " 같은 답", "same"), ("", "답", "empty_answer")):
        shown = [
            SimpleNamespace(**{**vars(side), "text": text}) for side, text in ((pair.left, left), (pair.right, right))
        ]
        session.pair = ticket, votes.BlindPair(pair.messages, *shown, pair.sampling)
        with pytest.raises(Refused, match=code):
            vote(service, session, ticket, "left")
    assert vote(service, session, ticket, "tie")["kept"] is None  # there is nothing in the left one


def test_stopped_answers_are_not_voted_on(make):
    async def scene():
        session, service = Session(), make(Bot("one"), Bot("two", hold=True))
        events = await started(service, session, "compare")
        service.stop(session, {"page": "compare"})
        assert (await collected(events))[-1] == {"stopped": True} and session.pair is None

    asyncio.run(scene())


def test_of_two_answers_one_that_fails_stops_the_other(make):
    async def scene():
        session, bots = Session(), [Bot("one", hold=True), Bot("two", error=InputError("down"))]
        found = await collected(make(*bots).compare(session, {"text": "안녕", "at": 0, **HOW}))
        assert found[-1] == {"error": "model"}
        assert bots[0].answers[0].cancelled
        assert session.pair is None
        assert session.compare.answers is None

    asyncio.run(scene())


def test_of_two_models_one_that_refuses_stops_the_other(make):
    async def scene():
        session, bots = Session(), [Bot("one", hold=True), Bot("two", refuse=TooLong("too long"))]
        service = make(*bots)
        while not bots[0].answers:  # it is asked first half of the time
            assert await collected(service.compare(session, {"text": "안녕", "at": 0, **HOW})) == [
                {"error": "long_context", "most": 100}
            ]
        assert all(answer.cancelled for answer in bots[0].answers) and session.compare.answers is None

    asyncio.run(scene())
