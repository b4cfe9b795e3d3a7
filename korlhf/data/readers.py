"""Rows of a file: JSON, JSONL, CSV, TSV or parquet -> (place, row), one after the other.

By hand, because an error must name its line: neither ijson nor pandas nor datasets tells on which line a row begins,
and ijson reads half a surrogate pair as "?" without a word.
"""

import codecs
import contextlib
import csv
import json
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import close_names
from korlhf.data.characters import SURROGATE

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_BLANK = re.compile(r"\s*")
_MEND = "correct or delete it"


def read_rows(path: str | PathLike) -> Iterator[tuple[str, dict]]:
    """Yield ("FILE:LINE", row) of a file; JSONL is read line by line.

    Raises InputError, one line, for a file that is absent, empty, not UTF-8, of another type, or broken.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file in it")
    if not path.is_file():
        raise InputError(f"{path}: no such file{close_names(path)}")
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        kind = path.suffix or "without a suffix"
        raise InputError(f"{path}: the type {kind} is not read; give one of {', '.join(SUFFIXES)}")
    empty = True
    try:
        for n, row in reader(path):
            if not isinstance(row, dict):
                what = f"{type(row).__name__} {str(row)[:40]!r}"
                raise InputError(f'{path}:{n}: the row is {what}; expected an object {{"prompt": ...}}')
            empty = False
            yield f"{path}:{n}", row
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read: {reason}; check the file and its permissions") from error
    if empty:
        raise InputError(f"{path}: no rows in it; write at least one, or take it out of the command")


def check_characters(place: str, row: dict) -> None:
    """Raise InputError for a row with half a surrogate pair anywhere in it: it can be neither tokenised nor written."""
    for column, value in row.items():
        half = SURROGATE.search(json.dumps([column, value], ensure_ascii=False, default=str))
        if half:
            raise InputError(
                f"{place}: {SURROGATE.sub('?', str(column))} holds half a surrogate pair (\\u{ord(half.group()):04x}), "
                "which is not UTF-8; write the character itself"
            )


def decoded_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1 on, line with its ending) of a UTF-8 file. Raises InputError for another encoding."""
    with open(path, "rb") as file:
        for n, line in enumerate(file, 1):
            try:
                yield n, line.decode("utf-8-sig" if n == 1 else "utf-8")
            except UnicodeDecodeError as error:
                wide = n == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                raise InputError(
                    f"{path}:{n}: not UTF-8 (byte {error.start + 1} of the line); convert it: "
                    f"iconv -f {'utf-16' if wide else 'cp949'} -t utf-8 {path.name} > utf8_{path.name}"
                ) from error


def parsed(text: str, place: object, line: int = 1, remedy: str = _MEND) -> object:
    """The value of a JSON text that begins on `line`. Raises InputError, one line, if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            line, what = line + error.lineno - 1, f"broken JSON: {error.msg} at character {error.colno}"
        elif isinstance(error, RecursionError):
            what = "JSON that is nested too deep"
        else:  # a number of thousands of digits
            what = f"JSON that cannot be read: {str(error).split(';')[0]}"
        raise InputError(f"{place}:{line}: {what}; {remedy}") from error


def _past_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None  # it matches nothing at all, too
    return match.end()


def elements(text: str, key: str, place: object, remedy: str = _MEND) -> Iterator[tuple[int, object]]:
    """Yield (line, element) of a JSON text [...] or {key: [...]}. Raises InputError for anything else."""
    whole = parsed(text, place, 1, remedy) if text.strip() else None
    rows = whole.get(key) if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        what = f'expected a list of objects or {{"{key}": [...]}}; found {text.strip()[:40]!r}'
        raise InputError(f"{place}:1: {what}; {remedy}")
    decode = json.JSONDecoder().raw_decode
    begins = [text.find("[")] if rows is whole else [m.end() - 1 for m in re.finditer(rf'"{key}"\s*:\s*\[', text)]
    at = begins[0] if len(begins) == 1 else next(b for b in begins if decode(text, b)[0] == rows)
    line, counted = 1, 0
    for element in rows:
        at = _past_blanks(text, at + 1)  # over the bracket or the comma
        line, counted = line + text.count("\n", counted, at), at
        yield line, element
        at = _past_blanks(text, decode(text, at)[1])


def _jsonl(path):
    for n, line in decoded_lines(path):
        if line.strip():
            yield n, parsed(line.rstrip("\r\n"), path, n)  # an error at the end of the line is not on the next


def _json(path):
    text = "".join(line for _, line in decoded_lines(path))
    with contextlib.suppress(ValueError, RecursionError):  # which `elements` tells
        begin = _past_blanks(text, 0)
        if text.startswith("{", begin) and text[json.JSONDecoder().raw_decode(text, begin)[1] :].strip():
            return _jsonl(path)  # JSON lines under the name .json, as DeepSpeed-Chat's data has it
    return elements(text, "data", path) if text.strip() else iter(())


def _table(path):
    csv.field_size_limit(2**31 - 1)  # a cell may be longer than the default 128 KiB
    lines = (line for _, line in decoded_lines(path))
    reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    header, begins = None, 1
    try:
        for cells in reader:
            if header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise InputError(f"{path}:1: two columns have the same name; found {', '.join(header)}")
            elif cells:
                if len(cells) != len(header):
                    raise InputError(
                        f"{path}:{begins}: {len(cells)} cells, but the header has {len(header)}; "
                        "put text with separators in quotes"
                    )
                yield begins, dict(zip(header, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        remedy = "quote the cell, and double the quotes within it"
        raise InputError(f"{path}:{begins}: broken table: {error}; {remedy}") from error


def _parquet(path):
    import pyarrow  # slow to import
    import pyarrow.parquet

    n = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    n += 1
                    yield n, row
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: row {n + 1} or one behind it: not UTF-8; write the file again") from error
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable parquet file: {reason}; write it again") from error
