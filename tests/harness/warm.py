"""Starts programs as forks of a process that has imported the libraries already: a start takes 6 CPU seconds else.

`warm.venv()` is a copy of this virtual environment by links, whose `python` is CLIENT below. Handed a program file, it
sends its words, environment, folder and standard streams to the process of this file, which forks; what runs then is
the program itself, in a process of its own, from its first line to its exit code. All else (-c, -m, and so DeepSpeed's
launcher, or another environment for the libraries than the imports had) goes to the real python. Left to cold starts:
the tutorial, several processes, and what a test measures.
"""

import array
import atexit
import contextlib
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

READ_AT_IMPORT = (
    "HF_",
    "HUGGINGFACE_",
    "TRANSFORMERS_",
    "OMP_",
    "TOKENIZERS_",
    "DS_",
    "TORCH_",
    "GRADIO_",
    "PYTHONPATH",
)
FIXED = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
ENVIRONMENT = {**os.environ, **FIXED, "PYTHONUTF8": "1"}
IMPORTED = "korlhf.training.engine korlhf.rl.training korlhf.rl.models korlhf.llm.checkpoint korlhf.judges.local "
IMPORTED += "scipy.stats statsmodels.stats.proportion sklearn.linear_model sklearn.feature_extraction.text "
IMPORTED += "matplotlib.backends.backend_agg"  # and not Kiwi, whose thread a fork would miss

CLIENT = r"""#!{real} -SE
import os, sys
words = sys.argv[2:] if sys.argv[1:2] == ["-u"] else sys.argv[1:]
here = {{k: v for k, v in os.environ.items() if k.startswith({prefixes})}}
if not words or words[0].startswith("-") or here != {fixed}:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
import array, json, signal, socket
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps([words, dict(os.environ), os.getcwd()]).encode()
server.sendmsg([len(asked).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(asked)
pid = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(server.recv(8) or b"1")
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def venv() -> Path:
    """The folder, whose process lives as long as this one."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    real = Path(sys.executable).parent.parent
    (folder / "bin").mkdir()
    for entry in [*real.iterdir(), *(real / "bin").iterdir()]:
        if entry.name != "bin" and not entry.name.startswith("python"):
            (folder / entry.relative_to(real)).symlink_to(entry)
    address = str(folder / "socket")
    fixed = FIXED | {k: v for k, v in os.environ.items() if k == "PYTHONPATH"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(READ_AT_IMPORT)} | fixed
    process = subprocess.Popen(
        [sys.executable, __file__, address],
        env=environment,
        stdin=subprocess.PIPE,  # which ends when this process does
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"ready\n"
    atexit.register(process.kill)
    client = CLIENT.format(real=sys.executable, prefixes=READ_AT_IMPORT, fixed=fixed, address=address)
    (folder / "bin/python").write_text(client, encoding="utf-8")
    (folder / "bin/python").chmod(0o755)
    return folder


def python() -> str:
    return str(venv() / "bin/python")


def serve(address):
    running = {}  # file descriptor of a process, and of the connection that asked for it -> (both, its id)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(16)
        print("ready", flush=True)
        while True:
            for ready in select.select([0, server.fileno(), *running], [], [])[0]:
                if ready == 0:
                    end_all(running)
                elif ready == server.fileno():
                    process, connection, pid = start(server, running)
                    running[process] = running[connection.fileno()] = process, connection, pid
                elif ready in running:
                    process, connection, pid = running[ready]
                    if ready != process:  # the client was killed
                        os.kill(pid, signal.SIGKILL)
                    status = os.waitpid(pid, 0)[1]
                    del running[process], running[connection.fileno()]
                    with contextlib.suppress(OSError):
                        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                    connection.close()
                    os.close(process)


def end_all(running):
    for pid in {pid for _, _, pid in running.values()}:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def start(server, running):
    """(A file descriptor of the forked process, the connection, its id)."""
    connection, _ = server.accept()
    size, ancillary, *_ = connection.recvmsg(8, socket.CMSG_SPACE(12))
    streams = array.array("i", ancillary[0][2])
    size, asked = int.from_bytes(size, "big"), b""
    while len(asked) < size:
        asked += connection.recv(size - len(asked))
    pid = os.fork()
    if not pid:
        for number in (server.fileno(), connection.fileno(), *running):
            os.close(number)
        become(streams, *json.loads(asked))
    for stream in streams:
        os.close(stream)
    connection.sendall(pid.to_bytes(8, "big"))
    return os.pidfd_open(pid), connection, pid


def become(streams, words, environment, folder):
    """Run the program in this process, as python would, and end."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdout.reconfigure(line_buffering=True, write_through=True)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        sys.stdin.reconfigure(line_buffering=sys.stdin.isatty())
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    for module in IMPORTED.split():
        __import__(module)
    serve(sys.argv[1])
