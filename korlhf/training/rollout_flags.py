"""--rollout: who samples answers, of step 3 and of finished checkpoints, and what cannot be one."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import check_output
from korlhf.core.flags import flag
from korlhf.training.flags import ModelFlags
from korlhf.training.ppo_flags import PpoFlags

LARGEST_RANK = 512  # of LoRA, that vLLM serves
ROOT = Path(__file__).resolve().parents[2]
NEEDS_VLLM = "holds with --rollout vllm; give that too, or delete it"


@dataclass(frozen=True, kw_only=True)
class VllmFlags:
    """rollouts"""

    rollout: str = flag(
        "local",
        "who samples answers: local = this program itself; vllm = a vLLM server that gets the same weights, and is "
        "started by the program $VLLM (default: .venv-vllm/bin/vllm)",
        choices=["local", "vllm"],
    )
    vllm_args: str = flag(
        "",
        "further arguments of the server that is started, e.g. '--gpu-memory-utilization 0.4'; of a single word: "
        "--vllm_args=--enforce-eager",
    )
    vllm_timeout: float = flag(
        600.0, "seconds until a server that has not started, or an unanswered request, is given up", above=0
    )

    @property
    def program(self) -> str:
        """The vLLM program that is started."""
        venv = Path(os.environ.get("KORLHF_VLLM_VENV") or ROOT / ".venv-vllm")
        return os.environ.get("VLLM") or str(venv / "bin/vllm")

    def check_vllm(self, otherwise: str = "") -> None:
        """Raises InputError if no server can be started, or none is to be and has arguments. otherwise: what else can
        be done.
        """
        if self.rollout == "local":
            if self.vllm_args:
                raise InputError(f"--vllm_args {self.vllm_args}: {NEEDS_VLLM}")
            return
        try:
            shlex.split(self.vllm_args)
        except ValueError as error:
            raise InputError(f"--vllm_args {self.vllm_args}: {error}; mend it") from error
        if not os.access(self.program, os.X_OK):
            raise InputError(
                f"--rollout vllm: there is no program {self.program}; run bash setup_vllm.sh, or name it with "
                f"VLLM=path/to/bin/vllm{otherwise}"
            )


@dataclass(frozen=True, kw_only=True)
class RolloutFlags(VllmFlags):
    """rollouts"""

    vllm_url: list[str] = flag(
        [],
        "addresses of running vLLM servers, which share the prompts, e.g. http://127.0.0.1:8000; not given = one is "
        "started",
    )
    vllm_gpus: str = flag("", "CUDA_VISIBLE_DEVICES of the server that is started; not given = the training's own")
    vllm_sleep: bool = flag(
        False,
        "the servers give GPU memory back while the training computes; those that run already need --enable-sleep-mode",
    )
    vllm_weights: str = flag(
        "files",
        "how weights go to the servers: files = in memory (--vllm_weights_dir); adapter = LoRA alone, by files; ipc = "
        "GPU memory of the training that a server on the same GPUs reads; nccl = to servers with GPUs of their own",
        choices=["files", "adapter", "ipc", "nccl"],
    )
    vllm_weights_dir: str = flag(
        "/dev/shm", "folder in memory that weights go through to the servers, which must see it at the same place"
    )
    rollout_correction: str = flag(
        "none",
        "weight of the policy's loss for what the engine computes otherwise than the training: the ratio of the "
        "training's probability to the engine's, of each token or of the whole answer (sequence), truncated at "
        "--rollout_ratio_max",
        choices=["none", "token", "sequence"],
    )
    rollout_ratio_max: float = flag(2.0, "where --rollout_correction truncates ratios", low=1)

    def check(self, actor: ModelFlags, ppo: PpoFlags, ddp_timeout: float) -> None:
        """Raises InputError for what cannot work."""
        if self.rollout == "local":
            self.check_vllm()
            sleep = "--vllm_sleep" if self.vllm_sleep else ""
            given = {"vllm_url": " ".join(self.vllm_url), "vllm_gpus": self.vllm_gpus}
            given["vllm_weights"] = self.vllm_weights if self.vllm_weights != "files" else ""
            for text in (sleep, *(f"--{name} {value}" for name, value in given.items() if value)):
                if text:
                    raise InputError(f"{text}: {NEEDS_VLLM}")
            if self.rollout_correction != "none":
                raise InputError(
                    f"--rollout_correction {self.rollout_correction}: --rollout local samples from the very model that "
                    "is trained; delete it, or give --rollout vllm"
                )
            return
        for url in self.vllm_url:
            host = re.fullmatch(r"https?://([\w.-]+|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?/?", url)
            if not host or int(host[2] or 0) > 65535:
                raise InputError(f"--vllm_url {url}: no address of a server; give one as in http://127.0.0.1:8000")
        for name, value in (("vllm_args", self.vllm_args), ("vllm_gpus", self.vllm_gpus)):
            if self.vllm_url and value:
                raise InputError(f"--{name} {value}: no server is started with --vllm_url; delete one of them")
        if not self.vllm_url:
            self.check_vllm(", or give running servers as --vllm_url")
        if not Path(self.vllm_weights_dir).is_dir():
            raise InputError(f"--vllm_weights_dir {self.vllm_weights_dir}: no such folder; give another")
        check_output(self.vllm_weights_dir, "--vllm_weights_dir", folder=True)
        if actor.load_in_4bit:
            raise InputError(
                "--rollout vllm --actor_load_in_4bit: weights of 4 bits cannot be merged and sent; delete one of them"
            )
        self._check_weights(actor)
        if ppo.temperature != 1 and ppo.top_p < 1:
            raise InputError(
                f"--rollout vllm --temperature {ppo.temperature:g} --top_p {ppo.top_p:g}: vLLM tells log-probabilities "
                "at another temperature only after top-p; leave one of the two at 1"
            )
        if self.vllm_timeout >= ddp_timeout:
            raise InputError(
                f"--vllm_timeout {self.vllm_timeout:g}: other processes wait only --ddp_timeout {ddp_timeout:g} "
                "seconds; lower it, or raise that"
            )

    def _check_weights(self, actor):
        what = f"--vllm_weights {self.vllm_weights}"
        if self.vllm_weights == "adapter":
            if not actor.lora_dim:
                raise InputError(f"{what}: all weights are trained; give --actor_lora_dim too, or files")
            if actor.use_dora:
                raise InputError(f"{what} --actor_use_dora: vLLM serves no DoRA; delete one of them, or give files")
            if actor.lora_dim > LARGEST_RANK:
                raise InputError(
                    f"{what} --actor_lora_dim {actor.lora_dim}: vLLM serves ranks up to {LARGEST_RANK}; lower it, or "
                    "give files"
                )
        if self.vllm_weights == "ipc" and self.vllm_gpus:
            raise InputError(f"{what} --vllm_gpus {self.vllm_gpus}: ipc is for the training's own GPUs; give nccl")
        if self.vllm_weights == "nccl" and not (self.vllm_gpus or self.vllm_url):
            raise InputError(f"{what}: needs GPUs that the training does not use; name them with --vllm_gpus")
