"""Exponential moving average of the trained weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from korlhf.training import shares
from korlhf.training.engine import Engine


class EMA:
    """The average of an engine's trained weights in fp32: each process keeps its part of every weight, on the device,
    or with --offload in CPU memory.
    """

    def __init__(self, engine: Engine, decay: float, folder: Path):
        """folder: of the run's checkpoints, next to which the average is saved."""
        self.engine, self.decay, self.folder = engine, decay, folder
        device = torch.device("cpu") if engine.offload else engine.world.device
        self.shares = {k: v.to(device, torch.float32, copy=True) for k, v in shares.own(engine).items()}

    def update(self) -> None:
        for name, share in shares.own(self.engine).items():
            average = self.shares[name]
            average.lerp_(share.to(average), 1 - self.decay)

    def weights(self) -> dict[str, torch.Tensor]:
        """The whole average on the CPU of rank 0; others get an empty dict. All processes call it."""
        return shares.join(self.engine, self.shares)

    def save(self, step: int) -> None:
        """Before the checkpoint of `step` is written; averages of checkpoints that are gone go too."""
        weights = self.weights()
        if self.engine.world.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for old in self.folder.glob("ema_*.safetensors"):
                if not (self.folder / old.stem.replace("ema", "step")).exists():
                    old.unlink()
            save_file(weights, self.folder / f"ema_{step:06d}.safetensors")

    def load(self, step: int) -> None:
        weights = load_file(self.folder / f"ema_{step:06d}.safetensors")
        for name, average in self.shares.items():
            average.copy_(shares.part(weights[name], self.engine.world))
