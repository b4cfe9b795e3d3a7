"""The second reading: examples are fetched, rows are put right in OUTPUT/fixed or removed there with the reasons.

Fixing what was fixed changes nothing: every text is cleaned until it stays as it is, and copies are looked for among
the cleaned rows.
"""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.example import RowError, RowSkipped, read_row
from korlhf.data.fields import fields, replaced
from korlhf.data.readers import read_rows
from korlhf.data.record import record_id
from korlhf.data_prep.audit import ALWAYS_REMOVED, BIT, CHANGED, names
from korlhf.data_prep.audit.passages import shortened
from korlhf.data_prep.audit.scan import cleaned


def second_reading(scan, bits, wanted, fixer, bar):
    """Read all files once more -> {row: {"place", part: beginning of the text}} of the `wanted` rows.

    bits: (rows,) findings; fixer: a Fixer, or None, that gets every row. Raises InputError if a file has changed
    meanwhile.
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
    """What becomes of every row. folder: OUTPUT/fixed; removed: further kinds of findings whose rows are removed;
    test_rows: whether rows of test sets are removed too.

    paths: of the files to write, by (number of the source, whether its rows are kept); `files` are those, once open.
    Raises InputError if a file to read would be overwritten.
    """

    def __init__(self, folder, sources, removed=(), test_rows=False):
        self.folder, self.sources, self.files = folder, sources, {}
        bits = sum(BIT[kind] for kind in {*ALWAYS_REMOVED, *removed})
        self.removed_bits = [0 if source.role == "test" and not test_rows else bits for source in sources]
        self.names = file_names(sources)
        self.counts, self.reasons, self.cleaned = ([Counter() for _ in sources] for _ in range(3))
        for source in sources:
            if Path(source.path).resolve().parent == folder.resolve():
                raise InputError(
                    f"--output {folder.parent}: {source.path} lies in its folder fixed and would be overwritten; "
                    "give another --output"
                )
        endings = {True: "jsonl", False: "removed.jsonl"}
        self.paths = {(i, k): folder / f"{name}.{e}" for i, name in enumerate(self.names) for k, e in endings.items()}

    def take(self, number, place, row, bits):
        """Write one row of the source `number`, put right, or note why it is removed."""
        self.counts[number]["rows"] += 1
        reasons = names(bits & self.removed_bits[number])
        if reasons:
            self.counts[number]["removed"] += 1
            self.reasons[number].update(reasons)
            row = {"reasons": reasons, "place": place, "row": row}
        elif bits & CHANGED:
            row, kinds = put_right(row)
            self.counts[number]["cleaned"] += bool(kinds)
            self.cleaned[number].update(kinds)
        self.files[number, not reasons].write(line(row))

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
    """One name, without ending, per source: the file's own; of equal ones, with the role or a number before it."""
    taken = []
    for source in sources:
        stem = Path(source.path).stem
        several = sum(Path(s.path).stem == stem for s in sources) > 1
        numbered = [f"{source.role}_{i}_{stem}" for i in range(2, len(sources) + 2)]
        options = ([] if several else [stem]) + [f"{source.role}_{stem}", *numbered]
        taken.append(next(name for name in options if name not in taken))
    return taken


def put_right(row):
    """(The row with cleaned texts, sorted kinds of what was cleaned)."""
    changed, kinds = {}, set()
    for field in fields(row):
        _, found, text = cleaned(field)
        if text != field.text:
            changed[field.path] = text
            kinds |= set(found)
    fixed = replaced(row, changed)
    with suppress(
        RowError, RowSkipped
    ):  # an id that is the conversation's hash, as in records, is renewed; others stay
        if "id" in row and row["id"] == record_id(read_row(row).messages):
            fixed["id"] = record_id(read_row(fixed).messages)
    if isinstance(fixed.get("history"), list):
        fixed["history"].append({"stage": "audit", "cleaned": sorted(kinds)})
    return fixed, sorted(kinds)


def line(row):
    """One line of JSONL; a row with half a surrogate pair, which UTF-8 has not, is written with escapes."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(row, default=str)
    return text + "\n"
