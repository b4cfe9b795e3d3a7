"""Where metrics go besides metrics.jsonl, by --report_to: TensorBoard, Weights & Biases, Trackio.

Nothing leaves the machine by itself: W&B writes OUTPUT_DIR/wandb unless WANDB_MODE says otherwise, Trackio a database
in TRACKIO_DIR unless TRACKIO_SPACE_ID names a place on the hub. Their own lines and W&B's error reports are off.
"""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from korlhf.core.errors import InputError
from korlhf.training.flags import RunFlags

PROJECT = "korlhf"
QUIET_WANDB = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_ERROR_REPORTING": "false",
}


class Tracker(NamedTuple):
    """log: called with the numbers of a step (name -> value) and the step; close: at the end of the program."""

    log: Callable[[dict[str, float], int], None]
    close: Callable[[], None]


def open_trackers(flags: RunFlags, folder: Path, settings: dict[str, Any], start: int = 0) -> list[Tracker]:
    """Those of --report_to. folder: of the training; settings: what it is run with; start: steps done before.

    A resumed training goes on in TensorBoard's picture, and is a further run of its own in the others. Raises
    InputError if one cannot be opened.
    """
    trackers = []
    for name in flags.reports:
        try:
            trackers.append(OPEN[name](flags, folder, settings, start))
        except Exception as error:  # no class is common to what they raise
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise InputError(f"--report_to {name}: {said}; put that right, or leave {name} out") from error
    return trackers


def _tensorboard(flags, folder, settings, start):
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    path = flags.tensorboard_path or folder / "tensorboard"
    writer = SummaryWriter(path, purge_step=start + 1 if start else None)  # steps that a kill has undone are hidden

    def log(values, step):
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return Tracker(log, writer.close)


def _wandb(flags, folder, settings, start):
    for name, value in QUIET_WANDB.items():
        os.environ.setdefault(name, value)
    import wandb  # ty: ignore[import-not-found]

    run = wandb.init(project=PROJECT, name=_name(folder, start), dir=str(folder), config=settings)
    return Tracker(lambda values, step: run.log(values, step=step), run.finish)


def _trackio(flags, folder, settings, start):
    import trackio  # ty: ignore[import-not-found]

    with contextlib.redirect_stdout(io.StringIO()):
        run = trackio.init(project=PROJECT, name=_name(folder, start), config=settings, embed=False)

    def close():
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()  # that of the run would be called again at the exit

    return Tracker(lambda values, step: run.log(values, step=step), close)


def _name(folder, start):
    return f"{folder.resolve().name} from step {start}" if start else folder.resolve().name


OPEN = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}
