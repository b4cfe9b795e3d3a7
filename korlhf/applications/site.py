"""A page over HTTP: its files, and what it asks for as JSON, which is POST /api/NAME."""

import asyncio
import json
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from korlhf.applications.web import Refused

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
# Nothing but the page's own files is loaded, whatever gets into it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
STATUS = {"not_here": 404, "who": 401, "wrong_password": 401, "wait": 429, "crowded": 503, "storage": 507}
PATHS = ("/", "/page/", "/api/", "/gradio_api/startup-events")  # the last: for Gradio itself, at its start
OVERHEAD = 4096  # bytes of a request besides its texts
BYTES = 12  # in which JSON may write a character


class Site:
    """A page; to be subclassed with `answer`. page: folder of the page's files, ../../page has those of every page;
    characters: most that the texts of one request have."""

    paths = PATHS

    def __init__(self, page, characters):
        files = [*Path(page).iterdir(), *Path(page, "../../page").iterdir()]
        self.files = {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in files}
        self.most_bytes = BYTES * characters + OVERHEAD
        self._one_guess = asyncio.Lock()  # a guess takes a thread for 50 ms: many take one thread

    def routes(self):
        return [
            Route("/", self._file),
            Route("/page/{name}", self._file),
            Route("/api/{name}", self._api, methods=["POST"]),
        ]

    async def answer(self, name, data, request):
        """The reply, a dict or a Response, to what the page asks for. data: dict. Raises Refused."""
        raise NotImplementedError

    async def guess(self, function, *values):
        """The value of a function that checks a password."""
        async with self._one_guess:
            return await run_in_threadpool(function, *values)

    async def _file(self, request):
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            return refusal(Refused("not_here"))
        data, media_type = self.files[name]
        return Response(data, media_type=media_type, headers={"Content-Security-Policy": POLICY})

    async def _api(self, request):
        try:
            reply = await self.answer(request.path_params["name"], await _json(request), request)
        except Refused as refused:
            return refusal(refused)
        return JSONResponse(reply) if isinstance(reply, dict) else reply


def refusal(refused):
    """The response that says why something is not taken."""
    return JSONResponse(refused.reply(), STATUS.get(refused.code, 400))


async def _json(request):
    """The JSON object of a request. Raises Refused. Its type keeps other sites out: for this one a browser asks us
    first."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("malformed")
    try:
        body = json.loads(await request.body())
        json.dumps(body, ensure_ascii=False).encode("utf-8")  # half a surrogate pair could not be written anywhere
    except (ValueError, RecursionError) as error:
        raise Refused("malformed") from error
    if not isinstance(body, dict):
        raise Refused("malformed")
    return body
