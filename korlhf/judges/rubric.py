"""Rubrics: what a judge looks at in an answer, as YAML files (korlhf/judges/rubrics/*.yaml, or a user's own).

category: everyday                    # its name; records of this category are judged by it
categories: [everyday, lookalike]     # optional: all categories it is for
language: ko                          # of the rubric; the frame that form.py puts around it is Korean
scale: [1, 5]                         # lowest and highest score, both one digit: a score is one token then
system: who the judge is and what is judged
steps: [what to do first, what then, ...]
criteria: [{key: friendly, name: 친근함, question: ..., levels: {1: ..., 3: ..., 5: ...}}, ...]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from korlhf.core.errors import InputError
from korlhf.core.files import PathLike, fingerprint

FOLDER = Path(__file__).with_name("rubrics")  # the project's own
REMEDY = "write it as korlhf/judges/rubric.py describes"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Key = Annotated[str, StringConstraints(pattern="^[a-z][a-z_]*$")]
Name = Annotated[
    Text, StringConstraints(pattern=r'^[^:：*\[\](){}"\n0-9]+$')
]  # these would make a filled-in form ambiguous
Score = Annotated[int, Field(strict=True, ge=1, le=9)]


@dataclass(frozen=True)
class Criterion:
    """key: in JSON and in results; name: in the form; levels: what an answer of that score looks like."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: Key
    name: Name
    question: Text
    levels: Annotated[dict[Score, Text], AfterValidator(lambda levels: dict(sorted(levels.items())))]


@dataclass(frozen=True)
class Rubric:
    """low, high: the scale; file: its name without folders; sha256: of its bytes."""

    category: str
    categories: tuple[str, ...]
    low: int
    high: int
    system: str
    steps: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    file: str
    sha256: str


class RubricFile(BaseModel):
    """What stands in a rubric's file."""

    model_config = ConfigDict(extra="forbid")

    category: Text
    categories: Annotated[list[Text], Field(min_length=1)] | None = None
    language: Literal["ko"]
    scale: tuple[Score, Score]
    system: Text
    steps: Annotated[list[Text], Field(min_length=1)]
    criteria: Annotated[list[Criterion], Field(min_length=1)]

    @field_validator("scale")
    @classmethod
    def _rises(cls, scale: tuple[int, int]) -> tuple[int, int]:
        if scale[0] >= scale[1]:
            raise ValueError("the first number is the lowest score, the second one the highest")
        return scale

    @field_validator("criteria")
    @classmethod
    def _fit_together(cls, criteria: list[Criterion], info: ValidationInfo) -> list[Criterion]:
        names: set[str] = set()
        for c in criteria:
            for name in {c.key, plain(c.name)}:
                if name in names:
                    raise ValueError(f"{name!r} is the key or name of two of them; call one something else")
            names |= {c.key, plain(c.name)}
            low, high = info.data.get("scale", (min(c.levels), max(c.levels)))
            if not {low, high} <= set(c.levels) <= set(range(low, high + 1)):
                raise ValueError(f"levels of {c.key}: describe {low}, {high} and, if you like, scores between them")
        return criteria


class _Loader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys and says nothing; this one refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            value = str(key.value)
            if value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {value!r} is there twice", key.start_mark)
            seen.add(value)
        return super().construct_mapping(node, deep)


def load_rubric(path: PathLike) -> Rubric:
    """The Rubric in a YAML file. Raises InputError that names the file and the key."""
    path = Path(path).expanduser()
    try:
        read = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # a subclass of SafeLoader
        content = RubricFile.model_validate(read)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"rubric {path}: cannot be read ({reason}); give a UTF-8 YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or error
        raise InputError(f"rubric {path}{line}: broken YAML: {reason}; correct it") from error
    except ValidationError as error:
        raise InputError(f"rubric {path}: {_told(error.errors()[0])}; {REMEDY}") from error
    low, high = content.scale
    return Rubric(
        category=content.category,
        categories=tuple(content.categories or [content.category]),
        low=low,
        high=high,
        system=content.system,
        steps=tuple(content.steps),
        criteria=tuple(content.criteria),
        file=path.name,
        sha256=fingerprint(path),
    )


def _told(error: Any) -> str:
    """One line of a ValidationError: where, what is wrong, what is there. Items of lists are counted from 1."""
    loc = error["loc"]
    steps = [p + 1 if isinstance(p, int) and before != "levels" else p for before, p in zip(("", *loc), loc)]
    value = "" if error["type"] in ("missing", "value_error") else f", not {str(error['input'])[:40]!r}"
    return f"{'.'.join(map(str, steps)) or 'the file'}: {error['msg'].removeprefix('Value error, ')}{value}"


def load_rubrics(folder: PathLike) -> dict[str, Rubric]:
    """{category: Rubric} of all YAML files of a folder. Raises InputError if there is none, or two for one."""
    by_category: dict[str, Rubric] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        rubric = load_rubric(path)
        for category in rubric.categories:
            if category in by_category:
                other = by_category[category].file
                raise InputError(f"rubric {path}: categories: {category!r} is in {other} too; leave it in one of them")
            by_category[category] = rubric
    if not by_category:
        raise InputError(f"rubrics {folder}: no .yaml file in this folder; {REMEDY}")
    return by_category


def for_categories(texts: Iterable[str], categories: list[str]) -> dict[str, Rubric]:
    """{category: Rubric} for all categories: the project's own, or that of --rubric CATEGORY=NAME|FILE.yaml.

    Raises InputError that names --rubric.
    """
    known, names, chosen = load_rubrics(FOLDER), sorted(p.stem for p in FOLDER.glob("*.yaml")), {}
    for text in texts:
        category, _, file = text.partition("=")
        if not category or not file:
            raise InputError(f"--rubric {text}: write CATEGORY=NAME or CATEGORY=FILE.yaml")
        if category not in categories:
            raise InputError(
                f"--rubric {text}: no record has the category {category!r}; the input has {', '.join(categories)}"
            )
        if file not in names and not file.endswith((".yaml", ".yml")):
            raise InputError(f"--rubric {text}: there is no rubric {file!r}; give {', '.join(names)}, or a .yaml file")
        chosen[category] = load_rubric(FOLDER / f"{file}.yaml" if file in names else file)
    for category in categories:
        if category not in known and category not in chosen:
            raise InputError(
                f"--rubric: there is none for the category {category!r}; give --rubric {category}=NAME "
                f"({', '.join(names)}), or {category}=FILE.yaml"
            )
    return {category: chosen.get(category) or known[category] for category in categories}


def plain(name: str) -> str:
    """A name as it is compared: spacing and case do not count."""
    return "".join(name.split()).lower()
