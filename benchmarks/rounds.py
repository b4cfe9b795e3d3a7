"""Turns between processes: compare.py lets one side at a time work, each in a process of its own.

A side waits for a line on its standard input, works one round, and answers with a line of JSON. Needs the standard
library only.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path


class Turns:
    """The side's end. What the side prints goes to stderr: its standard output carries the answers."""

    def __init__(self):
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self, **about) -> None:
        """Say that the warm-up is over; about: versions and settings."""
        self._say(about)

    def wait(self) -> bool:
        """Wait for the next round and start the clocks; False when there is none."""
        if not sys.stdin.readline():
            return False
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return True

    def answer(self, **counts) -> None:
        """Stop the clocks and report; counts: what was done in the round."""
        seconds = {"cpu": time.process_time() - self.cpu, "wall": time.perf_counter() - self.wall}
        self._say({**seconds, **counts})

    def _say(self, answer):
        print(json.dumps(answer), file=self.answers, flush=True)


class Side:
    """compare.py's end of one side."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str]):
        """Starts `command`. log: file of what it prints; environment: added to this process's."""
        self.name, self.log, self.about = name, log, {}
        with open(log, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **environment},
            )

    def warm_up(self) -> None:
        """Wait until it is ready for its first round; raises RuntimeError as `round`."""
        self.about = self._answer()

    def round(self) -> dict[str, float]:
        """Let it work one round; raises RuntimeError with the end of its log if it has died."""
        with contextlib.suppress(BrokenPipeError):
            print("go", file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"{self.name} ended early: {''.join(last) or 'it said nothing'} (all of it: {self.log})")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
