"""One client for every OpenAI-compatible server: many requests at once, retries, a budget, and a cache of all answers.

Every answer is in the cache the moment it arrives, under a hash of what was asked, so nothing is paid for twice: a run
that was killed is started again with the same command and ends with the same answers. The retries are written here,
because those of the openai package and of tenacity know no pause that holds for all requests and no budget. Left out:
streaming (nobody watches one answer of 100,000 grow), several choices in one request (ask with another `sample`: each
is cached by itself) and tool calls.
"""

import asyncio
import functools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.llm import protocol
from korlhf.llm.budget import Budget, new_usage
from korlhf.llm.cache import Cache, cache_key
from korlhf.llm.flags import LlmFlags
from korlhf.llm.protocol import NO_KEY, OPENAI, Failure, Reply

if TYPE_CHECKING:
    import openai  # slow to import, so only what asks a server does

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before a retry: each waits twice as long as the one before, up to this
FAILED_IN_A_ROW = 50  # requests given up with no answer in between: the server is down, or a day's quota used up
SEED_STEP = 1_000_003  # between the attempts at one request
CONNECT_TIMEOUT = 10.0  # seconds
_LATER = "try again when the server is well"

Check = Callable[[Reply], Any]
Result = tuple[Reply | Failure, Any]


@dataclass(frozen=True)
class Request:
    """body: arguments of chat.completions.create, a server's own ones among them; sample: which answer of many; check:
    in place of the one that is given to `ask`."""

    body: dict
    sample: int = 0
    check: Check | None = None


@dataclass(frozen=True)
class _Again:
    """A try that failed in a way that may pass.

    wait: seconds the server asks for; hold: the other requests wait as well; unreachable: there was no connection.
    """

    failure: Failure
    wait: float | None = None
    hold: bool = False
    unreachable: bool = False


class _Spent(InputError):
    """The budget is used up."""


class Unreachable(InputError):
    """No server answers."""


def open_cache(llm: LlmFlags, output: Path) -> Cache:
    """The Cache that --cache names, else llm_cache.sqlite in the folder of `output`."""
    return Cache(llm.cache or output.parent / "llm_cache.sqlite")


class Client:
    """Asks one server, within one budget.

    usage: the account (`new_usage`) that several Clients of a run share, None = its own. Raises InputError for flags
    that cannot work together, for an address that is none, and if there is no key.
    """

    def __init__(self, llm: LlmFlags, cache: Cache, usage: dict[str, Any] | None = None):
        self.usage = new_usage() if usage is None else usage
        self._llm, self._cache, self._budget = llm, cache, Budget(llm, self.usage)
        self._base_url, is_openai = protocol.address(llm.base_url or OPENAI)
        self._key = protocol.api_key(llm.api_key_env, is_openai)
        self._jitter = random.Random(0)
        self._not_before = 0.0  # time.monotonic() before which nothing is sent
        self._heard = 0  # HTTP answers of any kind
        self._failed_in_a_row = 0

    def ask(
        self, requests: Iterable[Request], check: Check | None = None, attempts: int = 3, desc: str = "requests"
    ) -> list[Result]:
        """Answers in the order of the requests: list of (Reply or Failure, what check(reply) returned, or None).

        Equal requests are asked once.
        check: raises ValueError with the reason if a reply cannot be used; then the same is asked again, up to
        `attempts` times in all (a seed in the body is another one each time), and ends as Failure("unusable"). Refusals
        are not asked again. Raises InputError if the key or the model is refused, the server does not work at all, or
        the budget is used up.
        """
        requests, first = list(requests), {}
        same = [first.setdefault(cache_key(self._asked(r, 0)), i) for i, r in enumerate(requests)]
        if not requests:
            return []
        todo = {i: replace(requests[i], check=requests[i].check or check) for i in first.values()}
        results = asyncio.run(self._ask_all(todo, attempts, desc))
        return [results[i] for i in same]

    def supports(self, body: dict, keys: Sequence[str]) -> bool:
        """Whether the server takes this body (any 2xx answer), or only without these keys of it; remembered in the
        cache.

        Raises InputError if it refuses the rest too (a context that is too short, no chat template, no system role
        ...), or answers neither way: that says nothing about what it takes.
        """
        asked = {"base_url": self._base_url, "supports": body}
        known = self._cache.get(cache_key(asked))
        if known is None:
            refused = self._refusal(body)
            rest = {key: value for key, value in body.items() if key not in keys}
            if refused and (why := self._refusal(rest)):
                raise InputError(
                    f"--base_url {self._base_url}: refuses what is asked, without {' and '.join(keys)} too ({why}); "
                    "serve a model that takes it"
                )
            known = {"supported": not refused}
            self._cache.put(cache_key(asked), known, asked)
        return known["supported"]

    def _refusal(self, body: dict) -> str:
        """Why the server refuses a body (400, 422 ...), "" if it takes it. Raises InputError if it does neither."""
        outcome = asyncio.run(self._probe(body))
        if not isinstance(outcome, Failure) or outcome.kind == "empty":
            return ""
        if outcome.kind == "bad request":
            return outcome.reason
        remedy = "serve the model with a longer context" if outcome.kind == "too long" else _LATER
        raise InputError(f"--base_url {self._base_url}: {outcome.kind}: {outcome.reason}; {remedy}")

    def _asked(self, request: Request, attempt: int) -> dict:
        """What the cache's key is made of."""
        return {"base_url": self._base_url, "body": request.body, "sample": request.sample, "attempt": attempt}

    def _server(self) -> "openai.AsyncOpenAI":
        import openai

        http = openai.DefaultAsyncHttpxClient(
            verify=_certificates(),
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),  # of a whole answer: see _post
            limits=httpx2.Limits(max_keepalive_connections=self._llm.concurrency),
        )
        key = self._key or NO_KEY
        return openai.AsyncOpenAI(api_key=key, base_url=self._base_url, max_retries=0, http_client=http)

    async def _probe(self, body: dict) -> dict | Failure:
        async with self._server() as server:
            return await self._fetch(server, body)

    async def _ask_all(self, todo: dict[int, Request], attempts: int, desc: str) -> dict[int, Result]:
        """position -> Request to position -> Result. As many workers as may be in flight share one iterator."""
        results, waiting = {}, iter(todo.items())

        async def work() -> None:
            for position, request in waiting:
                try:
                    results[position] = await self._ask_one(server, request, attempts)
                except _Spent:
                    return  # what the other workers have in flight is still finished
                bar.update()
                await asyncio.sleep(0)  # answers from the cache must not keep those from the server waiting

        try:
            with progress.bar(total=len(todo), desc=desc, unit="requests") as bar:
                async with self._server() as server, asyncio.TaskGroup() as workers:
                    for _ in range(min(self._llm.concurrency, len(todo))):
                        workers.create_task(work())
        except BaseExceptionGroup as errors:  # an error in one worker ends all of them
            raise errors.exceptions[0] from None
        if len(results) < len(todo):
            raise _Spent(
                f"{self._budget.spent()} ({len(results)} of {len(todo)} are answered, and kept in {self._cache.path})"
            )
        return results

    async def _ask_one(self, server: "openai.AsyncOpenAI", request: Request, attempts: int) -> Result:
        """(Reply or Failure, parsed) of one request."""
        reason = ""
        for attempt in range(attempts):
            asked, body = self._asked(request, attempt), request.body
            value: Any = self._cache.get(key := cache_key(asked))
            self.usage["cached"] += value is not None
            if value is None:
                if attempt and body.get("seed") is not None:  # with its own a server would repeat the unusable answer
                    body = {**body, "seed": body["seed"] + attempt * SEED_STEP}
                fetched = await self._fetch(server, body)
                if isinstance(fetched, Failure):
                    return fetched, None
                self._cache.put(key, fetched, asked)
                value = self._cache.get(key)  # another process may have been first: its answer counts from now on
            if "refusal" in value:
                self.usage["refused"] += 1
                return Failure("refusal", self._line(value["refusal"])), None
            reply = Reply(**value)
            self.usage["with_damaged_characters"] += "\ufffd" in reply.text
            try:
                return reply, request.check(reply) if request.check else None
            except ValueError as error:
                reason = self._line(error)
        return Failure("unusable", reason), None

    async def _fetch(self, server: "openai.AsyncOpenAI", body: dict) -> dict | Failure:
        """Ask until the server answers: the dict for the cache, or the Failure of the last try. Raises InputError."""
        heard, tries = self._heard, 0
        while True:
            await self._turn()
            self.usage["retries"] += tries > 0
            outcome = await self._post(server, body)
            if not isinstance(outcome, _Again):
                self._failed_in_a_row = 0
                return outcome
            delay = min(FIRST_DELAY * 2**tries, LONGEST_DELAY) * self._jitter.uniform(0.5, 1)
            if outcome.hold:
                pause = delay if outcome.wait is None else outcome.wait
                self._not_before = max(self._not_before, time.monotonic() + pause)
            tries += 1
            if tries > self._llm.max_retries:
                break
            if not self._budget.spent():
                await asyncio.sleep(max(delay, outcome.wait or 0))
        where = f"--base_url {self._base_url}"
        if outcome.unreachable and heard == self._heard:  # it is gone for all, not busy for one
            raise Unreachable(
                f"{where}: no connection ({outcome.failure.reason}); start the server, or correct the address"
            )
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILED_IN_A_ROW:
            raise Unreachable(
                f"{where}: the last {FAILED_IN_A_ROW} requests failed, after all retries ({outcome.failure.reason}); "
                "start the same command again when the server is well: answers so far are kept"
            )
        return outcome.failure

    async def _turn(self) -> None:
        """Wait until a request may be sent, and count it. Raises _Spent if the budget is used up."""
        while not self._budget.spent() and (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)
        if self._budget.spent():
            raise _Spent(self._budget.spent())
        self.usage["requests"] += 1

    async def _post(self, server: "openai.AsyncOpenAI", body: dict) -> dict | Failure | _Again:
        """One HTTP request: the dict for the cache, a Failure for good, or _Again. Raises InputError."""
        import openai

        seconds = self._llm.request_timeout
        try:
            async with asyncio.timeout(seconds):  # a server that trickles keeps every timeout between two bytes
                text = await server.post("/chat/completions", cast_to=str, body=body)
        except TimeoutError:
            return _Again(Failure("timeout", f"no whole answer within --request_timeout {seconds:g} seconds"))
        except openai.APIStatusError as error:
            self._heard += 1
            return self._refused(error, body.get("model"))
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            failure = Failure("connection", self._line(str(cause) or type(cause).__name__))
            return _Again(failure, unreachable=isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout)))
        except UnicodeEncodeError:
            return Failure("bad request", "the text holds half of a surrogate pair, which cannot be sent; clean it")
        self._heard += 1
        answer, tokens = protocol.read(text)
        self._budget.count(tokens)
        if isinstance(answer, Failure):
            return _Again(Failure(answer.kind, self._line(answer.reason)))
        return answer

    def _refused(self, error: "openai.APIStatusError", model: str | None) -> dict | Failure | _Again:
        """What an HTTP status other than 2xx means."""
        status, message = error.status_code, self._line(protocol.message_of(error))
        said, remedy = f"{status}: {message}", ""
        if status in (401, 403):
            variable = self._llm.api_key_env
            remedy = f"put a valid key into the environment variable {variable} (--api_key_env)"
        elif status == 404:
            remedy = f"no model {model!r} there; give one that {self._base_url}/models lists, or correct the address"
        elif status == 402 or "insufficient_quota" in (error.code, error.type):
            remedy = "no credit left; top it up, then start the same command again: answers so far are kept"
        if remedy:  # from None: a traceback of the package's own error could show a key that the server repeats
            raise InputError(f"--base_url {self._base_url}: refused ({said}); {remedy}") from None
        wait = protocol.retry_after(error.response.headers.get("retry-after"))
        if status == 429:
            return _Again(Failure("rate limit", said), wait, hold=True)
        if status in (408, 409) or status >= 500:
            return _Again(Failure("server", said), wait, hold=wait is not None)
        if error.code == "content_filter":  # Azure's, for a prompt it will not pass to the model
            return {"refusal": message}
        too_long = status == 413 or error.code == "context_length_exceeded" or protocol.CONTEXT_ERROR.search(message)
        return Failure("too long" if too_long else "bad request", said)

    def _line(self, text: object) -> str:
        return protocol.one_line(text, self._key)


@functools.cache
def _certificates() -> Any:  # 50 ms to read
    return httpx2.create_ssl_context()
