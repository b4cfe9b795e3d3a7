"""The second reading: rows put right are written to OUTPUT/fixed, rows removed beside them with the reasons; examples are fetched.

Fixing what was fixed changes nothing: every text is cleaned until it stays as it is, and copies are looked for among the cleaned rows.
"""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.columns import fields, read_row, replaced
from korlhf.data.example import RowError, RowSkipped
from korlhf.data.readers import read_rows
from korlhf.data.record import record_id
from korlhf.data_prep.audit.kinds import ALWAYS_REMOVED, BIT, names
from korlhf.data_prep.audit.sample import shortened
from korlhf.data_prep.audit.scan import cleaned


def second_reading(scan, bits, wanted, fixer, bar):
    """Read all files once more -> {row: {"place", part: beginning of the text}} of the `wanted` rows; a Fixer, or None, gets every row.

    bits: (rows,) findings. Raises InputError if a file has changed meanwhile.
    """
    found, number = {}, 0
    for source_number, source in enumerate(scan.sources):
        for place, row in read_rows(source.path):
            if number >= len(scan) or scan.source_of[number] != source_number:
                raise InputError(f"{source.path}: has changed while it was read; start again")
            if number in wanted:
                found[number] = {"place": place, **{field.part: shortened(field.text) for field in fields(row)}}
            if fixer:
                fixer.take(source_number, place, row, int(bits[number]))
            number += 1
            bar.update()
    if number != len(scan):
        raise InputError(f"{scan.sources[-1].path}: has changed while it was read; start again")
    return found


class Fixer:
    """Writes the fixed files; a context manager. They take their names when all is done.

    folder: OUTPUT/fixed; removed: further kinds of findings whose rows are removed.
    """

    def __init__(self, folder, sources, removed=()):
        self.folder, self.sources = Path(folder), sources
        self.removed_bits = sum(BIT[kind] for kind in {*ALWAYS_REMOVED, *removed})
        self.names = file_names(sources)
        self.counts = [Counter() for _ in sources]
        self.reasons = [Counter() for _ in sources]
        self.cleaned = [Counter() for _ in sources]

    def __enter__(self):
        for source in self.sources:
            if Path(source.path).resolve().parent == self.folder.resolve():
                raise InputError(
                    f"--output {self.folder.parent}: {source.path} lies in its folder fixed and would be overwritten; "
                    "give another --output"
                )
        self._files = ExitStack()
        self._open = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in self.names:
                self._open.append(
                    [
                        self._files.enter_context(open(self.folder / f"{name}.{kind}.partial", "w", encoding="utf-8"))
                        for kind in ("jsonl", "removed.jsonl")
                    ]
                )
        except OSError as error:
            raise InputError(
                f"--output {self.folder}: cannot be written: {error.strerror or error}; give another"
            ) from error
        return self

    def __exit__(self, kind, error, trace):
        self._files.close()
        for file in (f for pair in self._open for f in pair):
            if kind is None:
                Path(file.name).replace(file.name.removesuffix(".partial"))
            else:
                Path(file.name).unlink(missing_ok=True)

    def take(self, number, place, row, bits):
        """Write one row of the source `number`, put right, or note why it is removed."""
        kept, gone = self._open[number]
        self.counts[number]["rows"] += 1
        reasons = names(bits & self.removed_bits)
        if reasons:
            self.counts[number]["removed"] += 1
            self.reasons[number].update(reasons)
            gone.write(line({"reasons": reasons, "place": place, "row": row}))
            return
        fixed, kinds = put_right(row)
        self.counts[number]["cleaned"] += bool(kinds)
        self.cleaned[number].update(kinds)
        kept.write(line(fixed))

    def report(self):
        """Per file: its name, rows, cleaned, removed, and both by kind (a row may have several)."""
        return [
            {
                "source": source.path,
                "path": str(self.folder / f"{name}.jsonl"),
                "rows": n["rows"],
                "cleaned_rows": n["cleaned"],
                "removed_rows": n["removed"],
                "kept_rows": n["rows"] - n["removed"],
                "cleaned": dict(cleaned_kinds.most_common()),
                "removed": dict(reasons.most_common()),
            }
            for source, name, n, cleaned_kinds, reasons in zip(
                self.sources, self.names, self.counts, self.cleaned, self.reasons
            )
        ]


def file_names(sources):
    """One name, without ending, per source: the file's own; if two are the same, with the set's or a number before it."""
    taken = []
    for source in sources:
        stem = Path(source.path).stem
        several = sum(Path(s.path).stem == stem for s in sources) > 1
        numbered = [f"{source.role}_{i}_{stem}" for i in range(2, len(sources) + 2)]
        options = ([] if several else [stem]) + [f"{source.role}_{stem}", *numbered]
        taken.append(next(name for name in options if name not in taken))
    return taken


def put_right(row):
    """(The row with cleaned texts, sorted kinds of what was cleaned); without defects (row, [])."""
    changed, kinds = {}, set()
    for field in fields(row):
        text, found = cleaned(field)
        if text != field.text:
            changed[field.path] = text
            kinds |= set(found)
    if not changed:
        return row, []
    fixed = replaced(row, changed)
    _renew_id(row, fixed)
    if isinstance(fixed.get("history"), list):
        fixed["history"].append({"stage": "audit", "cleaned": sorted(kinds)})
    return fixed, sorted(kinds)


def _renew_id(row, fixed):
    """If the id is the hash of the conversation, as in records, make it that of the cleaned one."""
    try:
        if "id" in row and row["id"] == record_id(read_row(row).messages):
            fixed["id"] = record_id(read_row(fixed).messages)
    except (RowError, RowSkipped):
        return  # an id of another kind stays


def line(row):
    """One line of JSONL; a row with half a surrogate pair, which UTF-8 has not, is written with escapes."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(row, default=str)
    return text + "\n"
