"""KoBEST's five tasks from local files in the hub's format: DATA_DIR/TASK/SPLIT.jsonl (or .json, .parquet, or numbered shards).

Columns as of skt/kobest_v1 (Kim et al. 2022). Every row is checked, so that what the harness gets is whole. Left out: sentineg's extra
split test_originated, which the harness does not use.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.readers import check_characters, read_rows

SPLITS = ("train", "validation", "test")
NEEDED = ("train", "test")  # few-shot examples come from train, which the harness opens even for 0 shots
SUFFIXES = (".jsonl", ".json", ".parquet")
QUESTIONS = ("원인", "결과")  # of copa


@dataclass(frozen=True)
class Task:
    """columns: of text; labels: how many there are, from 0."""

    columns: tuple[str, ...]
    labels: int


TASKS = {
    "boolq": Task(("paragraph", "question"), 2),
    "copa": Task(("premise", "question", "alternative_1", "alternative_2"), 2),
    "hellaswag": Task(("context", "ending_1", "ending_2", "ending_3", "ending_4"), 4),
    "sentineg": Task(("sentence",), 2),
    "wic": Task(("word", "context_1", "context_2"), 2),
}


def read(data_dir, name):
    """({split: rows}, the files read) of the task `name`; a row has the task's columns and an int `label`.

    Raises InputError for a folder, split or shard that is missing, and with file and line for a row that is not of the format.
    """
    folder = Path(data_dir).expanduser() / name
    if not folder.is_dir():
        raise InputError(
            f"--data_dir {data_dir}: no folder {name} in it{_close(folder)}; it may have {', '.join(TASKS)}"
        )
    splits, files = {}, []
    for split in SPLITS:
        found = _files(folder, split)
        if found:
            splits[split] = [_checked(place, row, name) for path in found for place, row in read_rows(path)]
            files += found
    missing = [split for split in NEEDED if split not in splits]
    if missing:
        raise InputError(
            f"--data_dir {data_dir}: {folder} has no {missing[0]} split; give {missing[0]}.jsonl (or .json, .parquet, or "
            f"shards such as {missing[0]}-00000-of-00001.parquet)"
        )
    return splits, files


def _close(folder):
    names = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
    close = difflib.get_close_matches(folder.name, names, n=1) or [n for n in names if n.lower() == folder.name]
    return f" (there is {close[0]})" if close else ""


def _files(folder, split):
    """The file of a split, or its shards in order; [] if there is none."""
    whole = [path for path in sorted(folder.iterdir()) if path.stem == split and path.suffix.lower() in SUFFIXES]
    shards = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and re.fullmatch(rf"{split}-\d{{5}}-of-\d{{5}}", path.stem)
    )
    if len(whole) > 1 or (whole and shards):
        raise InputError(
            f"{folder}: {split} is there twice ({', '.join(p.name for p in [*whole, *shards][:3])}); keep one"
        )
    if shards and [path.stem[-14:-9] for path in shards] != [f"{i:05}" for i in range(int(shards[0].stem[-5:]))]:
        raise InputError(
            f"{folder}: of the shards of {split} only {', '.join(p.name for p in shards)} are there; copy the others too"
        )
    return whole or shards


def _checked(place, row, name):
    """The task's columns and label of a row."""
    check_characters(place, row)
    task = TASKS[name]
    for column in task.columns:
        if column not in row:
            raise InputError(
                f"{place}: no column {column!r}; {name} has {', '.join(task.columns)} and label, this row {', '.join(row)}"
            )
        if not isinstance(row[column], str) or not row[column].strip():
            raise InputError(f"{place}: {column} is {str(row[column])[:40]!r}; expected text")
    label = row.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < task.labels:
        raise InputError(f"{place}: label is {label!r}; expected a whole number from 0 to {task.labels - 1}")
    if name == "copa" and row["question"].strip() not in QUESTIONS:
        raise InputError(f"{place}: question is {row['question']!r}; expected {' or '.join(QUESTIONS)}")
    return {**{column: row[column] for column in task.columns}, "label": label}
