"""The loop of the trainings with a toy: what is evaluated and saved when, resumption, and what Ctrl-C promises."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.training.engine import World
from korlhf.training.flags import RunFlags
from korlhf.training.loop import Order, Training, fit
from korlhf.training.run import Run

ALONE = World(0, 1, torch.device("cpu"))


class ToyEngine:
    """One number that a step adds random noise to."""

    value = 0.0

    def train(self):
        pass

    def save(self, folder):
        folder.mkdir()
        (folder / "value").write_text(repr(self.value), encoding="utf-8")

    def load(self, folder):
        self.value = float((folder / "value").read_text(encoding="utf-8"))


class Toy(Training):
    name, title, base, shown, panels, measured = "toy", "Toy", "base", ("loss",), [("loss", ["loss"])], ("loss",)

    def __init__(self, steps=6, stop_at=None):
        self.engine, self.world, self.calls, self.stop_at = ToyEngine(), ALONE, [], stop_at
        self.engines, self.order = {"toy": self.engine}, Order(8, 2, 1, 1, steps, 1, ALONE)

    def train_step(self, step, mine, everyone):
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.engine.value += float(torch.rand(())) * sum(mine[0])
        return {"loss": self.engine.value}

    def evaluate(self):
        self.calls.append("evaluate")
        return {"loss": self.engine.value}

    def heldout_metrics(self, figures):
        return {"heldout_loss": figures["loss"]}

    def report(self, figures, when):
        return f"{when} {figures['loss']:.3f}"

    def save_model(self, folder):
        (folder / "model").write_text(repr(self.engine.value), encoding="utf-8")


def train(folder, toy, **flags):
    run = Run(folder, {"dtype": "fp32"}, ALONE)
    fit(run, toy, RunFlags(output_dir=str(folder), **flags), ["sample/sft"], {"seed": 1})


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_training_from_begin_to_finish(tmp_path, capsys):
    train(tmp_path, Toy(), eval_interval=2)
    rows = metrics(tmp_path)
    # before; after steps 2 and 4 in the row of the step; at the end
    assert [(r["step"], "loss" in r, "heldout_loss" in r) for r in rows] == [
        (0, False, True),
        *((step, True, step in (2, 4)) for step in range(1, 7)),
        (6, False, True),
    ]
    done = json.loads((tmp_path / "finished.json").read_text(encoding="utf-8"))
    assert done["heldout_before"] == {"loss": 0.0} and done["heldout_after"] == {"loss": rows[-1]["heldout_loss"]}
    assert (done["steps"], done["examples"], done["dtype"]) == (6, 8, "fp32")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "- sample/sft" in card and "| held-out loss before | 0.0 |" in card and "| seed | 1 |" in card
    assert "before 0.000" in capsys.readouterr().out and (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("killed_at", [2, 3, 6])
def test_interrupted_and_started_again_is_the_same(tmp_path, killed_at):
    train(tmp_path / "whole", Toy(), save_steps=2, eval_interval=3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", Toy(stop_at=killed_at), save_steps=2, eval_interval=3)
    train(tmp_path / "killed", Toy(), save_steps=2, eval_interval=3)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "killed" / "model").read_bytes()


@pytest.mark.parametrize(
    "save_steps, stop_at, line",
    [
        (0, 4, "stopped without --save_steps: the same command starts from the beginning"),
        (3, 2, "stopped before the first checkpoint (--save_steps 3): the same command starts from the beginning"),
        (3, 5, "stopped; start the same command again to resume after step 3"),
    ],
)
def test_ctrl_c_promises_a_checkpoint_only_where_there_is_one(tmp_path, capsys, save_steps, stop_at, line):
    with pytest.raises(SystemExit) as stopped:
        program.run(lambda: train(tmp_path, Toy(stop_at=stop_at), save_steps=save_steps))
    assert stopped.value.code == 130 and capsys.readouterr().err.splitlines()[-1] == line


def test_fewer_examples_than_a_step_takes():
    with pytest.raises(
        InputError, match="--per_device_train_batch_size 9 x 1 processes x 1 .* the 8 examples there are"
    ):
        Order(8, 9, 1, 1, 0, 1, ALONE)
    assert Order(8, 3, 1, 5, 0, 1, ALONE).total_steps == 10 and Order(8, 3, 1, 5, 4, 1, ALONE).total_steps == 4


class ToldAt(Toy):
    """Gets signals in a step."""

    def __init__(self, step, numbers):
        super().__init__()
        self.told, self.numbers = step, numbers

    def train_step(self, step, mine, everyone):
        if step == self.told:
            for number in self.numbers:
                os.kill(os.getpid(), number)
        return super().train_step(step, mine, everyone)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("save_steps, told", [(0, 1), (2, 3), (2, 4)])
def test_a_training_that_is_told_to_stop_ends_the_step_and_saves(tmp_path, capsys, number, save_steps, told):
    train(tmp_path / "whole", Toy(), eval_interval=3)
    with pytest.raises(SystemExit, match="75"):  # DeepSpeed's launcher doubles a signal
        toy = ToldAt(told, [number, number])
        program.run(lambda: train(tmp_path / "told", toy, save_steps=save_steps, eval_interval=3))
    line = f"stopped; start the same command again to resume after step {told}"
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert signal.getsignal(number) is signal.SIG_DFL
    train(tmp_path / "told", Toy(), save_steps=save_steps, eval_interval=3)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "told")
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "told" / "model").read_bytes()


def test_told_to_stop_in_the_last_step_it_finishes(tmp_path):
    train(tmp_path, ToldAt(6, [signal.SIGTERM]))
    assert (tmp_path / "finished.json").exists()


def test_a_second_signal_ends_at_once():
    program = (
        "import os, signal, time; from korlhf.training import preemption; from korlhf.training.engine import World\n"
        "preemption.ONE_SIGNAL = 0\n"
        "with preemption.Preemption(World.alone()) as told:\n"
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    print(told.agreed(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still there', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "True\n")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, capsys, monkeypatch, error):
    train(tmp_path / "whole", Toy(), save_steps=2)

    def full(*_):
        if list(tmp_path.glob("full/checkpoints/step_000002/manifest.json")):
            raise error
        real(*_)

    real = ToyEngine.save
    monkeypatch.setattr(ToyEngine, "save", full)
    with pytest.raises(SystemExit, match="2"):
        program.run(lambda: train(tmp_path / "full", Toy(), save_steps=2))
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: --output_dir {tmp_path / 'full'}: ") and "No space left on device; mend" in said
    monkeypatch.undo()
    error.__traceback__ = None  # it holds the first run, and so its lock
    train(tmp_path / "full", Toy(), save_steps=2)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "full")
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "full" / "model").read_bytes()
