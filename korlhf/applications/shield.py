"""What stands before both programs with a page: requests from elsewhere, too large or too slow ones are refused before
any of the program's own code sees them.

Shield is middleware; Punctual is uvicorn's HTTP protocol with time limits (Gradio brings both libraries). By hand:
Starlette's TrustedHostMiddleware knows no addresses but those it is told, nothing there bounds a body or checks an
Origin, and uvicorn's only time limit ends with the first byte of a request."""

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10  # until a request's head is there
BODY_SECONDS = 30  # until its body is there
WRITE_SECONDS = 60  # for which a reader may take nothing
# Of every response that says nothing else. Pages and reports have policies of their own.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Shield:
    """paths: those that are open, and beginnings that end with "/": Gradio has more, such as one to upload files, that
    nobody needs here. hosts: the names that the server has, besides addresses and localhost. most_bytes: of a
    request's body, which is read here, whole, before the app is asked."""

    def __init__(self, app, paths, hosts, most_bytes):
        self.app, self.paths, self.hosts, self.most_bytes = app, tuple(paths), hosts, most_bytes

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})

        async def protected(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        body, refusal = b"", self._refusal(scope)
        if not refusal:
            body, refusal = await self._body(receive)
        if refusal:
            status, reason = refusal
            reply = JSONResponse({"error": "malformed", "reason": reason}, status, {"Connection": "close"})
            return await reply(scope, receive, protected)
        if body is None:  # the client is gone
            return None
        return await self.app(scope, _again(body, receive), protected)

    def _refusal(self, scope):
        """(status, reason) of a request that is refused by its head, or None."""
        headers, path = Headers(scope=scope), scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_own(host):
            return 403, "this server has another name; whoever runs it can add one with --allowed_hosts"
        # Behind a proxy that names itself as the host, the origin is one of the names that were allowed.
        if origin is not None and _netloc(origin) not in (host, *self.hosts):
            return 403, "asked by a page of another origin"
        opened = scope["method"] in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not opened:
            return 403, "asked by a page of another origin"
        if path not in self.paths and not any(path.startswith(p) for p in self.paths if p.endswith("/") and p != "/"):
            return 404, "not here"
        if int(headers.get("content-length", 0)) > self.most_bytes:
            return 413, f"over {self.most_bytes} bytes"
        return None

    def _is_own(self, host):
        """Whether a request may ask for this host. An address is no danger: a page that reaches it by a name of its
        own, made to point here (DNS rebinding), sends that name."""
        name = ""
        try:
            name = urlsplit("//" + host).hostname or ""
            return bool(ip_address(name))
        except ValueError:
            return name == "localhost" or name in self.hosts

    async def _body(self, receive):
        """(body, None), (None, (status, reason)) of one that is too large or too slow, (None, None) without an end."""
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None, None
                    body += message.get("body", b"")
                    if len(body) > self.most_bytes:
                        return None, (413, f"over {self.most_bytes} bytes")
                    if not message.get("more_body"):
                        return bytes(body), None
        except TimeoutError:
            return None, (408, f"not there after {BODY_SECONDS} seconds")


def _netloc(origin):
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _again(body, receive):
    """A `receive` that gives a body that was read already, then what comes after it."""
    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay():
        return first.pop() if first else await receive()

    return replay


class Punctual(H11Protocol):
    """Cuts off who sends the head of a request, or takes a response, too slowly. Who sends nothing at all after a
    response is left to uvicorn's own limit."""

    _deadline = _limit = None

    def _watch(self):
        """Start, keep or end the time limit of what the client does now."""
        limit = HEAD_SECONDS if self.conn.their_state is h11.IDLE else None
        if self.flow.write_paused or self.transport.is_closing():
            limit = WRITE_SECONDS
        if limit == self._limit:
            return
        if self._deadline:
            self._deadline.cancel()
        self._limit, self._deadline = limit, limit and self.loop.call_later(limit, self.transport.abort)

    def connection_made(self, transport):
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        if self._deadline:
            self._deadline.cancel()

    def handle_events(self):
        super().handle_events()
        self._watch()

    def pause_writing(self):
        super().pause_writing()
        self._watch()

    def resume_writing(self):
        super().resume_writing()
        self._watch()
