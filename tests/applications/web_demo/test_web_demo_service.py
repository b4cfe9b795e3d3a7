"""What the page may ask for, with bots whose answers the test writes: limits, histories, blindness, votes, and what is stopped when."""

import asyncio
import contextlib
import json
import threading
from types import SimpleNamespace

import pytest

from korlhf.data.load import load_examples
from korlhf.demo import streams, votes
from korlhf.demo.limits import Limits, Refused
from korlhf.demo.service import Service
from korlhf.demo.sessions import Session, Sessions
from korlhf.dialogue import Answer, TooLong
from korlhf.errors import InputError

HOW = {"temperature": 0.5, "max_new_tokens": 8}


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
        answer = Answer(left_out=1)
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
    def service(*bots, scorer=None, **limits):
        bounds = Limits(**{"max_characters": 20, "max_messages": 3, "max_new_tokens": 8, "max_temperature": 1.0, "max_answers": 4, **limits})
        file = votes.VoteFile(tmp_path / "votes.jsonl")
        return Service({b.name: b for b in bots}, scorer, file, bounds, system="다정하게", category="c")
    return service


async def collected(events):
    return [event async for event in events]


def run(events):
    return asyncio.run(collected(events))


def say(service, session, text, at, model="one", **more):
    return run(service.chat(session, {"text": text, "at": at, "model": model, **HOW, **more}))


def text_of(events, side=None):
    return "".join(e["piece"] for e in events if "piece" in e and e.get("side") == side)


def test_a_talk_goes_on_and_an_answer_is_replaced(make):
    bot, session = Bot("one"), Session()
    service = make(bot, scorer=Scorer())
    first = say(service, session, " 안녕 ", 0)
    assert text_of(first) == "one 2" and first[-2] == {"end": "stop", "left_out": 1, "turns": 1, "counted": True} and first[-1] == {"score": 2.0}
    assert text_of(say(service, session, "또", 1)) == "one 4"
    assert [m["content"] for m in bot.asked[1][0]] == ["다정하게", "안녕", "one 2", "또"]
    assert say(service, session, "또", 1)[-2]["turns"] == 2 and len(bot.asked[2][0]) == 4   # again: the second answer is replaced
    say(service, session, "처음부터", 0)
    assert [(t["user"], t["answer"], t["model"], t["score"]) for t in service.state(session)["chat"]] == [("처음부터", "one 2", "one", 2.0)]


def test_two_visitors_know_nothing_of_each_other(make):
    bot, sessions = Bot("one"), Sessions(10)
    service = make(bot)
    mine, yours = sessions.open(None), sessions.open(None)
    say(service, mine, "내 비밀", 0)
    say(service, yours, "네 비밀", 0)
    say(service, mine, "또", 1)
    assert "네 비밀" not in json.dumps(bot.asked[2][0], ensure_ascii=False) and sessions.open(mine.token) is mine
    assert mine.token != yours.token and mine.voter not in mine.token


@pytest.mark.parametrize("data, code", [
    ({"text": 3}, "malformed"), ({"text": "\ud800"}, "malformed"), ({"text": " \n\u200b"}, "empty"), ({"text": "가" * 21}, "long"), ({"at": 3}, "full"),
    ({"at": 1}, "expired"), ({"at": -1}, "malformed"), ({"at": True}, "malformed"), ({"model": "other"}, "malformed"), ({"model": []}, "malformed"),
    ({"temperature": 1.1}, "malformed"), ({"temperature": float("nan")}, "malformed"), ({"temperature": True}, "malformed"),
    ({"max_new_tokens": 9}, "malformed"), ({"max_new_tokens": 0}, "malformed"), ({"max_new_tokens": 2.0}, "malformed")])
def test_what_is_not_within_the_limits_is_refused_before_a_model_is_asked(make, data, code):
    bot, session = Bot("one"), Session()
    found = run(make(bot).chat(session, {"text": "가" * 20, "at": 0, "model": "one", **HOW, **data}))
    assert [e["error"] for e in found] == [code] and not bot.asked and session.chat.answers is None


def test_a_message_that_does_not_fit_the_model_is_told_with_the_number(make):
    found = say(make(Bot("one", refuse=TooLong("too long"))), Session(), "안녕", 0)
    assert found == [{"error": "long_context", "most": 100}]


def test_a_model_that_fails_is_told_without_details_and_replaces_nothing(make, capsys):
    session = Session()
    say(make(Bot("one")), session, "안녕", 0)
    found = say(make(Bot("one", error=InputError("http://10.0.0.1:8000 is down"))), session, "안녕", 0)
    assert text_of(found) == "one " and found[-1] == {"error": "model"} and "10.0.0.1" in capsys.readouterr().err
    assert [t.answer for t in session.chat.turns] == ["one 2"]
    assert say(make(Bot("one", refuse=InputError("no"))), session, "안녕", 0) == [{"error": "model"}]


async def started(service, session, name="chat", **data):
    """An answer under way: its events, of which the first has been read."""
    events = getattr(service, name)(session, {"text": "안녕", "at": 0, "model": "one", **HOW, **data})
    assert "piece" in await anext(events)
    return events


def test_stop_ends_the_events_at_once_and_keeps_what_there_is(make):
    async def scene():
        bot, session = Bot("one", hold=True), Session()
        service = make(bot)
        events = await started(service, session)
        assert await collected(service.chat(session, {"text": "또", "at": 0, "model": "one", **HOW})) == [{"error": "busy"}]
        with pytest.raises(Refused, match="busy"):
            service.reset(session, {"page": "chat"})
        service.stop(session, {"page": "chat"})
        assert await collected(events) == [{"end": "cancelled", "left_out": 1, "turns": 1, "counted": True}]
        assert bot.answers[0].cancelled and [t.answer for t in session.chat.turns] == ["one "] and session.chat.answers is None
    asyncio.run(scene())


@pytest.mark.parametrize("name, n", [("chat", 1), ("compare", 2)])
@pytest.mark.parametrize("way", ["close", "cancel"])
def test_a_reader_who_is_gone_stops_the_answer_and_leaves_no_trace(make, name, n, way):
    async def scene():
        bots, session = [Bot("one", hold=True), Bot("two", hold=True)], Session()
        service = make(*bots)
        events = await started(service, session, name)
        if way == "close":
            await events.aclose()
        else:
            task = asyncio.create_task(collected(events))
            await asyncio.sleep(0.01)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        answers = [a for b in bots for a in b.answers]
        assert len(answers) == n and all(a.cancelled for a in answers)
        assert service.state(session)["chat"] == [] and session.pair is None and session.chat.answers is session.compare.answers is None
        while any(t.name == "reader" for t in threading.enumerate()):  # the threads that read them have ended
            await asyncio.sleep(0.01)
        for bot in bots:
            bot.hold = False
        assert (await collected(getattr(service, name)(session, {"text": "또", "at": 0, "model": "one", **HOW})))[-1].keys() & {"end", "ready"}
    asyncio.run(scene())


def test_more_answers_than_there_is_room_for_are_refused_and_room_comes_free(make):
    async def scene():
        service = make(Bot("one", hold=True), Bot("two"), max_answers=2)
        first, second, third = Session(), Session(), Session()
        events = [await started(service, s) for s in (first, second)]
        ask = {"text": "안녕", "at": 0, "model": "two", **HOW}
        assert await collected(service.chat(third, ask)) == [{"error": "crowded"}] == await collected(service.compare(third, ask))
        await events[0].aclose()
        assert (await collected(service.compare(third, ask))) == [{"error": "crowded"}]  # it needs two places
        assert (await collected(service.chat(third, ask)))[-1]["end"] == "stop"
        await events[1].aclose()
        assert service._under_way == 0
    asyncio.run(scene())


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
        assert reply["models"] == {side: names[text] for side, text in shown.items()} and reply["scores"] == {"left": 2.0, "right": 2.0}
        sides.append(reply["models"]["left"])
    assert 8 <= sides.count("가나") <= 32  # 40 tosses: outside with a probability of 0.00004
    rows = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["shown"]["left"] for row in rows] == sides and len({row["session"] for row in rows}) == 40
    assert all(row["seeds"]["left"] != row["seeds"]["right"] for row in rows)
    assert [e.answers[0] for e in load_examples(str(tmp_path / "votes.jsonl"), 2)] == [{"가나": "첫 답 2", "다라": "둘째 답 2"}[s] for s in sides]


def test_the_talk_goes_on_from_the_answer_that_won(make):
    bots, session = [Bot("one"), Bot("two")], Session()
    service = make(*bots)
    events = compare(service, session)
    reply = vote(service, session, events[-1]["ready"], "right")
    assert (reply["kept"], reply["turns"]) == ("right", 1)
    events = compare(service, session, 1, "또")
    assert [m["content"] for m in bots[0].asked[1][0]] == ["다정하게", "안녕", f"{reply['models']['right']} 2", "또"] == \
        [m["content"] for m in bots[1].asked[1][0]]
    reply = vote(service, session, events[-1]["ready"], "both_bad")
    assert (reply["kept"], reply["turns"]) == (None, 1)
    reply = vote(service, session, compare(service, session, 1, "셋")[-1]["ready"], "tie")
    assert (reply["kept"], reply["turns"]) == ("left", 2)


def test_a_vote_counts_once_and_is_told_again_if_it_is_sent_again(make, tmp_path):
    session, service = Session(), make(Bot("one"), Bot("two"))
    ticket = compare(service, session)[-1]["ready"]
    for data, code in (({"id": "other", "vote": "left"}, "expired"), ({"id": ticket, "vote": "both"}, "malformed"), ({"id": ticket}, "malformed")):
        with pytest.raises(Refused, match=code):
            asyncio.run(service.vote(session, data))
    assert vote(service, session, ticket, "left") == vote(service, session, ticket, "left")
    with pytest.raises(Refused, match="expired"):
        vote(service, Session(), ticket, "left")
    assert len((tmp_path / "votes.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_of_two_votes_at_once_one_counts(make, tmp_path):
    session, service = Session(), make(Bot("one"), Bot("two"))
    ticket = compare(service, session)[-1]["ready"]

    async def both():
        return await asyncio.gather(*(service.vote(session, {"id": ticket, "vote": choice}) for choice in votes.SIDES), return_exceptions=True)
    replies = asyncio.run(both())
    assert replies[0]["vote"] == "left" and replies[1].code == "expired"
    assert len((tmp_path / "votes.jsonl").read_text(encoding="utf-8").splitlines()) == 1 == len(session.compare.turns)


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
        shown = [SimpleNamespace(**{**vars(side), "text": text}) for side, text in ((pair.left, left), (pair.right, right))]
        session.pair = ticket, votes.Pair(pair.messages, *shown, 0.5, 1.0, 8)
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
        assert found[-1] == {"error": "model"} and bots[0].answers[0].cancelled and session.pair is None and session.compare.answers is None
    asyncio.run(scene())


def test_of_two_models_one_that_refuses_stops_the_other(make):
    async def scene():
        session, bots = Session(), [Bot("one", hold=True), Bot("two", refuse=TooLong("too long"))]
        service = make(*bots)
        while not bots[0].answers:  # it is asked first half of the time
            assert await collected(service.compare(session, {"text": "안녕", "at": 0, **HOW})) == [{"error": "long_context", "most": 100}]
        assert all(answer.cancelled for answer in bots[0].answers) and session.compare.answers is None
    asyncio.run(scene())


def test_without_a_second_model_there_is_no_comparison(make):
    service = make(Bot("one"))
    service.vote_file = None
    assert compare(service, Session()) == [{"error": "malformed"}]


def test_the_visitor_who_was_away_longest_is_forgotten():
    sessions = Sessions(2)
    first, second = sessions.open(None), sessions.open(None)
    sessions.find(first.token)
    third = sessions.open("forged")
    assert third.token != "forged" and sessions.find(first.token) is first and sessions.find(third.token) is third
    for token in (second.token, "", None, []):
        with pytest.raises(Refused, match="expired"):
            sessions.find(token)


def test_pieces_that_wait_together_are_sent_together_and_in_order():
    async def scene():
        answers = {"a": Answer(), "b": Answer()}
        for i in range(200):
            for name, answer in answers.items():
                answer.put(f"{name}{i},")
        for answer in answers.values():
            answer.finish("stop")
        found = [event async for event in streams.pieces(answers)]
        for name in answers:
            assert "".join(piece for who, piece in found if who == name and piece) == "".join(f"{name}{i}," for i in range(200))
        assert {who for who, piece in found if piece is None} == {"a", "b"}
    asyncio.run(scene())
