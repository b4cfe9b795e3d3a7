"""What every program does around its work: one-line errors, exit codes, where the data came from, the model card."""

import resource
import sys
import time
from pathlib import Path

import torch
import transformers

from korlhf import __version__, engine
from korlhf.errors import InputError


def run(main):
    """Call main(); an InputError becomes one line on stderr and exit code 2. Ctrl-C exits with 130 and says how to go on."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; start the same command again to go on from the last checkpoint", file=sys.stderr, flush=True)
        sys.exit(130)
    finally:
        engine.stop()


def peak_memory_mb(device):
    """Highest memory of this process so far in MiB: of the GPU if there is one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2 ** 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def versions():
    """Versions of what the figures depend on."""
    from importlib.metadata import version
    return {"korlhf": __version__, "python": sys.version.split()[0],
            **{p: version(p) for p in ("torch", "deepspeed", "transformers", "peft", "datasets")}}


class Clock:
    """Seconds since the last call of `lap`."""

    def __init__(self):
        self.at = time.perf_counter()

    def lap(self):
        now = time.perf_counter()
        passed, self.at = now - self.at, now
        return passed


def write_card(folder, title, base, data, settings, figures, notes=()):
    """README.md of a model folder: what it was made from, how, and what was measured.

    data: list of lines; settings, figures: name -> value; notes: further lines.
    """
    def table(values):
        return ["| | |", "|---|---|"] + [f"| {k} | {v} |" for k, v in values.items()]
    lines = [f"# {title}", "", f"Made with KoRLHF {__version__} (torch {torch.__version__}, transformers {transformers.__version__}) from `{base}`.",
             "The licence of the base model and of the data applies to these weights.", "", "## Data", ""]
    lines += [f"- {line}" for line in data] + ["", "## Measured", "", *table(figures), "", "## Settings", "", *table(settings), ""]
    lines += [line for note in notes for line in (note, "")]
    Path(folder, "README.md").write_text("\n".join(lines), encoding="utf-8")


def compact(value):
    """A number to four significant digits, nested containers included, for cards and printed tables."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: compact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [compact(v) for v in value]
    return value
