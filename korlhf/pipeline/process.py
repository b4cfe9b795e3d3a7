"""Runs the command of one stage: its output to the terminal and a log, signals passed on, nothing left behind.

The command gets a process group of its own. Ctrl-C, TERM and HUP go on to the whole group, once; the second signal is a TERM, the third a
KILL. If this process is killed, a watcher stops the group.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from korlhf.core.program import nobody_reads

CHUNK = 1 << 16
NOTHING, STARTING = None, 0  # in the place of a process group: none runs, and one is being started
# Waits for a line; without one (the pipe was closed: whoever held it is dead) it stops the process group $1.
WATCH = 'read -r _ || { kill -TERM -- "-$1"; sleep 10; kill -KILL -- "-$1"; } 2>/dev/null'


class Stopped(Exception):
    """A signal came between two stages; its number is `args[0]`."""


@dataclass(frozen=True)
class Ended:
    """code: as a shell has it (128 + number of a signal); memory_mb: of the largest process, MiB."""

    code: int
    seconds: float
    memory_mb: float


class Signals:
    """Passes INT, TERM and HUP on to the running stage; a context manager. Signals that are ignored stay ignored (nohup)."""

    def __init__(self):
        self.received, self.group, self._before = [], NOTHING, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, before in self._before.items():
            signal.signal(number, before)

    def _receive(self, number, _frame):
        self.received.append(number)
        if self.group == NOTHING:
            raise Stopped(number)
        if self.group != STARTING:
            self.pass_on(number)

    def pass_on(self, number):
        """number: what came; the second time it is made a TERM, then a KILL."""
        strength = (number, signal.SIGTERM, signal.SIGKILL)[min(len(self.received), 3) - 1]
        to_group(self.group, strength)

    @property
    def code(self):
        """Exit code of a program that the first signal ended, or 0."""
        return 128 + self.received[0] if self.received else 0


def to_group(group, number):
    """Send a signal to a process group, which may have ended."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def say(text, out=None):
    """Print a line to stdout, or `out`; if nobody reads any more (a closed pipe or terminal), the run goes on without."""
    out = out or sys.stdout
    try:
        print(text, file=out, flush=True)
    except OSError:
        nobody_reads(out)


class Output:
    """Where the output goes: to the terminal as it comes, to a log without the rewritten states of progress bars.

    Where stdout is no terminal, it gets what the log gets.
    """

    def __init__(self, log, out=None):
        self.log, self.out, self.rest = log, out or sys.stdout, b""
        self.raw = self.out.isatty()

    def take(self, data):
        if self.raw:
            self._show(data)
        lines = (self.rest + data).split(b"\n")
        self.rest = lines[-1][lines[-1].rfind(b"\r", 0, -1) + 1 :]  # a bar's latest state
        for line in lines[:-1]:
            self._line(line)

    def end(self):
        if self.rest:
            self._line(self.rest)

    def _line(self, line):
        line = line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n"
        self.log.write(line)
        self.log.flush()
        if not self.raw:
            self._show(line)

    def _show(self, data):
        try:
            self.out.buffer.write(data)
            self.out.flush()
        except OSError:
            nobody_reads(self.out)


def run(command, environment, log_path, signals, folder, lock=None):
    """Run a line for bash in `folder` to its end. Returns Ended.

    environment: of its processes; log_path: file that its output is appended to; lock: file descriptor that they inherit.
    """
    columns, lines = shutil.get_terminal_size()
    environment = {"COLUMNS": str(columns), "LINES": str(lines), **environment}
    log_path.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with open(log_path, "ab") as log:
        log.write(f"== {time.strftime('%Y-%m-%d %H:%M:%S')}  {command}\n".encode())
        log.flush()
        signals.group = STARTING
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=() if lock is None else (lock,),
        )
        watcher = subprocess.Popen(
            ["bash", "-c", WATCH, "watch", str(process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        signals.group = process.pid
        if signals.received:  # while it was being started
            signals.pass_on(signals.received[-1])
        status, usage = _follow(process, Output(log))
        signals.group = NOTHING
        watcher.communicate(b"\n")
    code = os.waitstatus_to_exitcode(status)
    return Ended(code if code >= 0 else 128 - code, time.monotonic() - began, usage.ru_maxrss / 1024)


def _follow(process, output):
    """Hand on what the process writes until it has ended; returns its status and resource usage."""
    pipe, ended = process.stdout, None
    while True:
        ready, _, _ = select.select([pipe], [], [], 0.2)
        data = os.read(pipe.fileno(), CHUNK) if ready else b""
        if data:
            output.take(data)
        elif ended:
            break  # nothing more comes, though a process that was left behind may still hold the pipe
        if not ended:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG if not ready or data else 0)
            if pid:
                ended = (status, usage)
                to_group(process.pid, signal.SIGTERM)  # what it started in the background and left
    output.end()
    pipe.close()
    process.returncode = os.waitstatus_to_exitcode(ended[0])
    return ended
