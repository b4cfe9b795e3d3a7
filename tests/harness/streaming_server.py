"""openai_server.Server that also streams: a request with "stream": true gets its answer in chunks of one character.

Server(answer, gate=threading.Semaphore(0)): a chunk goes out for each release of the gate. `sent` counts them, `gone`
the clients that left. Server(..., broken=True): the stream ends without a finish_reason.
"""

import json
import threading

import openai_server


class Server(openai_server.Server):
    def __init__(self, answer="echo", faults=None, gate=None, broken=False, **kwargs):
        super().__init__(answer, faults, **kwargs)
        self.gate, self.broken = gate, broken
        self.sent, self.gone = 0, threading.Semaphore(0)
        self.http.RequestHandlerClass = Handler

    def complete(self, body):
        return {**super().complete(body), "stream": bool(body.get("stream"))}


class Handler(openai_server.Handler):
    def send(self, status, body, headers=()):
        if not (isinstance(body, dict) and body.pop("stream", False)):
            return super().send(status, body, headers)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.stream(body["choices"][0])
        except OSError:
            self.server.owner.gone.release()

    def stream(self, choice):
        owner = self.server.owner
        self.event({"role": "assistant", "content": ""})
        for character in choice["message"]["content"]:
            if owner.gate is not None:
                owner.gate.acquire()
            self.event({"content": character})
            owner.sent += 1
        if not owner.broken:
            self.event({}, choice["finish_reason"])
        self.wfile.write(b"data: [DONE]\n\n")
        self.wfile.flush()

    def event(self, delta, finish_reason=None):
        chunk = {
            "id": "chatcmpl-0",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "test-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        }
        self.wfile.write(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
        self.wfile.flush()
