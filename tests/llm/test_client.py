"""The client against a real server on loopback that misbehaves: nothing lost, nothing asked twice."""

import asyncio
import json
import threading
from collections import Counter
from itertools import count

import pytest
from llm_harness import TEXTS, client, quick_and_without_keys, requests, texts_of  # noqa: F401 (fixtures)
from openai_server import (
    CUT_JSON,
    DROP,
    DROP_IN_BODY,
    EMPTY,
    HANG,
    NO_CHOICES,
    NO_JSON,
    PASSING,
    TRICKLE,
    Fault,
    Server,
    at_random,
    by_content,
    completion,
    error,
    rate_limit,
    refusal,
)

from korlhf.llm import client as llm


def test_a_reply_says_what_came_back_and_what_it_cost(client):
    with Server(lambda body: "네, 좋아요") as server:
        one = client(server, price_input=2.0, price_output=10.0)
        [(reply, parsed)] = one.ask(requests(["안녕"], temperature=0.5, top_k=7))
        assert reply == llm.Reply("네, 좋아요", "stop", None, 2, 6) and parsed is None  # the server counts characters
        assert server.requests == [
            {"model": "test-model", "messages": [{"role": "user", "content": "안녕"}], "temperature": 0.5, "top_k": 7}
        ]
        assert one.usage == {
            "requests": 1,
            "cached": 0,
            "retries": 0,
            "refused": 0,
            "prompt_tokens": 2,
            "answer_tokens": 6,
            "without_token_counts": 0,
            "with_damaged_characters": 0,
            "cost": pytest.approx((2 * 2 + 6 * 10) / 1e6),
        }
        assert one.ask([]) == []


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


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (rate_limit(), "rate limit", "429: too fast"),
        (error(500), "server", "500: broken on purpose"),
        (error(408), "server", "408"),
        (error(409), "server", "409"),
        (Fault("answer", 503, body=b"no healthy upstream"), "server", "503: no healthy upstream"),
        (HANG, "timeout", "--request_timeout 0.7"),
        (TRICKLE, "timeout", "--request_timeout 0.7"),
        (DROP, "connection", "disconnected"),
        (DROP_IN_BODY, "connection", "without sending complete"),
        (CUT_JSON, "server", '"choices": [{"index"'),
        (NO_JSON, "server", "<html>Bad gateway"),
        (NO_CHOICES, "empty", '"object": "chat.completion"'),
        (EMPTY, "empty", "finish_reason stop"),
        (Fault("answer", body={"choices": []}), "empty", "no choices"),
        (Fault("answer", body=[1]), "empty", "no choices"),
        (Fault("answer", body={"choices": [{"message": None}]}), "empty", "no choices"),
    ],
    ids=lambda x: str(x)[:40],
)
def test_what_does_not_pass_fails_by_itself_and_is_not_kept(client, fault, kind, said):
    with Server(faults=by_content({TEXTS[1]: fault})) as server:
        one = client(server, max_retries=1, request_timeout=0.7)
        first, failed, last = texts_of(one.ask(requests(TEXTS[:3])))
        assert (first, last) == (TEXTS[0], TEXTS[2]) and Counter(server.prompts()) == {
            TEXTS[0]: 1,
            TEXTS[1]: 2,
            TEXTS[2]: 1,
        }
        assert failed.kind == kind and said in failed.reason and "\n" not in failed.reason
    with Server() as server:
        one = client(server)
        assert texts_of(one.ask(requests(TEXTS[1:2]))) == TEXTS[1:2]


def test_thirty_percent_fail_and_nothing_is_lost(client):
    with Server(faults=at_random(0.3, seed=1), delay=0.002) as server:
        one = client(server, concurrency=16, max_retries=12)
        assert texts_of(one.ask(requests(TEXTS))) == TEXTS
        assert Counter(server.prompts(server.answered)) == Counter(TEXTS)  # each once
        assert (
            len(server.requests) > 380 and one.usage["requests"] == len(server.requests) == 300 + one.usage["retries"]
        )
        again = client(server)
        assert again.ask(requests(TEXTS)) == [(llm.Reply(t, "stop", None, len(t), len(t)), None) for t in TEXTS]
        assert again.usage["cached"] == 300 and again.usage["requests"] == 0 and len(server.answered) == 300


@pytest.mark.parametrize("fault", [rate_limit(0.6), error(503, retry_after=0.6)], ids=["429", "503"])
def test_nobody_asks_before_retry_after_has_passed(client, fault):
    with Server(faults={9: fault}, delay=0.01) as server:
        assert texts_of(client(server, concurrency=4).ask(requests(TEXTS[:40]))) == TEXTS[:40]
    since = [t - server.times[9] for t in server.times[10:]]
    assert (
        len([s for s in since if s < 0.6]) <= 6 and max(since) > 0.6
    )  # at most those in flight until the answer was read


def test_waits_grow_from_retry_to_retry(client, monkeypatch):
    waits, sleep = [], asyncio.sleep

    async def note(seconds):
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(llm, "FIRST_DELAY", 1.0)
    monkeypatch.setattr(llm, "LONGEST_DELAY", 6.0)
    monkeypatch.setattr(asyncio, "sleep", note)
    with Server(faults=by_content({"": error(500)})) as server:
        client(server, max_retries=6).ask(requests(TEXTS[:1]))
    waits = [w for w in waits if w]
    assert [top / 2 <= w < top for w, top in zip(waits, [1, 2, 4, 6, 6, 6], strict=True)] == [True] * 6 and len(
        set(waits)
    ) == 6, waits


def test_equal_requests_are_asked_once_and_samples_by_themselves(client):
    numbers = count()
    with Server(lambda body: f"답 {next(numbers)}", delay=0.02) as server:
        a, b = requests(TEXTS[:2], temperature=1.0)
        other_order = llm.Request(dict(reversed(a.body.items())))
        found = texts_of(client(server, concurrency=8).ask([a, b, a, other_order, llm.Request(a.body, 1)]))
    assert found[0] == found[2] == found[3] and len(set(found)) == len(server.requests) == 3


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
        assert (
            again.ask(requests(["수"], seed=5), number_of)[0][1] == 3
            and again.usage["cached"] == 3
            and len(server.requests) == 3
        )
        # without a check the first answer is the answer, and it is known
        assert texts_of(client(server).ask(requests(["수"], seed=5))) == ["1"] and len(server.requests) == 3


def test_a_reply_that_is_never_right_is_unusable(client):
    with Server(lambda body: "2") as server:
        assert client(server).ask(requests(["수"]), number_of, attempts=2) == [
            (llm.Failure("unusable", "2 is too small"), None)
        ]
        assert server.requests == [requests(["수"])[0].body] * 2  # without a seed there is none to change
        client(server).ask(requests(["수"]), number_of, attempts=2)
        assert len(server.requests) == 2  # nor is it bought again
        [(failed, _)] = client(server).ask(
            requests(["수"]), lambda reply: int("둘"), attempts=1
        )  # int's own ValueError
        assert failed.kind == "unusable" and "둘" in failed.reason
        with pytest.raises(TypeError):  # a mistake in the program is not an answer that cannot be used
            client(server).ask(requests(["수"]), lambda reply: len(3))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (refusal("도와드릴 수\n없어요."), "도와드릴 수 없어요."),
        (
            Fault("answer", body=completion({"message": {"content": "중간까지"}, "finish_reason": "content_filter"})),
            "중간까지",
        ),
        (error(400, "The prompt was filtered", "content_filter"), "The prompt was filtered"),
    ],
    ids=["refusal", "answer", "prompt"],
)
def test_a_refusal_is_a_result_and_kept(client, fault, reason):
    with Server(faults=by_content({"나쁜": fault})) as server:
        for _ in range(2):
            one = client(server)
            [(failed, parsed), (reply, _)] = one.ask(requests(["나쁜 부탁", "좋은 부탁"]), lambda reply: reply.text)
            assert (
                failed == llm.Failure("refusal", reason)
                and parsed is None
                and reply.text == "좋은 부탁"
                and one.usage["refused"] == 1
            )
        assert len(server.requests) == 2


def test_half_characters_neither_stop_the_run_nor_reach_a_file(client):
    cut_emoji = Fault(
        "answer", body=json.dumps(completion({"message": {"content": "좋아요 \ud83d"}})).encode()
    )  # "\\ud83d", as JSON has it
    with Server(faults=by_content({"안녕": cut_emoji})) as server:
        bad, good = texts_of(client(server).ask(requests(["\ud83d", "안녕"])))
        assert bad.kind == "bad request" and "surrogate" in bad.reason and good == "좋아요 \ufffd"


def test_logprobs_and_a_cut_answer(client):
    content = [
        {
            "token": "네",
            "logprob": -0.1,
            "bytes": [235],
            "top_logprobs": [
                {"token": "네", "logprob": -0.1, "bytes": None},
                {"token": "예", "logprob": -2.5, "bytes": None},
            ],
        },
        {"token": "!", "logprob": -1.0},
    ]
    with Server(
        lambda body: {"message": {"content": "네!"}, "finish_reason": "length", "logprobs": {"content": content}}
    ) as server:
        [(reply, _)] = client(server).ask(requests(["안녕"]))
        assert reply.finish_reason == "length"
        top = [{"token": "네", "logprob": -0.1}, {"token": "예", "logprob": -2.5}]
        assert reply.logprobs == [
            {"token": "네", "logprob": -0.1, "top": top},
            {"token": "!", "logprob": -1.0, "top": []},
        ]
        assert client(server).ask(requests(["안녕"]))[0][0].logprobs == reply.logprobs and len(server.requests) == 1


def test_control_characters_and_broken_bytes_are_replaced_and_counted(client):
    """NUL and ESC would end up in training files and terminals; bytes that are no UTF-8 cannot be read."""
    broken = json.dumps(completion({"message": {"role": "assistant", "content": "가X나"}}), ensure_ascii=False)
    faults = {
        2: Fault("answer", headers={"Content-Type": "application/json"}, body=broken.encode().replace(b"X", b"\xff"))
    }
    texts = iter(["하나\x00둘", "\x1b[31m빨강\t그대로\n", "", "온전"])
    with Server(lambda body: next(texts), faults=faults) as server:
        one = client(server, concurrency=1)
        found = texts_of(one.ask(requests(TEXTS[:3])))
        assert found == ["하나\ufffd둘", "\ufffd[31m빨강\t그대로\n", "가\ufffd나"]
        assert one.usage["with_damaged_characters"] == 3 and one.usage["requests"] == 3
