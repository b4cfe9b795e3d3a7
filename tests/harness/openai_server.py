"""A small server on loopback that speaks the OpenAI protocol, and misbehaves on command.

    with Server(lambda body: "안녕하세요") as server:                              # or "echo": the last message again
        ... server.url ... server.requests[0]["messages"] ...
    Server("echo", faults={0: rate_limit(0.2), 3: DROP})                           # by request number, from 0
    Server("echo", faults=by_content({"날씨": error(500)}, times=2))               # by what the last message contains
    Server("echo", faults=at_random(0.3))                                          # a seeded share of all requests
    Server("echo", faults=lambda number, body: error(400) if "logprobs" in body else None)

As a process: python tests/harness/openai_server.py --port 0 --faults 0.3 --answer echo
It prints its address and serves until it is killed.
"""

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loopback import Loopback


@dataclass(frozen=True)
class Fault:
    """kind: "answer" (status, headers and body instead), "hang", "trickle", "drop" or "cut" (half a body)."""

    kind: str
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: object = None  # bytes, or what becomes JSON


def error(status, message="broken on purpose", code=None, type="server_error", **headers):
    """An error answer in OpenAI's form; headers: retry_after="1" becomes Retry-After: 1."""
    return Fault(
        "answer",
        status,
        {k.replace("_", "-").title(): str(v) for k, v in headers.items()},
        {"error": {"message": message, "type": type, "param": None, "code": code}},
    )


def rate_limit(after=None):
    """429, with Retry-After (seconds or an HTTP date) if `after` is given."""
    return error(
        429, "too fast", "rate_limit_exceeded", "requests", **({} if after is None else {"retry_after": after})
    )


def refusal(text="그런 부탁은 들어 드릴 수 없어요."):
    """An answer whose message is a refusal."""
    return Fault("answer", body=completion({"message": {"role": "assistant", "content": None, "refusal": text}}))


def completion(choice, body=None, usage=True):
    """What POST /v1/chat/completions returns. Tokens are counted as characters: a test can do the sum by hand."""
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, **choice}
    out = {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": (body or {}).get("model", "test-model"),
        "choices": [choice],
    }
    if usage:
        prompt = sum(len(m["content"]) for m in (body or {}).get("messages", []))
        answer = len(choice["message"].get("content") or "")
        out["usage"] = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    return out


HANG = Fault("hang")  # no byte until the server stops
TRICKLE = Fault("trickle")  # a byte every 50 ms, never the last
DROP = Fault("drop")  # the connection closes before an answer
DROP_IN_BODY = Fault("cut")  # the connection closes in the middle of the body
CUT_JSON = Fault("answer", body=b'{"id": "chatcmpl-0", "choices": [{"index": 0, "mess')
NO_JSON = Fault("answer", headers={"Content-Type": "text/html"}, body=b"<html>Bad gateway</html>")
NO_CHOICES = Fault("answer", body={"id": "chatcmpl-0", "object": "chat.completion"})
EMPTY = Fault("answer", body=completion({"message": {"role": "assistant", "content": ""}}))
PASSING = [
    rate_limit(0),
    rate_limit(),
    error(500),
    error(503),
    DROP,
    DROP_IN_BODY,
    CUT_JSON,
    NO_JSON,
    NO_CHOICES,
    EMPTY,
]


def by_content(faults, times=10**9):
    """Faults for the first `times` requests whose last message contains one of the words: word -> Fault."""
    seen = Counter()

    def choose(number, body):
        for word, fault in faults.items():
            if word in body["messages"][-1]["content"]:
                seen[word] += 1
                return fault if seen[word] <= times else None

    return choose


def at_random(share, seed=0, kinds=PASSING):
    """A `share` of all requests fails; which fault the n-th sending of a body meets depends on no order."""
    seen = Counter()

    def choose(number, body):
        key = json.dumps(body, sort_keys=True)
        seen[key] += 1
        rng = random.Random(f"{seed} {seen[key]} {key}")
        return rng.choice(kinds) if rng.random() < share else None

    return choose


def echo(body):
    return body["messages"][-1]["content"]


class Server(Loopback):
    """Context manager; serves from threads of this process.

    answer: "echo", or a function of the request's body -> text, or a choice ({"message": ..., "finish_reason": ...,
    "logprobs": ...}). faults: request number -> Fault, or a function (number, body) -> Fault or None. delay: seconds an
    answer takes. usage: count tokens. Afterwards: requests (bodies in order of arrival), times (time.monotonic of
    each), keys (Authorization of each), answered (bodies that got a whole answer), most_at_once (requests in flight
    together).
    """

    def __init__(self, answer="echo", faults=None, delay=0.0, usage=True, models=("test-model",), port=0):
        self.answer = echo if answer == "echo" else answer
        self.faults = faults if callable(faults) else (lambda number, body: (faults or {}).get(number))
        self.delay, self.usage, self.models = delay, usage, models
        self.requests, self.times, self.keys, self.answered = [], [], [], []
        self.at_once = self.most_at_once = 0
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.http = Listener(("127.0.0.1", port), Handler)
        self.http.owner = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def prompts(self, bodies=None):
        """The last message of every request, or of `bodies`."""
        return [echo(b) for b in (self.requests if bodies is None else bodies)]

    def arrive(self, body, key):
        """Note a request: the Fault it meets, or None."""
        with self.lock:
            self.requests.append(body)
            self.times.append(time.monotonic())
            self.keys.append(key)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            return self.faults(len(self.requests) - 1, body)

    def leave(self):
        with self.lock:
            self.at_once -= 1

    def complete(self, body):
        """The completion for `body`."""
        time.sleep(self.delay)
        found = self.answer(body)
        return completion(
            {"message": {"role": "assistant", "content": found}} if isinstance(found, str) else found, body, self.usage
        )


class Listener(ThreadingHTTPServer):
    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # a client that was killed is no news
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path != "/v1/models":
            return self.send(404, {"error": {"message": f"no such path: {self.path}"}})
        return self.send(
            200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.server.owner.models]}
        )

    def do_POST(self):
        owner = self.server.owner
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if len(sent) < length:  # the client was killed while it asked
            self.close_connection = True
            return None
        body = json.loads(sent)
        fault = owner.arrive(body, self.headers.get("Authorization"))
        if self.path != "/v1/chat/completions" or body.get("model") not in owner.models:
            fault = error(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        try:
            out = None if fault else owner.complete(body)
        finally:
            owner.leave()  # before the answer is on the wire: the client may send its next request the moment it has it
        if fault:
            return self.misbehave(fault)
        with owner.lock:
            owner.answered.append(body)
        return self.send(200, out)

    def misbehave(self, fault):
        if fault.kind == "answer":
            return self.send(fault.status, fault.body, fault.headers)
        if fault.kind == "hang":
            self.server.owner.stopping.wait()
        if fault.kind in ("cut", "trickle"):
            self.head(200, 10**9)
            self.wfile.write(b'{"id": "chatcmpl-0", "choi')
            self.wfile.flush()
            while fault.kind == "trickle" and not self.server.owner.stopping.wait(0.05):
                self.wfile.write(b" ")
                self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def head(self, status, length, headers=()):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **dict(headers), "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status, body, headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        self.head(status, len(body), headers)
        self.wfile.write(body)
        self.wfile.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests that fail")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds an answer takes")
    parser.add_argument("--answer", default="echo", help="echo, or a text that answers everything")
    args = parser.parse_args()
    answer = args.answer if args.answer == "echo" else (lambda body: args.answer)
    with Server(answer, at_random(args.faults, args.seed), args.delay, port=args.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
