"""Rubrics: what a judge looks at in an answer, as YAML files (korlhf/judges/rubrics/*.yaml, or a user's own).

category: everyday                    # its name; records of this category are judged by it
categories: [everyday, lookalike]     # optional: all categories it is for
language: ko                          # of the rubric; the frame that form.py puts around it is Korean
scale: [1, 5]                         # lowest and highest score, both one digit: a score is one token then
system: who the judge is and what is judged
steps: [what to do first, what then, ...]
whole: true                           # optional: judged is all that the chatbot says, not its last answer alone
criteria: [{key: friendly, name: 친근함, question: ..., levels: {1: ..., 3: ..., 5: ...}}, ...]
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from korlhf.core.errors import InputError
from korlhf.core.files import PathLike, fingerprint

FOLDER = Path(__file__).with_name("rubrics")  # the project's own
REMEDY = "write it as korlhf/judges/rubric.py describes"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Key = Annotated[str, StringConstraints(pattern="^[a-z][a-z_]*$")]
# the characters left out would make a filled-in form ambiguous
Name = Annotated[Text, StringConstraints(pattern=r'^[^:：*,\[\](){}"\n0-9]+$')]
Score = Annotated[int, Field(strict=True, ge=1, le=9)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Criterion:
    """key: in JSON and in results; name: in the form; levels: what an answer of that score looks like."""

    key: Key
    name: Name
    question: Text
    levels: dict[Score, Text]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Rubric:
    """What stands in a rubric's file. file: its name without folders; sha256: of its bytes."""

    category: Text
    language: Literal["ko"]
    scale: tuple[Score, Score]
    system: Text
    steps: Annotated[tuple[Text, ...], Field(min_length=1)]
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    categories: tuple[Text, ...] = ()
    whole: bool = False
    file: str = ""
    sha256: str = ""

    @property
    def low(self) -> int:
        return self.scale[0]

    @property
    def high(self) -> int:
        return self.scale[1]

    @model_validator(mode="after")
    def _fits_together(self) -> "Rubric":
        if self.low >= self.high:
            raise ValueError("scale: the first number is the lowest score, the second one the highest")
        names = [name for c in self.criteria for name in {c.key, plain(c.name)}]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"criteria: {name!r} is the key or name of two of them; call one something else")
        for c in self.criteria:
            if not {self.low, self.high} <= set(c.levels) <= set(range(self.low, self.high + 1)):
                raise ValueError(
                    f"levels of {c.key}: describe {self.low}, {self.high} and, if you like, scores between them"
                )
        return self


def load_rubric(path: PathLike) -> Rubric:
    """The Rubric in a YAML file. Raises InputError that names the file and the key."""
    path = Path(path).expanduser()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            content |= {"file": path.name, "sha256": fingerprint(path)}
        return TypeAdapter(Rubric).validate_python(content)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"rubric {path}: cannot be read ({reason}); give a UTF-8 YAML file") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"rubric {path}: broken YAML: {reason}; correct it") from error
    except ValidationError as error:
        raise InputError(f"rubric {path}: {_told(error.errors()[0])}; {REMEDY}") from error


def _told(error: Any) -> str:
    """One line of a ValidationError: where, what is wrong, what is there. Items of lists are counted from 1."""
    loc = error["loc"]
    steps = [p + 1 if isinstance(p, int) and before != "levels" else p for before, p in zip(("", *loc), loc)]
    where = f"{'.'.join(map(str, steps))}: " if steps else ""
    value = "" if error["type"] in ("missing", "value_error") else f", not {str(error['input'])[:40]!r}"
    return f"{where}{error['msg'].removeprefix('Value error, ')}{value}"


def load_rubrics(folder: PathLike = FOLDER) -> dict[str, Rubric]:
    """{category: Rubric} of all YAML files of a folder."""
    rubrics = [load_rubric(path) for path in sorted(Path(folder).glob("*.yaml"))]
    return {category: rubric for rubric in rubrics for category in rubric.categories or (rubric.category,)}


def for_categories(texts: Iterable[str], categories: list[str]) -> dict[str, Rubric]:
    """{category: Rubric} for all categories: the project's own, or that of --rubric CATEGORY=NAME|FILE.yaml.

    Raises InputError that names --rubric.
    """
    known, names = load_rubrics(), ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
    for text in texts:
        category, _, file = text.partition("=")
        if category not in categories:
            there = ", ".join(categories)
            raise InputError(f"--rubric {text}: no record has the category {category!r}; the input has {there}")
        if not file.endswith((".yaml", ".yml")) and file not in names.split(", "):
            raise InputError(f"--rubric {text}: write CATEGORY=NAME, of {names}, or CATEGORY=FILE.yaml")
        known[category] = load_rubric(file if file.endswith((".yaml", ".yml")) else FOLDER / f"{file}.yaml")
    for category in categories:
        if category not in known:
            raise InputError(
                f"--rubric: there is none for the category {category!r}; give --rubric {category}=NAME ({names}), or "
                f"{category}=FILE.yaml"
            )
    return {category: known[category] for category in categories}


def plain(name: str) -> str:
    """A name as it is compared: spacing and case do not count."""
    return "".join(name.split()).lower()
