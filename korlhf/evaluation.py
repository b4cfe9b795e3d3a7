"""What every program of eval/ does around its figures: which prompts, and files that the report can read.

A result is OUTPUT_DIR/PROGRAM.json (warnings, tables, how it was measured, figures, settings, what was read) and OUTPUT_DIR/PROGRAM.jsonl
(one line an item). A line that shows answers has {"id", "category", "messages", "answers": {model: [{"text", ...}]}}: lines of several
programs with the same id are shown as one.
"""

import dataclasses
import json
import os
import random
import time
from pathlib import Path

from korlhf import tables
from korlhf.data import load, records
from korlhf.data.files import write_json
from korlhf.errors import InputError
from korlhf.stage import fingerprint


def prompts(data_path, max_prompts=0, seed=1234):
    """Prompts of datasets, named as in training: a dataset's evaluation split if it has one, each prompt once.

    Returns records (korlhf/data/records.py), at most `max_prompts` (0 = all) drawn by `seed` with the categories' shares kept.
    Raises InputError for names and files that cannot be read.
    """
    found = {}
    for name in data_path:
        everything, own = load.load_step(3, [name], "0,0,1", eval_share=0.0, seed=seed)
        for example in own or everything:
            record = records.make([dict(m) for m in example.messages], example.category, name)
            found.setdefault(record["id"], record)
    found = list(found.values())
    if not 0 < max_prompts < len(found):
        return found
    kept = set()
    by_category = {}
    for i, record in enumerate(found):
        by_category.setdefault(record["category"], []).append(i)
    for category, places in sorted(by_category.items()):
        share = max(1, round(max_prompts * len(places) / len(found)))
        kept |= set(random.Random(f"{seed}:{category}").sample(places, min(share, len(places))))
    return [found[i] for i in sorted(kept)]


class Result:
    """The output of one evaluation program; a context manager that writes both files when the program is done, or nothing.

    program: its name; settings: a dict, or dataclasses of flags; inputs: files and model folders that were read.
    Filled in by the program: `figures` (a dict, for other programs), `tables` (by `table`, for people), `protocol` (how it was measured:
    pairing, interval, seed, template, decoding, judge ...; name -> text, number or tables.both), `rows` (one dict an item), warnings.
    """

    def __init__(self, program, output_dir, settings, inputs=()):
        self.program, self.folder = program, Path(output_dir).expanduser()
        self.settings = _settings(settings)
        self.inputs, self.figures, self.rows = list(inputs), {}, []
        self.tables, self.protocol, self.warnings = [], {}, []
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--output_dir {self.folder}: is a file; give a folder")

    def __enter__(self):
        self.began = time.time()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output_dir {self.folder}: cannot be made: {error.strerror or error}; give another") from error
        return self

    def warn(self, en, ko):
        """One line, in both languages, that a reader must see before the figures."""
        line = tables.both(en, ko)
        if line not in self.warnings:
            self.warnings.append(line)

    def table(self, title, columns, rows, notes=()):
        """A table for the terminal and the report; see tables.table."""
        self.tables.append(tables.table(title, columns, rows, notes))

    def __exit__(self, kind, error, trace):
        if kind is not None:
            return
        rows = self.folder / f"{self.program}.jsonl"
        part = rows.with_name(rows.name + ".part")
        with open(part, "w", encoding="utf-8") as out:
            for row in self.rows:
                print(json.dumps(row, ensure_ascii=False), file=out)
        os.replace(part, rows)
        write_json(self.folder / f"{self.program}.json", {
            "program": self.program, "warnings": self.warnings, "tables": self.tables, "protocol": self.protocol,
            "figures": self.figures, "settings": self.settings,
            "inputs": [_input(path) for path in self.inputs], "rows": {"file": rows.name, "n": len(self.rows)},
            "versions": _versions(), "seconds": round(time.time() - self.began, 2), "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        for found in self.tables:
            print(f"\n{tables.plain(found)}", flush=True)
        for name, how in self.protocol.items():
            print(f"{name}: {tables.words(how, 'en')}", flush=True)
        for line in self.warnings:
            print(f"WARNING: {line['en']}", flush=True)
        print(f"written: {self.folder / self.program}.json, {rows.name}", flush=True)


def _settings(settings):
    """A dict of what was set; of several dataclasses of flags all of theirs together."""
    if isinstance(settings, dict):
        return settings
    parts = settings if isinstance(settings, (list, tuple)) else [settings]
    return {name: value for part in parts for name, value in dataclasses.asdict(part).items()}


def _versions():
    from korlhf.program import versions  # imports torch
    return versions()


def _input(path):
    path = Path(path)
    return {"path": str(path), **({"sha256": fingerprint(path)} if path.is_file() else {})}
