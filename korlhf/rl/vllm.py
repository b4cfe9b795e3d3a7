"""vLLM servers that sample for step 3: they get the actor's weights whenever those have changed, and prove it.

The training never imports vllm, which breaks transformers in its process and wants other versions of it: all goes by
HTTP, token ids in and out. Weights go through files in memory, which every engine reads by itself: one way for CPUs and
GPUs. Left out: NCCL and CUDA IPC, whose trainer side is a part of the package vllm; adapters served next to their base,
which cost a third more per token (trl#7017): LoRA is merged.
"""

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx2
import torch
from safetensors import SafetensorError

from korlhf.core import progress
from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.models.lora import is_adapted, without_adapter
from korlhf.models.merged import merged_weights
from korlhf.models.save import share_weights
from korlhf.rl.mixed import agreed
from korlhf.rl.rollout import Limits
from korlhf.rl.sampler import Sampled
from korlhf.rl.step import packed_answers
from korlhf.training.engine import Engine
from korlhf.training.world import World

AT_ONCE = 256  # requests of a process in flight
SOON = 10.0  # seconds that a server has to take what is told it at an end
CANARIES = 8  # prompts that are scored by both sides after each push
# Allowed difference of a token's log-probability, in nats, between the training and the engine, root mean square over
# the canaries: several times what was seen of rounding (docs/rollouts.md). Weights that are wrong differ by nats.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
MOVED = 0.05  # of the tolerance: from here on a change in the training must be one of the engine, too
GENERATE = "/inference/v1/generate"
HOW = "start it with VLLM_SERVER_DEV_MODE=1 vllm serve ... --enable-scale-out, version 0.32 or later"


class Vllm:
    """The Sampler of vLLM servers, which share the prompts. canaries: prompts of at least two tokens; folder: what
    weights go through; urls: of the servers.
    """

    def __init__(
        self, eos_token_id: int, canaries: Sequence[list[int]], folder: Path, seconds: float, world: World, log: str
    ):
        """seconds: of each request; log: where to look if a server fails, "" = nowhere."""
        self.eos_token_id, self.canaries, self.folder, self.world = eos_token_id, canaries, folder, world
        self.seconds, self.log, self.urls = seconds, log, []
        self.figures: dict[str, float] = {}
        self.run = world.gather(uuid.uuid4().hex[:8])[0]  # no other run's weights pass for this one's
        self.sleeps = False  # after each call of `sample`
        self.version = ""  # of the weights that the servers have
        # log-probabilities of the canaries, by the training and by each server, when these were last seen to change
        self.before: tuple[torch.Tensor, torch.Tensor] | None = None

    def write(self, actor: Engine) -> None:
        """Write the weights of `actor` into the folder, by the names of checkpoints. All processes call it."""
        model = next(actor.module.children())  # inside TokenLogps
        weights = actor.state_dict()
        agreed(lambda: self._write(model, weights, actor.dtype) if self.world.first else None, self.world)

    def _write(self, model, weights, dtype):
        if is_adapted(model):
            weights = merged_weights(model, weights, dtype)
        need, where = sum(w.nbytes for w in weights.values()), f"--vllm_weights_dir {self.folder.parent}"
        try:
            self._clear()  # a server may still have the old files open
            if need > (free := shutil.disk_usage(self.folder).free):
                room = f"{need / 2**20:,.0f} MiB, and {free / 2**20:,.0f} are free there"
                raise InputError(f"{where}: the weights take {room}; give another, or make room")
            without_adapter(model).save_pretrained(self.folder, state_dict=weights)
            share_weights(self.folder)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{where}: cannot be written: {error}") from error

    def _clear(self):
        for path in self.folder.glob("*.safetensors"):
            path.unlink()

    def sync(self, actor: Engine) -> None:
        if self.sleeps or not self.version:  # a run that was killed may have left them asleep
            self._all("/wake_up")
        version = f"{self.run}-{actor.version}"
        if version == self.version:
            return
        began = time.monotonic()
        self.write(actor)
        agreed(lambda: run_all(self._push(version)) if self.world.first else None, self.world)
        self.version, pushed = version, time.monotonic() - began
        prompts, answers = [c[:1] for c in self.canaries], [c[1:] for c in self.canaries]
        with torch.no_grad():
            logps = actor(*packed_answers(prompts, answers, self.world.device)).float().cpu()
        found = agreed(lambda: self._prove(logps, actor.dtype) if self.world.first else 0.0, self.world)
        self.figures = {"seconds_push": pushed, "canary_difference": self.world.gather(found)[0]}

    async def _push(self, version):
        """Give all servers the weights in the folder."""
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(self.folder)}}
        async with self._client() as client, asyncio.TaskGroup() as group:
            for url in self.urls:
                group.create_task(self._push_to(client, url, reload, version))
        self._clear()

    async def _push_to(self, client, url, reload, version):
        try:
            await self._post(client, url, "/pause?mode=wait")
            await self._post(client, url, "/collective_rpc", reload)
            reset = await self._post(client, url, "/reset_prefix_cache")
            if not reset.get("success"):
                raise Unscored(f"vLLM {url} kept its prefix cache of the weights before; start it again")
            await self._post(client, url, "/update_weight_version", {"new_version": version})
        except BaseException:
            await self._try(url, "/resume")
            raise
        await self._post(client, url, "/resume")

    def _prove(self, logps, dtype):
        """The largest difference of a canary's token to what each server says of it; raises Unscored if one has other
        weights. One that stays behind by a step is within the tolerance, but does not move while the training does.
        """
        theirs = torch.tensor(run_all(self._scored()))
        before = self.before or (logps, theirs)
        moved = _rms(logps - before[0])
        judged = moved > MOVED * TOLERANCE[dtype]
        for url, own, own_before in zip(self.urls, theirs, before[1]):
            apart, stale = _rms(own - logps), judged and _rms(own - own_before) < 0.1 * moved
            if not apart <= TOLERANCE[dtype] or stale:
                which = "those of an earlier step" if stale else "others"
                raise Unscored(
                    f"vLLM {url} samples from {which}, not from the weights that it was given: its log-probabilities "
                    f"of {len(self.canaries)} prompts differ by {apart:.3g} nats (rms), {TOLERANCE[dtype]:g} is "
                    "rounding; nothing was sampled from them"
                )
        self.before = (logps, theirs) if judged else before
        return float((theirs - logps).abs().max())

    async def _scored(self):
        """Each server's log-probabilities of the canaries' tokens but the first, one list per server."""
        how = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        async with self._client() as client:
            return [[x for ids in self.canaries for x in await self._score(client, url, ids, how)] for url in self.urls]

    async def _score(self, client, url, ids, how):
        answer = await self._post(client, url, GENERATE, {"token_ids": ids, "sampling_params": how})
        with _readable(url, answer):
            self._check_version(url, answer["choices"][0])
            rows = answer["prompt_logprobs"][1:]
            return [float(row[str(token)]["logprob"]) for token, row in zip(ids[1:], rows, strict=True)]

    async def check_settings(self, temperature: float) -> None:
        """Raises InputError if a server does not answer, or tells log-probabilities at another temperature."""
        async with self._client() as client:
            for url in self.urls:
                try:
                    info = await self._ask(client, "GET", url, "/server_info?config_format=json")
                except Unscored as error:
                    raise InputError(f"--vllm_url {url}: {error}; start the server first, or give another") from error
                with _readable(url, info):
                    mode = info["vllm_config"]["model_config"]["logprobs_mode"]
                wanted = "raw_logprobs" if temperature == 1 else "processed_logprobs"
                if mode != wanted:
                    raise InputError(
                        f"--vllm_url {url}: --temperature {temperature:g} needs its log-probabilities as {wanted}, and "
                        f"it gives {mode}; start it with --logprobs-mode {wanted}"
                    )

    def sample(self, prompts: Sequence[list[int]], seeds: Sequence[int], limits: Limits, desc: str = "") -> Sampled:
        answers = agreed(lambda: run_all(self._sample(prompts, seeds, limits, desc)), self.world)
        if self.sleeps:
            self._all("/sleep?level=1")
        return Sampled([ids for ids, _ in answers], [logps for _, logps in answers])

    def _all(self, path):
        """Tell all servers; they have done it when this returns, on all processes."""

        async def tell():
            async with self._client() as client:
                for url in self.urls:
                    await self._post(client, url, path)

        agreed(lambda: run_all(tell()) if self.world.first else None, self.world)

    def leave(self) -> None:
        """Wake the servers that were put to sleep, as far as they answer. The first process calls it."""
        for url in self.urls if self.sleeps else ():
            run_all(self._try(url, "/wake_up"))

    async def _try(self, url, path):
        with contextlib.suppress(InputError, TimeoutError):
            async with self._client() as client, asyncio.timeout(SOON):
                await self._post(client, url, path)

    async def _sample(self, prompts, seeds, limits, desc):
        bar: Any = progress.bar(total=len(prompts), desc=desc, unit="answers") if desc else contextlib.nullcontext()
        gate = asyncio.Semaphore(AT_ONCE)
        with bar:
            async with self._client() as client, asyncio.TaskGroup() as group:
                calls = (self._one(client, gate, *one, limits) for one in zip(range(len(prompts)), prompts, seeds))
                tasks = [group.create_task(call) for call in calls]
                for task in tasks if desc else ():
                    task.add_done_callback(lambda _: bar.update())
        return [task.result() for task in tasks]

    async def _one(self, client, gate, i, prompt, seed, limits):
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
        url = self.urls[(self.world.rank + i) % len(self.urls)]
        async with gate:
            answer = await self._post(client, url, GENERATE, {"token_ids": list(prompt), "sampling_params": how})
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

    def _check_version(self, url, choice):
        versions = {span["version"] for span in choice.get("weight_versions") or ()}
        if versions != {self.version}:
            raise Unscored(
                f"vLLM {url} sampled from the weights {', '.join(versions) or 'without a version'}, not from "
                f"{self.version}: it was started again, or serves another training; {HOW}"
            )

    def _client(self):
        limits = httpx2.Limits(max_connections=None)
        return httpx2.AsyncClient(timeout=self.seconds, limits=limits, trust_env=False)  # no proxy knows these servers

    async def _post(self, client, url, path, body=None):
        return await self._ask(client, "POST", url, path, body)

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
        if answer.status_code == 500 and path == "/collective_rpc":
            raise Unscored(
                f"vLLM {url} could not load the weights in {self.folder}: {said}; does it see --vllm_weights_dir at "
                "the same place, and has its model the same shape?"
            )
        if answer.status_code >= 500:
            raise self._away(url, f"status {answer.status_code} to {path}")
        hint = f"; {HOW}" if answer.status_code == 404 else ""
        if answer.status_code != 200:
            raise Unscored(f"vLLM {url} refused {path} with status {answer.status_code}: {said}{hint}")
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


def _rms(x):
    return float((x.double() ** 2).mean().sqrt())
