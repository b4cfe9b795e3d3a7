"""The web demo as its users start it, and clients that speak to it as the page does."""

import http.client
import json

import pytest
import streaming_server
from app_server import AppServer

from applications.web_demo import web_demo

GREEDY = {"temperature": 0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def echo():
    """A server of the OpenAI protocol that repeats the last message; with a gate a character goes out per release."""
    with streaming_server.Server(models=("echo",)) as server:
        yield server


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Function: (words...) -> a running AppServer; all are killed after the module."""
    started = []

    def start(*words):
        guard = () if "--guard" in words else ("--guard", "off")  # fitting it takes seconds of every server
        started.append(AppServer(web_demo, tmp_path_factory.mktemp("server"), "web demo", *words, *guard))
        return started[-1]

    yield start
    for server in started:
        server.kill()


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
        headers = {"Content-Type": "application/json", "Cookie": self.cookie}
        connection.request("POST", f"/api/{name}", json.dumps({"session": self.session, **values}), headers)
        return connection, connection.getresponse()

    def ask(self, name, **values):
        """(status, body)"""
        connection, response = self.send(name, **values)
        reply = response.status, json.loads(response.read())
        connection.close()
        return reply

    def events(self, name, **values):
        """All events of an answer."""
        connection, response = self.send(name, **values)
        events = [json.loads(line) for line in response.read().splitlines()]
        connection.close()
        return events

    def say(self, text, at, model, **how):
        """The whole answer."""
        events = self.events("chat", text=text, at=at, model=model, **{**GREEDY, **how})
        assert any("end" in event for event in events), events
        return "".join(e.get("piece", "") for e in events)
