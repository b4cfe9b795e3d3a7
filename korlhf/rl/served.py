"""A finished model whose answers a vLLM server samples in place of this process: started when the first answer is asked
for, ended with the `with` around it.
"""

import contextlib
import gc
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import torch
from huggingface_hub import snapshot_download

from korlhf.core import program, progress
from korlhf.core.errors import InputError, told
from korlhf.data.tokenize import Codec
from korlhf.models.causal_lm import load_causal_lm
from korlhf.models.fingerprint import FILES
from korlhf.models.folders import check_weights, first_line, lora_base
from korlhf.rl.rollout import Limits
from korlhf.rl.vllm_client import Servers
from korlhf.rl.vllm_server import Server, arguments
from korlhf.rl.vllm_weights import writing
from korlhf.training.rollout_flags import VllmFlags
from korlhf.training.world import DTYPES

MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Finished:
    """path: a model folder, LoRA folder or hub name; what: the flag that names it; dtype: "fp32", "bf16" or "fp16";
    positions: most tokens that it takes, or None.
    """

    path: str
    what: str
    codec: Codec
    dtype: str
    positions: int | None
    trust_remote_code: bool = False


class Served:
    """The server of one model; log: file that it writes to. A context manager.

    room: 1, or more for what is asked later and is longer: the server takes so many times what it is first asked for.
    """

    def __init__(self, flags: VllmFlags, model: Finished, log: Path, room: int = 1):
        self.flags, self.model, self.log, self.room = flags, model, log, room
        self.servers = Servers(model.codec.eos_token_id, flags.vllm_timeout, str(log))
        self.server: Server | None = None
        self.longest = 0  # prompt and answer that it takes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self._end(wait=kind is None)

    def _end(self, wait=True):
        if self.server:
            self.server.close(wait)
        self.server, self.longest = None, 0

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        limits: Limits,
        desc: str = "",
        done: Callable[[int, list[int]], Any] = lambda place, ids: None,
    ) -> list[list[int]]:
        """Answer ids; arguments as of rollout.sample, done as of Servers.sample. Prompt and answer must fit into the
        model's positions. Raises InputError if the server does not start, Unavailable if it goes away.
        """
        if not prompts:
            return []
        need = max(map(len, prompts)) + limits.max_new_tokens
        if need > self.longest:
            self._end()
            self.longest = min(self.room * need, self.model.positions or self.room * need)
            self.server = self._start()
            self.servers.urls = [self.server.url]
        return [ids for ids, _ in self.servers.sample(prompts, seeds, limits, desc, done=done)]

    def _start(self):
        model = self.model
        progress.say(f"vLLM is being started for {model.path}; its log: {self.log}")
        words = arguments(model.dtype, self.longest, 1.0, not torch.cuda.is_available())
        words += ["--trust-remote-code"] if model.trust_remote_code else []
        with program.unwinding(), _folder(model) as folder:
            return Server(self.flags, folder, words, self.log)


@contextlib.contextmanager
def _folder(model: Finished) -> Generator[Path]:
    """A folder of the model for a server, which removes it, in memory: links to its files, or LoRA merged. If it raises
    inside, the folder is removed here.
    """
    where = f"{model.what} {model.path}: --rollout vllm needs room in {MEMORY}"
    with told(where, "make some"):
        folder = Path(tempfile.mkdtemp(prefix="korlhf-", dir=MEMORY))
    try:
        if lora_base(model.path, model.what):
            _merge(model, folder, where)
        else:
            for path in _files(model):
                (folder / path.name).symlink_to(path.resolve())
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _files(model):
    source = Path(model.path).expanduser()
    if not source.is_dir():
        wanted = [pattern for pattern in FILES if pattern != "pytorch_model*"]
        try:
            source = Path(snapshot_download(model.path, allow_patterns=wanted, ignore_patterns=["*/*"]))
        except (OSError, ValueError, httpx2.HTTPError) as error:
            raise InputError(f"{model.what} {model.path}: cannot be downloaded: {first_line(error)}") from error
    check_weights(str(source), model.what)
    return source.iterdir()


def _merge(model, folder, where):
    """The model that a LoRA folder makes of its base, in `folder`."""
    how: dict[str, Any] = {"dtype": DTYPES[model.dtype], "trust_remote_code": model.trust_remote_code}
    lm = load_causal_lm(model.path, model.codec.tokenizer, model.what, **how)
    remedy = "merge it with applications/export/run_export.sh, and give that folder"
    with writing(lm.parameters(), folder, where, remedy):
        lm.save_pretrained(folder)
        model.codec.tokenizer.save_pretrained(folder)
    del lm
    gc.collect()
