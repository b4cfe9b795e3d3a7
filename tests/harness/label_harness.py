"""The labelling server as its users start it, and a client that calls it as the page does."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from free_port import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, EXPORT, ADD = (ROOT / "applications" / "label" / f"{name}.py" for name in ("label", "export", "add_annotator"))


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def program(path, *words, **more):
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, str(path), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        **more,
    )


class Server:
    """label.py on a port of its own."""

    def __init__(self, database, *words, port=None):
        self.database, self.words, self.port = database, words, port or free_port()
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable,
            str(PROGRAM),
            "--database",
            str(self.database),
            "--port",
            str(self.port),
            *map(str, self.words),
        ]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if line.startswith("labelling at"):
                return
        raise AssertionError(f"the server did not start: {self.said}")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def component(self):
        with urllib.request.urlopen(f"{self.url}/config", timeout=20) as reply:
            found = json.load(reply)["components"]
        return next(c["id"] for c in found if "label_submit" in c["props"].get("server_fns", []))


class Client:
    """Calls the functions of the page over HTTP."""

    def __init__(self, server, name="", password=""):
        self.server, self.id, self.token = server, server.component(), None
        if name:
            self.entered = self.ask("label_enter", name=name, password=password)
            self.token = self.entered.get("token")

    def ask(self, function, **values):
        body = {
            "data": {"token": self.token, **values},
            "component_id": self.id,
            "fn_name": function,
            "session_hash": "test",
        }
        request = urllib.request.Request(
            f"{self.server.url}/gradio_api/component_server/",
            json.dumps(body).encode("utf-8"),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def submit(self, item, verdict, ticket, revises=None):
        return self.ask("label_submit", item=item, verdict=verdict, ticket=ticket, revises=revises)


@pytest.fixture
def serve():
    """Function: (database, words...) -> a running Server; all are killed after the test."""
    started = []

    def start(database, *words, **more):
        started.append(Server(database, *words, **more))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


def wait_for(condition, seconds=20):
    """Until condition() is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def rows(n, k=2):
    """n records of respond with k answers each, of models that a page must not tell."""
    return [
        {
            "prompt": f"{i}번째 질문이에요.",
            "category": "everyday",
            "candidates": [
                {
                    "text": f"{i}번째 질문의 {'가나다라마바'[j]} 답변이에요.",
                    "model": f"secret-model-{j}",
                    "score": float(j),
                }
                for j in range(k)
            ],
        }
        for i in range(n)
    ]


DEAD = (urllib.error.URLError, ConnectionError, TimeoutError)
