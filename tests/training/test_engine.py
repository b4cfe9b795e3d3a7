"""What the engine hands to DeepSpeed."""

import pytest
import torch

from korlhf.core.errors import InputError
from korlhf.training import engine
from korlhf.training.flags import ModelFlags

ALONE = engine.World(0, 1, torch.device("cpu"))


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.lora_A = torch.nn.Linear(2, 3), torch.nn.Linear(2, 1, bias=False)


def test_learning_rates_decay_and_betas_reach_the_optimizer(monkeypatch):
    given = {}
    monkeypatch.setattr(engine.deepspeed, "initialize", lambda **kwargs: (given.update(kwargs), None, None, None))
    flags = ModelFlags(
        model_name_or_path="x",
        learning_rate=0.1,
        lora_learning_rate=0.2,
        weight_decay=0.3,
        adam_beta1=0.8,
        adam_beta2=0.99,
    )
    engine.Engine(Module(), flags, ALONE, engine.Recipe("fp32", 4, 2, 10, num_warmup_steps=2, offload=True))
    groups = {tuple(p.shape): g for g in given["optimizer"].param_groups for p in g["params"]}
    assert all(g["betas"] == (0.8, 0.99) for g in groups.values())
    found = {shape: (g["initial_lr"], g["weight_decay"]) for shape, g in groups.items()}
    assert found == {(3, 2): (0.1, 0.3), (3,): (0.1, 0.0), (1, 2): (0.2, 0.3)}
    config = given["config"]
    # without ZeRO and in fp32 the optimizer clips
    assert (config["train_batch_size"], config["gradient_clipping"], given["optimizer"].max_grad_norm) == (8, 0.0, 1.0)
    assert "offload_optimizer" not in config["zero_optimization"]  # without ZeRO there is nothing to move


def test_dtype():
    assert engine.resolve_dtype("auto", torch.device("cpu")) == "fp32"
    with pytest.raises(InputError, match="--dtype fp16"):
        engine.resolve_dtype("fp16", torch.device("cpu"))
