"""The demo over HTTP: the page's files, what the page asks for as JSON, answers as lines of JSON, and the report.

Answers are streamed here and not through Gradio's queue: there a generator hears that its reader is gone when it
yields next, here the sampling stops within a token of a closed connection or a press of the button, also for answers
that still wait for their turn."""

import asyncio
import contextlib
import json
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from korlhf.applications.web import Only, Refused

COOKIE = "korlhf_web_demo"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
NOT_HERE = "not here", 404
# Nothing but the page's own files is loaded, whatever gets into it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
# The report is another's file: in an origin of its own it reaches neither the page nor the log-in, in the frame or
# opened by itself.
REPORT_POLICY = "sandbox allow-scripts; frame-ancestors 'self'"
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
NOT_THERE = (
    "<!DOCTYPE html><meta charset=utf-8><p>이 파일은 여기에서 볼 수 없습니다. / This file is not shown here."
    '<p><a href="{back}">← 보고서 / report</a>'
)
STATUS = {"who": 401, "wrong_password": 401, "crowded": 503, "storage": 507}
OPEN = ("/", "/page/", "/api/", "/report/", "/gradio_api/startup-events")  # the last: for Gradio itself, at its start
OVERHEAD = 4096  # bytes of a request besides the message


class Site:
    """service, sessions: of this package; people: accounts.Accounts, or None: everybody may come in; page: folder of
    the page's files, ../../page has those of every page; settings: what the page is told when it is opened; report:
    path of the run's report, or None."""

    def __init__(self, service, sessions, people, page, settings, report=None):
        self.service, self.sessions, self.people, self.report = service, sessions, people, report
        self.settings = {**settings, "login": people is not None, "report": report is not None}
        self._one_guess = asyncio.Lock()  # a guess takes a thread for 50 ms: many take one thread
        files = [*Path(page).iterdir(), *Path(page, "../../page").iterdir()]
        self._files = {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in files}
        self._most_bytes = 12 * service.limits.max_characters + OVERHEAD  # JSON may write a character in 12 bytes

    def routes(self):
        """All there is."""
        return [
            Route("/", self._file),
            Route("/page/{name}", self._file),
            Route("/report/{rest:path}", self._report),
            Route("/api/{name}", self._api, methods=["POST"]),
        ]

    async def _file(self, request):
        name = request.path_params.get("name", "index.html")
        if name not in self._files:
            return PlainTextResponse(*NOT_HERE)
        data, media_type = self._files[name]
        return Response(data, media_type=media_type, headers={**HEADERS, "Content-Security-Policy": POLICY})

    async def _report(self, request):
        """The report; in the place of files that it has links to, a way back."""
        if self.report is None or not self._inside(request):
            return PlainTextResponse(*NOT_HERE)
        headers, rest = {**HEADERS, "Content-Security-Policy": REPORT_POLICY}, request.path_params["rest"]
        if rest or not self.report.is_file():
            return HTMLResponse(NOT_THERE.format(back="../" * rest.count("/") or "./"), 404, headers)
        return FileResponse(self.report, media_type="text/html", headers=headers)

    def _inside(self, request):
        return self.people is None or self.people.who(request.cookies.get(COOKIE)) is not None

    async def _body(self, request):
        """The JSON object of a request. Raises Refused. Its type keeps other sites out: for this one a browser asks
        us first."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused("malformed")
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > self._most_bytes:
                raise Refused("long", most=self.service.limits.max_characters)
        try:
            body = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Refused("malformed") from error
        if not isinstance(body, dict):
            raise Refused("malformed")
        return body

    async def _api(self, request):
        name = request.path_params["name"]
        try:
            data = await self._body(request)
            if name == "enter":
                return await self._enter(request, data)
            if not self._inside(request):
                raise Refused("who")
            if name == "leave":
                return self._leave(request)
            if name == "open":
                state = self.service.state(self.sessions.open(data.get("session")))
                return JSONResponse({**self.settings, **state}, headers=HEADERS)
            return await self._of_session(name, self.sessions.find(data.get("session")), data)
        except Refused as refused:
            return JSONResponse(refused.reply(), STATUS.get(refused.code, 400), headers=HEADERS)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _of_session(self, name, session, data):
        if name in ("chat", "compare"):
            return Lines(getattr(self.service, name)(session, data))
        if name not in ("vote", "stop", "reset"):
            return PlainTextResponse(*NOT_HERE)
        reply = getattr(self.service, name)(session, data)
        return JSONResponse(await reply if name == "vote" else reply, headers=HEADERS)

    async def _enter(self, request, data):
        async with self._one_guess:
            token = self.people and await asyncio.to_thread(self.people.enter, data.get("name"), data.get("password"))
        if token is None:
            raise Refused("wrong_password")
        response = JSONResponse({}, headers=HEADERS)
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response

    def _leave(self, request):
        if self.people is not None:
            self.people.leave(request.cookies.get(COOKIE))
        response = JSONResponse({}, headers=HEADERS)
        response.delete_cookie(COOKIE)
        return response


class Lines(StreamingResponse):
    """Events as lines of JSON, each sent at once. When the reader is gone the events are closed at once."""

    def __init__(self, events):
        self._events = events
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        super().__init__(self._lines(), media_type="application/x-ndjson", headers=headers)

    async def _lines(self):
        async for event in self._events:
            yield json.dumps(event, ensure_ascii=False) + "\n"

    async def __call__(self, scope, receive, send):
        async with contextlib.aclosing(self._events):
            await super().__call__(scope, receive, send)


def app(site):
    """The gradio.Server of a Site."""
    import gradio  # slow to import, like torch: a wrong flag is told at once

    server = gradio.Server(routes=site.routes(), docs_url=None, redoc_url=None, openapi_url=None)
    server.add_middleware(Only, paths=OPEN)
    return server
