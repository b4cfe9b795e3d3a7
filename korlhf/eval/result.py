"""The output of an evaluation program, which the report reads.

OUTPUT_DIR/PROGRAM.json holds warnings, tables, how it was measured, figures, settings and what was read;
OUTPUT_DIR/PROGRAM.jsonl one line per item. (A program that may run several times in a folder names its files itself.)
A line that shows answers has {"id", "category", "messages", "answers": {model: [{"text", ...}]}}: lines of several
programs with the same id are shown as one.
"""

import dataclasses
import json
import time
from pathlib import Path

from korlhf.core import tables
from korlhf.core.files import AtomicFile, fingerprint, write_json
from korlhf.core.program import exit_code, versions
from korlhf.eval.texts import say
from korlhf.llm.budget import new_usage
from korlhf.llm.protocol import Failure


class Result:
    """A context manager that writes both files when the program is done, or nothing.

    Raises InputError, before anything is computed or paid for, if the folder cannot be written or the same program is
    at work in it.

    program: its name; settings: a dict, or dataclasses of flags; inputs: files and model folders that were read; name:
    of the files, "" = the program's.
    Filled in by the program: `figures` (a dict, for other programs), `tables` (by `table`, for people), `protocol` (how
    it was measured: pairing, interval, seed, template, decoding, judge ...; name -> text, number or tables.both),
    `rows` (one dict per item), warnings.
    """

    def __init__(self, program, output_dir, settings, inputs=(), name=""):
        self.program, self.name, self.folder = program, name or program, Path(output_dir).expanduser()
        groups = [settings] if isinstance(settings, dict) else map(dataclasses.asdict, settings)
        self.settings = {name: value for group in groups for name, value in group.items()}
        self.inputs, self.figures, self.rows = list(inputs), {}, []
        self.tables, self.protocol, self.warnings = [], {}, []
        self.attempted = self.failed = 0
        self.usage = new_usage()  # of all servers, responders and judges together
        self._rows = AtomicFile(self.folder / f"{self.name}.jsonl", "--output_dir")

    def __enter__(self):
        self._began, self._out = time.time(), self._rows.open()
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self._rows.discard()
            return
        try:
            self._out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        except OSError as failed:
            self._rows.discard()
            raise self._rows.unwritable(failed) from failed
        self._rows.commit()
        # what a server once answered stays its answer: nothing shows whether other weights answer under its name by now
        from_cache = self.usage["cached"] and say("result.from_cache", n=self.usage["cached"])
        self._write(from_cache)
        self._print(from_cache)

    def warn(self, line, first=False):
        """line: tables.both, what a reader must see before the figures; first: above those that are there already."""
        if line not in self.warnings:
            self.warnings.insert(0 if first else len(self.warnings), line)

    def lost(self, what, outcomes):
        """Count what was asked of `what` (a model, the judge; text or tables.both), and warn of the llm.Failures among
        it; figures are over the others."""
        failures = [one for one in outcomes if isinstance(one, Failure)]
        self.attempted += len(outcomes)
        self.failed += len(failures)
        if failures:
            reason = f"{failures[0].kind}: {failures[0].reason}"
            self.warn(say("result.lost", what=what, n=len(failures), reason=reason))

    def table(self, title, columns, rows, notes=()):
        """A table for the terminal and the report; see tables.table."""
        self.tables.append(tables.table(title, columns, rows, notes))

    def code(self):
        """Exit code: 3 if more than the share --max_failed of what was attempted failed, else 0."""
        return exit_code(self.failed, self.attempted, self.settings["max_failed"])

    def _print(self, from_cache):
        for table in self.tables:
            print(f"\n{tables.plain(table)}")
        for name, how in [*self.protocol.items(), *([("cache", from_cache)] if from_cache else [])]:
            print(f"{name}: {tables.words(how, 'en')}")
        for line in self.warnings:
            print(f"WARNING: {line['en']}")
        print(f"written: {self.folder / self.name}.json, {self.name}.jsonl", flush=True)

    def _write(self, from_cache):
        content = {name: getattr(self, name) for name in ("program", "warnings", "tables", "protocol", "figures")}
        content |= {
            "settings": self.settings,
            "usage": self.usage,
            "from_cache": from_cache,
            "inputs": [_input(Path(path)) for path in self.inputs],
            "rows": {"file": f"{self.name}.jsonl", "n": len(self.rows)},
            "versions": versions(),
            "seconds": round(time.time() - self._began, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_json(self.folder / f"{self.name}.json", content)


def _input(path):
    return {"path": str(path), **({"sha256": fingerprint(path)} if path.is_file() else {})}
