"""What a run tells: its progress, metrics.jsonl, trackers and a picture, by the first process only; time and memory."""

import json
import resource
import time
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from korlhf.core import progress
from korlhf.core.files import AtomicFile, sync
from korlhf.training.trackers import Tracker


class Log:
    """Progress and metrics of one run; in other processes than the first every method does nothing."""

    def __init__(
        self,
        folder: str | Path,
        name: str,
        total: int,
        first: bool = True,
        start: int = 0,
        trackers: Callable[[], Sequence[Tracker]] = tuple,
    ):
        """total: steps; start: steps done before this process; trackers: opens those of --report_to.

        Metrics of later steps, left by a killed process, are cut off.
        """
        self.active, self.path = first, Path(folder) / "metrics.jsonl"
        if not first:
            return
        self._cut(start)
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 closed by close()
        self.trackers = trackers()
        self.bar = progress.bar(total=total, desc=name, unit="step", initial=start)

    def _cut(self, start):
        """Never in place: killed in the middle, the file is the old one or the new one."""
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        keep = "".join(line + "\n" for line, row in _rows(text) if start and row["step"] <= start)
        if keep != text:
            with AtomicFile(self.path, wait=10.0) as file:
                file.write(keep)

    def step(self, step: int, values: dict[str, Any], shown: tuple[str, ...] = ()) -> None:
        """Advance the bar by one step and write `values` (name -> number); shown: the names that appear on the bar."""
        if self.active:
            self.bar.set_postfix({k: f"{values[k]:.3g}" for k in shown if values.get(k) is not None}, False)
            self.bar.update(1)
            self.write(step, values)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Write `values` for `step` without advancing the bar."""
        if self.active:
            # JSON knows no NaN: what is not finite stands in `warnings`
            values = {k: v for k, v in values.items() if v is not None and (not isinstance(v, float) or isfinite(v))}
            print(json.dumps({"step": step, **values}, ensure_ascii=False), file=self.file, flush=True)
            numbers = {k: v for k, v in values.items() if isinstance(v, (int, float))}
            for tracker in self.trackers:
                tracker.log(numbers, step)

    def sync(self) -> None:
        """What is written is on the disk when this returns: before the checkpoint from which a resumption goes on."""
        if self.active:
            sync(self.path)

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self.active and text:
            progress.say(text)

    def close(self) -> None:
        if self.active:
            self.bar.close()
            self.file.close()
            for tracker in self.trackers:
                tracker.close()


def _rows(text):
    """(line, its dict) of metrics.jsonl; a line that a kill has cut, or a broken one, is left out."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            yield line, row


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """metrics.jsonl of a run as a list of dicts; a line cut by a kill is skipped."""
    path = Path(folder) / "metrics.jsonl"
    return [row for _, row in _rows(path.read_text(encoding="utf-8", errors="replace"))] if path.exists() else []


def curves(folder: str | Path, panels: list[tuple[str, list[str]]], title: str) -> None:
    """Draw `panels` (heading, names of metrics) of a run's metrics.jsonl into folder/curves.png."""
    from matplotlib.figure import Figure  # slow to import; without pyplot, which no file needs

    rows = read_metrics(folder)
    figure = Figure(figsize=(4.2 * len(panels), 3.2))
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, (heading, names) in zip(axes[0], panels):
        for name in names:
            points = [(r["step"], r[name]) for r in rows if name in r]
            if points:
                axis.plot(*zip(*points), label=name, marker="o" if len(points) < 12 else None, markersize=3)
        axis.set_title(heading, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(Path(folder) / "curves.png", dpi=110)


def peak_memory_mb(device: torch.device) -> float:
    """Highest memory of this process so far in MiB: of the GPU if there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clock:
    """Seconds since the last call of `lap`."""

    def __init__(self):
        self.at = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        passed, self.at = now - self.at, now
        return passed
