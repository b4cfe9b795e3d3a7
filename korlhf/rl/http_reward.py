"""A reward behind an address: answers go there as JSON, scores come back.

POST {"prompts": [text of the last message], "answers": [text], "messages": [[{"role", "content"}]], "columns": {name of
a column: [value]}}, lists of the same length, gives 200 and {"scores": [number, or null: not scored]}, one for each
answer. What is not JSON in a column is sent as text. A server that is busy, fails or drops the connection is asked
again; an answer of another form is a mistake, which asking again would not mend.
"""

import asyncio
import json
import time
from collections.abc import Sequence

import httpx2

from korlhf.core import progress
from korlhf.core.errors import Unavailable, Unscored
from korlhf.rl.reward_kinds import columns_of
from korlhf.rl.rewards import Prompt

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before a try: each waits twice as long as the one before, up to this
PASSING = (408, 409, 425, 429)  # and 500 and above


class HttpReward:
    """seconds: for a whole answer; concurrency: requests at once, into which answers are divided; wait: seconds until
    a server that gives no scores makes it Unavailable, 0 = it is asked once.
    """

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
        columns = columns_of(prompts)
        asked = [p.messages[-1]["content"] for p in prompts]
        body = {"prompts": asked, "answers": list(texts), "messages": columns.pop("messages"), "columns": columns}
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

    def _read(self, answer, count):
        try:
            scores = answer.json()["scores"]
        except (ValueError, KeyError, TypeError):
            scores = None
        numbers = isinstance(scores, list) and all(
            s is None or (isinstance(s, int | float) and not isinstance(s, bool)) for s in scores
        )
        if not numbers or len(scores) != count:
            raise Unscored(
                f'the reward {self.url} gave {_shown(answer)}; it must give {{"scores": [...]}} with {count} numbers '
                "or nulls"
            )
        return scores


def _shown(answer):
    return repr(" ".join(answer.text.split())[:80])
