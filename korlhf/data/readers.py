"""Rows of a file: JSON, JSONL, CSV, TSV or parquet -> (place, row), one after the other."""

import codecs
import csv
import json
import re
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import close_names

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_BLANK = re.compile(r"\s*")
_HALF = re.compile("[\ud800-\udfff]")  # JSON can hold half of a surrogate pair ("\\ud83d"), UTF-8 cannot


def read_rows(path):
    """Yield ("FILE:LINE", row) of a file; JSONL is read line by line.

    Raises InputError, one line, for a file that is absent, empty, not UTF-8, of another type, or broken.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file in it")
    if not path.is_file():
        raise InputError(f"{path}: no such file{close_names(path)}")
    reader = {".jsonl": _jsonl, ".json": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet}.get(
        path.suffix.lower()
    )
    if reader is None:
        raise InputError(
            f"{path}: the type {path.suffix or 'without a suffix'} is not read; give one of {', '.join(SUFFIXES)}"
        )
    empty = True
    try:
        for place, row in reader(path):
            if not isinstance(row, dict):
                raise InputError(
                    f'{place}: the row is {type(row).__name__} {str(row)[:40]!r}; expected an object {{"prompt": ...}}'
                )
            empty = False
            yield place, row
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}; check the file and its permissions"
        ) from error
    if empty:
        raise InputError(f"{path}: no rows in it; write at least one, or take it out of the command")


def check_characters(place, row):
    """Raise InputError for a row with half a surrogate pair anywhere in it: it can be neither tokenised nor written."""
    for column, value in row.items():
        half = _HALF.search(json.dumps([column, value], ensure_ascii=False, default=str))
        if half:
            raise InputError(
                f"{place}: {_HALF.sub('?', str(column))} holds half a surrogate pair (\\u{ord(half.group()):04x}), which is "
                "not UTF-8; write the character itself"
            )


def _lines(path):
    """Decoded lines with their endings, from 1 on."""
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


def _broken(path, line, error):
    """InputError for what json.loads raises; line: on which its text begins."""
    if isinstance(error, json.JSONDecodeError):
        line, what = line + error.lineno - 1, f"broken JSON: {error.msg} at character {error.colno}"
    elif isinstance(error, RecursionError):
        what = "JSON that is nested too deep"
    else:  # a number of thousands of digits
        what = f"JSON that cannot be read: {str(error).split(';')[0]}"
    return InputError(f"{path}:{line}: {what}; correct or delete it")


def _jsonl(path):
    for n, line in _lines(path):
        if line.strip():
            try:
                row = json.loads(line.rstrip("\r\n"))  # an error at the end of the line is not on the next
            except (ValueError, RecursionError) as error:
                raise _broken(path, n, error) from error
            yield f"{path}:{n}", row


def _json(path):
    text = "".join(line for n, line in _lines(path))
    if not text.strip():
        return
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        extra = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        if extra and text.lstrip().startswith("{"):  # JSON lines under the name .json, as DeepSpeed-Chat's data has it
            yield from _jsonl(path)
            return
        raise _broken(path, 1, error) from error
    start = _list_start(text, whole)
    if start is None:
        raise InputError(
            f'{path}:1: the file is one {type(whole).__name__}; expected a list of objects or {{"data": [...]}}'
        )
    yield from _elements(path, text, start)


def _list_start(text, whole):
    """Where the first element of the list may begin in valid JSON `text`, or None if there is no list of rows in it."""
    decoder = json.JSONDecoder()
    at = _BLANK.match(text).end() + 1
    if isinstance(whole, list):
        return at
    if not isinstance(whole, dict) or not isinstance(whole.get("data"), list):
        return None
    while True:
        key, at = decoder.raw_decode(text, _BLANK.match(text, at).end())
        at = _BLANK.match(text, _BLANK.match(text, at).end() + 1).end()  # over the colon
        if key == "data" and text[at] == "[":
            return at + 1
        at = _BLANK.match(text, decoder.raw_decode(text, at)[1]).end() + 1  # over the value and the comma


def _elements(path, text, at):
    """The elements of a list in valid JSON, with the line each begins on."""
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _BLANK.match(text, at).end()
    while text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        row, end = decoder.raw_decode(text, at)
        yield f"{path}:{line}", row
        at = _BLANK.match(text, end).end()
        if text[at] == ",":
            at = _BLANK.match(text, at + 1).end()


def _table(path):
    csv.field_size_limit(2**31 - 1)  # a cell may be longer than the default 128 KiB
    reader = csv.reader(
        (line for n, line in _lines(path)), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
    )
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
                yield f"{path}:{begins}", dict(zip(header, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}:{begins}: broken table: {error}; quote the cell, and double the quotes within it"
        ) from error


def _parquet(path):
    import pyarrow  # slow to import
    import pyarrow.parquet

    n = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    n += 1
                    yield f"{path}:{n}", row
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: row {n + 1} or one behind it: not UTF-8; write the file again") from error
    except pyarrow.ArrowException as error:
        raise InputError(
            f"{path}: not a readable parquet file: {str(error).splitlines()[0]}; write it again"
        ) from error
