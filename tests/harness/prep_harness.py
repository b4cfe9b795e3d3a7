"""What the tests of data_prep share: JSONL files, runs of a main in this process, and programs as processes."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import warm

ROOT = Path(__file__).resolve().parents[2]


class Ran(NamedTuple):
    """What a run left: its exit code, the records, the lines of OUTPUT.failed.jsonl, the report."""

    code: int | None
    out: list
    failed: list
    report: dict

    @property
    def dropped(self):
        """{reason: how many}"""
        return {reason: found["count"] for reason, found in self.report["dropped"].items()}


def write(path, rows):
    """A JSONL file -> its name."""
    Path(path).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def read(path):
    """The rows of a JSONL file, [] if there is none."""
    path = Path(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def report(path):
    """A JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def argv(*flags):
    """Arguments of a command line; one that begins with -- may hold several: "--seed 7 --top_p 0.9"."""
    parts = [str(flag) for flag in flags]
    return [part for flag in parts for part in (flag.split() if flag.startswith("--") else [flag])]


def run(program, folder, rows, *flags, out="out.jsonl"):
    """main() of a program of one --input, of rows, and one --output, in a folder -> Ran."""
    source, path = write(folder / "in.jsonl", rows), folder / out
    code = program.main(["--input", source, "--output", str(path), *argv(*flags)])
    failed = read(path.with_name(path.stem + ".failed.jsonl"))
    return Ran(code, read(path), failed, report(path.with_name(path.stem + ".report.json")))


def start(name, *flags, **more):
    """data_prep/NAME.py as a process."""
    command = [warm.python(), str(ROOT / "data_prep" / f"{name}.py"), *argv(*flags)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, env=warm.ENVIRONMENT, **pipes, **more)


def call(function, flags):
    """function(command line), e.g. of a program's main or parse; flags: as of `argv`."""
    return function(argv(*flags))
