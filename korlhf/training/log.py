"""What a run tells: a progress bar, metrics.jsonl, TensorBoard and a picture. Rank 0 only."""

import json
import sys
from pathlib import Path

from tqdm import tqdm


class Log:
    """Progress and metrics of one run; on other ranks than the first every method does nothing."""

    def __init__(self, folder, name, total, first=True, start=0, tensorboard_dir=None):
        """total: steps; start: steps done before this process. Metrics of later steps, left by a killed process, are cut off."""
        self.active, self.path = first, Path(folder) / "metrics.jsonl"
        self.bar = self.events = None
        if not first:
            return
        self._cut(start)
        self.file = open(self.path, "a", encoding="utf-8")
        self.bar = tqdm(
            total=total, initial=start, desc=name, unit="step", dynamic_ncols=True, file=sys.stderr, mininterval=1
        )
        if tensorboard_dir:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self.events = SummaryWriter(tensorboard_dir)

    def _cut(self, start):
        if self.path.exists():
            rows = [line for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            keep = [line for line in rows if json.loads(line)["step"] <= start] if start else []
            self.path.write_text("".join(line + "\n" for line in keep), encoding="utf-8")

    def step(self, step, values, shown=()):
        """Advance the bar by one step and write `values` (name -> number); `shown`: the names that appear on the bar."""
        if self.active:
            self.bar.update(1)
            self.bar.set_postfix({k: f"{values[k]:.3g}" for k in shown if values.get(k) is not None})
            self.write(step, values)

    def write(self, step, values):
        """Write `values` for `step` without advancing the bar."""
        if self.active:
            values = {k: v for k, v in values.items() if v is not None}
            print(json.dumps({"step": step, **values}, ensure_ascii=False), file=self.file, flush=True)
            if self.events:
                for k, v in values.items():
                    if isinstance(v, (int, float)):
                        self.events.add_scalar(k, v, step)

    def say(self, text):
        """Print a line without breaking the bar."""
        if self.active:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self):
        if self.active:
            self.bar.close()
            self.file.close()
            if self.events:
                self.events.close()


def read_metrics(folder):
    """metrics.jsonl of a run as a list of dicts; a line cut by a kill is skipped."""
    path = Path(folder) / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def curves(folder, panels, title):
    """Draw `panels` (list of (heading, list of metric names)) of a run's metrics.jsonl into folder/curves.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_metrics(folder)
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False)
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
    plt.close(figure)


# === from program
import resource
import time

import torch


def peak_memory_mb(device):
    """Highest memory of this process so far in MiB: of the GPU if there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clock:
    """Seconds since the last call of `lap`."""

    def __init__(self):
        self.at = time.perf_counter()

    def lap(self):
        now = time.perf_counter()
        passed, self.at = now - self.at, now
        return passed
