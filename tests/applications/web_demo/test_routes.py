"""The demo over HTTP: what is open to whom, log-in, headers, malformed requests, the report."""

import json
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from korlhf.applications import accounts
from korlhf.applications.chat.conversation import AnswerStream
from korlhf.applications.database import Database
from korlhf.applications.shield import Shield
from korlhf.applications.web_demo.limits import Limits
from korlhf.applications.web_demo.routes import Site
from korlhf.applications.web_demo.service import Service
from korlhf.applications.web_demo.sessions import Sessions

PAGE = Path(__file__).resolve().parents[3] / "applications" / "web_demo" / "page"
SAID = {"text": "안녕", "at": 0, "model": "one", "temperature": 0, "max_new_tokens": 4}


class Bot:
    context_tokens = None

    def ask(self, messages, sampling):
        answer = AnswerStream()
        answer.put("반가워요")
        answer.finish("stop")
        return answer


@pytest.fixture
def client(tmp_path):
    """Function: (passwords, report) -> a browser without scripts."""

    def make(passwords=None, report=None):
        service = Service(
            {"one": Bot()}, (None, None), None, Limits(max_characters=20, max_messages=3, max_new_tokens=8)
        )
        people = passwords and accounts.Accounts(Database(":memory:", accounts.SCHEMA), passwords)
        site = Site(service, Sessions(10), people, PAGE, {"models": ["one"]}, report)
        shield = Middleware(Shield, paths=site.paths, hosts={"testserver"}, most_bytes=site.most_bytes)
        return TestClient(Starlette(routes=site.routes(), middleware=[shield]))

    return make


@pytest.fixture(scope="module")
def passwords(tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "people.txt"
    accounts.write_password(path, "지민", "비밀번호 12345")
    return accounts.read_passwords(path)


def test_an_answer_is_a_line_of_json_for_each_event(client):
    browser = client()
    token = browser.post("/api/open", json={}).json()["session"]
    reply = browser.post("/api/chat", json={"session": token, **SAID})
    end = {"end": "stop", "left_out": 0, "turns": 1, "counted": True}
    assert [json.loads(line) for line in reply.text.splitlines()] == [{"piece": "반가워요"}, end]
    assert reply.headers["content-type"].startswith("application/x-ndjson") and "반가워요" in reply.text
    assert browser.post("/api/open", json={"session": token}).json()["chat"][0]["answer"] == "반가워요"


@pytest.mark.parametrize(
    "name, body, kind, status, code",
    [
        ("chat", "{", "application/json", 400, "malformed"),
        ("chat", "[]", "application/json", 400, "malformed"),
        ("chat", "[" * 3000, "application/json", 400, "malformed"),
        ("chat", b"\xff", "application/json", 400, "malformed"),
        ("chat", "{}", "text/plain", 400, "malformed"),  # what another site's page may send without asking first
        ("chat", "{}", "application/json", 400, "expired"),
        ("vote", '{"session": "x"}', "application/json", 400, "expired"),
        ("open", '{"session": "\\ud800"}', "application/json; charset=utf-8", 400, "malformed"),
        ("open", b'{"session": "\xed\xa0\x80"}', "application/json", 400, "malformed"),
        ("chat", " " * 5000 + "{}", "application/json", 413, "malformed"),
    ],
)
def test_malformed_requests_are_refused_with_a_code(client, name, body, kind, status, code):
    reply = client().post(f"/api/{name}", content=body, headers={"Content-Type": kind})
    assert (reply.status_code, reply.json()["error"]) == (status, code)


def test_what_is_not_there(client):
    browser = client()
    token = browser.post("/api/open", json={}).json()["session"]
    assert {
        browser.post(f"/api/{name}", json={"session": token}).status_code for name in ("find", "__init__", "state")
    } == {404}
    assert browser.get("/page/..%2fweb_demo.py").status_code == 404 == browser.get("/report/").status_code
    assert browser.get("/api/chat").status_code == 405


def test_the_page_may_load_its_own_files_alone(client):
    browser = client()
    for path, kind in (
        ("/", "text/html"),
        ("/page/main.js", "text/javascript"),
        ("/page/texts.json", "application/json"),
        ("/page/icon.svg", "image/svg+xml"),
    ):
        reply = browser.get(path)
        assert reply.headers["content-type"].startswith(kind) and reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in reply.headers["content-security-policy"]
        assert "unsafe" not in reply.headers["content-security-policy"]
    assert "http://" not in browser.get("/").text and "https://" not in browser.get("/").text


def test_without_a_log_in_nothing_is_answered(client, passwords, tmp_path):
    (tmp_path / "report.html").write_text("<p>figures", encoding="utf-8")
    browser = client(passwords, tmp_path / "report.html")
    replies = [browser.post(f"/api/{name}", json=SAID) for name in ("open", "chat", "compare", "vote", "stop", "reset")]
    assert {(reply.status_code, reply.json()["error"]) for reply in replies} == {(401, "who")}
    assert browser.get("/report/").status_code == 404 and browser.get("/").status_code == 200
    for name, password in (
        ("지민", "wrong"),
        ("누구", "비밀번호 12345"),
        ("", ""),
        (None, 3),
        ("\ud800", "x"),
        ("지민", "가" * 300),
    ):
        body = json.dumps({"name": name, "password": password})
        reply = browser.post("/api/enter", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 401) and not reply.cookies
    reply = browser.post("/api/enter", json={"name": " 지민 ", "password": "비밀번호 12345"})
    assert reply.status_code == 200
    assert "HttpOnly" in reply.headers["set-cookie"]
    assert "SameSite=strict" in reply.headers["set-cookie"]
    opened = browser.post("/api/open", json={}).json()
    assert opened["login"] is True and opened["session"] and "지민" not in json.dumps(opened, ensure_ascii=False)
    assert browser.get("/report/").status_code == 200
    token = browser.cookies["korlhf_web_demo"]
    browser.post("/api/leave", json={})
    assert browser.post("/api/open", json={}, headers={"Cookie": f"korlhf_web_demo={token}"}).status_code == 401


def test_the_report_has_an_origin_of_its_own_and_is_read_anew(client, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>첫째", encoding="utf-8")
    browser = client(report=report)
    reply = browser.get("/report/")
    assert reply.text == "<p>첫째" and reply.headers["content-security-policy"].startswith("sandbox allow-scripts;")
    report.write_text("<p>둘째", encoding="utf-8")
    assert browser.get("/report/").text == "<p>둘째"
    for path, back in (("/report/base/README.md", "../"), ("/report/a", "./"), ("/report/a/b/c", "../../")):
        reply = browser.get(path)
        assert reply.status_code == 404 and f'href="{back}"' in reply.text
    report.unlink()
    assert browser.get("/report/").status_code == 404


def test_both_languages_have_the_same_words():
    texts = json.loads((PAGE / "texts.json").read_text(encoding="utf-8"))
    assert texts["ko"].keys() == texts["en"].keys()
    for key in texts["ko"]:
        assert set(re.findall(r"{\w+}", str(texts["ko"][key]))) == set(re.findall(r"{\w+}", str(texts["en"][key]))), key
