"""What the engine hands to DeepSpeed."""

from types import SimpleNamespace

import pytest
import torch

from korlhf.core.errors import Diverged, InputError
from korlhf.training import engine
from korlhf.training.flags import ModelFlags
from korlhf.training.optimizer import open_optimizer, parameter_groups
from korlhf.training.world import World, resolve_dtype

ALONE = World(0, 1, torch.device("cpu"))


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


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.5])
def test_checked_steps_are_those_of_torch_but_for_the_ones_left_out(max_grad_norm):
    modules = Module(), Module()
    modules[1].load_state_dict(modules[0].state_dict())
    flags = ModelFlags(model_name_or_path="x", learning_rate=0.1)
    checked = open_optimizer(modules[0], flags, "fp32", max_grad_norm)
    assert type(open_optimizer(Module(), flags, "bf16", 1.0)) is torch.optim.AdamW  # DeepSpeed looks there
    plain = torch.optim.AdamW(parameter_groups(modules[1], flags), betas=(0.9, 0.95))
    for step in range(4):
        bad = {1: float("nan"), 2: float("inf")}.get(step, 1.0)
        for module in modules:
            for p in module.parameters():
                p.grad = torch.full_like(p, 3.0 * (step + 1) + p.numel())
        modules[0].layer.bias.grad[1] *= bad
        checked.step()
        assert checked.overflow == (bad != 1)
        if bad == 1:
            norm = torch.cat([p.grad.flatten() for p in modules[1].parameters()]).norm()
            assert checked._global_grad_norm == pytest.approx(float(norm))
            if max_grad_norm:
                torch.nn.utils.clip_grad_norm_(modules[1].parameters(), max_grad_norm)
            plain.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*(m.parameters() for m in modules)))


class Scaling:
    """A DeepSpeed engine with fp16 that finds every gradient to be not finite."""

    def __init__(self, scale, fails=""):
        self.optimizer, self.fails = SimpleNamespace(loss_scale=scale), fails

    def is_gradient_accumulation_boundary(self):
        return True

    def was_step_applied(self):
        return False

    def step(self):
        if self.fails:
            raise Exception(self.fails)


def test_what_the_loss_scaler_leaves_out_is_no_divergence_until_it_can_scale_no_further():
    fp16 = engine.Engine.__new__(engine.Engine)
    fp16.dtype, fp16.world, fp16.skipped, fp16.version = torch.float16, ALONE, 0, 0
    for scale, skipped in ((4096.0, 0), (2.0, 0), (1.0, 1)):
        fp16.ds = Scaling(scale)
        fp16.step()
        assert fp16.skipped == skipped
    fp16.ds.optimizer.loss_scale_config = SimpleNamespace(cur_scale=8.0)  # as without ZeRO
    fp16.step()
    assert fp16.skipped == 1
    fp16.ds = Scaling(1.0, "Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.")
    with pytest.raises(Diverged, match="--dtype bf16"):
        fp16.step()
    fp16.ds = Scaling(1.0, "something else")
    with pytest.raises(Exception, match="something else"):
        fp16.step()


def test_dtype():
    assert resolve_dtype("auto", torch.device("cpu")) == "fp32"
    with pytest.raises(InputError, match="--dtype fp16"):
        resolve_dtype("fp16", torch.device("cpu"))
