"""The datasets --data_path knows by name: datasets.yaml, which says how to add one.

Text comes out bare: no turn markers, no surrounding blanks, no EOS; chat_template.py adds what a model needs.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from korlhf.core.errors import InputError
from korlhf.core.texts import read_yaml
from korlhf.data.example import ROLES, Example, RowError, RowSkipped, conversation, make_example, turns

NEEDS = {1: "an answer (or a plain text)", 2: "two or more ranked answers", 3: "a prompt"}
HUB = re.compile(r"(?P<hub>[\w.-]+/[\w.-]+)(:(?P<config>[^@:]+))?(@(?P<revision>\S+))?")
_HH_ANSWER = "\n\nAssistant:"
RECIPES = {"raw_sample": "run_sample.sh", "v1": "run_v1.sh", "v2": "run_v2.sh", "v3": "run_v3.sh"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """An entry of datasets.yaml, which says what the fields are."""

    prompt: str = ""
    answers: tuple[str, ...] | str = ()
    input: str = ""
    system: str = ""
    category: str = ""
    columns: tuple[str, ...] = ()
    rows: str = ""
    config: str = ""
    split: str = ""
    eval_split: str = ""
    measuring: bool = False
    path: str = ""
    eval_path: str = ""
    remedy: str = ""
    steps: tuple[int, ...] = ()
    license: str = "see its card"

    @property
    def free(self) -> bool:
        """Whether korlhf/data/example.py recognises the columns."""
        return not self.prompt

    def made(self, rows: Iterable[tuple[str, dict]]) -> Iterable[tuple[str, dict]]:
        """("PLACE", row) of the set as it is published -> those that `read_row` reads. Raises InputError for a column
        that is not there."""
        return FUNCTIONS[self.rows](self._with_columns(rows)) if self.rows else rows

    def _with_columns(self, rows):
        for place, row in rows:
            try:
                self._check_columns(row)
            except RowError as error:
                raise InputError(f"{place}: {error}") from error
            yield place, row

    def _check_columns(self, row):
        if missing := [c for c in self.columns if c not in row]:
            found, expected = ", ".join(map(str, row)), ", ".join(self.columns)
            raise RowError(f"no column {', '.join(missing)}; found {found}; expected {expected}")

    def read_row(self, row: dict, prompt_only: bool = False) -> Example:
        """A row of this dataset -> Example, or only its prompt. Raises RowError or RowSkipped."""
        self._check_columns(row)
        try:
            prompt = _value(row, self.prompt)
            answers = () if prompt_only else self.answers
            answers = _value(row, answers) if isinstance(answers, str) else [_value(row, c) for c in answers]
            context, system, category = (_value(row, c) for c in (self.input, self.system, self.category))
        except (AttributeError, TypeError) as error:  # a list or object was expected within a column
            raise RowError(f"a column is not of the known kind ({error}); found {', '.join(map(str, row))}") from error
        if prompt is None or answers is None or None in answers:
            raise RowSkipped("no prompt, answer or clear preference")
        messages = turns(prompt) if isinstance(prompt, str) else conversation(prompt)
        return make_example(messages, answers, context, system, category)


def _value(row, column):
    """What datasets.yaml calls `column`; None if it is not there."""
    if column.endswith("()"):
        return FUNCTIONS[column](row)
    if "|" in column:
        return next((row[c] for c in column.split("|") if row.get(c)), None)
    first, *path = column.split(".")
    value = row.get(first)
    for key in path:
        value = (value or [None])[0] if key == "0" else (value or {}).get(key)
    return value


def _context_and_instruction(row):
    """heegyu/hh-rlhf-ko: earlier turns and the last question."""
    return [*(row["context"] or []), row["instruction"]]


def _safer_first(row):
    """PKU-SafeRLHF-ko: both responses, the safer one first; None if neither the id nor the flags tell."""
    best = row["safer_response_id"]
    if best not in (0, 1):
        safe = [row["is_response_0_safe"], row["is_response_1_safe"]]
        if None in safe or bool(safe[0]) == bool(safe[1]):
            return None
        best = int(bool(safe[1]))
    return [row[f"response_{best}_ko"], row[f"response_{1 - best}_ko"]]


def _preferred_first(row):
    """preference-collection-ko-full: orig_preference decides, else the scores; None for a tie."""
    best = str(row["orig_preference"]).strip().upper()
    if best not in ("A", "B"):
        a, b = _score(row, "orig_score_A"), _score(row, "orig_score_B")
        if a is None or b is None or a == b:
            return None
        best = "A" if a > b else "B"
    return [row[f"response_{best}"], row[f"response_{'B' if best == 'A' else 'A'}"]]


def _score(row, column):
    try:
        return None if row[column] is None else float(row[column])
    except (TypeError, ValueError) as error:
        raise RowError(f"{column} is {row[column]!r}; expected a number") from error


def _number(place, row, column):
    """What `column` says, None for nothing; an InputError for what is no number."""
    try:
        return _score(row, column)
    except RowError as error:
        raise InputError(f"{place}: {error}") from error


def _shared_chat(row):
    """ShareGPT: the turns from the first human to the last gpt; None if there are no two such turns."""
    talk = row["conversations"] or []
    roles = [ROLES.get(str(m.get("from", m.get("role"))).lower()) for m in talk]
    first = roles.index("user") if "user" in roles else len(roles)
    last = max((i for i, r in enumerate(roles) if r == "assistant"), default=-1)
    return talk[first : last + 1] if first < last else None


def _best_only(row):
    """samples/sft.jsonl: answers in the best style; None for the others."""
    return [row["output"]] if row["style"] == "best" else None


def _hh_prompt(row):
    """ko_hh-rlhf-20k: what is said before the last answer of both conversations, whose turns were translated one by
    one; null if the two have not as many turns."""
    sides = [str(row[side]).rpartition(_HH_ANSWER) for side in ("chosen", "rejected")]
    turns = {before.count("Human:") for before, _, _ in sides}
    return f"{sides[0][0].strip()}{_HH_ANSWER}" if sides[0][1] and len(turns) == 1 else None


def _hh_answers(row):
    """ko_hh-rlhf-20k: the last answer of each conversation."""
    return [str(row[side]).rpartition(_HH_ANSWER)[2] for side in ("chosen", "rejected")]


def _decided_first(row):
    """Korean-Human-Judgements: both responses, the one that people decided for first; null for a tie."""
    best = str(row["decision"]).strip().lower()
    return [row[f"response_{best}"], row[f"response_{'b' if best == 'a' else 'a'}"]] if best in ("a", "b") else None


def _korean_strength(rows):
    """HelpSteer3: its Korean rows. overall_preference goes from -3, response1 is much better, to 3; 0 is no pair. Its
    size is the margin."""
    for place, row in rows:
        if row["language"] == "korean":
            strength = _number(place, row, "overall_preference") or 0.0
            better, worse = ("response1", "response2") if strength < 0 else ("response2", "response1")
            pair = {"chosen": row[better], "rejected": row[worse]} if strength else {}
            yield place, {**row, **pair, "margin": abs(strength)}


def _more_helpful(rows):
    """HelpSteer2: the answers to a prompt stand in a row. The most helpful one is chosen, the least helpful one
    rejected, the difference is the margin; none is no pair. Answers that nobody rated are left out. Prompts of several
    turns become null: nobody knows what the translation made of their marks."""
    for prompt, group in groupby(rows, key=lambda found: found[1]["prompt"]):
        every = [(_number(place, row, "helpfulness"), place, row) for place, row in group]
        found = [one for one in every if one[0] is not None] or [(0.0, *every[0][1:])]
        most, place, best = max(found, key=lambda one: one[0])
        least, _, worst = min(found, key=lambda one: one[0])
        margin = most - least
        pair = {"chosen": best["response"], "rejected": worst["response"]} if margin else {}
        single = None if "<extra_id_1>" in str(prompt) else prompt
        yield place, {**best, **pair, "prompt": single, "margin": margin}


_FUNCTIONS = (
    *(_context_and_instruction, _safer_first, _preferred_first, _shared_chat, _best_only),
    *(_hh_prompt, _hh_answers, _decided_first, _korean_strength, _more_helpful),
)
FUNCTIONS: dict[str, Any] = {f"{f.__name__[1:]}()": f for f in _FUNCTIONS}


def _entry(**entry):
    """An entry of datasets.yaml -> Source."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    source = Source(**fields)
    named = [source.prompt, *([] if isinstance(source.answers, str) else source.answers)]
    columns = tuple(dict.fromkeys(column.split(".")[0] for column in named if column))
    steps = (1, 2, 3) if len(source.answers) > 1 else (1, 3)
    return replace(source, columns=source.columns or columns, steps=source.steps or steps)


def _prepared(folder, file, steps):
    """A training file of a data_prep recipe, with its own test file."""
    path = f"output/data/{folder}/{file}"
    remedy, terms = f"make it with bash data_prep/{RECIPES[folder]}", "that of its corpora, see data_prep/README.md"
    return Source(path=f"{path}_train.jsonl", eval_path=f"{path}_test.jsonl", steps=steps, remedy=remedy, license=terms)


_TABLE = read_yaml("korlhf.data", "datasets.yaml")
SOURCES = {name: _entry(**entry) for name, entry in _TABLE.items()} | {
    f"{folder}/{file}": _prepared(folder, file, steps)
    for folder in RECIPES
    for file, steps in (("sft", (1, 3)), ("reward", (1, 2, 3)), ("prompts", (3,)))
}


def in_words(steps: tuple[int, ...]) -> str:
    """(1, 2, 3) -> "steps 1, 2 and 3"."""
    *others, last = map(str, steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"


def close_names(name: str) -> str:
    """A hint at registered names that look like `name`; "" if none does."""
    lower = {n.lower(): n for n in SOURCES}
    close = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=2)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def find_source(name: str, step: int) -> Source:
    """The Source registered as `name`. Raises InputError if it cannot train `step`."""
    source = SOURCES[name]
    if step not in source.steps:
        what = f"step {step} needs {NEEDS[step]}, which this dataset has not; it can train {in_words(source.steps)}"
        raise InputError(f"dataset {name}: {what}")
    return source


def with_purpose(licence: str, measuring: bool) -> str:
    """A licence, and whether the set is there for measuring only."""
    return f"{licence}; for measuring only" if measuring else licence


def endings(path: Path) -> list[str]:
    """The "owner/name" of which `path` is a copy if that is a hub set: its own end, that of the folder it is in, and of
    the folder that data/ is in."""
    whole = path.resolve()
    above = [whole, whole.parent, *([whole.parent.parent] if whole.parent.name == "data" else [])]
    return ["/".join(p.parts[-2:]) for p in above]


def hub_names(name: str) -> list[str]:
    """The names by which a set of --data_path may be known: with a config, a revision, or as a local copy."""
    path, hub = Path(name).expanduser(), HUB.fullmatch(name)
    return [name.partition("@")[0], *(endings(path) if path.exists() else [hub["hub"]] if hub else [])]
