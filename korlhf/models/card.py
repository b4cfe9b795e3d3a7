"""The model card: README.md of a model folder, in Korean and English. It holds no path of this machine."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from huggingface_hub import ModelCard, ModelCardData

from korlhf import __version__
from korlhf.core.ai_mark import CARD
from korlhf.core.progress import one_line

TEMPLATE = Path(__file__).with_name("card.md")
KINDS: dict[str, dict[str, Any]] = yaml.safe_load(TEMPLATE.with_suffix(".yaml").read_text(encoding="utf-8"))
SHOWN = 3  # samples on a card
LONGEST = 600  # characters of a text on it


@dataclass(frozen=True)
class Sample:
    """What the card shows of one prompt: (label, text) of each answer."""

    prompt: str
    texts: Sequence[tuple[str, str]]


def write_card(
    folder: str | Path,
    kind: str,
    title: str,
    names: tuple[str, Iterable[str]],
    trained: str,
    figures: tuple[str, Iterable[tuple[str, Any, Any]]],
    samples: Iterable[Sample] = (),
) -> None:
    """README.md of a model folder.

    kind: of KINDS; names: of the base model and of the data, without paths; trained: how long, in a sentence; figures:
    what they were measured on, and (name, before, after) of each.
    """
    base, data = names
    head = ModelCardData(
        language=["ko"],
        library_name="transformers",
        pipeline_tag=KINDS[kind]["task"],
        tags=["korlhf"],
        base_model=base if base.count("/") == 1 else None,
    )
    card = ModelCard.from_template(
        head,
        template_path=str(TEMPLATE),
        title=title,
        kind=KINDS[kind],
        notice=CARD,
        base=base,
        data=list(data),
        trained=trained,
        heading=figures[0],
        figures=list(figures[1]),
        samples=list(map(written, samples)),
        korlhf=__version__,
        torch=torch.__version__,
        transformers=transformers.__version__,
    )
    Path(folder, "README.md").write_text(str(card), encoding="utf-8")


def places(n: int) -> list[int]:
    """Places of SHOWN of n things, at equal distances."""
    return [i * n // SHOWN for i in range(SHOWN)] if n > SHOWN else list(range(n))


def written(sample: Sample) -> Sample:
    """A Sample as Markdown."""
    return Sample(quoted(sample.prompt), [(label, quoted(text)) for label, text in sample.texts])


def quoted(text: str) -> str:
    """A text as Markdown shows it as it is, on one line; what is longer than LONGEST characters is cut."""
    text = text if len(text) <= LONGEST else text[:LONGEST] + " […]"
    text = re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", text)
    return "<br>".join(map(one_line, text.strip().splitlines())) or "(…)"
