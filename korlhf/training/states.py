"""What an engine goes on from: trained weights in fp32, AdamW's moments, schedule and loss scale, as safetensors and
JSON. No pickle is written or read: DeepSpeed's own files are pickles, which run what is in them.

Every process writes the parts that it steps, and reads what it needs from the parts of all: the number of processes and
the ZeRO stage may change in between. Frozen weights are not written, they come from the base model again.
"""

import contextlib
import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from korlhf.core.errors import InputError
from korlhf.core.files import write_json

MOMENTS = ("exp_avg", "exp_avg_sq")
FILE_BYTES = 2**30  # a file's tensors lie in host memory a second time while they are written
COUNTERS = ("global_steps", "global_samples", "skipped_steps")


@dataclass(frozen=True)
class Part:
    """The values `at` to `at + length` of a trained weight, flat: those of `stepped` from `start` on.

    stepped: the fp32 tensor that the optimizer steps.
    """

    stepped: torch.Tensor
    start: int
    at: int
    length: int

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """This part of a tensor that is laid out as `stepped` is; a view."""
        return values.detach().view(-1)[self.start : self.start + self.length]


def trained(module: torch.nn.Module) -> dict[str, Any]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def own_parts(ds: Any, rank: int) -> dict[str, Part]:
    """Name -> the part that this process steps; weights of which it steps nothing are left out."""
    optimizer, out = ds.optimizer, {}
    masters = {}
    if hasattr(optimizer, "fp16_groups") and hasattr(optimizer, "fp32_groups"):  # 16 bits without ZeRO
        pairs = zip(optimizer.fp16_groups, optimizer.fp32_groups)
        masters = {id(p): master for low, high in pairs for p, master in zip(low, high)}
    for name, p in trained(ds.module).items():
        if hasattr(p, "ds_id"):  # ZeRO-3: equal parts, the last one padded
            group, start, length = optimizer.grad_position[optimizer.get_param_id(p)]
            at = rank * p.ds_tensor.ds_numel
            length = max(0, min(length, p.ds_numel - at))
            out[name] = Part(optimizer.fp32_partitioned_groups_flat[group], start, at, length)
        elif hasattr(p, "_hp_mapping"):  # ZeRO-1 and 2: a weight may begin in one process's part and end in another's
            if (mapping := p._hp_mapping) is not None:
                flats = getattr(optimizer, "single_partition_of_fp32_groups", None)
                flat = (flats or optimizer.fp32_groups_flat_partition)[mapping.param_group_index]
                address = mapping.hp_fragment_address
                out[name] = Part(flat, address.start, mapping.lp_fragment_address.start, address.numel)
        else:
            out[name] = Part(masters.get(id(p), p), 0, 0, p.numel())
    return {name: part for name, part in out.items() if part.length}


def save(ds: Any, folder: Path, rank: int, spread: bool) -> None:
    """Write this process's files into `folder`; spread: whether processes step different parts (ZeRO)."""
    folder.mkdir(parents=True, exist_ok=True)
    if rank and not spread:
        return
    states = _adamw(ds).state
    tensors: dict[str, torch.Tensor] = {}
    notes: dict[str, tuple[int, float | None]] = {}  # name -> [at, steps]
    files, size = 0, 0
    parts = own_parts(ds, rank)
    for i, (name, part) in enumerate(parts.items(), 1):
        state = states.get(part.stepped) or {}
        whole = {"weight": part.stepped, **{k: state[k] for k in MOMENTS if k in state}}
        tensors |= {f"{k} {name}": part.of(v).to("cpu", copy=True) for k, v in whole.items()}
        notes[name] = part.at, float(state["step"]) if state else None
        size += part.length * 4 * len(whole)
        if size >= FILE_BYTES or i == len(parts):
            metadata = {"parts": json.dumps(notes)}
            save_file(tensors, folder / f"rank_{rank:04d}_{files:04d}.safetensors", metadata)
            tensors, notes, files, size = {}, {}, files + 1, 0
    if rank == 0:
        write_json(folder / "engine.json", _scalars(ds))


def load(ds: Any, folder: Path, rank: int) -> None:
    """Take over what `save` wrote, in whatever parts.

    Raises InputError if a trained weight is not among it.
    """
    states, scalars = _adamw(ds).state, json.loads((folder / "engine.json").read_text(encoding="utf-8"))
    parts = own_parts(ds, rank)
    with _Written.open(folder) as written, torch.no_grad():
        for name, p in trained(ds.module).items():
            if name not in written.steps:
                raise InputError(f"{folder}: this checkpoint has no weight {name}; give another --output_dir")
            part = parts.get(name)
            if part:
                part.of(part.stepped).copy_(written.read("weight", name, part.at, part.length))
                if written.steps[name] is not None:
                    _load_moments(states, part, name, written)
            _load_live(p, part, name, written)
    ds.lr_scheduler.load_state_dict(scalars["schedule"])
    for group, lr in zip(_adamw(ds).param_groups, scalars["learning_rates"], strict=True):
        group["lr"] = lr
    for k in COUNTERS:
        setattr(ds, k, scalars[k])
    scale = _loss_scale(ds)
    for k, v in scalars["loss_scale"].items():
        if hasattr(scale, k):
            setattr(scale, k, v)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Name -> trained weight, flat, fp32, on the CPU: of what `save` wrote."""
    with _Written.open(folder) as written:
        return {name: written.read("weight", name, 0, written.length(name)) for name in written.steps}


def _load_moments(states, part, name, written):
    state = states[part.stepped]
    if "step" not in state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=part.stepped.device)
    state["step"].fill_(written.steps[name])
    for k in MOMENTS:
        if k not in state:
            state[k] = torch.zeros_like(part.stepped, memory_format=torch.preserve_format)
        part.of(state[k]).copy_(written.read(k, name, part.at, part.length))


def _load_live(p, part, name, written):
    """The weights that the passes use: the stepped ones, rounded to their precision."""
    if hasattr(p, "ds_id"):
        if part:
            p.ds_tensor.view(-1)[: part.length].copy_(part.of(part.stepped))
        if p.numel() == p.ds_numel:  # ZeRO-3 keeps small ones whole
            p.data.copy_(written.read("weight", name, 0, p.ds_numel).view(p.ds_shape))
    elif part is None or part.stepped is not p:
        p.data.copy_(written.read("weight", name, 0, p.numel()).view_as(p))


class _Written:
    """All files of a folder."""

    def __init__(self, files):
        self.parts: dict[str, list] = {}  # name -> [(file, at)]
        self.steps: dict[str, float | None] = {}
        for file in files:
            for name, (at, steps) in json.loads(file.metadata()["parts"]).items():
                self.parts.setdefault(name, []).append((file, at))
                self.steps[name] = steps

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path) -> Generator["_Written"]:
        with contextlib.ExitStack() as stack:
            paths = sorted(folder.glob("rank_*.safetensors"))
            yield cls([stack.enter_context(safe_open(path, "pt")) for path in paths])

    def length(self, name):
        """Of a weight, all parts together."""
        return max(at + file.get_slice(f"weight {name}").get_shape()[0] for file, at in self.parts[name])

    def read(self, key, name, at, length):
        """The values `at` to `at + length` of a weight or its moment, flat, on the CPU."""
        out = torch.empty(length)
        for file, begin in self.parts[name]:
            values = file.get_slice(f"{key} {name}")
            first, last = max(at, begin), min(at + length, begin + values.get_shape()[0])
            if first < last:
                out[first - at : last - at] = values[first - begin : last - begin]
        return out


def _adamw(ds) -> torch.optim.Optimizer:
    """torch's optimizer inside DeepSpeed's."""
    return ds.optimizer if isinstance(ds.optimizer, torch.optim.Optimizer) else ds.optimizer.optimizer


def _loss_scale(ds):
    return getattr(ds.optimizer, "loss_scale_config", None) or getattr(ds.optimizer, "loss_scaler", None)


def _scalars(ds) -> dict[str, Any]:
    scale = vars(scaler) if (scaler := _loss_scale(ds)) else {}
    return {
        "schedule": ds.lr_scheduler.state_dict(),
        "learning_rates": [float(group["lr"]) for group in _adamw(ds).param_groups],
        "loss_scale": {k: v for k, v in scale.items() if type(v) in (int, float)},
        **{k: getattr(ds, k) for k in COUNTERS},
    }
