"""DeepSpeed: start-up, the engine's configuration, gathering. The sole import of deepspeed in this project.

Nothing is compiled at run time: the optimizer is torch's AdamW (fused where torch has it, on offloaded CPU states too), and DeepSpeed's
shared-memory all-reduce for CPUs, a C++ extension built at the first start (about 100 s, and a killed build leaves a lock on which every
later start waits for ever), is turned off; gloo does its work.
Left out: the hybrid engine (it garbles GPT-NeoX text and fails on transformers 5).
"""

import contextlib
import logging
import os
import socket
from dataclasses import dataclass

logging.getLogger("DeepSpeed").addFilter(
    lambda record: "Setting accelerator to CPU" not in record.getMessage()
)  # said at the import

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero import unwrap_model_for_generation
from transformers import get_scheduler

from korlhf.core.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ranks:
    """This process among all."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self):
        return self.rank == 0

    def sum(self, values):
        """Element-wise sum over all ranks of a list of numbers or a tensor; fp64, so counts stay exact."""
        total = torch.as_tensor(values, dtype=torch.float64).clone().to(self.device)
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def gather(self, thing):
        """Every rank's `thing` (small, picklable), in rank order, on every rank."""
        if self.world == 1:
            return [thing]
        out = [None] * self.world
        dist.all_gather_object(out, thing)
        return out

    def barrier(self):
        if self.world > 1:
            dist.barrier()


def start(local_rank):
    """Join the processes that the deepspeed launcher started; `python main.py` alone is a group of one. Returns Ranks."""
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if "RANK" not in os.environ:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    accelerator = get_accelerator()
    local_rank = max(local_rank, int(os.environ.get("LOCAL_RANK", 0)))
    device = torch.device("cpu")
    if accelerator.device_name() != "cpu":
        accelerator.set_device(local_rank)
        device = torch.device(accelerator.device_name(), local_rank)
    deepspeed.init_distributed(
        dist_backend=accelerator.communication_backend_name() if device.type != "cpu" else "gloo", verbose=False
    )
    return Ranks(dist.get_rank(), dist.get_world_size(), device)


def stop():
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def resolve_dtype(name, device):
    """--dtype to "fp32", "bf16" or "fp16". auto: bf16 on GPUs that have it, fp32 elsewhere (CPUs without bf16 units emulate it, 50 times slower)."""
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise InputError("--dtype fp16: DeepSpeed has no fp16 on CPU; use --dtype auto")
    return name


def parameter_groups(module, learning_rate, lora_learning_rate, weight_decay):
    """Trainable parameters in up to four groups: LoRA or not, decayed or not (biases, norms and other vectors are not)."""
    groups = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            lora, decayed = "lora_" in name, p.ndim > 1
            group = groups.setdefault(
                (lora, decayed),
                {
                    "params": [],
                    "lr": lora_learning_rate if lora else learning_rate,
                    "weight_decay": weight_decay if decayed else 0.0,
                },
            )
            group["params"].append(p)
    return list(groups.values())


def config(dtype, zero_stage, offload, micro_batch_size, accumulation, world, max_grad_norm):
    """The DeepSpeed configuration as a dict. Offload moves optimizer states (stage 3: parameters too) to CPU memory."""
    zero = {"stage": zero_stage}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if offload and zero_stage:
        zero["offload_optimizer"] = {"device": "cpu"}
        if zero_stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch_size * accumulation * world,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": max_grad_norm,
        "steps_per_print": 10**9,
        **({"bf16": {"enabled": True}} if dtype == "bf16" else {}),
        **({"fp16": {"enabled": True, "initial_scale_power": 12}} if dtype == "fp16" else {}),
    }


def cast_parameters(module, dtype):
    """Cast the parameters and leave the buffers: rounded rotary frequencies would be another model. Before the move to the GPU, which
    then never holds fp32 weights (DeepSpeed makes its fp32 masters from the cast ones)."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    return module


class Engine:
    """One trained module under DeepSpeed."""

    def __init__(
        self,
        module,
        flags,
        ranks,
        *,
        dtype,
        offload,
        micro_batch_size,
        accumulation,
        total_steps,
        schedule,
        num_warmup_steps,
        max_grad_norm,
        betas=(0.9, 0.95),
    ):
        """flags: the ModelFlags of this module (learning rates, weight decay, ZeRO stage, gradient checkpointing)."""
        self.ranks, self.zero_stage, self.dtype = ranks, flags.zero_stage, DTYPES[dtype]
        if flags.gradient_checkpointing:
            _base(module).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        cast_parameters(module, DTYPES[dtype])
        module.to(ranks.device)
        groups = parameter_groups(module, flags.learning_rate, flags.lora_learning_rate, flags.weight_decay)
        optimizer = torch.optim.AdamW(groups, betas=betas, fused=True)
        scheduler = get_scheduler(schedule, optimizer, num_warmup_steps, total_steps)
        cfg = config(dtype, flags.zero_stage, offload, micro_batch_size, accumulation, ranks.world, max_grad_norm)
        self.ds, self.optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=optimizer, lr_scheduler=scheduler, config=cfg, dist_init_required=False
        )

    @property
    def module(self):
        return self.ds.module

    @property
    def lr(self):
        return self.ds.get_lr()[0]

    def __call__(self, *args, **kwargs):
        return self.ds(*args, **kwargs)

    def train(self):
        self.ds.train()

    def eval(self):
        self.ds.eval()

    def backward(self, loss):
        self.ds.backward(loss)

    def step(self):
        self.ds.step()

    def grad_norm(self):
        """Norm of the last step's gradient before clipping, or None if the ZeRO stage does not keep it."""
        norm = self.ds.get_global_grad_norm()
        return None if norm is None else float(norm)

    @contextlib.contextmanager
    def whole(self):
        """Whole weights on every rank while inside (ZeRO-3 spreads them, the other stages do not), so that ranks can sample on their own."""
        if self.zero_stage == 3:
            with unwrap_model_for_generation(self.ds):
                yield
        else:
            yield

    def state_dict(self, trainable_only=False):
        """Weights on the CPU of rank 0, gathered one by one (other ranks get an empty dict); names without the wrapper's prefix."""
        tensors = [*self.module.named_parameters(remove_duplicate=False), *_saved_buffers(self.module)]
        out = {}
        for name, tensor in [(n, t) for n, t in tensors if t.requires_grad or not trainable_only]:
            whole = (
                deepspeed.zero.GatheredParameters([tensor])
                if self.zero_stage == 3 and hasattr(tensor, "ds_id")
                else contextlib.nullcontext()
            )
            with whole:
                if self.ranks.first:
                    out[name.split(".", 1)[1]] = tensor.detach().to("cpu", copy=True)
        return out

    def save(self, folder):
        """DeepSpeed's own files: weights, optimizer, scheduler. All ranks call it."""
        self.ds.save_checkpoint(str(folder), tag="state", save_latest=False)

    def load(self, folder):
        """Read what `save` wrote; raises InputError if DeepSpeed refuses."""
        path, _ = self.ds.load_checkpoint(str(folder), tag="state")
        if path is None:
            raise InputError(f"{folder}: this checkpoint cannot be read; delete it to start from the one before")


class Frozen:
    """A module that is only run: whole on every rank, or spread over the ranks like its trained sibling under ZeRO-3."""

    def __init__(self, module, ranks, dtype, zero_stage=0, offload=False):
        """offload: the weights stay in CPU memory between `with` blocks."""
        module.requires_grad_(False).eval()
        self.ranks, self.module, self.offload = ranks, cast_parameters(module, DTYPES[dtype]), offload
        self.run = self.module
        if zero_stage == 3:
            cfg = config(dtype, 3, False, 1, 1, ranks.world, 0.0)
            if offload:
                cfg["zero_optimization"]["offload_param"] = {"device": "cpu"}
            self.run, *_ = deepspeed.initialize(model=self.module, config=cfg, dist_init_required=False)
            self.offload = False
        elif not offload:
            self.module.to(ranks.device)

    def __enter__(self):
        if self.offload:
            self.module.to(self.ranks.device)
        return self.run

    def __exit__(self, *_):
        if self.offload:
            self.module.to("cpu")


def _base(module):
    """The transformers model inside a wrapper module."""
    return next(m for m in module.modules() if hasattr(m, "gradient_checkpointing_enable"))


def _saved_buffers(module):
    persistent = set(module.state_dict(keep_vars=True))
    return [(n, b) for n, b in module.named_buffers() if n in persistent]
