"""What stands before both pages: names, origins, paths, sizes, and clients that are slow on purpose."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn
from app_server import wait_for
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from korlhf.applications import shield
from korlhf.applications.shield import Punctual, Shield

MOST = 1000


async def length(request):
    return PlainTextResponse(str(len(await request.body())))


async def long(request):
    async def pieces():
        for _ in range(64):
            yield b"x" * 2**20

    return StreamingResponse(pieces())


def app(paths=("/", "/page/", "/one")):
    routes = [Route("/long", long), Route("/{rest:path}", length, methods=["GET", "POST"])]
    guard = Middleware(Shield, paths=paths, hosts={"label.example.org"}, most_bytes=MOST)
    return Starlette(routes=routes, middleware=[guard])


def status(host, method="GET", **headers):
    browser = TestClient(app(), base_url="http://127.0.0.1")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return browser.request(method, "/", headers={"Host": host, **names}).status_code


@pytest.mark.parametrize(
    "host, expected",
    [
        ("localhost", 200),
        ("LocalHost:7860", 200),
        ("127.0.0.1:7860", 200),
        ("192.0.2.7", 200),
        ("[::1]:7860", 200),
        ("label.example.org", 200),
        ("evil.example", 403),
        ("evil.example:7860", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("x.label.example.org", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_it_answers_to_its_own_names_and_to_addresses_alone(host, expected):
    assert status(host) == expected


@pytest.mark.parametrize(
    "method, headers, expected",
    [
        ("POST", {}, 200),  # no browser
        ("POST", {"Origin": "http://localhost:7860"}, 200),
        ("POST", {"Origin": "https://label.example.org"}, 200),  # a proxy that names itself
        ("POST", {"Origin": "http://localhost:7861"}, 403),
        ("POST", {"Origin": "http://127.0.0.1:7860"}, 403),
        ("POST", {"Origin": "https://label.example.org:8443"}, 403),
        ("GET", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": "http://["}, 403),
        ("POST", {"Origin": "http://localhost:7860", "Sec_Fetch_Site": "same-origin"}, 200),
        ("POST", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 403),
        ("GET", {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ("GET", {"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200),  # typed, or a bookmark
        ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),  # a link
    ],
)
def test_pages_of_other_origins_may_link_here_and_nothing_else(method, headers, expected):
    assert status("localhost:7860", method, **headers) == expected


def test_only_some_paths_are_open_and_every_reply_has_a_policy():
    browser = TestClient(app(), base_url="http://127.0.0.1")
    paths = ("/", "/page/x.js", "/one", "/one/more", "/gradio_api/upload", "/config", "/page")
    replies = {path: browser.get(path) for path in paths}
    assert [path for path, reply in replies.items() if reply.status_code == 200] == ["/", "/page/x.js", "/one"]
    for reply in replies.values():
        assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'self'"
        assert reply.headers["x-frame-options"] == "SAMEORIGIN"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"


def test_a_body_arrives_whole_or_is_refused():
    browser = TestClient(app(), base_url="http://127.0.0.1")
    pieces = [b"x" * 400] * 3
    assert browser.post("/", content=b"x" * MOST).text == str(MOST)
    assert browser.post("/", content=iter(pieces[:2])).text == "800"
    assert browser.post("/", content=b"x" * (MOST + 1)).status_code == 413
    assert browser.post("/", content=iter(pieces)).status_code == 413  # without a length before it


@pytest.fixture(scope="module")
def server():
    """A server in a thread, with short time limits."""
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in {"HEAD_SECONDS": 0.5, "BODY_SECONDS": 0.5, "WRITE_SECONDS": 1.0}.items():
            patch.setattr(shield, name, seconds)
        config = uvicorn.Config(app(("/", "/long")), port=0, http=Punctual, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        server.port = server.servers[0].sockets[0].getsockname()[1]
        yield server
        server.should_exit = True
        thread.join(10)


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n"


def trickle(server, text):
    """What is answered to a text that is sent a byte at a time, until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.05) as connection:
        for i in range(400):
            with contextlib.suppress(ConnectionError):
                connection.sendall(text[i : i + 1] or b"x")
            with contextlib.suppress(TimeoutError):
                try:
                    return connection.recv(4096)
                except ConnectionError:
                    return b""
    raise AssertionError("it waited for the end")


def test_who_sends_slowly_is_cut_off(server):
    assert trickle(server, b"") == b""  # a first line without an end
    assert trickle(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") == b""
    assert b" 408 " in slow_body(server)


def slow_body(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(HEAD + b"x")
        return connection.recv(4096)


def test_a_second_request_on_a_connection_is_timed_too_and_a_punctual_one_is_answered(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"x" * 50)
            reply = b""
            while not reply.endswith(b"\r\n\r\n50"):
                assert (piece := connection.recv(4096)), reply
                reply += piece
        connection.sendall(b"GET / HT")
        with contextlib.suppress(ConnectionError):
            assert connection.recv(4096) == b""


def test_who_takes_nothing_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(1)
        wait_for(lambda: not server.server_state.connections)


def test_who_takes_a_long_response_slowly_but_steadily_gets_it_all(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = 0
        while got < 64 * 2**20:
            time.sleep(0.025)  # longer than WRITE_SECONDS in all
            taken = connection.recv(2**20, socket.MSG_WAITALL)
            assert taken, f"cut off after {got} bytes"
            got += len(taken)
