"""Runs a server that ends with its parent, however that ends: python watched.py FOLDER PROGRAM WORD...

The parent says that the server is to end by closing this process's standard input, which its own end does too, also
that by a SIGKILL. Then the server and all that it has started end (those that lost their parents become this process's
children, as Linux lets it adopt them), and FOLDER is removed. Ends with the server's exit code. Imports nothing of the
project, so that it starts at once and stays small.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# That all processes of a job get, or all children of a program: the parent decides.
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2
GRACE = 10.0  # seconds that all have to end by themselves: they have memory to give back
LOOK_EVERY = 0.2  # seconds


def main():
    folder, *command = sys.argv[1:]
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    libc, parent = ctypes.CDLL(None), os.getppid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: _begin(libc)).pid
    codes = {}  # of the children that have ended
    while _reap(codes) and server not in codes and os.getppid() == parent:
        if select.select([0], [], [], LOOK_EVERY)[0] and not os.read(0, 1):
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)
    limit = time.monotonic() + GRACE
    while _reap(codes):
        for pid in _children() if time.monotonic() > limit else ():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(max(codes[server], 1) if server in codes and codes[server] else 0)


def _begin(libc):
    """In the server's process: usual signals, a session of its own, and an end with this one's."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _reap(codes):
    """Note the exit codes of the children that have ended; whether there are more."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not pid:
            return True
        codes[pid] = os.waitstatus_to_exitcode(status)


def _children():
    """Those of what is killed become ours."""
    me = os.getpid()
    with open(f"/proc/{me}/task/{me}/children") as file:
        return [int(pid) for pid in file.read().split()]


if __name__ == "__main__":
    main()
