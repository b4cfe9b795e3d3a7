"""What the two programs with a page share: the address they listen on, refusals that the page has words for, Gradio
as the server."""

import os
import socket
import sys
import threading
from dataclasses import dataclass

from korlhf.core.errors import InputError
from korlhf.core.flags import flag


@dataclass(frozen=True, kw_only=True)
class ServerFlags:
    """server"""

    host: str = flag("127.0.0.1", "address to listen on; 0.0.0.0 = all of this machine's, so that others can come in")
    port: int = flag(7860, "port to listen on", low=1, high=65535)
    auth_file: str = flag(
        "",
        "file of names and passwords (applications/label/add_annotator.py); not given: nobody is asked for a password",
    )
    share: bool = flag(False, "open a public link through Gradio's servers")


class Refused(Exception):
    """Why a request is not taken. code: a word that the page's texts know; values: numbers for the page's sentence."""

    def __init__(self, code, **values):
        super().__init__(code)
        self.code, self.values = code, values

    def reply(self):
        """What the page is sent."""
        return {"error": self.code, **self.values}


def whole_number(value):
    """Whether a value of a request is an integer; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_port(host, port):
    """Raises InputError if the address cannot be listened on: told before anything slow is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as servers do: a port that was just left is free
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on: {error.strerror or error}; "
            "stop what uses it, or give another --port"
        ) from error


class Only:
    """Middleware that lets only some addresses through: Gradio has more, such as one to upload files, that nobody
    needs here.

    paths: whole ones, and beginnings that end with "/".
    """

    def __init__(self, app, paths):
        self.app, self.paths = app, tuple(paths)

    async def __call__(self, scope, receive, send):
        from starlette.responses import PlainTextResponse  # slow to import: a wrong flag is told at once

        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._is_open(scope["path"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse("not here", 404)(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    def _is_open(self, path):
        return path in self.paths or any(path.startswith(p) for p in self.paths if p.endswith("/") and p != "/")


def be_quiet():
    """No statistics of use for anybody. To be called before Gradio is imported."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")


def serve(app, server, name, stopped, **more):
    """Listen until Ctrl-C. app: with Gradio's `launch`; server: ServerFlags; stopped: the line at the end; more: for
    `launch`."""
    try:
        _, local, public = app.launch(
            server_name=server.host,
            server_port=server.port,
            share=server.share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            show_error=False,
            **more,
        )
    except OSError as error:
        check_port(server.host, server.port)  # taken since it was found free: Gradio would speak of its own settings
        raise InputError(
            f"--host {server.host} --port {server.port}: cannot be listened on: {error}; give another --port"
        ) from error
    print(f"{name} at {public or local}   (Ctrl-C stops)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr, flush=True)
