"""What the page may ask for, with bots whose answers the test writes: limits, histories, and what is stopped when."""

import asyncio
import contextlib
import json
import threading

import pytest
from web_demo_bots import HOW, Bot, Scorer, collected, make, run, say, started, text_of  # noqa: F401 (fixture)

from korlhf.applications.chat.conversation import AnswerStream, TooLong
from korlhf.applications.web import Refused
from korlhf.applications.web_demo import streams
from korlhf.applications.web_demo.service import System
from korlhf.applications.web_demo.sessions import Session, Sessions
from korlhf.core.errors import InputError
from korlhf.data.load import load_examples


def test_a_talk_goes_on_and_an_answer_is_replaced(make):
    bot, session = Bot("one"), Session()
    service = make(bot, scorer=Scorer())
    first = say(service, session, " 안녕 ", 0)
    assert text_of(first) == "one 2"
    assert first[-2:] == [{"end": "stop", "left_out": 1, "turns": 1, "counted": True}, {"score": 2.0}]
    assert text_of(say(service, session, "또", 1)) == "one 4"
    assert [m["content"] for m in bot.asked[1][0]] == ["다정하게", "안녕", "one 2", "또"]
    assert (
        say(service, session, "또", 1)[-2]["turns"] == 2 and len(bot.asked[2][0]) == 4
    )  # again: the second answer is replaced
    say(service, session, "처음부터", 0)
    assert [(t["user"], t["answer"], t["model"], t["score"]) for t in service.state(session)["chat"]] == [
        ("처음부터", "one 2", "one", 2.0)
    ]


def test_two_visitors_know_nothing_of_each_other(make):
    bot, sessions = Bot("one"), Sessions(10)
    service = make(bot)
    mine, yours = sessions.open(None), sessions.open(None)
    say(service, mine, "내 비밀", 0)
    say(service, yours, "네 비밀", 0)
    say(service, mine, "또", 1)
    assert "네 비밀" not in json.dumps(bot.asked[2][0], ensure_ascii=False) and sessions.open(mine.token) is mine
    assert mine.token != yours.token and mine.voter not in mine.token


@pytest.mark.parametrize(
    "data, code",
    [
        ({"text": 3}, "malformed"),
        ({"text": " \n\u200b"}, "empty"),
        ({"text": "가" * 21}, "long"),
        ({"at": 3}, "full"),
        ({"at": 1}, "expired"),
        ({"at": -1}, "malformed"),
        ({"at": True}, "malformed"),
        ({"model": "other"}, "malformed"),
        ({"model": []}, "malformed"),
        ({"temperature": 1.1}, "malformed"),
        ({"temperature": float("nan")}, "malformed"),
        ({"temperature": True}, "malformed"),
        ({"max_new_tokens": 9}, "malformed"),
        ({"max_new_tokens": 0}, "malformed"),
        ({"max_new_tokens": 2.0}, "malformed"),
        ({"top_p": 0}, "malformed"),
        ({"top_p": 1.1}, "malformed"),
        ({"top_p": "1"}, "malformed"),
        ({"seed": -1}, "malformed"),
        ({"seed": 2**31}, "malformed"),
        ({"seed": True}, "malformed"),
        ({"system": 3}, "malformed"),
        ({"system": "가" * 21}, "malformed"),
    ],
)
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
    assert text_of(found) == "one" and found[-1] == {"error": "model"} and "10.0.0.1" in capsys.readouterr().err
    assert [t.answer for t in session.chat.turns] == ["one 2"]
    assert say(make(Bot("one", refuse=InputError("no"))), session, "안녕", 0) == [{"error": "model"}]


def test_stop_ends_the_events_at_once_and_keeps_what_there_is(make):
    async def scene():
        bot, session = Bot("one", hold=True), Session()
        service = make(bot)
        events = await started(service, session)
        assert await collected(service.chat(session, {"text": "또", "at": 0, "model": "one", **HOW})) == [
            {"error": "busy"}
        ]
        with pytest.raises(Refused, match="busy"):
            service.reset(session, {"page": "chat"})
        service.stop(session, {"page": "chat"})
        assert await collected(events) == [{"end": "cancelled", "left_out": 1, "turns": 1, "counted": True}]
        assert bot.answers[0].cancelled
        assert [t.answer for t in session.chat.turns] == ["one"]
        assert session.chat.answers is None

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
        assert service.state(session)["chat"] == []
        assert session.pair is None
        assert session.chat.answers is session.compare.answers is None
        while any(t.name == "reader" for t in threading.enumerate()):  # the threads that read them have ended
            await asyncio.sleep(0.01)
        for bot in bots:
            bot.hold = False
        found = await collected(getattr(service, name)(session, {"text": "또", "at": 0, "model": "one", **HOW}))
        assert found[-1].keys() & {"end", "ready"}

    asyncio.run(scene())


def test_more_answers_than_there_is_room_for_are_refused_and_room_comes_free(make):
    async def scene():
        service = make(Bot("one", hold=True), Bot("two"), max_answers=2)
        first, second, third = Session(), Session(), Session()
        events = [await started(service, s) for s in (first, second)]
        ask = {"text": "안녕", "at": 0, "model": "two", **HOW}
        assert (
            await collected(service.chat(third, ask))
            == [{"error": "crowded"}]
            == await collected(service.compare(third, ask))
        )
        await events[0].aclose()
        assert (await collected(service.compare(third, ask))) == [{"error": "crowded"}]  # it needs two places
        assert (await collected(service.chat(third, ask)))[-1]["end"] == "stop"
        await events[1].aclose()
        assert service._under_way == 0

    asyncio.run(scene())


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
        answers = {"a": AnswerStream(), "b": AnswerStream()}
        for i in range(200):
            for name, answer in answers.items():
                answer.put(f"{name}{i},")
        for answer in answers.values():
            answer.finish("stop")
        found = [event async for event in streams.pieces(answers)]
        for name in answers:
            assert "".join(piece for who, piece in found if who == name and piece) == "".join(
                f"{name}{i}," for i in range(200)
            )
        assert {who for who, piece in found if piece is None} == {"a", "b"}

    asyncio.run(scene())


def test_a_visitors_system_message_top_p_and_seed_reach_the_model_unless_the_system_message_is_fixed(make):
    bot, session = Bot("one"), Session()
    service = make(bot)
    say(service, session, "안녕", 0, system=" 반말로 ", top_p=0.5, seed=7)
    messages, sampling = bot.asked[0]
    assert messages[0] == {"role": "system", "content": "반말로"} and (sampling.top_p, sampling.seed) == (0.5, 7)
    say(service, session, "안녕", 0, system="")
    assert [m["role"] for m in bot.asked[1][0]] == ["user"] and bot.asked[1][1].top_p == 1.0
    service.system = System("다정하게", fixed=True)
    say(service, session, "안녕", 0, system="반말로")
    assert bot.asked[2][0][0]["content"] == "다정하게"


def test_the_last_word_on_an_answer_is_a_line_that_training_reads(make):
    session = Session()
    service = make(Bot("one", said="반가워요"), scorer=Scorer())

    def rate(**data):
        return asyncio.run(service.rate(session, data))

    for at, text in enumerate(("안녕", "또")):
        say(service, session, text, at, seed=7)
    assert rate(at=0, label=True) == {"rating": True} and rate(at=1, label=True) == {"rating": True}
    rate(at=1, label=False)
    path = service.rating_file.path
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(r["label"], r["answer"], r["model"], r["score"], r["sampling"]["seed"]) for r in rows] == [
        (True, "반가워요 2", "one", 2.0, 7),
        (False, "반가워요 4", "one", 4.0, 7),
    ]
    examples = load_examples(str(path), 1)
    assert [[m["content"] for m in e.messages] for e in examples] == [
        ["다정하게", "안녕"],
        ["다정하게", "안녕", "반가워요 2", "또"],
    ]
    assert [e.answers for e in examples] == [("반가워요 2",), ("반가워요 4",)]
    assert [turn["rating"] for turn in service.state(session)["chat"]] == [True, False]
    rate(at=0, label=None)  # taken back
    assert [json.loads(line)["label"] for line in path.read_text(encoding="utf-8").splitlines()] == [False]
    say(service, session, "또", 1)  # another answer: the rating was not of this one
    assert service.state(session)["chat"][1]["rating"] is None
    for data, code in (({"at": 2}, "expired"), ({"at": 0, "label": "yes"}, "malformed"), ({"at": True}, "malformed")):
        with pytest.raises(Refused, match=code):
            rate(**data)


def test_a_rating_that_cannot_be_written_is_told_and_does_not_count(make, monkeypatch, capsys):
    session, service = Session(), make(Bot("one"))
    say(service, session, "안녕", 0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("korlhf.applications.lines.os.fsync", full)
    with pytest.raises(Refused, match="storage"):
        asyncio.run(service.rate(session, {"at": 0, "label": True}))
    assert session.chat.turns[0].rating is None and "--ratings" in capsys.readouterr().err
    assert service.rating_file.path.read_bytes() == b""


# The guard


def test_helplines_come_before_the_answer_stay_with_it_and_go_into_no_file(make, tmp_path):
    found = ["self_harm", "abuse"]
    service = make(Bot("one"), Bot("two"), guard=lambda messages: found if messages[-1]["content"] == "힘들어" else [])
    session = Session()
    assert "help" not in say(service, session, "안녕", 0)[0]
    events = say(service, session, "힘들어", 1)
    assert events[0] == {"help": found} and text_of(events) == "one 4" and "end" in events[-1]
    assert [turn["help"] for turn in service.state(session)["chat"]] == [[], found]
    asyncio.run(service.rate(session, {"at": 1, "label": True}))
    events = run(service.compare(session, {"text": "힘들어", "at": 0, **HOW}))
    assert events[0] == {"help": found} and text_of(events, "left") and service.state(session)["pair"]["help"] == found
    asyncio.run(service.vote(session, {"vote": "tie", "id": events[-1]["ready"]}))
    assert service.state(session)["compare"][0]["help"] == found
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.jsonl"))
    assert "힘들어" in written and "self_harm" not in written and "help" not in written


def test_a_stop_while_the_guard_looks_stops_the_answer(make):
    session, looking, go = Session(), threading.Event(), threading.Event()

    def guard(messages):
        looking.set()
        go.wait(10)
        return []

    bot = Bot("one", hold=True)
    service = make(bot, guard=guard)

    async def stopped():
        events = asyncio.create_task(collected(service.chat(session, {"text": "안녕", "at": 0, "model": "one", **HOW})))
        await asyncio.to_thread(looking.wait, 10)
        service.stop(session, {"page": "chat"})
        go.set()
        return await asyncio.wait_for(events, 10)

    assert asyncio.run(stopped())[-1]["end"] == "cancelled" and bot.answers[0].cancelled
