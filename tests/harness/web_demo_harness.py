"""The web demo as its users start it, and clients that speak to it as the page does."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import streaming_server
from free_port import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "applications" / "web_demo" / "web_demo.py"
GREEDY = {"temperature": 0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def echo():
    """A server of the OpenAI protocol that repeats the last message; with a gate a character goes out for each
    release."""
    with streaming_server.Server(models=("echo",)) as server:
        yield server


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "CUDA_VISIBLE_DEVICES": ""}


def program(*words):
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, words)], capture_output=True, text=True, timeout=120, env=environment()
    )


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def wait_for(condition, seconds=20):
    """Until condition() is true -> its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


class Server:
    """web_demo.py on a port of its own. log: what it wrote to stderr."""

    def __init__(self, folder, *words):
        self.port, self.log = free_port(), Path(folder) / "stderr.txt"
        command = [sys.executable, str(PROGRAM), "--port", str(self.port), *map(str, words)]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment())
        for line in self.process.stdout:
            if line.startswith("web demo at"):
                return
        raise AssertionError(f"the server did not start: {self.log.read_text(encoding='utf-8')}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Client:
    """A visitor in a tab of their own."""

    def __init__(self, server, cookie=""):
        self.port, self.cookie, self.session = server.port, cookie, None
        status, self.opened = self.ask("open")
        self.session = self.opened.get("session")
        assert status == 200 or self.opened["error"] == "who"

    def send(self, name, **values):
        """A request under way -> (connection, response)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(
            "POST",
            f"/api/{name}",
            json.dumps({"session": self.session, **values}),
            {"Content-Type": "application/json", "Cookie": self.cookie},
        )
        return connection, connection.getresponse()

    def ask(self, name, **values):
        """(status, body)"""
        connection, response = self.send(name, **values)
        found = response.status, json.loads(response.read())
        connection.close()
        return found

    def events(self, name, **values):
        """All events of an answer."""
        connection, response = self.send(name, **values)
        found = [json.loads(line) for line in response.read().splitlines()]
        connection.close()
        return found

    def say(self, text, at, model, **how):
        """The whole answer."""
        found = self.events("chat", text=text, at=at, model=model, **{**GREEDY, **how})
        assert any("end" in event for event in found), found
        return "".join(e.get("piece", "") for e in found)


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Function: (words...) -> a running Server; all are killed after the module."""
    started = []

    def start(*words):
        started.append(Server(tmp_path_factory.mktemp("server"), *words))
        return started[-1]

    yield start
    for server in started:
        server.kill()
