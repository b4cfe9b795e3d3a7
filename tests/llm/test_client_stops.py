"""What ends a run of the client: a wrong key or model, a server that is down, a budget; and no key in any text."""

import asyncio
import json
import socket
import time
from collections import Counter

import openai_server
import pytest
from llm_harness import TEXTS, client, quick_and_without_keys, requests, texts_of  # noqa: F401 (fixtures)
from openai_server import DROP, EMPTY, Server, by_content, completion, error, refusal

from korlhf.core.errors import InputError
from korlhf.llm import client as llm
from korlhf.llm.flags import LlmFlags

KEY = "sk-proj-K3y-that_nobody.may.see"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(401, f"Incorrect API key provided: {KEY}. Neither is sk-other-12345", "invalid_api_key"), "MY_KEY"),
        (error(403, f"{KEY} may not"), "MY_KEY"),
        (error(404, "The model `test-model` does not exist"), "'test-model'"),
        (error(429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "no credit"),
        (error(402, "Insufficient credits"), "no credit"),
    ],
    ids=["401", "403", "404", "quota", "402"],
)
def test_what_no_retry_can_mend_stops_the_run(client, monkeypatch, fault, said):
    monkeypatch.setenv("MY_KEY", KEY)
    with Server(faults={4: fault}, delay=0.01) as server:
        with pytest.raises(InputError) as caught:
            client(server, concurrency=2, api_key_env="MY_KEY").ask(requests(TEXTS[:100]))
        assert said in str(caught.value) and "\n" not in str(caught.value) and "sk-" not in str(caught.value)
        assert len(server.requests) < 50 and set(server.keys) == {f"Bearer {KEY}"}
        done = server.prompts(server.answered)
        again = client(server)
        assert (
            texts_of(again.ask(requests(done))) == done and again.usage["cached"] >= len(done) - 1
        )  # one may have been in flight


class Together:
    """A server whose first two answers, of which one ends the run, arrive in the same turn of the loop."""

    def __init__(self):
        self.asked, self.both = 0, asyncio.Event()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def post(self, path, cast_to, body):
        self.asked += 1
        number = self.asked
        if number == 3:
            self.both.set()
            await asyncio.sleep(60)
        await self.both.wait()
        if number == 1:
            raise InputError("the end")
        return json.dumps(completion({"message": {"content": "네"}}))


def test_an_answer_that_comes_with_the_end_starts_no_other_request(client, monkeypatch):
    """asyncio.wait_for of Python 3.11 returns such an answer in place of the cancellation."""
    server, began = Together(), time.monotonic()
    monkeypatch.setattr(llm.Client, "_server", lambda self: server)
    with pytest.raises(InputError, match="the end"):
        client("http://127.0.0.1:1/v1", concurrency=3).ask(requests(TEXTS[:30]))
    assert server.asked == 3 and time.monotonic() - began < 5


def test_no_key_in_any_text(client, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = f"your key {KEY} (키sk-live-9999, 'sk-other-1') or task-force"
    with Server(lambda body: "네", faults=by_content({"둘": error(400, said), "셋": refusal(said)})) as server:
        one = client(server, max_retries=0)
        _, two, three = texts_of(one.ask(requests(["하나", "둘", "셋"])))
    assert two.reason == "400: your key *** (키***, '***') or task-force" and three.reason == two.reason[5:]
    assert "sk-" not in repr(one) + repr(vars(one)["_llm"])
    monkeypatch.setenv("OPENAI_API_KEY", "hf_0123456789")  # not every server's keys begin like OpenAI's
    with Server(faults=by_content({"둘": error(400, "no hf_0123456789 here")})) as server:
        assert texts_of(client(server).ask(requests(["둘"]))) == [llm.Failure("bad request", "400: no *** here")]
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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_cost": 1.0, "price_input": 1.0}, "--max_cost 1: needs --price_input and --price_output"),
        ({"base_url": "localhost:8000"}, "--base_url localhost:8000"),
        ({"base_url": "http://"}, "--base_url http://:"),
        ({"base_url": "http://a:99999999/v1"}, "--base_url http://a:9"),
        ({"base_url": "http://[/v1"}, "--base_url http://["),
    ],
)
def test_flags_that_cannot_work(tmp_path, given, said):
    with llm.Cache(tmp_path / "cache.sqlite") as cache, pytest.raises(InputError) as caught:
        llm.Client(LlmFlags(**{"base_url": "http://127.0.0.1:1/v1", **given}), cache)
    assert said in str(caught.value)


def test_nobody_listens(client):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but not listening: no one else can take the port
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(InputError, match=f"--base_url {url}: no connection .*start the server"):
            client(url, max_retries=2).ask(requests(TEXTS[:50]))


def test_no_connection_for_one_is_not_none_for_all(client, monkeypatch):
    with Server(faults=by_content({"": DROP})) as server:  # somebody is there
        assert [r.kind for r in texts_of(client(server, max_retries=1).ask(requests(TEXTS[:1])))] == ["connection"]

    async def post(self, server, body):
        if openai_server.echo(body) == TEXTS[0]:  # the server's queue of connections may be full for once
            return llm._Again(llm.Failure("connection", "refused"), unreachable=True)
        self._heard += 1
        return {"text": "네", "finish_reason": "stop", "logprobs": None, "prompt_tokens": 1, "answer_tokens": 1}

    monkeypatch.setattr(llm.Client, "_post", post)
    found = texts_of(client("http://127.0.0.1:1/v1", max_retries=1).ask(requests(TEXTS[:9])))
    assert found == [llm.Failure("connection", "refused"), *["네"] * 8]


def test_a_server_that_has_broken_down(client, monkeypatch):
    monkeypatch.setattr(llm, "FAILED_IN_A_ROW", 10)
    ill = {t for i, t in enumerate(TEXTS) if i >= 100 or i % 10 < 9}  # nine of ten, then all
    said = "--base_url .*the last 10 requests failed.*500: broken.*again"
    faults = by_content({text: error(500) for text in ill})
    with Server(faults=faults) as server, pytest.raises(InputError, match=said):
        client(server, max_retries=0, concurrency=1).ask(requests(TEXTS))
    assert len(server.requests) == 110


def test_the_limit_on_requests(client, tmp_path):
    with Server(faults={1: error(500)}) as server:
        with pytest.raises(
            InputError, match="--max_requests 5: .*to resume.*4 of 10 are answered.*cache.sqlite"
        ) as caught:
            client(server, max_requests=5, concurrency=1).ask(requests(TEXTS[:10]))  # a retry is a request
        assert len(server.requests) == 5 and "\n" not in str(caught.value)
        with pytest.raises(InputError, match="7 of 10"):
            client(server, max_requests=3, concurrency=8).ask(requests(TEXTS[:10]))
        assert len(server.requests) == 8
        one = client(server, max_requests=3)
        assert texts_of(one.ask(requests(TEXTS[:10]))) == TEXTS[:10]  # exactly enough is enough
        assert texts_of(one.ask(requests(TEXTS[:10]))) == TEXTS[:10]  # what is known costs nothing
        with pytest.raises(InputError, match="--max_requests 3"):
            one.supports(requests(TEXTS[:1])[0].body, ["logprobs"])
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
    said = "--max_cost 5: the server does not count tokens.*--max_requests.*1 of 3 are answered"
    with Server(usage=False) as server, pytest.raises(InputError, match=said):
        client(server, concurrency=1, max_cost=5.0, price_input=1.0, price_output=1.0).ask(requests(TEXTS[:3]))


def test_what_a_server_supports_is_asked_once(client):
    faults = {"되는": EMPTY, "모르는": error(500)}

    def fault(number, body):
        text = body["messages"][0]["content"]
        return error(422, "no logprobs here") if text == "안 되는" and "logprobs" in body else faults.get(text)

    with Server(faults=fault) as server:
        able, empty, unable, unknown = [r.body for r in requests(["그냥", "되는", "안 되는", "모르는"], logprobs=True)]
        for _ in range(2):
            one = client(server, max_retries=1)
            assert [one.supports(b, ["logprobs"]) for b in (able, empty, unable)] == [True, True, False]
        assert Counter(server.prompts()) == {"그냥": 1, "되는": 2, "안 되는": 2}
        with pytest.raises(InputError, match="--base_url .*500: broken"):
            one.supports(unknown, ["logprobs"])
        assert texts_of(client(server).ask([llm.Request(able)])) == ["그냥"]  # the probe's answer is no answer


@pytest.mark.parametrize(
    "fault",
    [
        error(400, "This model's maximum context length is 64 tokens. However, you requested 900 tokens"),
        error(400, "no room", "context_length_exceeded"),
        error(413, "Payload too large"),
    ],
    ids=["vllm", "openai", "413"],
)
def test_a_form_too_long_for_the_model_does_not_mean_that_the_server_takes_no_schema(client, fault):
    with Server(faults=lambda number, body: fault) as server:
        with pytest.raises(InputError, match="--base_url .*: too long: 4.*longer context"):
            client(server).supports(requests(["폼"])[0].body, ["logprobs"])
        [(failure, _)] = client(server).ask(requests(["안녕"]))
        assert failure.kind == "too long" and len(server.requests) == 2
    with Server() as server:
        assert client(server).supports(requests(["폼"])[0].body, ["logprobs"])  # nothing wrong was remembered


VLLM_SAYS = [
    "max_tokens=2000 cannot be greater than max_model_len=512. Please request fewer output tokens.",
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template",
    "System role not supported",
]


@pytest.mark.parametrize("said", VLLM_SAYS)
def test_a_request_that_is_refused_without_the_ability_too_says_nothing_of_it(client, said):
    body = requests(["폼"], response_format={"type": "json_schema"})[0].body
    with Server(faults=lambda number, body: error(400, said, type="BadRequestError")) as server:
        with pytest.raises(InputError, match="refuses what is asked, without response_format too .400: " + said):
            client(server).supports(body, ["response_format"])
        assert [set(b) - {"model", "messages"} for b in server.requests] == [{"response_format"}, set()]
    with Server() as server:
        assert client(server).supports(body, ["response_format"])  # nothing wrong was remembered


@pytest.mark.parametrize("who", ["user:geheim@", "geheim@", ":geheim@"])
def test_an_address_with_a_password_is_refused_without_it(client, who, tmp_path):
    with pytest.raises(InputError, match=r"--base_url http://\*\*\*@127.0.0.1:1/v1: .*--api_key_env") as caught:
        client(f"http://{who}127.0.0.1:1/v1")
    assert "geheim" not in str(caught.value)
