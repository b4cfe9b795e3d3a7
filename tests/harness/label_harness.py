"""The labelling server as its users start it, and a client that calls it as the page does."""

import json
import urllib.error
import urllib.request

import pytest
from app_server import AppServer

from applications.label import label

DEAD = (urllib.error.URLError, ConnectionError, TimeoutError)


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def rows(n, k=2):
    """n records of respond with k answers each, of models that a page must not tell."""

    def candidate(i, j):
        text = f"{i}번째 질문의 {'가나다라마바'[j]} 답변이에요."
        return {"text": text, "model": f"secret-model-{j}", "score": float(j)}

    return [
        {"prompt": f"{i}번째 질문이에요.", "category": "everyday", "candidates": [candidate(i, j) for j in range(k)]}
        for i in range(n)
    ]


class Server(AppServer):
    """label.py on a database."""

    def __init__(self, database, *words):
        self.database = database
        super().__init__(label, database.parent, "labelling", "--database", database, *words)

    def component(self):
        with urllib.request.urlopen(f"{self.url}/config", timeout=20) as reply:
            found = json.load(reply)["components"]
        return next(c["id"] for c in found if "label_submit" in c["props"].get("server_fns", []))


class Client:
    """Calls the functions of the page over HTTP."""

    def __init__(self, server, name="", password=""):
        self.server, self.id, self.token = server, server.component(), None
        if name:
            self.entered = self.ask("enter", name=name, password=password)
            self.token = self.entered.get("token")

    def ask(self, function, **values):
        data = {"token": self.token, **values}
        body = {"data": data, "component_id": self.id, "fn_name": f"label_{function}", "session_hash": "test"}
        request = urllib.request.Request(
            f"{self.server.url}/gradio_api/component_server/",
            json.dumps(body).encode("utf-8"),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
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
