"""Rubrics: what a judge looks at in an answer, as YAML files (korlhf/judges/rubrics/*.yaml, or a user's own).

category: everyday                    # its name; records of this category are judged by it
categories: [everyday, lookalike]     # optional: all categories it is for
language: ko                          # of the rubric; the frame that geval.py puts around it is Korean
scale: [1, 5]                         # lowest and highest score, both one digit: a score is one token then
system: who the judge is and what is judged
steps: [what to do first, what then, ...]
criteria: [{key: friendly, name: 친근함, question: ..., levels: {1: ..., 3: ..., 5: ...}}, ...]
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint

KEYS = ("category", "language", "scale", "system", "steps", "criteria")
OPTIONAL = ("categories",)
CRITERION_KEYS = ("key", "name", "question", "levels")
ENGLISH_KEY = re.compile(r"[a-z][a-z_]*")
IN_NAMES = re.compile(r"[^:：*\[\](){}\"\n0-9]+")  # what would make a filled-in form ambiguous is left out
FOLDER = Path(__file__).with_name("rubrics")  # the project's own
FORMS = "YAML of the form that korlhf/judges/rubric.py describes"


@dataclass(frozen=True)
class Criterion:
    """key: in JSON and in results; name: in the form; levels: what an answer of that score looks like."""

    key: str
    name: str
    question: str
    levels: dict[int, str]


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


class _Loader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys and says nothing; this one refuses them."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            value = str(key.value)
            if value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {value!r} is there twice", key.start_mark)
            seen.add(value)
        return super().construct_mapping(node, deep)


def load_rubric(path):
    """The Rubric in a YAML file. Raises InputError that names the file and the key."""
    path = Path(path).expanduser()
    try:
        found = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # a subclass of SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"rubric {path}: cannot be read ({getattr(error, 'strerror', None) or error}); give a UTF-8 YAML file"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(
            f"rubric {path}{line}: broken YAML: {getattr(error, 'problem', None) or error}; correct it"
        ) from error
    found = _mapping(path, "the file", found, KEYS, OPTIONAL)
    low, high = _scale(path, found["scale"])
    if found["language"] != "ko":
        raise InputError(
            f"rubric {path}: language is {found['language']!r}; write it in Korean (ko), as what stands around it is"
        )
    category = _text(path, "category", found["category"])
    return Rubric(
        category=category,
        categories=_texts(path, "categories", found.get("categories", [category])),
        low=low,
        high=high,
        system=_text(path, "system", found["system"]),
        steps=_texts(path, "steps", found["steps"]),
        criteria=_criteria(path, found["criteria"], low, high),
        file=path.name,
        sha256=fingerprint(path),
    )


def load_rubrics(folder):
    """{category: Rubric} of every YAML file of a folder. Raises InputError if there is none, or if two are for one category."""
    found = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        rubric = load_rubric(path)
        for category in rubric.categories:
            if category in found:
                raise InputError(
                    f"rubric {path}: categories: {category!r} is in {found[category].file} too; leave it in one of them"
                )
            found[category] = rubric
    if not found:
        raise InputError(f"rubrics {folder}: no .yaml file in this folder; put {FORMS} there")
    return found


def for_categories(texts, categories):
    """{category: Rubric} for every category: the project's own, or the one that a text of --rubric, CATEGORY=NAME or CATEGORY=FILE.yaml, names.

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
    return {category: chosen.get(category, known.get(category)) for category in categories}


def _mapping(path, where, value, keys, optional=()):
    """`value` if it is a mapping with all `keys` and none but them and `optional`."""
    if not isinstance(value, dict):
        raise InputError(f"rubric {path}: {where} is {_short(value)}; expected the keys {', '.join(keys)}")
    for key in keys:
        if value.get(key) is None:
            raise InputError(f"rubric {path}: {where}: the key {key!r} is missing or empty; write {FORMS}")
    for key in value:
        if key not in (*keys, *optional):
            raise InputError(
                f"rubric {path}: {where}: the key {key!r} is not known; expected {', '.join((*keys, *optional))}"
            )
    return value


def _scale(path, value):
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(type(v) is not int for v in value)
        or not 1 <= value[0] < value[1] <= 9
    ):
        raise InputError(
            f"rubric {path}: scale is {_short(value)}; expected two whole numbers from 1 to 9, e.g. [1, 5]"
        )
    return value


def _text(path, where, value):
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"rubric {path}: {where} is {_short(value)}; expected text")
    return value.strip()


def _texts(path, where, value):
    if not isinstance(value, list) or not value:
        raise InputError(f"rubric {path}: {where} is {_short(value)}; expected a list of texts")
    return tuple(_text(path, f"{where}, number {i}", v) for i, v in enumerate(value, 1))


def _criteria(path, value, low, high):
    if not isinstance(value, list) or not value:
        raise InputError(
            f"rubric {path}: criteria is {_short(value)}; expected a list of {{{', '.join(CRITERION_KEYS)}}}"
        )
    out, names = [], set()
    for i, entry in enumerate(value, 1):
        where = f"criteria, number {i}"
        _mapping(path, where, entry, CRITERION_KEYS)
        c = Criterion(
            _text(path, f"{where}: key", entry["key"]),
            _text(path, f"{where}: name", entry["name"]),
            _text(path, f"{where}: question", entry["question"]),
            _levels(path, f"{where}: levels", entry["levels"], low, high),
        )
        if not ENGLISH_KEY.fullmatch(c.key):
            raise InputError(
                f"rubric {path}: {where}: the key {c.key!r} is not of small letters and _; call it e.g. friendly"
            )
        if not IN_NAMES.fullmatch(c.name):
            raise InputError(
                f"rubric {path}: {where}: the name {c.name!r} holds a digit, a colon, a bracket, a quote or a star; "
                "use words alone"
            )
        for name in (c.key, plain(c.name)):
            if name in names:
                raise InputError(
                    f"rubric {path}: {where}: {name!r} is the key or name of two criteria; call one of them something else"
                )
        names |= {c.key, plain(c.name)}
        out.append(c)
    return tuple(out)


def _levels(path, where, value, low, high):
    if not isinstance(value, dict) or not {low, high} <= set(value) <= set(range(low, high + 1)):
        raise InputError(
            f"rubric {path}: {where} is {_short(value)}; describe {low}, {high} and, if you like, scores between them"
        )
    return {level: _text(path, f"{where}: {level}", value[level]) for level in sorted(value)}


def plain(name):
    """A name as it is compared: spacing and case do not count."""
    return "".join(name.split()).lower()


def _short(value):
    return "missing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
