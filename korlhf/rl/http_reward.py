"""A reward behind an address: answers go there as JSON, scores come back.

POST {"prompts": [text of the last message], "answers": [text], "messages": [[{"role", "content"}]], "columns": {name of
a column: [value]}}, lists of the same length, gives 200 and {"scores": [number, or null: not scored]}, one for each
answer. What is not JSON in a column is sent as text. A server that is busy, fails or drops the connection is asked
again; an answer of another form is a mistake, which asking again would not mend. An address that ends in /classify is
vLLM's, which serves a reward model.
"""

import asyncio
import json
import time
from collections.abc import Sequence

import httpx2

from korlhf.core import progress
from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.data.tokenize import Codec
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl.reward_kinds import columns_of
from korlhf.rl.rewards import Prompt

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before a try: each waits twice as long as the one before, up to this
PASSING = (408, 409, 425, 429)  # and 500 and above


class HttpReward:
    """seconds: for a whole answer; concurrency: requests at once, into which answers are divided; wait: seconds until
    a server that gives no scores makes it Unavailable, 0 = it is asked once.
    """

    FORM = '{"scores": [...]}'

    def __init__(self, url: str, flag: str, seconds: float, concurrency: int, wait: float):
        self.url, self.seconds, self.concurrency, self.wait = url, seconds, concurrency, wait
        self.told = False  # that it waits

    def __call__(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        self.told, size = False, -(-len(texts) // self.concurrency)
        parts = [slice(at, at + size) for at in range(0, len(texts), size)]
        return [score for of_part in asyncio.run(self._all(prompts, texts, parts)) for score in of_part]

    async def _all(self, prompts, texts, parts):
        try:
            async with httpx2.AsyncClient(timeout=self.seconds) as client, asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(client, prompts[part], texts[part])) for part in parts]
        except BaseExceptionGroup as errors:  # the first ends all
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask(self, client, prompts, texts):
        """Scores of some answers, however often it takes."""
        body = self._body(prompts, texts)
        body = json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace")
        began, tries = time.monotonic(), 0
        while True:
            found, pause = await self._post(client, body, len(texts))
            if not isinstance(found, str):
                return found
            pause = max(min(FIRST_DELAY * 2**tries, LONGEST_DELAY), pause)
            tries += 1
            if time.monotonic() - began + pause > self.wait:
                waited = f" for {self.wait:g} s (--reward_wait)" if self.wait else ""
                raise Unavailable(f"the reward {self.url} gave no scores{waited}: {found}")
            if not self.told:
                self.told = True
                progress.say(f"the reward {self.url}: {found}; asking again for {self.wait:g} s (--reward_wait)")
            await asyncio.sleep(pause)

    async def _post(self, client, body, count):
        """(the scores, or why there are none yet; seconds that the server asks for). Raises Unscored for good."""
        try:
            async with asyncio.timeout(self.seconds):  # a server that trickles keeps httpx's own timeouts
                answer = await client.post(self.url, content=body, headers={"Content-Type": "application/json"})
        except TimeoutError:
            return f"no whole answer within {self.seconds:g} seconds", 0.0
        except httpx2.TransportError as error:
            return f"{type(error).__name__} {' '.join(str(error).split())}".strip(), 0.0
        if answer.status_code in PASSING or answer.status_code >= 500:
            after = answer.headers.get("retry-after", "")
            return f"status {answer.status_code}", float(after) if after.isdecimal() else 0.0
        if answer.status_code != 200:
            raise Unscored(f"the reward {self.url} refused with status {answer.status_code}: {_shown(answer)}; mend it")
        return self._read(answer, count), 0.0

    def _body(self, prompts, texts):
        columns = columns_of(prompts)
        asked = [p.messages[-1]["content"] for p in prompts]
        return {"prompts": asked, "answers": list(texts), "messages": columns.pop("messages"), "columns": columns}

    def _scores(self, body):
        return body["scores"]

    def _read(self, answer, count):
        try:
            scores = self._scores(answer.json())
        except (ValueError, KeyError, TypeError):
            scores = None
        numbers = isinstance(scores, list) and all(
            s is None or (isinstance(s, int | float) and not isinstance(s, bool)) for s in scores
        )
        if not numbers or len(scores) != count:
            raise Unscored(
                f"the reward {self.url} gave {_shown(answer)}; it must give {self.FORM} with {count} numbers or nulls"
            )
        return scores


class ClassifyReward(HttpReward):
    """A reward model that vLLM serves (--runner pooling): the folder's own raw scores, as it gets token ids, by the
    tokenizer and the template in the folder, and no activation follows.

    Raises InputError if the server does not say which model it has, or its folder is not on this machine.
    """

    FORM = '{"data": [{"probs": [score]}, ...]}'

    def __init__(self, url: str, flag: str, seconds: float, concurrency: int, wait: float):
        super().__init__(url, flag, seconds, concurrency, wait)
        models = url.removesuffix("/classify") + "/v1/models"
        try:
            served = httpx2.get(models, timeout=seconds).raise_for_status().json()["data"][0]
            self.model, folder = served["id"], served["root"]
        except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{flag} {url}: {models} names no model ({type(error).__name__}); start the server first: "
                "SERVER=vllm bash applications/export/run_serve.sh FOLDER"
            ) from error
        self.codec = Codec(load_tokenizer(folder, what=f"{flag} {url}, whose tokenizer is read here:"))

    def _body(self, prompts, texts):
        ids = [self.codec.with_answer(p.messages, text).ids for p, text in zip(prompts, texts)]
        return {"model": self.model, "input": ids, "use_activation": False}

    def _scores(self, body):
        rows = sorted(body["data"], key=lambda row: row["index"])
        return [score for row in rows for score in row["probs"]]  # of one label; of several their number is wrong


def open_http(url: str, flag: str, seconds: float, concurrency: int, wait: float) -> HttpReward:
    """The reward of an address; the rest as of HttpReward. Raises InputError if it is none."""
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InputError(f"{flag} {url}: no address: {error}; give one as in http://127.0.0.1:8000/score") from error
    return (ClassifyReward if url.endswith("/classify") else HttpReward)(url, flag, seconds, concurrency, wait)


def _shown(answer):
    return repr(" ".join(answer.text.split())[:80])
