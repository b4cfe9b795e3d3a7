"""vLLM servers that are asked for answers to token ids: requests, time limits, and what an answer must be.

The package vllm is not imported: it breaks transformers in its process and wants other versions of it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx2

from korlhf.core import progress
from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.rl.rollout import Limits

AT_ONCE = 256  # requests of a process in flight
SOON = 10.0  # seconds that a server has to take what is told it at an end
GENERATE = "/inference/v1/generate"
SAME = "does it see --vllm_weights_dir at the same place, and has its model the same shape?"
ENGINE = "start it with --weight-transfer-config, as docs/rollouts.md tells"
HALF = "a training that ended in the middle of a push leaves it so; start it again"
LOADING = {  # requests about weights -> what to look at if a server refuses one
    "/collective_rpc": SAME,
    "/v1/unload_lora_adapter": "it was started again, or serves another training",
    "/v1/load_lora_adapter": f"{SAME} It is started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora",
    "/init_weight_transfer_engine": ENGINE,
    "/start_weight_update": HALF,
    "/finish_weight_update": HALF,
    "/update_weights": "has its model the same shape?",
}
HOW = "start it with VLLM_SERVER_DEV_MODE=1 vllm serve ... --enable-scale-out, version 0.32 or later"


class Servers:
    """vLLM servers, at `urls`, that share prompts. version: of the weights that they must answer by, None = any; model:
    a name among those that they serve, "" = their first.
    """

    def __init__(self, eos_token_id: int, seconds: float, log: str = ""):
        """seconds: of each request; log: where to look if a server fails, "" = nowhere."""
        self.eos_token_id, self.seconds, self.log = eos_token_id, seconds, log
        self.urls: list[str] = []
        self.version: str | None = None
        self.model = ""

    def tell(self, path: str, body: dict | Sequence[dict] | None = None, method: str = "POST") -> list[Any]:
        """What each server answers, in the order of `urls`; they have done what they were told when this returns.

        body: for all, or a sequence of one for each.
        """
        bodies = [body] * len(self.urls) if body is None or isinstance(body, dict) else body

        async def all_of_them():
            async with self._client() as client, asyncio.TaskGroup() as group:
                calls = (self._ask(client, method, url, path, b) for url, b in zip(self.urls, bodies, strict=True))
                tasks = [group.create_task(call) for call in calls]
            return [task.result() for task in tasks]

        return run_all(all_of_them())

    def try_to_tell(self, path: str, body: dict | None = None) -> None:
        """Tell all servers, as far as they answer soon."""

        async def one(url):
            with contextlib.suppress(InputError, TimeoutError):
                async with self._client() as client, asyncio.timeout(SOON):
                    await self._ask(client, "POST", url, path, body)

        async def all_of_them():
            await asyncio.gather(*map(one, self.urls))

        run_all(all_of_them())

    def check_settings(self, temperature: float, sleeps: bool = False) -> None:
        """Raises InputError if a server does not answer, tells log-probabilities at another temperature, or cannot
        sleep and has to.
        """
        run_all(self._check_settings(temperature, sleeps))

    async def _check_settings(self, temperature, sleeps):
        async with self._client() as client:
            for url in self.urls:
                try:
                    info = await self._ask(client, "GET", url, "/server_info?config_format=json")
                except Unscored as error:
                    raise InputError(f"--vllm_url {url}: {error}; start the server first, or give another") from error
                with _readable(url, info):
                    config = info["vllm_config"]["model_config"]
                    mode, can_sleep = config["logprobs_mode"], config["enable_sleep_mode"]
                if sleeps and not can_sleep:
                    raise InputError(f"--vllm_sleep: {url} was started without --enable-sleep-mode; give it that")
                wanted = "raw_logprobs" if temperature == 1 else "processed_logprobs"
                if mode != wanted:
                    raise InputError(
                        f"--vllm_url {url}: --temperature {temperature:g} needs its log-probabilities as {wanted}, and "
                        f"it gives {mode}; start it with --logprobs-mode {wanted}"
                    )

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        limits: Limits,
        desc: str = "",
        first: int = 0,
        done: Callable[[int, list[int]], Any] = lambda place, ids: None,
    ) -> list[tuple[list[int], list[float]]]:
        """(ids, their log-probabilities) of one answer to each prompt; arguments as of rollout.sample. first: number
        of the server that gets the first prompt; done: told each answer's place and ids when it arrives. Raises
        Unavailable if a server is away, Unscored for what is no answer.
        """
        return run_all(self._sample(prompts, seeds, limits, desc, first, done))

    async def _sample(self, prompts, seeds, limits, desc, first, done):
        bar: Any = progress.bar(total=len(prompts), desc=desc, unit="answers") if desc else contextlib.nullcontext()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(client, place, prompt, seed):
            url = self.urls[(first + place) % len(self.urls)]
            answer = await self._one(client, gate, url, prompt, seed, limits)
            done(place, answer[0])
            if desc:
                bar.update()
            return answer

        with bar:
            async with self._client() as client, asyncio.TaskGroup() as group:
                calls = (one(client, i, *asked) for i, asked in enumerate(zip(prompts, seeds)))
                tasks = [group.create_task(call) for call in calls]
        return [task.result() for task in tasks]

    async def _one(self, client, gate, url, prompt, seed, limits):
        """(ids, log-probabilities) of one answer."""
        how = {
            "temperature": limits.temperature,
            "top_p": limits.top_p,
            "max_tokens": limits.max_new_tokens,
            "seed": seed,
            "logprobs": 0,
            "ignore_eos": True,  # of generation_config.json, which may name others
            "stop_token_ids": [self.eos_token_id],
            "detokenize": False,
        }
        async with gate:
            answer = await self._generate(client, url, prompt, how)
        with _readable(url, answer):
            choice = answer["choices"][0]
            self._check_version(url, choice)
            ids, content = choice["token_ids"], choice["logprobs"]["content"]
            logps, tokens = [float(row["logprob"]) for row in content], [row["token_id"] for row in content]
        ended = ids[-1:] == [self.eos_token_id]
        whole = ids and self.eos_token_id not in ids[:-1] and (ended or len(ids) == limits.max_new_tokens)
        if not whole or tokens != ids:
            raise Unscored(
                f"vLLM {url} gave an answer of {len(ids)} tokens with {len(tokens)} log-probabilities; it must end "
                f"with EOS ({self.eos_token_id}) or have {limits.max_new_tokens} tokens"
            )
        return ids, logps

    async def _generate(self, client, url, ids, how):
        body = {"token_ids": list(ids), "sampling_params": how, **({"model": self.model} if self.model else {})}
        return await self._ask(client, "POST", url, GENERATE, body)

    def _check_version(self, url, choice):
        versions = {span["version"] for span in choice.get("weight_versions") or ()}
        if self.version is not None and versions != {self.version}:
            raise Unscored(
                f"vLLM {url} sampled from the weights {', '.join(versions) or 'without a version'}, not from "
                f"{self.version}: it was started again, or serves another training; {HOW}"
            )

    def scored(self, sequences: Sequence[list[int]]) -> list[list[float]]:
        """Each server's log-probabilities of all sequences' tokens but their first, one list per server."""
        return run_all(self._scored(sequences))

    async def _scored(self, sequences):
        how = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        async with self._client() as client:
            return [[x for ids in sequences for x in await self._score(client, url, ids, how)] for url in self.urls]

    async def _score(self, client, url, ids, how):
        answer = await self._generate(client, url, ids, how)
        with _readable(url, answer):
            self._check_version(url, answer["choices"][0])
            rows = answer["prompt_logprobs"][1:]
            return [float(row[str(token)]["logprob"]) for token, row in zip(ids[1:], rows, strict=True)]

    def _client(self):
        limits = httpx2.Limits(max_connections=None)
        return httpx2.AsyncClient(timeout=self.seconds, limits=limits, trust_env=False)  # no proxy knows these servers

    async def _ask(self, client, method, url, path, body=None):
        """The JSON that a server answers; raises Unavailable if it does not, Unscored if it refuses."""
        try:
            async with asyncio.timeout(self.seconds):
                answer = await client.request(method, url + path, json=body)
        except TimeoutError:
            raise self._away(url, f"no answer to {path} within --vllm_timeout {self.seconds:g} seconds") from None
        except httpx2.TransportError as error:
            raise self._away(url, f"{type(error).__name__} {' '.join(str(error).split())}".strip()) from None
        said = repr(" ".join(answer.text.split())[:200])
        if path in LOADING and answer.status_code in (400, 404, 500):
            raise Unscored(f"vLLM {url} could not load the weights: {said}; {LOADING[path]}")
        if answer.status_code >= 500:
            raise self._away(url, f"status {answer.status_code} to {path}")
        hint = f"; {HOW}" if answer.status_code == 404 else ""
        if answer.status_code != 200:
            raise Unscored(f"vLLM {url} refused {path} with status {answer.status_code}: {said}{hint}")
        if "json" not in answer.headers.get("content-type", ""):
            return answer.text
        with _readable(url, answer.text):
            return answer.json()

    def _away(self, url, why):
        return Unavailable(f"vLLM {url} is away: {why}" + (f" (see {self.log})" if self.log else ""))


def run_all(coroutine: Coroutine) -> Any:
    """What it returns; of several errors the first."""
    try:
        return asyncio.run(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


@contextlib.contextmanager
def _readable(url, answer):
    """Raises Unscored if what is read from an answer inside is not there."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unscored(f"vLLM {url} gave {str(answer)[:80]!r}, which cannot be read ({error}); {HOW}") from error
