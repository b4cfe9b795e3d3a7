"""What an engine goes on from: other ZeRO stages and numbers of processes, earlier versions' files, planted pickles."""

import json
import os
import pickle
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import warm
from free_port import free_port
from resumed_engines import open_engine, steps
from safetensors import safe_open
from tiny_scripts import ROOT, environment

from korlhf.core.errors import InputError
from korlhf.training import engine

STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def world():
    with patch.dict(os.environ):
        yield engine.start(-1)  # stays: DeepSpeed cannot start again after an end


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """By precision and stage: a checkpoint after 3 steps, the losses of the next 3 and the weights after them."""
    out, folder = {}, tmp_path_factory.mktemp("whole")
    for dtype, stage in [*(("fp32", s) for s in STAGES), ("bf16", 0), ("bf16", 2)]:
        trained, path = open_engine(world, stage, dtype), folder / f"{dtype}_{stage}"
        steps(trained, world, 0, 3)
        trained.save(path)
        of_deepspeed(trained, path.with_name(path.name + "_old"))
        out[dtype, stage] = path, steps(trained, world, 3, 6), trained.state_dict()
    return out


def of_deepspeed(trained, folder):
    """A checkpoint as earlier versions wrote it."""
    trained.ds.save_checkpoint(str(folder), tag="state", save_latest=False)


def test_an_enum_of_early_pythons(world, tmp_path, monkeypatch):
    """Python 3.11.2 writes getattr(ZeroStageEnum, name), and 3.11.7 the value."""
    enum = engine.ZeroStageEnum
    monkeypatch.setattr(enum, "__reduce_ex__", lambda self, _: (getattr, (enum, self.name)))
    trained = open_engine(world, 1, "fp32")
    of_deepspeed(trained, tmp_path / "old")
    resumed(world, tmp_path / "old", 1, "fp32")
    with pytest.raises(pickle.UnpicklingError):
        engine._zero_stage(torch, "load")


def resumed(world, path, stage, dtype):
    again = open_engine(world, stage, dtype)
    again.load(path)
    return steps(again, world, 3, 6), again.state_dict()


def same(a, b):
    return all(torch.equal(v, b[k]) for k, v in a.items()) and a.keys() == b.keys()


@pytest.mark.parametrize("dtype, stage", [("fp32", 0), ("fp32", 1), ("fp32", 2), ("fp32", 3), ("bf16", 0), ("bf16", 2)])
def test_the_same_bits_as_without_a_stop(world, whole, dtype, stage):
    path, losses, weights = whole[dtype, stage]
    for folder in (path, path.with_name(path.name + "_old")):
        again, after = resumed(world, folder, stage, dtype)
        assert again == losses and same(weights, after)


@pytest.mark.parametrize("before, now", [(0, 2), (2, 0), (0, 3), (3, 0), (2, 3), (3, 1)])
def test_another_zero_stage_goes_on(world, whole, before, now):
    path, losses, weights = whole["fp32", before]
    again, after = resumed(world, path, now, "fp32")
    assert again == pytest.approx(losses, rel=1e-6)
    assert max(float((weights[k] - after[k]).abs().max()) for k in weights) < 1e-7


def test_a_checkpoint_holds_neither_pickles_nor_frozen_weights(whole):
    path, *_ = whole["fp32", 2]
    assert sorted(p.name for p in path.iterdir()) == ["engine.json", "rank_0000_0000.safetensors"]
    with safe_open(path / "rank_0000_0000.safetensors", "pt") as file:
        assert {k.split()[0] for k in file.keys()} == {"weight", "exp_avg", "exp_avg_sq"}  # noqa: SIM118 no mapping
        assert not [k for k in file.keys() if "frozen" in k]  # noqa: SIM118


def test_a_weight_that_is_missing_is_named(world, whole, tmp_path):
    path, *_ = whole["fp32", 0]
    (tmp_path / "engine.json").write_bytes((path / "engine.json").read_bytes())
    with pytest.raises(InputError, match=r"has no weight inner.0.weight"):
        open_engine(world, 0, "fp32").load(tmp_path)


class Planted:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["optimizer", "module"])
def test_a_planted_pickle_is_not_run(world, whole, tmp_path, where):
    path, *_ = whole["fp32", 2]
    old = tmp_path / "actor"
    of_deepspeed(open_engine(world, 2, "fp32"), old)
    name = "zero_pp_rank_0_mp_rank_00_optim_states.pt" if where == "optimizer" else "mp_rank_00_model_states.pt"
    torch.save({"module": Planted(tmp_path / "ran")}, old / "state" / name)
    with pytest.raises(InputError, match="this checkpoint of an earlier version cannot be read"):
        open_engine(world, 2, "fp32").load(old)
    assert not (tmp_path / "ran").exists()


def test_two_processes_take_over_from_one_and_one_from_two(world, whole, tmp_path):
    path, losses, weights = whole["fp32", 0]
    shared = {**environment(), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [warm.python(), str(ROOT / "tests/harness/resumed_engines.py"), str(path), str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=shared | {"RANK": r, "LOCAL_RANK": r}, **pipes) for r in "01"]
    out = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], out
    two = [json.loads(line)[0] for line in out[0][0].splitlines() if line.startswith("[")]
    assert two == pytest.approx(losses, rel=1e-5)
    assert len(list((tmp_path / "zero_3").glob("rank_*"))) == 2
    again = open_engine(world, 2)  # step 5 of two processes with ZeRO-3
    again.load(tmp_path / "zero_3")
    assert steps(again, world, 5, 6) == pytest.approx(losses[2:], rel=1e-5)
    assert max(float((weights[k] - v).abs().max()) for k, v in again.state_dict().items()) < 1e-6


@pytest.mark.parametrize("stage", STAGES)
def test_a_model_that_has_not_been_stepped_yet_goes_on(world, tmp_path, stage):
    """As PPO's actor while its critic warms up."""
    trained = open_engine(world, stage)
    trained.save(tmp_path / "actor")
    losses = steps(trained, world, 0, 2)
    again = open_engine(world, stage)
    again.load(tmp_path / "actor")
    assert steps(again, world, 0, 2) == losses and same(trained.state_dict(), again.state_dict())
