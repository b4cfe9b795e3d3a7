"""KoBEST's five tasks from local files in the hub's format: DATA_DIR/TASK/SPLIT.jsonl (or .json, .parquet, or numbered
shards).

Columns as of skt/kobest_v1 (Kim et al. 2022). Every row is checked, so that what the harness gets is whole. Left out:
sentineg's extra split test_originated, which the harness does not use.
"""

import re
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import close_names
from korlhf.data.readers import check_characters, read_rows

SPLITS = ("train", "validation", "test")
NEEDED = ("train", "test")  # few-shot examples come from train, which the harness opens even for 0 shots
TEXTS = {  # columns of text; label is the other one
    "boolq": ("paragraph", "question"),
    "copa": ("premise", "question", "alternative_1", "alternative_2"),
    "hellaswag": ("context", "ending_1", "ending_2", "ending_3", "ending_4"),
    "sentineg": ("sentence",),
    "wic": ("word", "context_1", "context_2"),
}
LABELS = {name: 4 if name == "hellaswag" else 2 for name in TEXTS}  # numbered from 0
QUESTIONS = ("원인", "결과")  # of copa


def read(data_dir, name):
    """({split: rows}, the files read) of the task `name`; a row has the task's columns and an int `label`.

    Raises InputError for a folder, split or shard that is missing, and with file and line for a row that is not of the
    format.
    """
    folder, splits, files = Path(data_dir).expanduser() / name, {}, []
    if not folder.is_dir():
        raise InputError(f"--data_dir {data_dir}: no folder {name} in it{close_names(folder)}")
    for split in SPLITS:
        found = _files(folder, split)
        if found:
            splits[split] = [_checked(place, row, name) for path in found for place, row in read_rows(path)]
            files += found
        elif split in NEEDED:
            shard = f"{split}-00000-of-00001.parquet"
            raise InputError(
                f"--data_dir {data_dir}: {folder} has no {split} split; "
                f"give {split}.jsonl (or .json, .parquet, {shard} ...)"
            )
    return splits, files


def _files(folder, split):
    """The file of a split, or its shards in order; [] if there is none."""
    pattern = re.compile(rf"{split}(-\d{{5}}-of-(?P<of>\d{{5}}))?\.(jsonl|json|parquet)")
    matches = sorted(filter(None, (pattern.fullmatch(path.name) for path in folder.iterdir())), key=lambda m: m[0])
    shards = int(matches[0]["of"] or 0) if matches else 0
    wanted = [f"{split}-{i:05}-of-{shards:05}" for i in range(shards)] or [split]
    if matches and [Path(m[0]).stem for m in matches] != wanted:
        names = ", ".join(m[0] for m in matches)
        raise InputError(f"{folder}: the split {split} is {names}; keep one whole file, or all of its shards")
    return [folder / m[0] for m in matches]


def _checked(place, row, name):
    """The task's columns and label of a row."""
    check_characters(place, row)
    columns = ", ".join(TEXTS[name])
    for column in TEXTS[name]:
        if not isinstance(row.get(column), str) or not row[column].strip():
            value = str(row.get(column))[:40]
            raise InputError(f"{place}: {column} is {value!r}; expected text, since {name} has {columns} and label")
    label = row.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < LABELS[name]:
        raise InputError(f"{place}: label is {label!r}; expected a whole number from 0 to {LABELS[name] - 1}")
    if name == "copa" and row["question"].strip() not in QUESTIONS:
        raise InputError(f"{place}: question is {row['question']!r}; expected {' or '.join(QUESTIONS)}")
    return {column: row[column] for column in (*TEXTS[name], "label")}
