"""The model card: README.md of a model folder."""

from pathlib import Path

import torch
import transformers

from korlhf import __version__


def write_card(folder, title, base, data, settings, figures, notes=()):
    """README.md of a model folder: what it was made from, how, and what was measured.

    data: list of lines; settings, figures: name -> value; notes: further lines.
    """

    def table(values):
        return ["| | |", "|---|---|"] + [f"| {k} | {v} |" for k, v in values.items()]

    lines = [
        f"# {title}",
        "",
        f"Made with KoRLHF {__version__} (torch {torch.__version__}, transformers {transformers.__version__}) from `{base}`.",
        "The licence of the base model and of the data applies to these weights.",
        "",
        "## Data",
        "",
    ]
    lines += [f"- {line}" for line in data] + [
        "",
        "## Measured",
        "",
        *table(figures),
        "",
        "## Settings",
        "",
        *table(settings),
        "",
    ]
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
