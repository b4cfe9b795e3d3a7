#!/usr/bin/env python3
"""A server that says that it is well and answers nothing but an end, with a child in a session of its own, as an engine
may be.

plain_server.py serve FOLDER --host H --port P [--child_file FILE] [--deaf] [--broken] [--mute] [--silent]
    [--dies_after N] [--hangs_after N]        N: of the answers
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def number_after(word):
    return int(sys.argv[sys.argv.index(word) + 1]) if word in sys.argv else None


class Handler(BaseHTTPRequestHandler):
    answered = 0

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Handler.answered == number_after("--dies_after"):
            time.sleep(0.5)  # what was answered has arrived
            os._exit(1)
        if Handler.answered == number_after("--hangs_after"):
            time.sleep(600)
        Handler.answered += 1
        (end,) = asked["sampling_params"]["stop_token_ids"]
        logprobs = {"content": [{"token_id": end, "logprob": 0.0}]}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"token_ids": [end], "logprobs": logprobs}]}).encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    words = sys.argv
    if "--broken" in words:
        print("INFO something", "ValueError: no such architecture", "INFO the end", sep="\n", flush=True)
        sys.exit(7)
    if "--mute" in words:
        sys.exit(7)
    if "--deaf" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleeper, start_new_session=True)
    if "--child_file" in words:
        Path(words[words.index("--child_file") + 1]).write_text(str(child.pid))
    if "--silent" in words:
        time.sleep(600)
    HTTPServer.request_queue_size = 64
    HTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Handler).serve_forever()
