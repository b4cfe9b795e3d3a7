"""One client for every OpenAI-compatible server: many requests at once, retries, a budget, and a cache of all answers.

Every answer is in the cache the moment it arrives, under a hash of what was asked, so nothing is paid for twice: a run that was killed
is started again with the same command and ends with the same answers. Left out: streaming (nobody watches one answer of 100,000 grow),
several choices in one request (ask with another `sample`: each is cached by itself) and tool calls.
"""

import asyncio
import functools
import os
import random
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import openai

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.llm import protocol as completions
from korlhf.llm.cache import Cache, cache_key
from korlhf.llm.protocol import Failure, Reply

OPENAI = "https://api.openai.com/v1"
NO_KEY = "not-needed"  # servers of one's own want some key, and take any
FIRST_DELAY, LONGEST_DELAY = (
    0.5,
    30.0,
)  # seconds before the first retry; each further one waits twice as long, up to this
FAILED_IN_A_ROW = 50  # requests given up with no answer in between: the server is down, or a day's quota used up
SEED_STEP = 1_000_003  # between the attempts at one request
CONNECT_TIMEOUT = 10.0  # seconds
SECRET = re.compile(r"(?<![A-Za-z0-9])sk-[^\s\"',)}\]]+")


@dataclass(frozen=True)
class Request:
    """body: the arguments of chat.completions.create, as JSON has them (a server's own ones beside them); sample: which answer of many."""

    body: dict
    sample: int = 0


@dataclass(frozen=True)
class _Again:
    """A try that failed in a way that may pass. wait: seconds the server asks for; hold: the other requests are to wait as well."""

    failure: Failure
    wait: float | None = None
    hold: bool = False
    unreachable: bool = False  # not even a connection


class _Spent(InputError):
    """The budget is used up."""


def open_cache(llm, output):
    """The Cache that --cache names, else llm_cache.sqlite in the folder of `output` (a path). llm: flags.LlmFlags."""
    return Cache(llm.cache or output.parent / "llm_cache.sqlite")


def new_usage():
    """An account of what was asked, answered and paid: --max_requests and --max_cost hold for all Clients that share one."""
    return {
        "requests": 0,
        "cached": 0,
        "retries": 0,
        "refused": 0,
        "prompt_tokens": 0,
        "answer_tokens": 0,
        "without_token_counts": 0,
        "cost": 0.0,
    }


class Client:
    """Asks one server, within one budget. llm: flags.LlmFlags; usage: the account (`new_usage`) that several Clients of a run share, None =
    its own. Raises InputError for flags that cannot work, or if there is no key.
    """

    def __init__(self, llm, cache, usage=None):
        _check(llm)
        self._llm, self._cache = llm, cache
        self._base_url, is_openai = _address(llm.base_url)
        self._key = _api_key(llm.api_key_env, is_openai)
        self._jitter = random.Random(0)
        self._not_before = 0.0  # time.monotonic() before which nothing is sent
        self._heard = 0  # HTTP answers of any kind
        self._failed_in_a_row = 0
        self.usage = new_usage() if usage is None else usage

    def ask(self, requests, check=None, attempts=3, desc="requests"):
        """Answers in the order of the requests: list of (Reply or Failure, what check(reply) returned, or None).

        Equal requests are asked once.
        check: raises ValueError with the reason if a reply cannot be used; then the same is asked again, up to `attempts` times in all
        (a seed in the body is another one each time), and ends as Failure("unusable"). Refusals are not asked again.
        Raises InputError if the key or the model is refused, the server does not work at all, or the budget is used up.
        """
        requests, first = list(requests), {}
        same = [first.setdefault(cache_key(self._asked(r, 0)), i) for i, r in enumerate(requests)]
        results = asyncio.run(self._ask_all({i: requests[i] for i in first.values()}, check, attempts, desc))
        return [results[i] for i in same]

    def supports(self, body):
        """Whether the server takes this body (any 2xx answer) or refuses it (400, 422 and the like); remembered in the cache.

        Raises InputError if the server answers neither way.
        """
        asked = {"base_url": self._base_url, "supports": body}
        known = self._cache.get(cache_key(asked))
        if known is None:
            outcome = asyncio.run(self._ask_once(body))
            if isinstance(outcome, Failure) and outcome.kind not in ("bad request", "empty"):
                raise InputError(
                    f"--base_url {self._base_url}: {outcome.kind}: {outcome.reason}; try again when the server is well"
                )
            known = {"supported": not isinstance(outcome, Failure) or outcome.kind == "empty"}
            self._cache.put(cache_key(asked), known, asked)
        return known["supported"]

    def _asked(self, request, attempt):
        """What the cache's key is made of."""
        return {"base_url": self._base_url, "body": request.body, "sample": request.sample, "attempt": attempt}

    def _server(self):
        # Time limit of a whole answer, and tries after the first, are ours: the package's own know no common pause and no budget.
        http = openai.DefaultAsyncHttpxClient(
            verify=_certificates(),
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
            limits=httpx2.Limits(max_keepalive_connections=self._llm.concurrency),
        )
        return openai.AsyncOpenAI(api_key=self._key or NO_KEY, base_url=self._base_url, max_retries=0, http_client=http)

    async def _ask_once(self, body):
        async with self._server() as server:
            return await self._fetch(server, body)

    async def _ask_all(self, todo, check, attempts, desc):
        """todo: position -> Request; position -> result of each. As many workers as may be in flight share one iterator."""
        results, waiting = {}, iter(todo.items())
        async with self._server() as server:
            with program.bar(total=len(todo), desc=desc, unit="requests") as bar:
                one = functools.partial(self._ask_one, server, check, attempts)
                at_once = min(self._llm.concurrency, len(todo))
                await _all_or_first_error(
                    [asyncio.create_task(self._work(waiting, one, results, bar)) for _ in range(at_once)]
                )
        if len(results) < len(todo):
            raise _Spent(
                f"{self._spent()} ({len(results)} of {len(todo)} are answered, and kept in {self._cache.path})"
            )
        return results

    async def _work(self, waiting, one, results, bar):
        for position, request in waiting:
            try:
                results[position] = await one(request)
            except _Spent:
                return  # what the other workers have in flight is still finished
            bar.update()
            await asyncio.sleep(0)  # answers from the cache must not keep those from the server waiting

    async def _ask_one(self, server, check, attempts, request):
        """(Reply or Failure, parsed) of one request."""
        for attempt in range(attempts):
            asked = self._asked(request, attempt)
            key = cache_key(asked)
            value = self._cache.get(key)
            cached = value is not None
            if not cached:
                value = await self._fetch(server, _attempt_body(request.body, attempt))
                if isinstance(value, Failure):
                    return value, None
                self._cache.put(key, value, asked)
                value = self._cache.get(
                    key
                )  # another process may have been first; its answer is the one that counts from now on
            self.usage["cached"] += cached
            if "refusal" in value:
                self.usage["refused"] += 1
                return Failure("refusal", self._line(value["refusal"])), None
            reply = Reply(**value, cached=cached)
            try:
                return reply, check(reply) if check else None
            except ValueError as error:
                reason = self._line(error)
        return Failure("unusable", reason), None

    async def _fetch(self, server, body):
        """Ask the server until it answers: the dict for the cache, or the Failure of the last try. Raises _Spent and InputError."""
        heard = self._heard
        for tries in range(self._llm.max_retries + 1):
            await self._turn()
            self.usage["retries"] += tries > 0
            outcome = await self._post(server, body)
            if not isinstance(outcome, _Again):
                self._failed_in_a_row = 0
                return outcome
            delay = min(FIRST_DELAY * 2**tries, LONGEST_DELAY) * self._jitter.uniform(0.5, 1)
            if outcome.hold:
                self._not_before = max(
                    self._not_before, time.monotonic() + (delay if outcome.wait is None else outcome.wait)
                )
            if tries < self._llm.max_retries and not self._spent():
                await asyncio.sleep(max(delay, outcome.wait or 0))
        if outcome.unreachable and heard == self._heard:  # it is gone for all, not busy for one
            raise InputError(
                f"--base_url {self._base_url}: no connection ({outcome.failure.reason}); start the server, "
                "or correct the address"
            )
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILED_IN_A_ROW:
            raise InputError(
                f"--base_url {self._base_url}: the last {FAILED_IN_A_ROW} requests failed, after all retries "
                f"({outcome.failure.reason}); start the same command again when the server is well: answers so far are kept"
            )
        return outcome.failure

    async def _turn(self):
        """Wait until a request may be sent, and count it. Raises _Spent if the budget is used up."""
        while not self._spent() and (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)
        if self._spent():
            raise _Spent(self._spent())
        self.usage["requests"] += 1

    def _spent(self):
        """Which limit has been reached and what to do, in words, or ""."""
        more = "start the same command again with a higher one to go on"
        if 0 < self._llm.max_requests <= self.usage["requests"]:
            return f"--max_requests {self._llm.max_requests}: all of them are sent; {more}"
        if 0 < self._llm.max_cost <= self.usage["cost"]:
            return f"--max_cost {self._llm.max_cost:g}: this run has cost {self.usage['cost']:.4g} US dollars; {more}"
        if self._llm.max_cost and self.usage["without_token_counts"]:
            return f"--max_cost {self._llm.max_cost:g}: the server does not count tokens, so costs are unknown; use --max_requests"
        return ""

    async def _post(self, server, body):
        """One HTTP request: the dict for the cache, a Failure for good, or _Again. Raises InputError."""
        seconds = self._llm.request_timeout
        try:
            # around everything: a server that trickles never lets a timeout between two bytes pass
            text = await asyncio.wait_for(server.post("/chat/completions", cast_to=str, body=body), seconds)
        except TimeoutError:
            return _Again(Failure("timeout", f"no whole answer within --request_timeout {seconds:g} seconds"))
        except openai.APIStatusError as error:
            self._heard += 1
            return self._refused(error, body.get("model"))
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            reason = self._line(str(cause) or type(cause).__name__)
            return _Again(
                Failure("connection", reason),
                unreachable=isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout)),
            )
        except UnicodeEncodeError:
            return Failure("bad request", "the text holds half of a surrogate pair, which cannot be sent; clean it")
        self._heard += 1
        found, tokens = completions.read(text)
        self._count(tokens)
        if isinstance(found, Failure):
            return _Again(Failure(found.kind, self._line(found.reason)))
        return found

    def _count(self, tokens):
        self.usage["without_token_counts"] += tokens is None
        prompt, answer = tokens or (0, 0)
        self.usage["prompt_tokens"] += prompt
        self.usage["answer_tokens"] += answer
        self.usage["cost"] = (
            self.usage["prompt_tokens"] * self._llm.price_input + self.usage["answer_tokens"] * self._llm.price_output
        ) / 1e6

    def _refused(self, error, model):
        """What an HTTP status other than 2xx means."""
        status, message = error.status_code, self._line(completions.message_of(error))
        where, said = f"--base_url {self._base_url}", f"{error.status_code}: {message}"
        # from None: a traceback of the package's own error could show a key that the server repeats
        if status in (401, 403):
            raise InputError(
                f"{where}: the key is refused ({said}); put a valid one into the environment variable "
                f"{self._llm.api_key_env} (--api_key_env)"
            ) from None
        if status == 404:
            raise InputError(
                f"{where}: no model {model!r} there ({said}); give one that {self._base_url}/models lists, "
                "or correct the address"
            ) from None
        if status == 402 or "insufficient_quota" in (error.code, error.type):
            raise InputError(
                f"{where}: the account has no credit left ({said}); top it up, then start the same command again: "
                "answers so far are kept"
            ) from None
        wait = completions.retry_after(error.response.headers.get("retry-after"))
        if status == 429:
            return _Again(Failure("rate limit", said), wait, hold=True)
        if status in (408, 409) or status >= 500:
            return _Again(Failure("server", said), wait, hold=wait is not None)
        if error.code == "content_filter":  # Azure's, for a prompt it will not pass to the model
            return {"refusal": message}
        return Failure("bad request", said)

    def _line(self, text):
        """One line of a foreign text, not too long, without keys."""
        text = str(text).replace(self._key, "***") if self._key else str(text)
        return " ".join(SECRET.sub("***", completions.whole(text)).split())[:300]


async def _all_or_first_error(tasks):
    """Wait for all tasks; an error in one, or Ctrl-C, ends all of them."""
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        while left := [t for t in tasks if not t.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(
                left, timeout=0.1
            )  # then once more: wait_for drops a cancellation that comes together with the answer
    for error in [t.exception() for t in tasks if not t.cancelled()]:
        if error:
            raise error


@functools.cache
def _certificates():  # 50 ms to read
    return httpx2.create_ssl_context()


def _check(llm):
    """Refuse flags that cannot work."""
    for name, least in {
        "concurrency": 1,
        "max_retries": 0,
        "max_requests": 0,
        "max_cost": 0,
        "price_input": 0,
        "price_output": 0,
    }.items():
        if getattr(llm, name) < least:
            raise InputError(f"--{name} {getattr(llm, name)}: must be at least {least}")
    if not llm.request_timeout > 0:
        raise InputError(f"--request_timeout {llm.request_timeout:g}: must be above 0 seconds")
    if llm.max_cost and not (llm.price_input and llm.price_output):
        raise InputError(
            f"--max_cost {llm.max_cost:g}: needs --price_input and --price_output, in US dollars per million tokens"
        )


def _address(base_url):
    """The address without a slash at its end, and whether it is OpenAI's own."""
    try:
        parts = urlsplit(base_url or OPENAI)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InputError(f"--base_url {base_url}: is no address; give one like http://127.0.0.1:8000/v1")
    return (base_url or OPENAI).rstrip("/"), f".{parts.hostname}".endswith(".api.openai.com")


def _api_key(variable, required):
    """The key from the environment, or "" if there is none and none is required."""
    key = os.environ.get(variable, "").strip()
    if required and not key:
        raise InputError(
            f"--api_key_env {variable}: this environment variable is not set; export it with your OpenAI key, "
            "or give --base_url for another server"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"--api_key_env {variable}: this environment variable holds characters that no key has; export the bare key"
        )
    return key


def _attempt_body(body, attempt):
    """The body as it is sent: with its own seed a server would repeat the answer that could not be used."""
    return {**body, "seed": body["seed"] + attempt * SEED_STEP} if attempt and body.get("seed") is not None else body
