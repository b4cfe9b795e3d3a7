"""Exponential moving average of the trained weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from korlhf.training.engine import Engine


class EMA:
    """The average of an engine's trained weights, in fp32 on the CPU of rank 0; empty elsewhere."""

    def __init__(self, engine: Engine, decay: float, folder: Path):
        """folder: of the run's checkpoints, next to which the average is saved."""
        self.engine, self.decay, self.folder = engine, decay, folder
        self.weights: dict[str, torch.Tensor] = {
            k: v.float() for k, v in engine.state_dict(trainable_only=True).items()
        }

    def update(self) -> None:
        for name, tensor in self.engine.state_dict(trainable_only=True).items():
            self.weights[name].lerp_(tensor.float(), 1 - self.decay)

    def save(self, step: int) -> None:
        """Before the checkpoint of `step` is written; averages of checkpoints that are gone go too."""
        if self.weights:
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.glob("ema_*.safetensors"):
                if not (self.folder / old.stem.replace("ema", "step")).exists():
                    old.unlink()
            save_file(self.weights, self.folder / f"ema_{step:06d}.safetensors")

    def load(self, step: int) -> None:
        if self.weights:
            self.weights = load_file(self.folder / f"ema_{step:06d}.safetensors")
