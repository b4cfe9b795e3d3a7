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

    def __init__(self, engine: Engine, decay: float):
        self.engine, self.decay = engine, decay
        device = torch.device("cpu") if engine.offload else engine.world.device
        self.shares = {k: v.to(device, torch.float32, copy=True) for k, v in shares.own(engine).items()}

    def update(self) -> None:
        for name, share in shares.own(self.engine).items():
            average = self.shares[name]
            average.lerp_(share.to(average), 1 - self.decay)

    def weights(self) -> dict[str, torch.Tensor]:
        """The whole average on the CPU of rank 0; others get an empty dict. All processes call it."""
        return shares.join(self.engine, self.shares)

    def save(self, folder: Path) -> None:
        """Into `folder` of a checkpoint. All processes call it."""
        weights = self.weights()
        if self.engine.world.first:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(weights, folder / "average.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        path, checkpoint = folder / "average.safetensors", folder.parent
        if not path.exists():  # earlier versions wrote it next to the checkpoint
            path = checkpoint.with_name(checkpoint.name.replace("step_", "ema_") + ".safetensors")
        weights = load_file(path)
        for name, average in self.shares.items():
            average.copy_(shares.part(weights[name], self.engine.world))
