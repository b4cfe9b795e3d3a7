"""One stage of data_prep: JSONL in, JSONL out, with a report next to it.

OUTPUT is written as OUTPUT.part and takes its name when the stage is done, so a file under its own name is whole.
Records that failed are in OUTPUT.failed.jsonl with the reason; OUTPUT.report.json counts everything. What is slow or
paid for is in the cache of korlhf/llm/cache.py: a stage that was killed is started again with the same command and ends
with the same bytes.
"""

import dataclasses
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from korlhf import __version__
from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint, whole_files, write_json
from korlhf.core.flags import REQUIRED, flag

EXAMPLES = 3  # of every drop reason, in the report
# What Ctrl-C says: of the stages with a cache, and of the others.
RESUMES = "stopped; the same command resumes: answers that arrived are in the cache"
STARTS_OVER = "stopped; nothing of this run is kept, earlier files are as they were: the same command starts over"


@dataclass(frozen=True, kw_only=True)
class StageFlags:
    """files of a data_prep stage"""

    input: list[str] = flag(REQUIRED, "JSONL (or JSON, CSV, parquet) files of records")
    output: str = flag(
        REQUIRED, "JSONL file; next to it OUTPUT.report.json and, of what failed, OUTPUT.failed.jsonl", output="file"
    )


def next_to(path, ending):
    """OUTPUT.jsonl -> OUTPUT.ending"""
    return path.with_name(path.name.removesuffix(".jsonl") + "." + ending)


class Stage:
    """The output files and counts of one run of one program; a context manager.

    name: of the program; output: path ending in .jsonl; settings: what the result depends on (a dict, or a dataclass of
    flags); inputs: paths that are read. Raises InputError if the output cannot be written, is an input, or is being
    written by another process.
    """

    def __init__(self, name, output, settings, inputs=()):
        self.name, self.path = name, Path(output).expanduser()
        self.failed_path = next_to(self.path, "failed.jsonl")
        self.settings = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else dict(settings)
        self.inputs = [Path(p) for p in inputs]
        self.extra, self.examples = {}, {}
        self.rows, self.failures = 0, 0
        self.dropped, self.failed, self.counts = Counter(), Counter(), Counter()
        where = f"--output {self.path}"
        if self.path.suffix != ".jsonl":
            raise InputError(f"{where}: the output is JSON lines; give a name that ends in .jsonl")
        if self.path.is_dir():
            raise InputError(f"{where}: is a folder; give a file name in it, e.g. {self.path / (name + '.jsonl')}")
        if any(path.exists() and path.resolve() == self.path.resolve() for path in self.inputs):
            raise InputError(f"{where}: is also an input; give another name")

    def __enter__(self):
        self.began = time.time()
        self._files = whole_files({"out": self.path, "failed": self.failed_path})
        files = self._files.__enter__()
        self._out, self._failed = files["out"], files["failed"]
        return self

    def __exit__(self, kind, error, trace):
        self._files.__exit__(kind, error, trace)
        if kind is None:
            if not self.failures:
                self.failed_path.unlink()
            write_json(next_to(self.path, "report.json"), self.report())
            print(self.table(), flush=True)

    def write(self, record):
        """Write one record."""
        self._out.write(json.dumps(record, ensure_ascii=False) + "\n")
        self.rows += 1

    def fail(self, record, reason, kind="", **more):
        """A line in OUTPUT.failed.jsonl: a record, or a part of one, that could not be done. kind: for the counts."""
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
        dropped = self.dropped.most_common()
        return {
            "program": self.name,
            "korlhf": __version__,
            "settings": self.settings,
            "inputs": [{"path": str(p), "sha256": fingerprint(p)} for p in self.inputs if p.is_file()],
            "output": {"path": str(self.path), "rows": self.rows, "sha256": fingerprint(self.path)},
            "dropped": {why: {"count": n, "examples": self.examples.get(why, [])} for why, n in dropped},
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
            lines.append(f"  reasons in {self.failed_path}; the same command tries the failed ones again")
        return "\n".join(lines)
