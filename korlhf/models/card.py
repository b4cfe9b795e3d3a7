"""The model card: README.md of a model folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from korlhf import __version__


def write_card(
    folder: str | Path,
    title: str,
    base: str,
    data: Iterable[str],
    settings: dict[str, Any],
    figures: dict[str, Any],
    notes: Iterable[str] = (),
) -> None:
    """README.md of a model folder: what it was made from, how, and what was measured; notes: further paragraphs."""
    lines = [
        f"# {title}\n",
        f"Made with KoRLHF {__version__} (torch {torch.__version__}, transformers {transformers.__version__}) "
        f"from `{base}`.",
        "The licence of the base model and of the data applies to these weights.\n",
        "## Data\n",
        *(f"- {line}" for line in data),
        "\n## Measured\n",
        *table(figures),
        "\n## Settings\n",
        *table(settings),
        "",
        *(f"{note}\n" for note in notes),
    ]
    Path(folder, "README.md").write_text("\n".join(lines), encoding="utf-8")


def table(values: dict[str, Any]) -> list[str]:
    """Markdown lines of a table of two columns; none for no values."""
    return ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in values.items())] if values else []


def compact(value: Any) -> Any:
    """A number to four significant digits, nested containers included, for cards and printed tables."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: compact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [compact(v) for v in value]
    return value
