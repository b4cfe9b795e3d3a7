"""A program with a page as its users start it: a process on a port of its own."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import warm
from free_port import free_port

ENVIRONMENT = {**warm.ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""}


def run(program, *words, **more):
    """Run a program (a module of applications) to its end."""
    command = [warm.python(), program.__file__, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT, **more)


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def wait_for(condition, seconds=60):
    """Until condition() is true -> its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value


class AppServer:
    """program: a module; folder: for its output; ready: the word with which it says where it listens."""

    def __init__(self, program, folder, ready, *words):
        self.port, self.ready, self._log = free_port(), ready, Path(folder) / f"{ready}.log"
        self.command = [warm.python(), program.__file__, "--port", str(self.port), *map(str, words)]
        self.start()

    def start(self):
        with open(self._log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        wait_for(lambda: f"{self.ready} at" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said

    @property
    def said(self):
        """All that it has written so far."""
        return self._log.read_text(encoding="utf-8")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def listens_on(self):
        """Its addresses, hexadecimal."""
        table = Path(f"/proc/{self.process.pid}/net/tcp").read_text(encoding="ascii")
        table += Path(f"/proc/{self.process.pid}/net/tcp6").read_text(encoding="ascii")
        found = re.findall(r"^ *\d+: (\w+):(\w+) \w+:\w+ 0A", table, re.M)
        return [address for address, port in found if int(port, 16) == self.port]

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
