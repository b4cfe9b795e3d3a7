"""DeepSpeed: start-up, the engine's configuration, gathering. The sole import of deepspeed in this project.

Nothing is compiled at run time: the optimizer is torch's AdamW (fused where torch has it, on offloaded CPU states too),
and DeepSpeed's shared-memory all-reduce for CPUs, a C++ extension built at the first start (about 100 s, and a killed
build leaves a lock on which every later start waits for ever), is turned off; gloo does its work.
Left out: the hybrid engine (it garbles GPT-NeoX text and fails on transformers 5).
"""

import atexit
import contextlib
import datetime
import functools
import logging
import os
import pickle
import socket
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from korlhf.core import ranks
from korlhf.core.errors import Diverged, InputError
from korlhf.models.finite import non_finite
from korlhf.models.quiet import quiet
from korlhf.training import states
from korlhf.training.flags import ModelFlags, RunFlags
from korlhf.training.optimizer import is_unchecked, open_optimizer
from korlhf.training.schedule import open_schedule, restart_schedule
from korlhf.training.world import DTYPES, World, cast_parameters

quiet()  # before the import, which speaks

import deepspeed  # noqa: E402
from deepspeed.accelerator import get_accelerator  # noqa: E402
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler  # noqa: E402
from deepspeed.runtime.zero import unwrap_model_for_generation  # noqa: E402
from deepspeed.runtime.zero.config import ZeroStageEnum  # noqa: E402
from deepspeed.utils.tensor_fragment import fragment_address  # noqa: E402


def start(local_rank: int, timeout: float = 1800.0) -> World:
    """Join the processes that a launcher started (DeepSpeed's, torchrun, srun); `python main.py` alone is a group of
    one.

    local_rank: -1, or what the launcher gave as a flag; timeout: seconds after which an exchange with the others fails.
    The end of the program leaves the group. Raises InputError if variables of the launcher are missing or wrong.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    given = {"LOCAL_RANK": str(local_rank)} if local_rank >= 0 and "RANK" in os.environ else {}
    os.environ.update(ranks.place(given | os.environ) or _alone())
    limit = datetime.timedelta(seconds=timeout)
    # Of the groups that DeepSpeed opens, too: torch's own limit is 10 minutes for NCCL and 30 for gloo.
    dist.distributed_c10d.default_pg_timeout = dist.distributed_c10d.default_pg_nccl_timeout = limit
    device = _device(max(local_rank, int(os.environ["LOCAL_RANK"])))
    backend = get_accelerator().communication_backend_name() if device.type != "cpu" else "gloo"
    try:
        deepspeed.init_distributed(dist_backend=backend, verbose=False, timeout=limit)
    except RuntimeError as error:
        if "EADDRINUSE" not in str(error):
            raise
        port = os.environ["MASTER_PORT"]
        raise InputError(f"MASTER_PORT={port} is in use on this machine; give another to all processes") from error
    atexit.register(stop)
    return World(dist.get_rank(), dist.get_world_size(), device)


def _alone():
    """The variables of a group of one."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _device(local_rank):
    accelerator: Any = get_accelerator()
    if accelerator.device_name() == "cpu":
        return torch.device("cpu")
    visible = accelerator.device_count()
    if visible == 1 and "SLURM_LOCALID" in os.environ:  # with --gpus-per-task each process sees its own alone
        local_rank = 0
    if local_rank >= visible:
        raise InputError(
            f"LOCAL_RANK={local_rank}, but {visible} GPUs are visible to this process; start at most {visible} "
            "processes on a machine"
        )
    accelerator.set_device(local_rank)
    return torch.device(accelerator.device_name(), local_rank)


def stop() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


@dataclass(frozen=True)
class Recipe:
    """How the models of one training are optimised.

    dtype: a key of world.DTYPES; total_steps: optimizer steps of the schedule.
    """

    dtype: str
    micro_batch_size: int
    accumulation: int
    total_steps: int
    schedule: str = "constant"
    num_warmup_steps: int = 0
    max_grad_norm: float = 1.0
    offload: bool = False

    @classmethod
    def of(cls, run: RunFlags, dtype: str, micro_batch_size: int, accumulation: int, total_steps: int) -> "Recipe":
        shared = run.lr_scheduler_type, run.num_warmup_steps, run.max_grad_norm, run.offload
        return cls(dtype, micro_batch_size, accumulation, total_steps, *shared)


def config(recipe: Recipe, zero_stage: int, processes: int) -> dict:
    """The DeepSpeed configuration. Offload moves optimizer states (stage 3: parameters too) to CPU memory."""
    zero: dict[str, Any] = {"stage": zero_stage}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if recipe.offload and zero_stage:
        zero["offload_optimizer"] = {"device": "cpu"}
        if zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": recipe.micro_batch_size,
        "gradient_accumulation_steps": recipe.accumulation,
        "train_batch_size": recipe.micro_batch_size * recipe.accumulation * processes,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": 0.0 if is_unchecked(recipe.dtype, zero_stage) else recipe.max_grad_norm,
        "steps_per_print": 10**9,
        **({"bf16": {"enabled": True}} if recipe.dtype == "bf16" else {}),
        **({"fp16": {"enabled": True, "initial_scale_power": 12}} if recipe.dtype == "fp16" else {}),
    }


@contextlib.contextmanager
def loading(world: World, dtype: str, zero_stage: int = 0, offload: bool = False) -> Generator[dict[str, Any]]:
    """What from_pretrained takes to load weights as they will be used: in their precision, on a GPU tensor by tensor
    (never whole on the host), and with ZeRO-3 spread over the processes while they are read (zero.Init).

    Whatever is done to the weights before they are an Engine's or Frozen's is done inside too. offload: as of those.
    """
    spread = None
    if zero_stage == 3:
        from transformers.integrations.deepspeed import HfDeepSpeedConfig

        # transformers looks it up as long as it is referred to
        spread = HfDeepSpeedConfig(config(Recipe(dtype, 1, 1, 0, offload=offload), 3, world.size))
    how: dict[str, Any] = {"dtype": DTYPES[dtype]}
    if world.device.type == "cuda" and not (spread or offload):
        how["device_map"] = {"": world.device}
    try:
        yield how
    finally:
        del spread


def _zero_stage(enum: Any, name: str) -> ZeroStageEnum:
    """In the place of getattr, by which early Pythons 3.11 pickle a member of an enum: nothing else is looked up."""
    if enum is not ZeroStageEnum:
        raise pickle.UnpicklingError(f"{enum}: only ZeroStageEnum has members here")
    return ZeroStageEnum[name]


class Engine:
    """One trained module under DeepSpeed."""

    def __init__(self, module: nn.Module, flags: ModelFlags, world: World, recipe: Recipe):
        """flags: of this module (learning rates, weight decay, betas, ZeRO stage, gradient checkpointing)."""
        self.world, self.zero_stage, self.dtype = world, flags.zero_stage, DTYPES[recipe.dtype]
        self.load_in_4bit, self.offload = flags.load_in_4bit, recipe.offload
        model: Any = next(module.children(), None)  # inside TokenLogps or TokenValues
        if flags.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if flags.zero_stage == 3 and flags.lora_dim and (head := model.get_output_embeddings()) is not None:
            # Its LoRA layers are gathered with it: a process calls them once for each of its chunks of tokens.
            deepspeed.utils.set_z3_leaf_module(head, True)
        cast_parameters(module, self.dtype)
        module.to(world.device)
        optimizer = open_optimizer(module, flags, recipe.dtype, recipe.max_grad_norm)
        self.version = 0  # of the weights: another after each step
        self.skipped = 0  # steps left out as their gradients were not finite, since the training last looked
        self.schedule: Any = open_schedule(recipe.schedule, optimizer, recipe.num_warmup_steps, recipe.total_steps)
        self.ds: Any
        self.ds, self.optimizer, _, _ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            lr_scheduler=self.schedule,
            config=config(recipe, flags.zero_stage, world.size),
            dist_init_required=False,
        )

    @property
    def module(self) -> Any:
        return self.ds.module

    @property
    def lr(self) -> float:
        return self.ds.get_lr()[0]

    def __call__(self, *args, **kwargs) -> Any:
        return self.ds(*args, **kwargs)

    def train(self) -> None:
        self.ds.train()

    def eval(self) -> None:
        self.ds.eval()

    def backward(self, loss: torch.Tensor) -> None:
        """A loss that is not finite makes every gradient so, on all processes: they leave the step out alike."""
        self.ds.backward(loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan))

    def step(self) -> None:
        """One step, unless gradients are not finite: `skipped` counts those; what --dtype fp16 leaves out to find its
        loss scale is no divergence.
        """
        last, scaling = self.ds.is_gradient_accumulation_boundary(), self._loss_scale() > 1
        self.version += last
        try:
            self.ds.step()
        except Exception as error:  # DeepSpeed has no class of its own for it
            if "loss scale already at minimum" not in str(error):
                raise
            reason = "gradients overflow fp16 at the smallest loss scale; use --dtype bf16 or fp32"
            raise Diverged(reason if self.world.first else "") from error
        self.skipped += last and not scaling and not self.ds.was_step_applied()

    def _loss_scale(self):
        """Of fp16, else 1."""
        if self.dtype != torch.float16:
            return 1.0
        optimizer = self.ds.optimizer
        own = getattr(optimizer, "loss_scale_config", None)  # without ZeRO
        return own.cur_scale if own else optimizer.loss_scale

    def grad_norm(self) -> float | None:
        """Norm of the last step's gradient before clipping; infinite if the step was left out."""
        norm = self.ds.get_global_grad_norm()
        return None if norm is None else float(norm)

    def non_finite(self) -> str | None:
        """The name of a weight that is not finite, or None. All processes call it."""
        name = non_finite(self.module)
        return name and name.split(".", 1)[1]

    @contextlib.contextmanager
    def gathered_weights(self) -> Generator[None]:
        """Whole weights on every process while inside (ZeRO-3 spreads them), so that each can sample on its own."""
        if self.zero_stage == 3:
            with unwrap_model_for_generation(self.ds):
                yield
        else:
            yield

    def state_dict(self, adapter_only: bool = False) -> dict[str, torch.Tensor]:
        """Weights on the CPU of rank 0, gathered one by one; others get an empty dict.

        Names are those of the model inside the module; adapter_only: those of LoRA.
        """
        persistent = set(self.module.state_dict(keep_vars=True))
        buffers = [(n, b) for n, b in self.module.named_buffers() if n in persistent]
        out = {}
        for name, tensor in [*self.module.named_parameters(remove_duplicate=False), *buffers]:
            if adapter_only and "lora_" not in name:
                continue
            spread = self.zero_stage == 3 and hasattr(tensor, "ds_id")
            with deepspeed.zero.GatheredParameters([tensor]) if spread else contextlib.nullcontext():
                if self.world.first:
                    out[name.split(".", 1)[1]] = tensor.detach().to("cpu", copy=True)
        return out

    def save(self, folder) -> None:
        """Trained weights, optimizer, schedule. All processes call it."""
        states.save(self.ds, folder, self.world.rank, self.zero_stage > 0)

    def load(self, folder) -> None:
        """Read what `save` wrote, in however many processes and whatever ZeRO stage; raises InputError."""
        if (folder / "state").is_dir():
            self._load_deepspeeds(folder)
        else:
            states.load(self.ds, folder, self.world.rank)
        restart_schedule(self.schedule)  # the run may have another length now
        self.version += 1

    def _load_deepspeeds(self, folder):
        """Files of earlier versions, which DeepSpeed wrote as pickles: nothing but plain values and these is made of
        them.
        """
        known: list[Any] = [ZeroStageEnum, LossScaler, DynamicLossScaler, fragment_address]
        known.append((_zero_stage, "builtins.getattr"))
        self.ds.checkpoint_engine.load = functools.partial(torch.load, weights_only=True)
        try:
            with torch.serialization.safe_globals(known):
                path, _ = self.ds.load_checkpoint(str(folder), tag="state", load_module_strict=not self.load_in_4bit)
            reason = "" if path else "files are missing"
        except Exception as error:  # whatever damaged or foreign files, or another number of processes, lead to
            reason = " ".join(str(error).split())[:200] or type(error).__name__
        if any(self.world.gather(reason)):
            raise InputError(
                f"{folder}: this checkpoint of an earlier version cannot be read ({reason}); delete it to start from "
                "the one before"
            )


class Frozen:
    """A module that is only run: whole on every process, or spread like its trained sibling under ZeRO-3."""

    def __init__(self, module: nn.Module, world: World, dtype: str, zero_stage: int = 0, offload: bool = False):
        """offload: the weights stay in CPU memory between `with` blocks."""
        module.requires_grad_(False).eval()
        self.world, self.module, self.offload = world, cast_parameters(module, DTYPES[dtype]), offload
        self.run: Any = self.module
        if zero_stage == 3:
            cfg = config(Recipe(dtype, 1, 1, 0, max_grad_norm=0.0), 3, world.size)
            if offload:
                cfg["zero_optimization"]["offload_param"] = {"device": "cpu"}
            self.run, *_ = deepspeed.initialize(model=self.module, config=cfg, dist_init_required=False)
            self.offload = False
        elif not offload:
            self.module.to(world.device)

    def __enter__(self) -> Any:
        if self.offload:
            self.module.to(self.world.device)
        return self.run

    def __exit__(self, *_) -> None:
        if self.offload:
            self.module.to("cpu")
