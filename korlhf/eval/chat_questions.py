"""The questions of a chat benchmark (chat_benchmarks.yaml, which says how to add one), and files of answers to them."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.texts import read_yaml
from korlhf.data import load
from korlhf.data.prompts import draw
from korlhf.data.readers import check_characters, read_rows
from korlhf.judges.rubric import FOLDER, load_rubric
from korlhf.llm.protocol import Reply

POLITE, BANMAL = frozenset(["polite"]), frozenset(["banmal"])
EITHER = POLITE | BANMAL
# `reply` of a row -> the speech levels that are right in the first answer, and in those after it
REPLY = {
    "존댓말": (POLITE, POLITE),
    "존댓말이든 반말이든 하나로 한결같이": (EITHER, EITHER),
    "첫 답은 존댓말, 그 뒤로는 반말": (POLITE, BANMAL),
    "첫 답은 어느 쪽이든, 그 뒤로는 존댓말": (EITHER, POLITE),
    "첫 답은 어느 쪽이든, 그 뒤로는 반말": (EITHER, BANMAL),
}
TURN, CONVERSATION, PAIR = "turn", "conversation", "pair"  # kinds
PROJECT = Path(__file__).resolve().parents[2]
ANSWERS = ("choices", "outputs", "answers", "output")  # columns of a file of answers: MT-Bench's, LogicKor's, ours


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """An entry of chat_benchmarks.yaml, which says what the fields are."""

    name: str
    title: str
    data: str
    columns: dict
    kind: str
    rubric: str
    num_turns: int = 0
    shown: dict = field(default_factory=dict)
    criteria: str = ""
    scale: tuple = ()
    not_korean: str = ""
    any_language: tuple = ()
    checks: tuple = ()
    license: str = ""

    def read_rubric(self):
        return load_rubric(FOLDER / "benchmarks" / f"{self.rubric}.yaml")


_TABLE = read_yaml("korlhf.eval", "chat_benchmarks.yaml")
BENCHMARKS = {name: Benchmark(name=name, **entry) for name, entry in _TABLE.items()}


def read_questions(benchmark, path="", max_questions=0, seed=1234):
    """[{"id", "category", "turns": texts, "shown": a text per turn, what only the judge reads, "rubric": the Rubric, of
    its criteria those that hold for the row, "reply": the speech level that is right, "" if not told}] of a Benchmark.

    path: a local copy, "" = where its owners publish it; max_questions: drawn with the categories' shares kept, 0 =
    all. Raises InputError with file and line for a row that is not of the published form, and for an id that is there
    twice.
    """
    own, found = PROJECT / benchmark.data, {}
    rubric = benchmark.read_rubric()
    rows = list(load.load_rows(path or (str(own) if own.exists() else benchmark.data)))  # a broken file is told first
    for place, row in rows:
        check_characters(place, row)
        one = _question(place, row, benchmark, rubric)
        if one["id"] in found:
            raise InputError(f"{place}: the {benchmark.columns['id']} {one['id']!r} is there twice; give each its own")
        found[one["id"]] = one
    return draw(list(found.values()), max_questions, seed)


def sha256(questions):
    """Of what read_questions returns, in its order; the same wherever they were read from."""
    told = [{**one, "rubric": [c.key for c in one["rubric"].criteria]} for one in questions]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False, sort_keys=True).encode("utf-8")).hexdigest()


def _question(place, row, benchmark, rubric):
    columns, title = benchmark.columns, benchmark.title
    for name, column in columns.items():
        if row.get(column) in (None, "", []):
            there = ", ".join(map(str, row))
            raise InputError(f"{place}: no {name}; {title} has it in the column {column}, here are {there}")
    turns = _texts(place, columns["turns"], row[columns["turns"]])
    if len(turns) < benchmark.num_turns:
        wanted = f"{title} has {benchmark.num_turns}"
        raise InputError(f"{place}: {columns['turns']} has {len(turns)} turns; {wanted}")
    if "reply" in columns and row[columns["reply"]] not in REPLY:
        raise InputError(f"{place}: reply is {str(row[columns['reply']])[:40]!r}; expected one of: {' | '.join(REPLY)}")
    turns = turns[: benchmark.num_turns or None]
    if benchmark.kind == PAIR and len(turns) > 1:
        raise InputError(f"{place}: {columns['turns']} has {len(turns)} turns; {title} has one")
    return {
        "id": str(row[columns["id"]]),
        "category": str(row[columns["category"]]) if "category" in columns else "all",
        "turns": turns,
        "shown": _shown(place, row, benchmark, len(turns)),
        "rubric": _restricted(place, row, benchmark, rubric),
        "reply": row[columns["reply"]] if "reply" in columns else "",
    }


def _restricted(place, row, benchmark, rubric):
    """The rubric with the criteria that hold for a row."""
    if not benchmark.criteria:
        return rubric
    keys = _list(place, benchmark.criteria, row.get(benchmark.criteria))
    unknown = [key for key in keys if key not in {c.key for c in rubric.criteria}]
    if unknown or not keys:
        known = ", ".join(c.key for c in rubric.criteria)
        raise InputError(f"{place}: {benchmark.criteria} is {keys}; expected one or more of {known}")
    return replace(rubric, criteria=tuple(c for c in rubric.criteria if c.key in keys))


def _texts(place, column, value):
    """The texts in a cell: one, several, or of {"content": text}."""
    values = [value] if isinstance(value, str) else value
    values = [one.get("content") if isinstance(one, dict) else one for one in _list(place, column, values)]
    if not all(isinstance(one, str) and one.strip() for one in values):
        raise InputError(f"{place}: {column} is {str(value)[:60]!r}; expected texts, none of them empty")
    return [one.strip() for one in values]


def _list(place, column, value):
    if not isinstance(value, list):
        raise InputError(f"{place}: {column} is {str(value)[:60]!r}; expected a list of texts")
    return value


def _shown(place, row, benchmark, turns):
    """What only the judge reads, a text per turn. A single text belongs to every turn."""
    out = [[] for _ in range(turns)]
    for column, label in benchmark.shown.items():
        value = row.get(column)
        if value is None or value == "":
            continue
        values = [value] * turns if isinstance(value, str) else _list(place, column, value)[:turns]
        if not all(one is None or isinstance(one, str) for one in values):
            raise InputError(f"{place}: {column} is {str(value)[:60]!r}; expected a text or null for each turn")
        for of_turn, text in zip(out, values):
            of_turn += [f"[{label}] {text.strip()}"] if text and text.strip() else []
    return ["\n".join(parts) for parts in out]


def read_answers(responder, questions, id_column):
    """The answers of a file, found by the question's id: for each question a list of Reply, one a turn.

    A line has `id_column` (or question_id, id) and `choices` as MT-Bench and Arena-Hard write them ([{"turns":
    [...]}]), or `outputs`, `answers` (a text per turn) or `output` (one text). Raises InputError with file and line,
    for a question that is answered twice too, and if a question has no answer to one of its turns.
    """
    texts = {}
    for place, row in read_rows(responder.model):
        check_characters(place, row)
        key = next((row[c] for c in (id_column, "question_id", "id") if c in row), None)
        column = next((c for c in ANSWERS if row.get(c)), None)
        if key is None or column is None:
            raise InputError(f"{place}: expected {id_column} and one of {', '.join(ANSWERS)}; found {', '.join(row)}")
        if str(key) in texts:
            raise InputError(f"{place}: the question {key} is answered there twice; keep one of the lines")
        texts[str(key)] = _answers(place, column, row[column])
    for one in questions:
        if len(texts.get(one["id"], ())) < len(one["turns"]):
            there = f"{len(texts.get(one['id'], ()))} of {len(one['turns'])} answers to the question {one['id']}"
            raise InputError(f"{responder.model}: {there}; add them, or give the model itself")
    replies = {key: [Reply(text.strip(), None, None, 0, None) for text in of_one] for key, of_one in texts.items()}
    return [replies[one["id"]][: len(one["turns"])] for one in questions]


def _answers(place, column, value):
    values = [value] if isinstance(value, str) else _list(place, column, value)
    if column == "choices":
        first = values[0] if isinstance(values[0], dict) else {}
        values = _list(place, "choices.0.turns", first.get("turns"))
    values = [one.get("content") if isinstance(one, dict) else one for one in values]
    if not all(isinstance(one, str) for one in values):
        raise InputError(f"{place}: {column} is {str(value)[:60]!r}; expected a text for each turn")
    return values
