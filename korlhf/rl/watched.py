"""Runs a server that ends with its parent, however that ends: python watched.py FOLDER PROGRAM WORD...

The parent says that the server is to end by closing this process's standard input, or by ending, of which the standard
input tells too, also after a SIGKILL. Then the server and all that it has started end (those that lost their parents
become this process's children, as Linux lets it adopt them), and FOLDER is removed. Ends with the server's exit code.
Imports nothing of the project, so that it starts at once and stays small.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
GRACE = 5.0  # seconds between SIGTERM and SIGKILL


def main():
    folder, *command = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent decides
        signal.signal(number, signal.SIG_IGN)
    libc, parent = ctypes.CDLL(None), os.getppid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: _begin(libc))
    while server.poll() is None and os.getppid() == parent:
        if select.select([0], [], [], 0.2)[0] and not os.read(0, 1):
            break
    if server.poll() is None:
        server.terminate()
        limit = time.monotonic() + GRACE
        while server.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
    code = server.poll()
    _end_children()
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code if code is not None and code >= 0 else 1)


def _begin(libc):
    """In the server's process: usual signals, a session of its own, and an end with this one's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_children():
    """Kill all children; theirs become ours, until there are none."""
    me = os.getpid()
    while True:
        with open(f"/proc/{me}/task/{me}/children") as file:
            children = [int(pid) for pid in file.read().split()]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
