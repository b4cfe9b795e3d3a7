#!/usr/bin/env python3
"""A server that says that it is well and does nothing, with a child in a session of its own, as an engine may be.

plain_server.py serve FOLDER --host H --port P [--child_file FILE] [--deaf] [--broken] [--mute] [--silent]
"""

import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

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
    HTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Handler).serve_forever()
