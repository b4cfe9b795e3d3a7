"""The server as a process: what it refuses to start with, what it answers, who may ask, and kill -9 between labels."""

import contextlib
import http.client
import json
import re
import select
import signal
import socket
import sqlite3
import threading
from pathlib import Path

import pytest
from app_server import wait_for
from free_port import free_port
from label_harness import DEAD, Client, Server, order, rows, serve, write  # noqa: F401 (fixture)

from applications.label import label
from korlhf.applications import accounts
from korlhf.applications.label.store import Store
from korlhf.core.errors import InputError

PASSWORD = "열려라 참깨"
FIRST = order([0])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write(tmp_path_factory.mktemp("in") / "answered.jsonl", rows(400, 3))


@pytest.fixture(scope="module")
def running(tmp_path_factory, records):
    """One server, with passwords, for the tests that leave it running."""
    folder = tmp_path_factory.mktemp("running")
    people = folder / "people.txt"
    for name in ("지민", "서연", "나은"):
        accounts.write_password(people, name, PASSWORD)
    words = "--input", records, "--annotators_per_item", 3, "--auth_file", people
    server = Server(folder / "labels.sqlite", *words)
    yield server
    server.kill()


@pytest.mark.slow
@pytest.mark.long
def test_killed_between_labels_no_acknowledged_one_is_lost(tmp_path, records, serve):
    server = serve(tmp_path / "labels.sqlite", "--input", records, "--annotators_per_item", 1)
    known = {}  # ticket -> number of an acknowledged label
    clients = [Client(server, name) for name in ("지민", "서연")]
    for round_ in (1, 2):
        workers = [
            threading.Thread(target=label_until_it_dies, args=(client, known, f"ticket-{round_}-{n}"))
            for n, client in enumerate(clients)
        ]
        for worker in workers:
            worker.start()
        wait_for(lambda enough=40 * round_: len(known) >= enough)
        server.kill()
        for worker in workers:
            worker.join()
        if round_ == 1:
            server.start()  # the same people go on with their tokens
    database = sqlite3.connect(tmp_path / "labels.sqlite")
    found = database.execute("SELECT ticket, number, verdict FROM labels").fetchall()
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert known.items() <= {ticket: number for ticket, number, _ in found}.items()
    assert all(json.loads(verdict)["comment"] == ticket for ticket, _, verdict in found)
    assert 80 <= len(found) <= len(known) + 4  # written, but killed before the answer: one for each worker and round
    assert database.execute("SELECT max(c) FROM (SELECT count(*) AS c FROM labels GROUP BY item)").fetchone() == (1,)


def label_until_it_dies(client, known, name):
    """Label what comes until the server is gone; note every label when it is acknowledged."""
    try:
        item = client.ask("next")["item"]
        for n in range(10**6):
            answer = client.submit(item["item"], {**FIRST, "comment": f"{name}-{n}"}, f"{name}-{n}")
            known[f"{name}-{n}"] = answer["label"]
            item = answer["item"]
    except DEAD:
        return


def test_what_the_page_is_answered(running):
    one, two = Client(running, "지민", PASSWORD), Client(running, "서연", PASSWORD)
    item = one.entered["item"]
    assert item["item"] == two.entered["item"]["item"]
    assert one.entered["counts"] == {"items": 400, "done": 0, "flagged": 0, "mine": 0, "today": 0}
    answer = one.submit(item["item"], order([1], [0, 2]), "ticket-0001")
    assert answer["counts"]["mine"] == 1 and answer["item"]["item"] != item["item"]
    assert one.submit(item["item"], FIRST, "ticket-0002") == {"error": "conflict"}
    assert two.submit(item["item"], {"kind": "all_bad"}, "ticket-0003")["label"] == answer["label"] + 1
    assert [m["label"] for m in two.ask("mine")["labels"]] == [answer["label"] + 1]
    assert two.ask("back", before=answer["label"] + 1) == {"item": None}
    progress = one.ask("progress")
    figures = progress["agreement"]
    assert (figures["percent"], figures["percent_n"], progress["needed"]) == (0.0, 3, 3)
    me, other = {"number": 1, "labels": 1, "me": True, "name": "지민"}, {"number": 2, "labels": 1, "me": False}
    assert progress["people"] == [me, other]
    assert one.ask("submit", item=3, verdict=FIRST, ticket="ticket-0005") == {"error": "malformed"}
    assert one.ask("mine", before="x") == {"error": "malformed"}
    assert one.ask("leave") == {} and one.ask("next") == {"error": "who"}
    assert Client(running).ask("next") == {"error": "who"} == Client(running).ask("progress", token="guess")
    assert Client(running).ask("enter", name="a:b") == {"error": "wrong_name"}
    for words in (("지민",), ("지민", "다른 비밀번호"), ("모르는이", PASSWORD)):
        assert Client(running, *words).entered == {"error": "wrong_password"}


def test_who_guesses_waits_and_others_do_not(running):
    def guess(**headers):
        return ask(running, "api/enter", json.dumps({"name": "추측", "password": "x"}).encode("ascii"), **headers)

    assert [guess() for _ in range(5)] == [401, 401, 401, 401, 429]
    assert guess(X_Forwarded_For="192.0.2.1") == 401  # a proxy on this machine says who asks


def test_gradio_takes_no_files_and_it_listens_on_this_machine_alone(running):
    others = "upload", "info", "queue/join", "file=/etc/hostname", "component_server/"
    for path in others:
        assert ask(running, f"gradio_api/{path}") == ask(running, f"gradio_api/{path}", method="GET") == 404, path
    assert running.listens_on() == ["0100007F"] and f"labelling at {running.url}" in running.said


def ask(server, path, body=b"{}", method="POST", **headers):
    """The status of a request that no page of ours would send."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, f"/{path}", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_body_without_an_end_is_refused_while_it_is_read_and_fills_no_memory(running):
    before = resident(running)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(
            b"POST /api/enter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        piece, sent = b"10000\r\n" + b" " * 65536 + b"\r\n", 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 and not select.select([connection], [], [], 0.01)[0]:  # MiB / 16, until it answers
                connection.sendall(piece)
                sent += 1
        with contextlib.suppress(ConnectionError):  # it hangs up on who goes on sending
            assert b" 413 " in connection.recv(4096).splitlines()[0]
    assert sent < 64 and resident(running) - before < 8
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    connection.putrequest("POST", "/api/enter")
    connection.putheader("Content-Length", "400000000")
    connection.endheaders()  # nothing of it needs to be sent
    reply = connection.getresponse()
    assert reply.status == 413 and reply.getheader("Connection") == "close"
    connection.close()


def resident(server):
    """MiB of memory of its process."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def test_pages_of_other_origins_and_other_names_are_refused(running):
    own = f"http://127.0.0.1:{running.port}"
    assert ask(running, "api/next") == 401 == ask(running, "api/next", Origin=own, Sec_Fetch_Site="same-origin")
    for headers in (
        {"Host": f"evil.example:{running.port}"},  # a name that points here
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{running.port + 1}"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        assert ask(running, "api/next", **headers) == 403, headers


@pytest.mark.parametrize(
    "name, body",
    [
        ("enter", {"name": "지민\ud800", "password": PASSWORD}),
        ("enter", {"name": "지민", "password": "\udfff"}),
        ("submit", {"ticket": "ticket-half-\ud800"}),
        ("submit", {"ticket": "ticket-0123", "verdict": {**FIRST, "comment": "\udc00"}}),
        ("submit", {"ticket": "ticket-0123", "revises": 2**63}),
        ("submit", {"ticket": "ticket-0123", "me": 1}),
        ("submit", {"ticket": "x" * 81}),
        ("submit", {"ticket": "ticket-0123", "verdict": {**FIRST, "comment": "가" * 2001}}),
        ("back", {"before": -1}),
        ("mine", {"self": 1}),
    ],
)
def test_what_no_page_sends_is_malformed_and_stored_nowhere(running, name, body):
    client = Client(running, "나은", PASSWORD)
    item = client.entered["item"]["item"]
    default = {"item": item, "verdict": FIRST} if name == "submit" else {}
    data = json.dumps({"token": client.token, **default, **body}).encode("ascii")
    assert ask(running, f"api/{name}", data) == 400
    for deep in (b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900):
        assert ask(running, f"api/{name}", deep) in (400, 401)
    with Store(running.database) as store:
        assert store.one("SELECT count(*) FROM labels WHERE ticket LIKE 'ticket-half%' OR ticket LIKE '%-0123'") == (0,)
    assert "Traceback" not in running.said


@pytest.mark.parametrize(
    "words, message",
    [
        (["--share"], "give --auth_file as well"),
        (["--allowed_hosts", "https://label.example.org"], "give a name alone, such as label.example.org"),
        (["--auth_file", "none.txt"], "none.txt: cannot be read"),
        (["--database", "a file/x.sqlite"], "a file/x.sqlite: cannot be written"),
        ([], "has no items; give files"),
    ],
)
def test_what_it_does_not_start_with(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("", encoding="utf-8")
    with pytest.raises((InputError, SystemExit)) as error:
        label.main(["--database", "labels.sqlite", "--port", str(free_port()), *words])
    assert message in (str(error.value) if isinstance(error.value, InputError) else capsys.readouterr().err)


def test_a_label_that_cannot_be_stored_is_not_acknowledged_and_ctrl_c_ends_it(running):
    client = Client(running, "나은", PASSWORD)
    item, mine = client.entered["item"]["item"], client.entered["counts"]["mine"]
    with Store(running.database) as store:
        store.rows("CREATE TRIGGER full BEFORE INSERT ON labels BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        assert client.submit(item, FIRST, "ticket-full") == {"error": "storage"}
        store.rows("DROP TRIGGER full")
    assert client.submit(item, FIRST, "ticket-full")["counts"]["mine"] == mine + 1
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0 and running.said.splitlines()[-1] == label.STOPPED
