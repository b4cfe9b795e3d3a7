"""What ends one of several processes: one line, and the whole text in a file."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from korlhf.core import program
def main():
    if sys.argv[1]:
        program.errors_in(sys.argv[1])
    error = eval(sys.argv[2])
    if sys.argv[3]:
        error.add_note(sys.argv[3])
    raise error
program.run(main)
"""
GONE = "RuntimeError('[/a/gloo/tcp/pair.cc:537] Read error [10.0.0.1]:80: Connection reset by peer. This is typically')"


def run(folder, error, note="", processes="2"):
    env = {"RANK": "1", "WORLD_SIZE": processes, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PATH": ""}
    command = [sys.executable, "-c", PROGRAM, str(folder), error, note]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("error", "note", "line"),
    [
        (
            GONE,
            "",
            "lost the others: Read error [10.0.0.1]:80: Connection reset by peer; stopped; start the same command",
        ),
        (
            GONE,
            "resume it",
            "lost the others: Read error [10.0.0.1]:80: Connection reset by peer; resume it; all of it: ",
        ),
        (
            "type('DistStoreError', (type('DistError', (RuntimeError,), {}),), {})('x')",
            "",
            "lost the others: x; stopped",
        ),
        ("RuntimeError('shapes (2, 3) and\\n(4,)')", "resume it", "RuntimeError: shapes (2, 3) and (4,); all of it: "),
        ("KeyError('이름')", "", "KeyError: '이름'; all of it: "),
        ("AssertionError()", "", "AssertionError; all of it: "),
    ],
)
def test_one_line_and_the_whole_text_in_a_file(tmp_path, error, note, line):
    done = run(tmp_path / "out", error, note)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"\nrank 1: {line}") and done.stderr.count("\n") == 2
    written = (tmp_path / "out/errors/rank1.txt").read_text(encoding="utf-8")
    assert done.stderr.endswith(f"all of it: {tmp_path}/out/errors/rank1.txt\n")
    assert written.startswith("== 2") and "Traceback" in written and note in written
    run(tmp_path / "out", error, note)
    assert (tmp_path / "out/errors/rank1.txt").read_text(encoding="utf-8").count("Traceback") == 2


def test_without_a_folder_the_text_is_on_the_console_and_the_line_is_last(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("", tmp_path / "file"):
        done = run(folder, GONE)
        assert done.returncode == 1 and done.stderr.startswith("Traceback")
        assert done.stderr.splitlines()[-1].startswith("rank 1: lost the others: Read error")
        assert "all of it" not in done.stderr


def test_a_process_alone_has_its_traceback(tmp_path):
    done = run(tmp_path / "out", GONE, processes="1")
    assert done.returncode == 1 and "Traceback" in done.stderr and "rank 1" not in done.stderr
    assert not (tmp_path / "out").exists()


UNWINDS = """
import pathlib, signal, sys, time
from korlhf.core import program
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started this
def main():
    with program.unwinding():
        try:
            print("in", flush=True)
            time.sleep(60)
        finally:
            pathlib.Path(sys.argv[1]).touch()
program.run(main)
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_would_stay_behind_is_done_before_a_signal_ends_the_program(tmp_path, number, code):
    command = [sys.executable, "-c", UNWINDS, str(tmp_path / "done")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT), "PATH": ""}) as process:
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(20) == code and (tmp_path / "done").exists()
