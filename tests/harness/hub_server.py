"""A hub on loopback that takes models: what huggingface_hub sends to create a repository and to upload small files,
over real HTTP.

with Hub(repositories={"me/old": {"private": False}}) as hub: ... hub.url ... hub.files["me/new"]["README.md"]
Hub(refuse=403): every commit is refused with that status."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loopback import Loopback


class Hub(Loopback):
    def __init__(self, repositories=None, refuse=None):
        self.repositories, self.refuse, self.files, self.tokens = dict(repositories or {}), refuse, {}, set()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.hub = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def create(self, body):
        name = "/".join(filter(None, (body.get("organization"), body["name"])))
        private = body.get("visibility") == "private" or bool(body.get("private"))
        self.repositories.setdefault(name, {"private": private})
        return 200, {"url": f"{self.url}/{name}", "name": name}

    def commit(self, name, lines):
        if self.refuse:
            return self.refuse, {"error": "not for you"}
        files = self.files.setdefault(name, {})
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        url = f"{self.url}/{name}/commit/0"
        return 200, {"success": True, "commitOid": "0" * 40, "commitUrl": url, "hookOutput": ""}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        found = re.fullmatch(r"/api/models/([^/]+/[^/?]+)(?:/revision/main)?(?:\?.*)?", self.path)
        known = found and self.server.hub.repositories.get(found[1])
        if known:
            return self.send(200, {"id": found[1], "modelId": found[1], "sha": "0" * 40, "siblings": [], **known})
        return self.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self):
        hub = self.server.hub
        hub.tokens.add(self.headers.get("Authorization"))
        length = self.headers["Content-Length"]
        data = self.rfile.read(int(length)) if length else b"".join(self.chunks())
        if self.path == "/api/repos/create":
            return self.send(*hub.create(json.loads(data)))
        if self.path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        _, name, action = re.match(r"(/api/models/)([^/]+/[^/]+)/(preupload|commit)/", self.path).groups()
        if action == "commit":
            return self.send(*hub.commit(name, map(json.loads, data.splitlines())))
        paths = [f["path"] for f in json.loads(data)["files"]]
        return self.send(
            200, {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]}
        )

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
