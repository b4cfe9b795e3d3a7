"""The demo over HTTP: the page's files, what the page asks for as JSON, answers as lines of JSON, and the report.

Answers are streamed here and not through Gradio's queue: there a generator hears that its reader is gone when it
yields next, here the sampling stops within a token of a closed connection or a press of the button, also for answers
that still wait for their turn."""

import contextlib
import json

from starlette.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route

from korlhf.applications import site
from korlhf.applications.web import Refused

COOKIE = "korlhf_web_demo"
# The report is another's file: in an origin of its own it reaches neither the page nor the log-in, in the frame or
# opened by itself.
REPORT_POLICY = {"Content-Security-Policy": "sandbox allow-scripts; frame-ancestors 'self'"}
NOT_THERE = (
    "<!DOCTYPE html><meta charset=utf-8><p>이 파일은 여기에서 볼 수 없습니다. / This file is not shown here."
    '<p><a href="{back}">← 보고서 / report</a>'
)


class Site(site.Site):
    """service, sessions: of this package; people: accounts.Accounts, or None: everybody may come in; page: folder of
    the page's files; settings: what the page is told when it is opened; report: path of the run's report, or None."""

    paths = (*site.PATHS, "/report/")

    def __init__(self, service, sessions, people, page, settings, report=None):
        super().__init__(page, 2 * service.limits.max_characters)  # a message and a system message
        self.service, self.sessions, self.people, self.report = service, sessions, people, report
        self.settings = {**settings, "login": people is not None, "report": report is not None}

    def routes(self):
        return [*super().routes(), Route("/report/{rest:path}", self._report)]

    async def _report(self, request):
        """The report; in the place of files that it has links to, a way back."""
        if self.report is None or not self._inside(request):
            return site.refusal(Refused("not_here"))
        rest = request.path_params["rest"]
        if rest or not self.report.is_file():
            return HTMLResponse(NOT_THERE.format(back="../" * rest.count("/") or "./"), 404, REPORT_POLICY)
        return FileResponse(self.report, media_type="text/html", headers=REPORT_POLICY)

    def _inside(self, request):
        return self.people is None or self.people.who(request.cookies.get(COOKIE)) is not None

    async def answer(self, name, data, request):
        if name == "enter":
            return await self._enter(request, data)
        if not self._inside(request):
            raise Refused("who")
        if name == "leave":
            return self._leave(request)
        if name == "open":
            return {**self.settings, **self.service.state(self.sessions.open(data.get("session")))}
        session = self.sessions.find(data.get("session"))
        if name in ("chat", "compare"):
            return Lines(getattr(self.service, name)(session, data))
        if name not in ("vote", "rate", "stop", "reset"):
            raise Refused("not_here")
        reply = getattr(self.service, name)(session, data)
        return await reply if name in ("vote", "rate") else reply

    async def _enter(self, request, data):
        guess = data.get("name"), data.get("password"), request.client.host
        token = self.people and await self.guess(self.people.enter, *guess)
        if token is None:
            raise Refused("wrong_password")
        response = JSONResponse({})
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return response

    def _leave(self, request):
        if self.people is not None:
            self.people.leave(request.cookies.get(COOKIE))
        response = JSONResponse({})
        response.delete_cookie(COOKIE)
        return response


class Lines(StreamingResponse):
    """Events as lines of JSON, each sent at once. When the reader is gone the events are closed at once."""

    def __init__(self, events):
        self._events = events
        super().__init__(self._lines(), media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})

    async def _lines(self):
        async for event in self._events:
            yield json.dumps(event, ensure_ascii=False) + "\n"

    async def __call__(self, scope, receive, send):
        async with contextlib.aclosing(self._events):
            await super().__call__(scope, receive, send)
