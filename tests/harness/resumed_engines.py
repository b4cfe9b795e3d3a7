"""Engines of a few weights for the tests of their checkpoints. As a program, one of two processes: it takes over a
checkpoint of step 3 with ZeRO-2, hands its own over to ZeRO-3, and that one's to ZeRO-0; losses as JSON.

python resumed_engines.py CHECKPOINT FOLDER_TO_WRITE_TO
RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are in the environment.
"""

import json
import sys
from pathlib import Path

import torch

from korlhf.training import engine
from korlhf.training.flags import ModelFlags


class Inner(torch.nn.Sequential):
    """Sizes that no number of processes divides; one weight is frozen."""

    def __init__(self):
        super().__init__(torch.nn.Linear(7, 9), torch.nn.Tanh(), torch.nn.Linear(9, 5), torch.nn.Linear(5, 3))
        self.frozen = torch.nn.Parameter(torch.ones(4), requires_grad=False)


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.inner = Inner()

    def forward(self, x):
        return self.inner(x)


def open_engine(world, stage, dtype="fp32"):
    flags = ModelFlags(model_name_or_path="x", zero_stage=stage, learning_rate=0.05, weight_decay=0.1)
    return engine.Engine(Module(), flags, world, engine.Recipe(dtype, 4 // world.size, 1, 6, "cosine", 2))


def steps(trained, world, start, end):
    """Losses of the steps after `start` up to `end`, on the same four rows however many processes there are."""
    trained.train()
    losses = []
    for step in range(start, end):
        torch.manual_seed(step)
        x, y = torch.randn(4, 7), torch.randn(4, 3)
        x, y = x[world.rank :: world.size], y[world.rank :: world.size]
        loss = (trained(x.to(trained.dtype)).float() - y).square().mean()
        trained.backward(loss)
        trained.step()
        losses.append(float(world.sum([float(loss.detach())])[0]) / world.size)
    return losses


def main():
    world, path, out = engine.start(-1), Path(sys.argv[1]), Path(sys.argv[2])
    for step, stage in ((3, 2), (4, 3), (5, 0)):
        trained = open_engine(world, stage)
        trained.load(path)
        losses = steps(trained, world, step, step + 1)
        path = out / f"zero_{stage}"
        trained.save(path)
        world.barrier()
        if world.first:
            print(json.dumps(losses), flush=True)
    engine.stop()


if __name__ == "__main__":
    main()
