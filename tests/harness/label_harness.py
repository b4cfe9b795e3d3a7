"""Labels for tests, the labelling server as its users start it, and a client that calls it as the page does."""

import json
import urllib.error
import urllib.request

import pytest
from app_server import AppServer

from applications.label import label
from korlhf.applications.label.ballot import read
from korlhf.applications.label.store import Given

DEAD = (urllib.error.URLError, ConnectionError, TimeoutError)


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def rows(n, k=2):
    """n records of respond with k answers each, of models that a page must not tell."""
    texts = [[f"{i}번째 질문의 {letter} 답변이에요." for letter in "가나다라마바"[:k]] for i in range(n)]
    candidates = [
        [{"text": text, "model": f"secret-model-{j}", "score": float(j)} for j, text in enumerate(of_one)]
        for of_one in texts
    ]
    return [
        {"prompt": f"{i}번째 질문이에요.", "category": "everyday", "candidates": c} for i, c in enumerate(candidates)
    ]


def order(*groups, **more):
    return {"kind": "order", "groups": [list(group) for group in groups], **more}


def given(*ballots, k=3):
    """Labels of the people 1, 2, ... about k answers."""
    at = "2026-01-01T00:00:0{}.000+00:00"
    return [Given(n, n, read(b, k), [*range(k)], 1.5, at.format(n)) for n, b in enumerate(ballots, 1)]


class Server(AppServer):
    """label.py on a database."""

    def __init__(self, database, *words):
        self.database = database
        super().__init__(label, database.parent, "labelling", "--database", database, *words)


class Client:
    """Asks the server as the page does."""

    def __init__(self, server, name="", password=""):
        self.url, self.token = f"{server.url}/api/", None
        if name:
            self.entered = self.ask("enter", name=name, password=password)
            self.token = self.entered.get("token")

    def ask(self, name, /, **values):
        """The reply, {"error": ...} too."""
        body = json.dumps({"token": self.token, **values}).encode("utf-8")
        request = urllib.request.Request(self.url + name, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as refused:
            with refused as reply:
                return json.load(reply)

    def submit(self, item, verdict, ticket, revises=None):
        return self.ask("submit", item=item, verdict=verdict, ticket=ticket, revises=revises)


@pytest.fixture
def serve():
    """Function: (database, words...) -> a running Server; all are killed after the test."""
    started = []

    def start(database, *words):
        started.append(Server(database, *words))
        return started[-1]

    yield start
    for server in started:
        server.kill()
