"""One stage of data_prep: JSONL in, JSONL out, with a report beside it.

OUTPUT is written as OUTPUT.partial and takes its name when the stage is done, so a file under its own name is always whole.
Records that failed are in OUTPUT.failed.jsonl with the reason; OUTPUT.report.json counts everything. What is slow or paid for is in
the cache of korlhf/llm/client.py, so a stage that was killed is started again with the same command and ends with the same bytes.
"""

import dataclasses
import fcntl
import json
import os
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from korlhf import __version__
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint, write_json

EXAMPLES = 3  # of every drop reason, in the report


def beside(path, ending):
    """OUTPUT.jsonl -> OUTPUT.ending"""
    return path.with_name(path.name.removesuffix(".jsonl") + "." + ending)


class Stage:
    """The output files and counts of one run of one program; a context manager.

    name: of the program; output: path ending in .jsonl; settings: what the result depends on (a dict, or a dataclass of flags);
    inputs: paths that are read. Raises InputError if the output cannot be written, is an input, or is being written by another process.
    """

    def __init__(self, name, output, settings, inputs=()):
        self.name, self.path = name, Path(output).expanduser()
        self.settings = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else dict(settings)
        self.inputs = [Path(p) for p in inputs]
        self.extra = {}
        self.rows, self.failures = 0, 0
        self.dropped, self.failed, self.counts = Counter(), Counter(), Counter()
        self.examples = {}
        self._check()

    def _check(self):
        if self.path.suffix != ".jsonl":
            raise InputError(f"--output {self.path}: the output is JSON lines; give a name that ends in .jsonl")
        if self.path.is_dir():
            raise InputError(
                f"--output {self.path}: is a folder; give a file name in it, e.g. {self.path / (self.name + '.jsonl')}"
            )
        for path in self.inputs:
            if path.exists() and path.resolve() == self.path.resolve():
                raise InputError(f"--output {self.path}: is also an input; give another name")

    def __enter__(self):
        self.began = time.time()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._files = ExitStack()
            self._out = self._files.enter_context(open(beside(self.path, "jsonl.partial"), "a", encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"--output {self.path}: cannot be written: {error.strerror or error}; give another"
            ) from error
        try:
            fcntl.flock(self._out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._files.close()
            raise InputError(
                f"--output {self.path}: another process is writing it; wait for it, or give another name"
            ) from error
        self._out.truncate(0)  # what a killed run left
        self._failed = self._files.enter_context(open(beside(self.path, "failed.jsonl.partial"), "w", encoding="utf-8"))
        return self

    def __exit__(self, kind, error, trace):
        self._out.flush()
        if kind is not None:
            for file in (self._out, self._failed):
                Path(file.name).unlink()
            self._files.close()
            return
        os.fsync(self._out.fileno())
        Path(self._out.name).replace(self.path)
        if self.failures:
            Path(self._failed.name).replace(beside(self.path, "failed.jsonl"))
        else:
            Path(self._failed.name).unlink()
            beside(self.path, "failed.jsonl").unlink(missing_ok=True)  # of an earlier run
        self._files.close()
        write_json(beside(self.path, "report.json"), self.report())
        print(self.table(), flush=True)

    def write(self, record):
        """Write one record."""
        self._out.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.rows += 1

    def fail(self, record, reason, kind="", **more):
        """Note a record, or a part of one, that could not be done: a line in OUTPUT.failed.jsonl. kind: short, for the counts."""
        line = {"id": record.get("id"), "reason": reason, **more, "record": record}
        self._failed.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.failures += 1
        self.failed[kind or reason] += 1

    def drop(self, reason, record=None):
        """Count a record that is left out on purpose; the report shows the first few."""
        self.dropped[reason] += 1
        if record is not None and len(self.examples.setdefault(reason, [])) < EXAMPLES:
            self.examples[reason].append(record)

    def count(self, name, n=1):
        """Add to a count of one's own."""
        self.counts[name] += n

    def report(self):
        """What is written to OUTPUT.report.json."""
        dropped = {
            reason: {"count": n, "examples": self.examples.get(reason, [])} for reason, n in self.dropped.most_common()
        }
        return {
            "program": self.name,
            "korlhf": __version__,
            "settings": self.settings,
            "inputs": [{"path": str(p), "sha256": fingerprint(p)} for p in self.inputs if p.is_file()],
            "output": {"path": str(self.path), "rows": self.rows, "sha256": fingerprint(self.path)},
            "dropped": dropped,
            "failed": dict(self.failed.most_common()),
            "counts": dict(self.counts),
            **self.extra,
            "seconds": round(time.time() - self.began, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }

    def table(self):
        """The counts for people."""
        lines = [f"{self.name}: {self.rows:,} records -> {self.path}"]
        lines += [f"  {n:>9,}  {name}" for name, n in self.counts.items()]
        lines += [f"  {n:>9,}  dropped: {reason}" for reason, n in self.dropped.most_common()]
        lines += [f"  {n:>9,}  failed: {kind}" for kind, n in self.failed.most_common()]
        if self.failures:
            lines.append(
                f"  reasons in {beside(self.path, 'failed.jsonl')}; start the same command again to try the failed ones once more"
            )
        return "\n".join(lines)


# === from flags
from dataclasses import dataclass

from korlhf.core.flags import REQUIRED, flag


@dataclass(frozen=True, kw_only=True)
class StageFlags:
    """files of a data_prep stage"""

    input: list[str] = flag(REQUIRED, "JSONL (or JSON, CSV, parquet) files of records")
    output: str = flag(
        REQUIRED, "JSONL file to write; its report is beside it as .report.json, what failed as .failed.jsonl"
    )
