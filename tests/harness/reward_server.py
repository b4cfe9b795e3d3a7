"""A server on loopback that scores answers by their length, and misbehaves on command.

with Server(faults={0: "drop", 1: 503, 2: "hang", 3: b"nonsense"}) as server:     # by request number, from 0
    ... server.url ... server.bodies[0]["answers"] ...
Server(sum, folder=FOLDER)                                      # as vLLM serves a reward model: scores of token ids
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loopback import Loopback


class Server(Loopback):
    """score: answer -> number or None. faults: request number -> "drop", "hang", a status, or bytes as the answer; or a
    function (number) -> such a one or None.
    """

    def __init__(self, score=len, faults=None, folder=None):
        self.score, self.bodies, self.lock = score, [], threading.Lock()
        self.folder, self.path = folder, "/classify" if folder else "/score"
        self.faults = faults if callable(faults) else (faults or {}).get
        self.stopping = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads, self.http.owner = True, self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}{self.path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        models = {"data": [{"id": "served", "root": str(self.server.owner.folder)}]}
        self.answer(200 if self.path == "/v1/models" else 404, json.dumps(models).encode())

    def do_POST(self):
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            number = len(owner.bodies)
            owner.bodies.append(body)
        fault = owner.faults(number)
        if fault == "hang":
            owner.stopping.wait()
        if fault in ("hang", "drop"):
            self.close_connection = True
            return
        if owner.folder:  # vLLM 0.32
            rows = [{"index": i, "probs": [owner.score(ids)], "num_classes": 1} for i, ids in enumerate(body["input"])]
            scores = {"object": "list", "model": "served", "data": rows[::-1]}
        else:
            scores = {"scores": [owner.score(answer) for answer in body["answers"]]}
        answer = fault if isinstance(fault, bytes) else json.dumps(scores).encode()
        self.answer(fault if isinstance(fault, int) else 200, answer)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
