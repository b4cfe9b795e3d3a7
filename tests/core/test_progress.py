"""Progress off a terminal: lines that a log keeps, where time has passed."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from korlhf.core import progress

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock(monkeypatch):
    """Off a terminal, at a time of the test's own: clock.now, in seconds."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    monkeypatch.delenv("KORLHF_TERMINAL", raising=False)
    return Clock


def test_a_line_every_30_seconds_with_the_time_left(clock, capsys):
    bar = progress.bar(total=858, desc="SFT", unit="step", initial=258)
    for _ in range(42):
        clock.now += 1
        bar.set_postfix({"loss": "3.1"}, False)
        bar.update(1)
    bar.close()
    # 30 steps in 30 s: 570 more take 570 s
    assert capsys.readouterr().err == "SFT: step 288/858, loss 3.1, 10 min left\n"


def test_what_has_no_total_tells_its_rate(clock, capsys):
    with progress.bar(desc="reading", unit="rows") as bar:
        bar.set_description("copies")
        clock.now = 40
        bar.update(8)
    assert capsys.readouterr().err == "copies: rows 8, 0.2 a second\n"


def test_things_pass_through_and_their_number_is_the_total(clock, capsys):
    def slow(things):
        for thing in things:
            clock.now += 31
            yield thing

    assert list(slow(progress.bar(["가", "나"], desc="x"))) == ["가", "나"]
    assert capsys.readouterr().err == "x: records 1/2, 31 s left\nx: records 2/2, 0 s left\n"
    assert list(progress.bar(iter("ab"))) == ["a", "b"] and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (150, "2 min"), (3599, "1 h 0 min"), (12000, "3 h 20 min")],
)
def test_durations(seconds, said):
    assert progress.duration(seconds) == said


PROGRAM = "from korlhf.core import progress\nfor _ in progress.bar(range(3), desc='x'): pass\nprogress.say('끝')"


def test_a_terminal_gets_a_bar_directly_or_through_a_run_script(monkeypatch):
    monkeypatch.delenv("KORLHF_TERMINAL", raising=False)
    command, env = [sys.executable, "-c", PROGRAM], {**os.environ, "PYTHONPATH": str(ROOT)}
    piped = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (piped.stdout, piped.stderr) == ("끝\n", "")
    through = subprocess.run(command, env=env | {"KORLHF_TERMINAL": "1"}, capture_output=True)
    assert re.search(rb"\rx: 100%.* 3/3 ", through.stderr)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))  # of one without columns tqdm shows nothing
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"3/3" not in shown:  # its end is an OSError
        shown += os.read(ours, 1000)
    os.close(ours)
