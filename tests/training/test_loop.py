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
from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.training.flags import RunFlags
from korlhf.training.loop import Order, Training, fit
from korlhf.training.run import Run
from korlhf.training.world import World

ALONE = World(0, 1, torch.device("cpu"))


class ToyEngine:
    """One number that a step adds random noise to."""

    value, skipped, broken = 0.0, 0, False

    def train(self):
        pass

    def non_finite(self):
        return "toy.weight" if self.broken else None

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
    settings = {"dtype": "fp32", "max_steps": flags.get("max_steps", 0), "total_steps": toy.order.total_steps}
    run = Run(folder, settings, ALONE)
    if run.finished:
        return
    fit(run, toy, RunFlags(output_dir=str(folder), **flags), ["sample/sft"])


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
    assert "\n- sample/sft\n\n8 examples, 6 steps, seed 1, fp32\n" in card and "Made from `base` with" in card
    assert f"| loss | 0 | {rows[-1]['heldout_loss']:.4g} |\n" in card and str(tmp_path) not in card
    assert "before 0.000" in capsys.readouterr().out and (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("killed_at", [2, 3, 6])
def test_interrupted_and_started_again_is_the_same(tmp_path, killed_at):
    train(tmp_path / "whole", Toy(), save_steps=2, eval_interval=3)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", Toy(stop_at=killed_at), save_steps=2, eval_interval=3)
    train(tmp_path / "killed", Toy(), save_steps=2, eval_interval=3)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "killed" / "model").read_bytes()


def test_a_run_is_ended_early_and_goes_on_as_if_it_had_not_been(tmp_path):
    train(tmp_path / "whole", Toy(6))
    train(tmp_path / "longer", Toy(4), save_steps=2, max_steps=4)
    assert json.loads((tmp_path / "longer" / "finished.json").read_text(encoding="utf-8"))["steps"] == 4
    train(tmp_path / "longer", Toy(4), save_steps=2, max_steps=4)  # nothing to do
    train(tmp_path / "longer", Toy(6))
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "longer" / "model").read_bytes()
    assert json.loads((tmp_path / "longer" / "finished.json").read_text(encoding="utf-8"))["steps"] == 6
    rows = metrics(tmp_path / "longer")
    ended = {"step": 4, "heldout_loss": rows[4]["loss"]}
    assert rows.pop(5) == ended and rows == metrics(tmp_path / "whole")
    assert not (tmp_path / "longer" / "checkpoints").exists()


def test_a_finished_run_whose_last_checkpoint_is_not_whole_stays_finished(tmp_path):
    train(tmp_path, Toy(4), save_steps=2, max_steps=4)
    (kept,) = (tmp_path / "checkpoints").iterdir()
    for damage in (lambda: (kept / "toy" / "value").write_text("x"), lambda: (kept / "manifest.json").unlink()):
        damage()
        with pytest.raises(InputError, match="kept no whole checkpoint to go on from"):
            train(tmp_path, Toy(6))
        assert (tmp_path / "finished.json").exists()


def test_an_unfinished_run_ends_where_it_is_told_to(tmp_path):
    train(tmp_path / "whole", Toy(3))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", Toy(6, stop_at=4), save_steps=3)
    with pytest.raises(InputError, match="stands at step 3, and .* end it after 2; --max_steps 3 makes"):
        train(tmp_path / "killed", Toy(2), max_steps=2)
    train(tmp_path / "killed", Toy(3), max_steps=3)
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "killed" / "model").read_bytes()


def test_a_finished_run_without_a_checkpoint_or_that_is_longer_is_left_as_it_is(tmp_path):
    train(tmp_path, Toy(4))
    before = (tmp_path / "settings.json").read_bytes()
    with pytest.raises(InputError, match="is finished after 4 steps and kept no whole checkpoint to go on from"):
        train(tmp_path, Toy(6))
    with pytest.raises(InputError, match="is finished after 4 steps, more than the 2 wanted now"):
        train(tmp_path, Toy(2))
    assert (tmp_path / "finished.json").exists() and (tmp_path / "settings.json").read_bytes() == before


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


NAN = float("nan")


class Diverging(Toy):
    """Its loss and whether its gradient is finite are given: step -> loss, steps whose update is left out."""

    remedies = {"": "a lower --learning_rate"}

    def __init__(self, losses=None, skipped=(), heldout=1.0, broken_at=None, **how):
        super().__init__(**how)
        self.losses, self.skipped, self.heldout, self.broken_at = losses or {}, skipped, heldout, broken_at

    def train_step(self, step, mine, everyone):
        metrics = super().train_step(step, mine, everyone)
        self.engine.skipped += step in self.skipped
        self.engine.broken = self.broken_at is not None and step >= self.broken_at
        return metrics | {"loss": self.losses.get(step, metrics["loss"])}

    def evaluate(self):
        return None if self.heldout is None else {"loss": self.heldout}


def ended(folder, toy, capsys, **flags):
    """(exit code, last line on stderr, names of the checkpoints) of a training that ends early."""
    with pytest.raises(SystemExit) as end:
        program.run(lambda: train(folder, toy, **flags))
    assert not (folder / "finished.json").exists() and not (folder / "model").exists()
    kept = sorted(p.name for p in (folder / "checkpoints").glob("*"))
    return end.value.code, capsys.readouterr().err.splitlines()[-1], kept


def test_bad_steps_are_told_and_a_run_goes_on(tmp_path, capsys):
    train(tmp_path, Diverging({2: NAN, 3: NAN, 5: NAN}, skipped=[2, 3, 5]))
    rows, both = metrics(tmp_path), ["non_finite_loss", "non_finite_grad_norm"]
    assert [row.get("warnings") for row in rows] == [None, None, both, None, None, both, None, None]
    assert "loss" not in rows[2] and "NaN" not in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    text = "loss, gradient of the toy model not finite; the step was not applied; try a lower --learning_rate"
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warnings == [f"warning: step {step}: {text}" for step in (2, 5)]
    done = json.loads((tmp_path / "finished.json").read_text(encoding="utf-8"))
    assert done["warnings"] == [{"step": step, "name": name, "text": text} for step in (2, 5) for name in both]


def test_too_many_bad_steps_in_a_row_end_the_run_at_the_last_good_checkpoint(tmp_path, capsys):
    toy = Diverging(dict.fromkeys(range(4, 12), NAN), steps=12)
    code, line, kept = ended(tmp_path, toy, capsys, save_steps=1, max_bad_steps=3)
    # of steps 2 and 3 both are kept until step 4, which finds that the update of step 3 broke the model
    assert (
        code == 3
        and kept == ["step_000002"]
        and line
        == (
            "error: diverged at step 6: loss not finite in 3 steps in a row (--max_bad_steps 3); "
            "try a lower --learning_rate. The last good checkpoint is that of step 2"
        )
    )
    assert metrics(tmp_path)[-1]["step"] == 6


def test_the_only_checkpoint_is_left_but_not_called_good(tmp_path, capsys):
    code, line, kept = ended(tmp_path, Diverging({3: NAN}, steps=9), capsys, save_steps=2, stop_on_divergence=True)
    assert code == 3 and kept == ["step_000002"]
    assert line.endswith("The only checkpoint is that of step 2, and no step from it was finite")


def test_no_more_checkpoints_are_kept_than_asked_for(tmp_path):
    seen, toy = [], Diverging(steps=9)
    toy.comment = lambda step: seen.append(len(list(tmp_path.glob("checkpoints/step_*")))) or ""
    train(tmp_path, toy, save_steps=2, save_total_limit=2)
    assert seen == [0, 0, 1, 1, 2, 2, 3, 2, 3]  # before the check of each step; the third until it is known to be good


@pytest.mark.parametrize(
    "toy, what",
    [
        (Diverging({5: NAN, 6: NAN}), "diverged at step 6: loss not finite in 2 steps in a row"),
        (Diverging({6: NAN}, heldout=None), "diverged at step 6: loss not finite; "),
        (Diverging(heldout=NAN), "diverged at step 6: heldout_loss not finite; try a lower --learning_rate"),
        (Diverging(broken_at=6), "diverged at step 6: the weight toy.weight of the toy is not finite; "),
    ],
)
def test_what_is_not_finite_at_the_end_is_no_finished_model(tmp_path, capsys, toy, what):
    code, line, _ = ended(tmp_path, toy, capsys)
    assert code == 3 and line.startswith(f"error: {what}") and line.endswith("There is no checkpoint")


def test_one_bad_step_at_the_end_is_let_pass_if_the_evaluation_is_finite(tmp_path):
    train(tmp_path, Diverging({6: NAN}))
    assert (tmp_path / "finished.json").exists()


def test_weights_that_are_not_finite_are_never_saved(tmp_path, capsys):
    code, line, kept = ended(tmp_path, Diverging(broken_at=4), capsys, save_steps=2)
    assert (code, kept) == (3, ["step_000002"])
    assert "the weight toy.weight" in line and line.endswith("The last good checkpoint is that of step 2")


def test_it_stops_at_the_first_sign_of_a_collapse_if_asked(tmp_path, capsys):
    class Collapsing(Diverging):
        def train_step(self, step, mine, everyone):
            return super().train_step(step, mine, everyone) | {"entropy": 1.0 if step < 4 else 0.05}

    train(tmp_path / "on", Collapsing())
    assert json.loads((tmp_path / "on" / "finished.json").read_text(encoding="utf-8"))["warnings"][0]["step"] == 4
    capsys.readouterr()
    code, line, kept = ended(tmp_path / "off", Collapsing(), capsys, save_steps=1, stop_on_divergence=True)
    assert (code, kept) == (3, ["step_000002"]) and line.startswith(
        "error: stopped at step 4 (--stop_on_divergence): the entropy fell to 0.05 nats per token"
    )


@pytest.mark.parametrize("killed_at", [4, 6])
def test_warnings_of_a_resumed_run_are_those_of_a_whole_one(tmp_path, killed_at):
    losses = {3: NAN, 4: NAN, 7: NAN}
    train(tmp_path / "whole", Diverging(losses, steps=8), save_steps=2)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", Diverging(losses, steps=8, stop_at=killed_at), save_steps=2)
    train(tmp_path / "killed", Diverging(losses, steps=8), save_steps=2, max_bad_steps=5)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")
    whole, killed = ((tmp_path / k / "finished.json").read_text(encoding="utf-8") for k in ("whole", "killed"))
    assert json.loads(whole)["warnings"] == json.loads(killed)["warnings"] != []


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
        "import os, signal, time; from korlhf.training import preemption; from korlhf.training.world import World\n"
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


class Unscorable(Toy):
    """Its reward's server is away from an evaluation or a step on, before that has changed anything."""

    def __init__(self, step=None, evaluation=None, error=Unavailable):
        super().__init__()
        self.away, self.error = (step, evaluation), error

    def train_step(self, step, mine, everyone):
        if step == self.away[0]:
            raise self.error("the reward x gave no scores")
        return super().train_step(step, mine, everyone)

    def evaluate(self):
        if len(self.calls) + 1 == self.away[1]:
            raise self.error("the reward x gave no scores")
        return super().evaluate()


@pytest.mark.parametrize("save_steps", [0, 2])
@pytest.mark.parametrize(
    "step, evaluation, kept",
    [(1, None, 0), (3, None, 2), (4, None, 3), (None, 1, 0), (None, 2, 2), (None, 3, 4), (None, 4, 6)],
)
def test_a_step_that_cannot_be_scored_leaves_the_one_before_and_goes_on_as_if_it_were_not(
    tmp_path, capsys, save_steps, step, evaluation, kept
):
    """Evaluations: before, after steps 2 and 4, and at the end."""
    train(tmp_path / "whole", Toy(), eval_interval=2, save_steps=save_steps)
    for _ in range(2):  # the server is still away
        with pytest.raises(SystemExit, match="75"):
            toy = Unscorable(step, evaluation)
            if kept and evaluation and (tmp_path / "away/checkpoints").exists():
                toy.away = None, 1
            program.run(lambda toy=toy: train(tmp_path / "away", toy, eval_interval=2, save_steps=save_steps))
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("the reward x gave no scores; stopped")
        assert not kept or line.endswith(f"to resume after step {kept}")
    train(tmp_path / "away", Toy(), eval_interval=2, save_steps=save_steps)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "away")
    assert (tmp_path / "whole" / "model").read_bytes() == (tmp_path / "away" / "model").read_bytes()


def test_a_reward_that_is_broken_keeps_the_step_before_too(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        program.run(lambda: train(tmp_path, Unscorable(3, error=Unscored)))
    assert "the reward x gave no scores; stopped; start the same command again" in capsys.readouterr().err
    assert (tmp_path / "checkpoints/step_000002/state.json").exists()
