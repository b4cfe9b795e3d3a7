"""The vLLM server that a program starts, on loopback: its command, start and end. And what opens --rollout of step 3:
that, or servers that run already.
"""

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from korlhf.core import program, progress
from korlhf.core.errors import InputError, told
from korlhf.rl import watched
from korlhf.rl.flags import Flags
from korlhf.rl.mixed import agreed
from korlhf.rl.models import Models
from korlhf.rl.rewards import Prompt
from korlhf.rl.vllm import CANARIES, Vllm
from korlhf.rl.vllm_client import Servers
from korlhf.rl.vllm_weights import TRANSFERS
from korlhf.training.rollout_flags import VllmFlags

# Of the training's launcher and environment, which would make vLLM one of the training's processes.
FOREIGN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
SETTINGS = {"VLLM_SERVER_DEV_MODE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
LORA_RANKS = 8, 16, 32, 64, 128, 256, 320, 512  # that vLLM's --max-lora-rank takes
LOOK_EVERY = 0.2  # seconds


def arguments(dtype: str, longest: int, temperature: float, on_cpu: bool) -> list[str]:
    """What `vllm serve FOLDER` gets.

    dtype: a key of DTYPES; longest: prompt and answer in tokens. generation-config vllm: no sampling settings but the
    requests' own; scale-out: requests of token ids; logprobs-mode: raw ones are those at temperature 1. On CPUs a
    seeded request whose prompt is read in pieces (chunked prefill) ends the engine.
    """
    words = f"--dtype {DTYPES[dtype]} --max-model-len {longest} --generation-config vllm --enable-scale-out".split()
    words.append("--disable-uvicorn-access-log")
    words += ["--logprobs-mode", "processed_logprobs"] if temperature != 1 else []
    return words + (["--enforce-eager", "--no-enable-chunked-prefill"] if on_cpu else [])


class Server:
    """A server of the model in `folder`, which is removed with it; log: file that it writes to. Raises InputError if
    it does not start.
    """

    def __init__(
        self, flags: VllmFlags, folder: Path, words: list[str], log: Path, environment: dict[str, str] | None = None
    ):
        """words, environment: what it gets besides the flags' --vllm_args, and this process's variables."""
        self.log = log
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [flags.program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), *words]
        command += shlex.split(flags.vllm_args)
        own = {k: v for k, v in os.environ.items() if k not in FOREIGN and "LOCAL_" not in k}
        own |= SETTINGS | (environment or {})
        own.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
        try:
            with open(log, "a", encoding="utf-8") as file:
                print(f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {shlex.join(command)}", file=file, flush=True)
                self.process: Any = subprocess.Popen(
                    [sys.executable, "-SE", watched.__file__, str(folder), *command],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    env=own,
                    start_new_session=True,
                )
        except OSError as error:
            raise InputError(f"--rollout vllm: the server cannot be started: {error}") from error
        try:
            self._wait(flags.vllm_timeout)
        except BaseException:
            self.close()
            raise

    def _wait(self, seconds):
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise InputError(f"--rollout vllm: the server did not start: {self._last_error()}; see {self.log}")
            try:
                if httpx2.get(f"{self.url}/health", timeout=5.0, trust_env=False).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(LOOK_EVERY)
        raise InputError(
            f"--rollout vllm: the server did not start within --vllm_timeout {seconds:g} seconds; see {self.log}"
        )

    def _last_error(self):
        text = self.log.read_text(encoding="utf-8", errors="replace")
        lines = re.split("^== ", text, flags=re.MULTILINE)[-1].splitlines()  # of this start
        errors = [line for line in lines[1:] if "Error" in line or "error:" in line]
        return " ".join((errors or lines[1:] or ["it said nothing"])[-1].split())[:200]

    def close(self, wait: bool = True) -> None:
        """End the server and all that it has started. wait: until they have ended."""
        self.process.stdin.close()
        if wait:
            self.process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self.close(wait=kind is None)  # DeepSpeed's launcher would kill this process before it has said what happened


@contextlib.contextmanager
def opened(models: Models, flags: Flags, prompts: Sequence[Prompt], dtype: str) -> Generator[None]:
    """Inside, answers are sampled by what --rollout names. prompts: some of them are the canaries; dtype: of the
    training. All processes call it. Raises InputError if there is no server.
    """
    rollout, world = flags.rollout, models.world
    if rollout.rollout == "local":
        yield
        return
    log = "" if rollout.vllm_url else f"{flags.run.output_dir}/vllm.log"
    if rollout.vllm_weights in ("ipc", "nccl") and world.device.type != "cuda":
        raise InputError(f"--vllm_weights {rollout.vllm_weights}: the training has no CUDA GPU here; give files")
    place = Path(rollout.vllm_weights_dir).resolve()
    with contextlib.ExitStack() as stack:
        stack.enter_context(program.unwinding())
        folder = agreed(lambda: _folder(place, bool(rollout.vllm_url)) if world.first else place, world)
        if world.first:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        servers = Servers(models.codec.eos_token_id, rollout.vllm_timeout, log)
        transfer = TRANSFERS[rollout.vllm_weights](servers, folder, world)
        sampler = Vllm(servers, [p.ids for p in prompts if len(p.ids) > 1][:CANARIES], transfer, world)
        sampler.sleeps = rollout.vllm_sleep
        if rollout.vllm_url:
            servers.urls = [url.rstrip("/") for url in rollout.vllm_url]
            stack.callback(sampler.leave if world.first else lambda: None)
            agreed(lambda: servers.check_settings(flags.ppo.temperature, rollout.vllm_sleep), world)
        else:
            if len(set(world.gather(socket.gethostname()))) > 1:
                raise InputError("--rollout vllm on several machines: start the servers, and name them with --vllm_url")
            transfer.write(models.actor)
            start = partial(_start, flags, models, folder, Path(log), dtype)
            server: Any = agreed(lambda: stack.enter_context(start()) if world.first else None, world)
            servers.urls = world.gather(server.url if server else "")[:1]
        models.sampler = sampler
        yield


def _folder(place, shared):
    """A new folder in `place`; shared: servers of other users may read it."""
    with told(f"--vllm_weights_dir {place}: cannot be written", "give another"):
        folder = Path(tempfile.mkdtemp(prefix="korlhf-", dir=place))
        folder.chmod(0o755 if shared else 0o700)
    return folder


def _start(flags, models, folder, log, dtype):
    with told(f"--vllm_weights_dir {folder.parent}: cannot be written", "give another"):
        models.codec.tokenizer.save_pretrained(folder)
    progress.say(f"vLLM is being started; its log: {log}")
    longest = flags.ppo.max_prompt_seq_len + flags.ppo.max_answer_seq_len
    words = arguments(dtype, longest, flags.ppo.temperature, models.world.device.type == "cpu")
    words += ["--trust-remote-code"] if flags.run.trust_remote_code else []
    if flags.rollout.vllm_weights == "adapter":
        words += ["--max-lora-rank", str(min(r for r in LORA_RANKS if r >= flags.actor.lora_dim))]
    words += ["--enable-sleep-mode"] if flags.rollout.vllm_sleep else []
    transfer = TRANSFERS[flags.rollout.vllm_weights]
    gpus = {"CUDA_VISIBLE_DEVICES": flags.rollout.vllm_gpus} if flags.rollout.vllm_gpus else {}
    return Server(flags.rollout, folder, [*words, *transfer.arguments], log, transfer.environment | gpus)
