"""Steps whose loss is not finite, in every ZeRO stage and precision, between two good ones: what each did, as JSON
lines.
"""

import json

import torch

from korlhf.training import engine
from korlhf.training.flags import ModelFlags
from korlhf.training.world import DTYPES


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)

    def get_output_embeddings(self):
        return None


class Outer(torch.nn.Module):
    """As TokenLogps holds a language model."""

    def __init__(self):
        super().__init__()
        self.model = Inner()

    def forward(self, x):
        return self.model.second(self.model.first(x).tanh()).float()


def step(trained, x, bad):
    """One step of two forward passes, `bad` added to the loss of the first; the weights after it."""
    for k in range(2):
        trained.backward((trained(x) ** 2).mean() + (bad if k == 0 else 0.0))
        trained.step()
    return trained.state_dict()


def train(world, dtype, zero_stage, offload, bads):
    """After each of a good step, the bad ones and a good one: the weights, the steps left out, the rate, the norm."""
    torch.manual_seed(0)
    flags = ModelFlags(model_name_or_path="x", zero_stage=zero_stage, learning_rate=0.1)
    recipe = engine.Recipe(dtype, 1, 2, 10, schedule="linear", offload=offload)
    trained = engine.Engine(Outer(), flags, world, recipe)
    trained.train()
    x = torch.randn(3, 4, device=world.device).to(DTYPES[dtype])
    return [(step(trained, x, bad), trained.skipped, trained.lr, trained.grad_norm()) for bad in (0.0, *bads, 0.0)]


def main():
    world = engine.start(-1)
    for dtype in ("fp32", "bf16"):
        for zero_stage, offload in ((0, False), (1, False), (2, False), (2, True), (3, False), (3, True)):
            whole, cut = (
                train(world, dtype, zero_stage, offload, bads) for bads in ((), (float("nan"), float("inf"), -1e400))
            )
            same = [{k: torch.equal(v, cut[0][0][k]) for k, v in row[0].items()} for row in cut]
            row = {
                "case": [dtype, zero_stage, offload],
                "left_out": [row[1] for row in cut],
                "kept": [all(s.values()) for s in same],
                "rates": [row[2] for row in cut],
                "norms": [repr(row[3]) for row in cut],
                "as_without": all(torch.equal(v, whole[-1][0][k]) for k, v in cut[-1][0].items()),
                "rate_as_without": whole[-1][2] == cut[-1][2],
            }
            print(json.dumps(row), flush=True)
    engine.stop()


if __name__ == "__main__":
    main()
