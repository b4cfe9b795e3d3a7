"""The client against a real server on loopback that misbehaves: nothing lost, nothing asked twice, no key anywhere."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import openai_server
import pytest
from openai_server import (CUT_JSON, DROP, DROP_IN_BODY, EMPTY, HANG, NO_CHOICES, NO_JSON, PASSING, TRICKLE, Fault, Server, at_random,
                           by_content, completion, error, rate_limit, refusal)

from korlhf import completions, flags, llm
from korlhf.errors import InputError

KEY = "sk-proj-K3y-that_nobody.may.see"
TEXTS = [f"{i}번째 질문이에요" for i in range(300)]


@pytest.fixture(autouse=True)
def quick_and_without_keys(monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.01)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(tmp_path):
    """Function: (server or address, flags) -> a Client on this test's one cache file."""
    opened = []

    def make(server, **given):
        opened.append(llm.Cache(tmp_path / "cache.sqlite"))
        url = server.url if isinstance(server, Server) else server
        return llm.Client(flags.LlmFlags(base_url=url, **{"request_timeout": 20.0, **given}), opened[-1])
    yield make
    for cache in opened:
        cache.__exit__()


def requests(texts, **more):
    return [llm.Request({"model": "test-model", "messages": [{"role": "user", "content": t}], **more}) for t in texts]


def texts_of(results):
    return [reply.text if isinstance(reply, llm.Reply) else reply for reply, _ in results]


def test_a_reply_says_what_came_back_and_what_it_cost(client):
    with Server(lambda body: "네, 좋아요") as server:
        one = client(server, price_input=2.0, price_output=10.0)
        [(reply, parsed)] = one.ask(requests(["안녕"], temperature=0.5, top_k=7))
        assert reply == llm.Reply("네, 좋아요", "stop", None, 2, 6, False) and parsed is None  # the server counts characters
        assert server.requests == [{"model": "test-model", "messages": [{"role": "user", "content": "안녕"}], "temperature": 0.5, "top_k": 7}]
        assert one.usage == {"requests": 1, "cached": 0, "retries": 0, "refused": 0, "prompt_tokens": 2, "answer_tokens": 6,
                             "without_token_counts": 0, "cost": pytest.approx((2 * 2 + 6 * 10) / 1e6)}
        assert one.ask([]) == []


def test_a_server_that_counts_no_tokens(client):
    with Server(usage=False) as server:
        one = client(server)
        assert texts_of(one.ask(requests(TEXTS[:3]))) == TEXTS[:3]
    assert one.usage["without_token_counts"] == 3 and one.usage["prompt_tokens"] == 0


def test_answers_keep_the_order_of_the_requests(client):
    def answer(body):
        time.sleep(0.05 if body["messages"][-1]["content"] == TEXTS[0] else 0)  # the first is the last to come back
        return openai_server.echo(body)
    with Server(answer) as server:
        assert texts_of(client(server, concurrency=4).ask(requests(TEXTS[:12]))) == TEXTS[:12]
        assert server.prompts(server.answered) != TEXTS[:12]


def test_so_many_in_flight_and_no_more(client):
    five = threading.Barrier(5, timeout=20)

    def answer(body):
        five.wait()  # none of five is answered before all have come
        return "네"
    with Server(answer) as server:
        client(server, concurrency=5).ask(requests(TEXTS[:25]))
    assert server.most_at_once == 5


@pytest.mark.parametrize("fault", [*PASSING, HANG, TRICKLE], ids=lambda f: f"{f.kind}-{f.status}-{str(f.body)[:30]}")
def test_what_passes_is_tried_again(client, fault):
    with Server(faults={1: fault}) as server:
        one = client(server, concurrency=1, request_timeout=0.7)
        assert texts_of(one.ask(requests(TEXTS[:3]))) == TEXTS[:3]
    assert server.prompts() == [TEXTS[0], TEXTS[1], TEXTS[1], TEXTS[2]]
    assert one.usage["requests"] == 4 and one.usage["retries"] == 1


@pytest.mark.parametrize(("fault", "kind", "said"), [
    (rate_limit(), "rate limit", "429: too fast"), (error(500), "server", "500: broken on purpose"), (error(408), "server", "408"),
    (error(409), "server", "409"), (Fault("answer", 503, body=b"no healthy upstream"), "server", "503: no healthy upstream"),
    (HANG, "timeout", "--request_timeout 0.7"), (TRICKLE, "timeout", "--request_timeout 0.7"), (DROP, "connection", "disconnected"),
    (DROP_IN_BODY, "connection", "without sending complete"), (CUT_JSON, "server", '"choices": [{"index"'),
    (NO_JSON, "server", "<html>Bad gateway"), (NO_CHOICES, "empty", '"object": "chat.completion"'), (EMPTY, "empty", "finish_reason stop"),
    (Fault("answer", body={"choices": []}), "empty", "no choices"), (Fault("answer", body=[1]), "empty", "no choices"),
    (Fault("answer", body={"choices": [{"message": None}]}), "empty", "no choices")], ids=lambda x: str(x)[:40])
def test_what_does_not_pass_fails_by_itself_and_is_not_kept(client, fault, kind, said):
    with Server(faults=by_content({TEXTS[1]: fault})) as server:
        one = client(server, max_retries=1, request_timeout=0.7)
        first, failed, last = texts_of(one.ask(requests(TEXTS[:3])))
        assert (first, last) == (TEXTS[0], TEXTS[2]) and Counter(server.prompts()) == {TEXTS[0]: 1, TEXTS[1]: 2, TEXTS[2]: 1}
        assert failed.kind == kind and said in failed.reason and "\n" not in failed.reason
    with Server() as server:
        one = client(server)
        assert texts_of(one.ask(requests(TEXTS[1:2]))) == TEXTS[1:2]


def test_thirty_percent_fail_and_nothing_is_lost(client):
    with Server(faults=at_random(0.3, seed=1), delay=0.002) as server:
        one = client(server, concurrency=16, max_retries=12)
        assert texts_of(one.ask(requests(TEXTS))) == TEXTS
        assert Counter(server.prompts(server.answered)) == Counter(TEXTS)  # each once
        assert len(server.requests) > 380 and one.usage["requests"] == len(server.requests) == 300 + one.usage["retries"]
        again = client(server)
        assert again.ask(requests(TEXTS)) == [(llm.Reply(t, "stop", None, len(t), len(t), True), None) for t in TEXTS]
        assert again.usage["cached"] == 300 and again.usage["requests"] == 0 and len(server.answered) == 300


@pytest.mark.parametrize("fault", [rate_limit(0.6), error(503, retry_after=0.6)], ids=["429", "503"])
def test_nobody_asks_before_retry_after_has_passed(client, fault):
    with Server(faults={9: fault}, delay=0.01) as server:
        assert texts_of(client(server, concurrency=4).ask(requests(TEXTS[:40]))) == TEXTS[:40]
    since = [t - server.times[9] for t in server.times[10:]]
    assert len([s for s in since if s < 0.6]) <= 6 and max(since) > 0.6  # at most those in flight until the answer was read


def test_a_429_without_retry_after_holds_everyone_too(client, monkeypatch):
    monkeypatch.setattr(llm, "FIRST_DELAY", 0.6)  # times 0.5 to 1
    with Server(faults={9: rate_limit()}, delay=0.01) as server:
        assert texts_of(client(server, concurrency=4).ask(requests(TEXTS[:40]))) == TEXTS[:40]
    assert len([t for t in server.times[10:] if t - server.times[9] < 0.3]) <= 6


def test_waits_grow_from_retry_to_retry(client, monkeypatch):
    waits, sleep = [], asyncio.sleep

    async def note(seconds):
        waits.append(seconds)
        await sleep(0)
    monkeypatch.setattr(llm, "FIRST_DELAY", 1.0)
    monkeypatch.setattr(llm, "LONGEST_DELAY", 6.0)
    monkeypatch.setattr(asyncio, "sleep", note)
    with Server(faults=by_content({"": error(500)})) as server:
        client(server, max_retries=4).ask(requests(TEXTS[:1]))
    waits = [w for w in waits if w]
    assert [top / 2 <= w <= top for w, top in zip(waits, [1, 2, 4, 6], strict=True)] == [True] * 4 and len(set(waits)) == 4, waits


@pytest.mark.parametrize(("header", "seconds"), [
    (None, None), ("2", 2), ("0.25", 0.25), ("3600", 120), ("-5", None), ("soon", None), ("nan", None),
    ("Thu, 01 Jan 1970 00:16:50 GMT", 10), ("Thu, 01 Jan 1970 00:16:50 -0000", 10), ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
    ("Fri, 02 Jan 1970 00:00:00 GMT", 120)])
def test_retry_after_is_seconds_or_a_date(monkeypatch, header, seconds):
    monkeypatch.setattr(completions.time, "time", lambda: 1000.0)  # 00:16:40
    assert completions.retry_after(header) == seconds


def test_equal_requests_are_asked_once_and_samples_by_themselves(client):
    numbers = count()
    with Server(lambda body: f"답 {next(numbers)}", delay=0.02) as server:
        a, b = requests(TEXTS[:2], temperature=1.0)
        other_order = llm.Request(dict(reversed(a.body.items())))
        found = texts_of(client(server, concurrency=8).ask([a, b, a, other_order, llm.Request(a.body, 1)]))
    assert found[0] == found[2] == found[3] and len(set(found)) == len(server.requests) == 3


def test_another_server_or_setting_is_another_answer(client):
    with Server(lambda body: "하나") as one, Server(lambda body: "둘") as two:
        assert texts_of(client(one).ask(requests(TEXTS[:1]))) == ["하나"]
        assert texts_of(client(two).ask(requests(TEXTS[:1]))) == ["둘"]
        assert texts_of(client(one.url + "/").ask(requests(TEXTS[:1]))) == ["하나"] and len(one.requests) == 1  # a slash is no other server
        client(one).ask(requests(TEXTS[:1], temperature=0.1))
        assert len(one.requests) == 2


def number_of(reply):
    """A check: the text as a number of at least 3."""
    if int(reply.text) < 3:
        raise ValueError(f"{reply.text} is\ntoo small")
    return int(reply.text)


def test_a_reply_that_check_refuses_is_asked_for_again(client):
    numbers = count(1)
    with Server(lambda body: str(next(numbers))) as server:
        [(reply, parsed)] = client(server).ask(requests(["수"], seed=5), number_of)
        assert (reply.text, parsed) == ("3", 3)
        assert [b["seed"] for b in server.requests] == [5, 5 + llm.SEED_STEP, 5 + 2 * llm.SEED_STEP]
        again = client(server)
        assert again.ask(requests(["수"], seed=5), number_of)[0][1] == 3 and again.usage["cached"] == 3 and len(server.requests) == 3
        # without a check the first answer is the answer, and it is known
        assert texts_of(client(server).ask(requests(["수"], seed=5))) == ["1"] and len(server.requests) == 3


def test_a_reply_that_is_never_right_is_unusable(client):
    with Server(lambda body: "2") as server:
        assert client(server).ask(requests(["수"]), number_of, attempts=2) == [(llm.Failure("unusable", "2 is too small"), None)]
        assert server.requests == [requests(["수"])[0].body] * 2  # without a seed there is none to change
        client(server).ask(requests(["수"]), number_of, attempts=2)
        assert len(server.requests) == 2  # nor is it bought again
        [(failed, _)] = client(server).ask(requests(["수"]), lambda reply: int("둘"), attempts=1)  # int's own ValueError
        assert failed.kind == "unusable" and "둘" in failed.reason
        with pytest.raises(TypeError):  # a mistake in the program is not an answer that cannot be used
            client(server).ask(requests(["수"]), lambda reply: len(3))


@pytest.mark.parametrize(("fault", "reason"), [
    (refusal("도와드릴 수\n없어요."), "도와드릴 수 없어요."),
    (Fault("answer", body=completion({"message": {"content": "중간까지"}, "finish_reason": "content_filter"})), "중간까지"),
    (error(400, "The prompt was filtered", "content_filter"), "The prompt was filtered")], ids=["refusal", "answer", "prompt"])
def test_a_refusal_is_a_result_and_kept(client, fault, reason):
    with Server(faults=by_content({"나쁜": fault})) as server:
        for _ in range(2):
            one = client(server)
            [(failed, parsed), (reply, _)] = one.ask(requests(["나쁜 부탁", "좋은 부탁"]), lambda reply: reply.text)
            assert failed == llm.Failure("refusal", reason) and parsed is None and reply.text == "좋은 부탁" and one.usage["refused"] == 1
        assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "body", "said"), [
    (400, {"error": {"message": "too long"}}, "400: too long"), (400, {"message": "flat"}, "400: flat"), (422, {"detail": "no"}, "422: no"),
    (413, b"large", "413: large")])
def test_a_bad_request_fails_at_once(client, status, body, said):
    with Server(faults=by_content({TEXTS[0]: Fault("answer", status, body=body)})) as server:
        assert texts_of(client(server).ask(requests(TEXTS[:2]))) == [llm.Failure("bad request", said), TEXTS[1]]
        assert len(server.requests) == 2


def test_half_characters_neither_stop_the_run_nor_reach_a_file(client):
    cut_emoji = Fault("answer", body=json.dumps(completion({"message": {"content": "좋아요 \ud83d"}})).encode())  # "\\ud83d", as JSON has it
    with Server(faults=by_content({"안녕": cut_emoji})) as server:
        bad, good = texts_of(client(server).ask(requests(["\ud83d", "안녕"])))
        assert bad.kind == "bad request" and "surrogate" in bad.reason and good == "좋아요 \ufffd"


def test_logprobs_and_a_cut_answer(client):
    content = [{"token": "네", "logprob": -0.1, "bytes": [235], "top_logprobs": [{"token": "네", "logprob": -0.1, "bytes": None},
                                                                               {"token": "예", "logprob": -2.5, "bytes": None}]},
               {"token": "!", "logprob": -1.0}]
    with Server(lambda body: {"message": {"content": "네!"}, "finish_reason": "length", "logprobs": {"content": content}}) as server:
        [(reply, _)] = client(server).ask(requests(["안녕"]))
        assert reply.finish_reason == "length"
        top = [{"token": "네", "logprob": -0.1}, {"token": "예", "logprob": -2.5}]
        assert reply.logprobs == [{"token": "네", "logprob": -0.1, "top": top}, {"token": "!", "logprob": -1.0, "top": []}]
        assert client(server).ask(requests(["안녕"]))[0][0].logprobs == reply.logprobs and len(server.requests) == 1


@pytest.mark.parametrize(("fault", "said"), [
    (error(401, f"Incorrect API key provided: {KEY}. Neither is sk-other-12345", "invalid_api_key"), "MY_KEY"),
    (error(403, f"{KEY} may not"), "MY_KEY"),
    (error(404, "The model `test-model` does not exist"), "'test-model'"),
    (error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "no credit"),
    (error(402, "Insufficient credits"), "no credit")], ids=["401", "403", "404", "quota", "402"])
def test_what_no_retry_can_mend_stops_the_run(client, monkeypatch, fault, said):
    monkeypatch.setenv("MY_KEY", KEY)
    with Server(faults={4: fault}, delay=0.01) as server:
        with pytest.raises(InputError) as caught:
            client(server, concurrency=2, api_key_env="MY_KEY").ask(requests(TEXTS[:100]))
        assert said in str(caught.value) and "\n" not in str(caught.value) and "sk-" not in str(caught.value)
        assert len(server.requests) < 50 and set(server.keys) == {f"Bearer {KEY}"}
        done = server.prompts(server.answered)
        again = client(server)
        assert texts_of(again.ask(requests(done))) == done and again.usage["cached"] >= len(done) - 1  # one may have been in flight


def test_an_answer_that_comes_with_the_end_does_not_go_on(client, monkeypatch):
    """asyncio.wait_for returns such an answer in place of the cancellation: that worker has to be told again."""
    asked = []

    async def post(self, server, body):
        asked.append(openai_server.echo(body))
        if len(asked) == 2:
            await asyncio.sleep(0.05)
            raise InputError("the end")
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            if asked.count("dropped"):
                raise
            asked.append("dropped")
        return {"text": "네", "finish_reason": "stop", "logprobs": None, "prompt_tokens": 1, "answer_tokens": 1}
    monkeypatch.setattr(llm.Client, "_post", post)
    began = time.monotonic()
    with pytest.raises(InputError, match="the end"):
        client("http://127.0.0.1:1/v1", concurrency=2).ask(requests(TEXTS[:30]))
    assert "dropped" in asked and len(asked) <= 4 and time.monotonic() - began < 5


def test_no_key_in_any_text(client, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = f"your key {KEY} (키sk-live-9999, 'sk-other-1') or task-force"
    with Server(lambda body: "네", faults=by_content({"둘": error(400, said), "셋": refusal(said)})) as server:
        one = client(server, max_retries=0)
        _, two, three = texts_of(one.ask(requests(["하나", "둘", "셋"])))
    assert two.reason == "400: your key *** (키***, '***') or task-force" and three.reason == two.reason[5:]
    assert "sk-" not in repr(one) + repr(vars(one)["_llm"])
    monkeypatch.setenv("OPENAI_API_KEY", "가나다")
    with pytest.raises(InputError, match="OPENAI_API_KEY.*bare key") as caught:
        client(server)
    assert "가나다" not in str(caught.value)


def test_where_the_key_comes_from(client, monkeypatch):
    for base_url in ("", "https://api.openai.com/v1/"):
        with pytest.raises(InputError, match="--api_key_env OPENAI_API_KEY: .*not set.*--base_url"):
            client(base_url)
    with Server() as server:
        client(server).ask(requests(TEXTS[:1]))
        monkeypatch.setenv("OPENAI_API_KEY", " bare-key\n")
        client(server).ask(requests(TEXTS[1:2]))
    assert server.keys == [f"Bearer {llm.NO_KEY}", "Bearer bare-key"]
    assert client("").usage["requests"] == 0  # OpenAI with a key is fine


@pytest.mark.parametrize(("given", "said"), [
    ({"concurrency": 0}, "--concurrency 0"), ({"max_retries": -1}, "--max_retries -1"), ({"request_timeout": 0.0}, "--request_timeout 0"),
    ({"max_cost": -1.0}, "--max_cost -1"), ({"max_cost": 1.0, "price_input": 1.0}, "--max_cost 1: needs --price_input and --price_output"),
    ({"base_url": "localhost:8000"}, "--base_url localhost:8000"), ({"base_url": "http://"}, "--base_url http://:"),
    ({"base_url": "http://a:99999999/v1"}, "--base_url http://a:9"), ({"base_url": "http://[/v1"}, "--base_url http://[")])
def test_flags_that_cannot_work(tmp_path, given, said):
    with llm.Cache(tmp_path / "cache.sqlite") as cache, pytest.raises(InputError) as caught:
        llm.Client(flags.LlmFlags(**{"base_url": "http://127.0.0.1:1/v1", **given}), cache)
    assert said in str(caught.value)


def test_nobody_listens(client):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but not listening: no one else can take the port
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(InputError, match=f"--base_url {url}: no connection .*start the server"):
            client(url, max_retries=2).ask(requests(TEXTS[:50]))


def test_a_server_that_has_broken_down(client, monkeypatch):
    monkeypatch.setattr(llm, "FAILED_IN_A_ROW", 10)
    ill = {t for i, t in enumerate(TEXTS) if i >= 100 or i % 10 < 9}  # nine of ten, then all
    with Server(faults=lambda number, body: error(500) if openai_server.echo(body) in ill else None) as server:
        with pytest.raises(InputError, match="--base_url .*the last 10 requests failed.*500: broken.*again"):
            client(server, max_retries=0, concurrency=1).ask(requests(TEXTS))
    assert len(server.requests) == 110


def test_the_limit_on_requests(client, tmp_path):
    with Server(faults={1: error(500)}) as server:
        with pytest.raises(InputError, match="--max_requests 5: .*again.*4 of 10 are answered.*cache.sqlite") as caught:
            client(server, max_requests=5, concurrency=1).ask(requests(TEXTS[:10]))  # a retry is a request
        assert len(server.requests) == 5 and "\n" not in str(caught.value)
        with pytest.raises(InputError, match="7 of 10"):
            client(server, max_requests=3, concurrency=8).ask(requests(TEXTS[:10]))
        assert len(server.requests) == 8
        one = client(server, max_requests=3)
        assert texts_of(one.ask(requests(TEXTS[:10]))) == TEXTS[:10]  # exactly enough is enough
        assert texts_of(one.ask(requests(TEXTS[:10]))) == TEXTS[:10]  # what is known costs nothing
        with pytest.raises(InputError, match="--max_requests 3"):
            one.supports(requests(TEXTS[:1])[0].body)
        assert Counter(server.prompts(server.answered)) == Counter(TEXTS[:10])


def test_the_limit_on_costs(client):
    prices = {"price_input": 1e5, "price_output": 4e5}  # "가나" and its echo: 2 x 0.1 + 2 x 0.4 = 1 dollar
    texts = [a + b for a in "가나다라" for b in "마바사"]
    with Server(delay=0.05) as server:
        one = client(server, concurrency=1, max_cost=2.5, **prices)
        with pytest.raises(InputError, match=r"--max_cost 2.5: this run has cost 3 US dollars; .*3 of 12 are answered"):
            one.ask(requests(texts))
        assert len(server.requests) == 3 and one.usage["cost"] == pytest.approx(3)
        one = client(server, concurrency=4, max_cost=1.0, **prices)
        with pytest.raises(InputError, match="--max_cost 1: "):
            one.ask(requests(texts))
        in_flight = one.usage["requests"]
        assert in_flight == 4 and one.usage["cost"] == pytest.approx(4)  # those in flight are finished
        assert texts_of(client(server).ask(requests(texts))) == texts
        assert Counter(server.prompts()) == Counter(texts)  # ... and kept


def test_costs_that_cannot_be_known(client):
    with Server(usage=False) as server:
        with pytest.raises(InputError, match="--max_cost 5: the server does not count tokens.*--max_requests.*1 of 3 are answered"):
            client(server, concurrency=1, max_cost=5.0, price_input=1.0, price_output=1.0).ask(requests(TEXTS[:3]))


def test_what_a_server_supports_is_asked_once(client):
    faults = {"되는": EMPTY, "안 되는": error(422, "no logprobs here"), "모르는": error(500)}
    with Server(faults=lambda number, body: faults.get(body["messages"][0]["content"])) as server:
        able, empty, unable, unknown = [r.body for r in requests(["그냥", "되는", "안 되는", "모르는"], logprobs=True)]
        for _ in range(2):
            one = client(server, max_retries=1)
            assert [one.supports(b) for b in (able, empty, unable)] == [True, True, False]
        assert Counter(server.prompts()) == {"그냥": 1, "되는": 2, "안 되는": 1}
        with pytest.raises(InputError, match="--base_url .*500: broken"):
            one.supports(unknown)
        assert texts_of(client(server).ask([llm.Request(able)])) == ["그냥"]  # the probe's answer is no answer


def test_people_can_read_the_cache(client, tmp_path):
    with Server() as server:
        client(server).ask(requests(["한글로 물어요"]))
    with sqlite3.connect(tmp_path / "cache.sqlite") as db:
        [(key, request, reply, created)] = db.execute("SELECT key, request, reply, created FROM answers")
    assert len(key) == 64 and "한글로 물어요" in request and json.loads(reply)["text"] == "한글로 물어요" and created[:2] == "20"
    assert json.loads(request) == {"base_url": server.url, "body": requests(["한글로 물어요"])[0].body, "sample": 0, "attempt": 0}


def test_a_cache_by_itself(tmp_path):
    with llm.Cache(tmp_path / "새 폴더" / "cache.sqlite") as cache, llm.Cache(cache.path) as other:
        cache.put_many([("가", {"text": "하나"}), ("나", {"text": "둘"}, {"prompt": "?"})])
        other.put("가", {"text": "다른 답"})
        assert [c.get(k) for c in (cache, other) for k in "가나다"] == [{"text": "하나"}, {"text": "둘"}, None] * 2
        with pytest.raises(TypeError):
            cache.put_many([("라", {"text": "넷"}), ("마", {"text": object()})])
        assert other.get("라") is None and llm.cache_key({"b": [1], "a": "가"}) == llm.cache_key({"a": "가", "b": (1,)}) != llm.cache_key({})


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text("This is no database. " * 100)], ids=["folder", "text"])
def test_what_is_no_cache(tmp_path, make):
    make(tmp_path / "cache.sqlite")
    with pytest.raises(InputError, match="--cache .*cache.sqlite: .*another file") as caught:
        llm.Cache(tmp_path / "cache.sqlite")
    assert "\n" not in str(caught.value)


def test_where_the_cache_is(tmp_path):
    with llm.open_cache(flags.LlmFlags(), tmp_path / "out" / "answers.jsonl") as cache:
        assert cache.path == tmp_path / "out" / "llm_cache.sqlite" and cache.path.exists()
    with llm.open_cache(flags.LlmFlags(cache=str(tmp_path / "mine.db")), tmp_path / "answers.jsonl") as cache:
        assert cache.path == tmp_path / "mine.db"


PROGRAM = """
import json, sys
from korlhf import flags, llm, stage
def main():
    url, path, n, concurrency = sys.argv[1:]
    asked = [llm.Request({"model": "test-model", "messages": [{"role": "user", "content": f"{i}번째"}]}) for i in range(int(n))]
    with llm.Cache(path) as cache:
        found = llm.Client(flags.LlmFlags(base_url=url, concurrency=int(concurrency)), cache).ask(asked)
    print(json.dumps([reply.text for reply, _ in found]))
stage.run(main)
"""


def start(server, cache, n, concurrency):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, str(cache), str(n), str(concurrency)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"})


def wait_for_answers(server, n):
    deadline = time.monotonic() + 30
    while len(server.answered) < n:
        assert time.monotonic() < deadline, "the program has not got that far"
        time.sleep(0.005)


def test_killed_and_started_again(client, tmp_path):
    """kill -9 in the middle, Ctrl-C a little later, then left alone: every answer is bought once, but those in flight."""
    numbers, expected, go_on = count(), [f"{i}번째" for i in range(120)], threading.Event()

    def answer(body):
        number = next(numbers)
        if number > 100:
            go_on.wait(30)  # no run gets to the end before its signal
        return f"{body['messages'][0]['content']} {number}"
    with Server(answer, delay=0.02) as server:
        process = start(server, tmp_path / "cache.sqlite", 120, 4)
        wait_for_answers(server, 30)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed = len(server.answered)
        process = start(server, tmp_path / "cache.sqlite", 120, 4)
        wait_for_answers(server, killed + 30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130 and out == "" and "start the same command again" in err
        go_on.set()
        with sqlite3.connect(tmp_path / "cache.sqlite") as db:
            kept = {json.loads(reply)["text"] for reply, in db.execute("SELECT reply FROM answers")}
        found = texts_of(client(server, concurrency=4).ask(requests(expected)))
        assert [f.split()[0] for f in found] == expected and kept <= set(found)
        asked = Counter(server.prompts(server.answered))
        assert set(asked) == set(expected) and len(server.answered) <= 120 + 2 * 4
        assert texts_of(client(server).ask(requests(expected))) == found  # and now for good


def test_two_processes_and_one_cache(tmp_path):
    """Both end with the same answers, whichever got each first."""
    numbers, both_are_here = count(), threading.Barrier(2)

    def answer(body):
        number = next(numbers)
        if number < 2:
            both_are_here.wait(30)  # each process has one worker, so they ask for the first text at the same time
        return str(number)
    with Server(answer, delay=0.005) as server:
        both = [start(server, tmp_path / "cache.sqlite", 60, 1) for _ in range(2)]
        (one, _), (two, err) = [p.communicate(timeout=60) for p in both]
    assert one == two and len(json.loads(one)) == 60, err


def test_the_server_as_a_process(client):
    script = Path(openai_server.__file__)
    with subprocess.Popen([sys.executable, str(script), "--port", "0", "--faults", "0.3", "--answer", "언제나 이 말"],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            one = client(process.stdout.readline().strip(), max_retries=12)
            assert texts_of(one.ask(requests(TEXTS[:20]))) == ["언제나 이 말"] * 20 and one.usage["retries"] > 0
        finally:
            process.kill()
