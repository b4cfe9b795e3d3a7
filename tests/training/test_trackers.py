"""--report_to: TensorBoard for real, the others by stand-ins that note how they are called."""

import json
import os
import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from korlhf.core.errors import InputError
from korlhf.training import flags as train_flags
from korlhf.training.flags import DataFlags, ModelFlags, RunFlags, step_parser
from korlhf.training.log import Log
from korlhf.training.trackers import QUIET_WANDB, open_trackers


def run(folder, start=0, steps=(1, 2), **flags):
    flags = RunFlags(output_dir=str(folder), **flags)
    log = Log(folder, "x", 4, start=start, trackers=lambda: open_trackers(flags, folder, {"seed": 1}, start))
    for step in steps:
        log.step(step, {"loss": step / 10, "note": "글", "gone": float("nan")})
    log.close()


def curve(folder):
    events = EventAccumulator(str(folder)).Reload()
    return [(e.step, round(e.value, 3)) for e in events.Scalars("loss")]


def test_tensorboard_has_the_metrics_and_a_resumed_run_goes_on(tmp_path):
    run(tmp_path, report_to=["tensorboard"], steps=(1, 2, 3))
    run(tmp_path, report_to=["tensorboard"], start=2, steps=(3, 4))
    assert curve(tmp_path / "tensorboard") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    run(tmp_path, enable_tensorboard=True, tensorboard_path=str(tmp_path / "events"))
    assert curve(tmp_path / "events") == [(1, 0.1), (2, 0.2)]


@pytest.fixture
def stand_in(monkeypatch):
    """Function: name of a module -> the list of its calls."""

    def make(name):
        calls = []

        def init(**words):
            calls.append(("init", words))
            print(f"* {name} has something to say")
            log = lambda values, step: calls.append((step, json.loads(json.dumps(values))))  # noqa: E731
            return SimpleNamespace(log=log, finish=finish)

        def finish():
            print("* goodbye")
            calls.append("finish")

        monkeypatch.setitem(sys.modules, name, SimpleNamespace(init=init, finish=finish))
        return calls

    return make


def test_wandb_stays_on_the_machine_unless_its_user_says_otherwise(tmp_path, monkeypatch, stand_in):
    for name in QUIET_WANDB:
        monkeypatch.setenv(name, "")  # is as it was after the test
        monkeypatch.delenv(name)
    calls = stand_in("wandb")
    run(tmp_path, report_to=["wandb"])
    assert calls[0][1] == {"project": "korlhf", "name": tmp_path.name, "dir": str(tmp_path), "config": {"seed": 1}}
    assert calls[1:] == [(1, {"loss": 0.1}), (2, {"loss": 0.2}), "finish"]
    seen = {name: os.environ[name] for name in QUIET_WANDB}
    assert seen == QUIET_WANDB and seen["WANDB_MODE"] == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")
    run(tmp_path, report_to=["wandb"], start=2, steps=(3,))
    assert os.environ["WANDB_MODE"] == "online"
    assert calls[4][1]["name"] == f"{tmp_path.name} from step 2"


def test_trackio_says_nothing(tmp_path, stand_in, capsys):
    calls, also = stand_in("trackio"), stand_in("wandb")
    run(tmp_path, report_to=["trackio"])
    assert capsys.readouterr().out == ""
    run(tmp_path, report_to=["wandb"])
    assert calls[0][1]["project"] == "korlhf" and calls[1:] == also[1:] == [
        (1, {"loss": 0.1}),
        (2, {"loss": 0.2}),
        "finish",
    ]


def test_one_that_does_not_open_is_one_line(tmp_path, monkeypatch):
    def init(**_):
        raise RuntimeError("no key\nmore")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with pytest.raises(InputError, match=r"^--report_to wandb: no key; put that right, or leave wandb out$"):
        run(tmp_path, report_to=["wandb"])


def test_other_processes_open_none(tmp_path):
    Log(tmp_path, "x", 4, first=False, trackers=lambda: pytest.fail("opened")).close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["wandb"], "--report_to wandb: wandb is not installed; run: '{python}' -m pip install wandb"),
        (["tensorboard", "none"], "--report_to tensorboard none: none goes with no other"),
        (["none"], ""),
        (["tensorboard"], ""),
    ],
)
def test_what_is_not_installed_is_told_before_anything_starts(given, said, capsys, monkeypatch):
    there = train_flags.importlib.util.find_spec
    monkeypatch.setattr(train_flags.importlib.util, "find_spec", lambda name: None if name == "wandb" else there(name))
    flags = (
        DataFlags(data_path=["x"]),
        {"": ModelFlags(model_name_or_path="x")},
        RunFlags(output_dir="x", report_to=given),
    )
    if not said:
        return train_flags.check(*flags, step_parser(""))
    with pytest.raises(SystemExit):
        train_flags.check(*flags, step_parser(""))
    assert capsys.readouterr().err.startswith(f"error: {said.format(python=sys.executable)}")
