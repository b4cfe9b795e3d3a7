"""A hub on loopback that takes models: what huggingface_hub sends to create a repository and to upload small files,
over real HTTP.

with Hub(repositories={"me/old": {"private": False}}) as hub: ... hub.url ... hub.created ...
hub.files["me/new"]["README.md"] Hub(refuse=403): every commit is refused with that status."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    def __init__(self, repositories=None, refuse=None):
        self.repositories, self.refuse = dict(repositories or {}), refuse
        self.created, self.files, self.tokens, self.asked = [], {}, set(), []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.hub = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def commit(self, name, lines):
        if self.refuse:
            return self.refuse, {"error": "not for you"}
        for line in lines:
            if line["key"] == "file":
                self.files.setdefault(name, {})[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {
            "success": True,
            "commitOid": "0" * 40,
            "commitUrl": f"{self.url}/{name}/commit/0",
            "hookOutput": "",
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        hub = self.server.hub
        hub.asked.append(self.path)
        found = re.fullmatch(r"/api/models/([^/]+/[^/?]+)(?:/revision/main)?(?:\?.*)?", self.path)
        if found and found[1] in hub.repositories:
            return self.send(
                200,
                {"id": found[1], "modelId": found[1], "sha": "0" * 40, "siblings": [], **hub.repositories[found[1]]},
            )
        return self.send(
            404,
            {"error": "Repository not found"},
            {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
        )

    def do_POST(self):
        hub = self.server.hub
        hub.asked.append(self.path)
        hub.tokens.add(self.headers.get("Authorization"))
        data = (
            self.rfile.read(int(self.headers["Content-Length"]))
            if "Content-Length" in self.headers
            else b"".join(self.chunks())
        )
        if self.path == "/api/repos/create":
            body = json.loads(data)
            name = "/".join(filter(None, (body.get("organization"), body["name"])))
            hub.created.append(body)
            hub.repositories.setdefault(
                name, {"private": body.get("visibility") == "private" or bool(body.get("private"))}
            )
            return self.send(200, {"url": f"{hub.url}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        found = re.match(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/", self.path)
        if found and found[2] == "preupload":
            return self.send(
                200,
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for f in json.loads(data)["files"]
                    ]
                },
            )
        if found:
            return self.send(*hub.commit(found[1], [json.loads(line) for line in data.splitlines()]))
        return self.send(404, {"error": f"no {self.path}"})

    def chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def send(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)
