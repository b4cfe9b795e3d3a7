"""Names, passwords, log-ins, and who guesses."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from app_server import run

from applications.label import add_annotator
from korlhf.applications import accounts
from korlhf.applications.accounts import SCHEMA, Accounts, clean_name
from korlhf.applications.database import Database
from korlhf.applications.web import Refused
from korlhf.core.errors import InputError


@pytest.fixture
def database():
    with Database(":memory:", SCHEMA) as opened:
        yield opened


def test_names():
    good = {" 김  지민 ": "김 지민", "\u1100\u1161\u110b\u1167\u11bc": "가영", "Ｂｏ": "Bo"}
    assert {text: clean_name(text) for text in good} == good
    assert not any(map(clean_name, ("", " ", "가:나", "가" * 41, "가\u0007", "가\u202e나", None, 3)))


def test_a_name_is_one_person_however_it_is_written(database):
    people = Accounts(database)
    first, second = people.enter("Kim"), people.enter(" kim ")
    assert first != second and people.who(first) == people.who(second) == (1, "Kim")
    people.leave(first)
    assert people.who(first) is None and people.who(second) and people.who("") is None and people.who(None) is None


def test_only_so_many_log_ins_are_remembered(database, monkeypatch):
    monkeypatch.setattr(accounts, "MOST", 2)
    people = Accounts(database)
    assert [bool(people.who(token)) for token in [people.enter("Kim") for _ in range(3)]] == [False, True, True]


def test_passwords_and_log_ins_that_end_with_them(database, tmp_path):
    path = tmp_path / "people.txt"
    trusted = Accounts(database).enter("김지민")
    accounts.write_password(path, "김지민", "비밀번호1")
    accounts.write_password(path, "Bo", "열려라")
    people = Accounts(database, accounts.read_passwords(path))
    token = people.enter("김지민", "비밀번호1")
    assert people.who(token) == (1, "김지민") and people.enter("BO", "열려라")
    for name, password in (
        ("김지민", "열려라"),
        ("김지민", ""),
        ("없는이", "열려라"),
        ("김지민", None),
        ("Bo", "\ud800"),
    ):
        assert people.enter(name, password) is None
    text = path.read_text(encoding="utf-8")
    assert "비밀번호1" not in text and path.stat().st_mode & 0o777 == 0o600
    assert [line.split(":")[0] for line in text.splitlines()] == ["김지민", "Bo"]
    again = Accounts(database, accounts.read_passwords(path))  # after a restart
    assert again.who(token) and again.who(trusted) is None  # it was begun without a password
    accounts.write_password(path, "김지민", "두울")
    assert Accounts(database, accounts.read_passwords(path)).who(token) is None


@pytest.fixture
def guarded(database, monkeypatch):
    """Accounts of 지민 and Bo, with a clock that stands still (`seconds`) and a list of what was hashed (`hashed`)."""

    def quick(password, salt):
        hashed.append(password)
        return f"{password}/{salt}".encode().hex()

    hashed, clock = [], SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(accounts, "_hash", quick)
    monkeypatch.setattr(accounts, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    people = Accounts(database, {"지민": ("aa", "열려라/aa".encode().hex()), "bo": ("bb", "참깨/bb".encode().hex())})
    people.clock, people.hashed = clock, hashed
    return people


def wait(people, name, password, address):
    """The seconds that a log-in is told to wait; 0: it was looked at."""
    try:
        assert people.enter(name, password, address) is None
    except Refused as refused:
        assert refused.code == "wait"
        return refused.values["seconds"]
    return 0


def test_wrong_passwords_make_one_wait_longer_each_time(guarded):
    assert [wait(guarded, "지민", "틀림", "192.0.2.1") for _ in range(5)] == [0, 0, 0, 0, 2]
    for expected in (4, 8, 16, 32, 64, 128, 256, 300, 300):
        guarded.clock.seconds += 300
        assert [wait(guarded, " 지민 ", "틀림", "192.0.2.1") for _ in range(2)] == [0, expected]
    assert len(guarded.hashed) == 13  # who waits is not even looked at
    guarded.clock.seconds += 299.5
    assert (
        wait(guarded, "지민", "열려라", "192.0.2.1") == 1
    )  # not with the right one either: it would be a way to try it
    guarded.clock.seconds += 0.5
    assert guarded.enter("지민", "열려라", "192.0.2.1")
    assert [wait(guarded, "지민", "틀림", "192.0.2.1") for _ in range(5)] == [0, 0, 0, 0, 2]  # all is forgotten


def test_guesses_at_once_are_looked_at_one_by_one(guarded, monkeypatch):
    slowly = accounts._hash
    monkeypatch.setattr(accounts, "_hash", lambda *values: time.sleep(0.01) or slowly(*values))
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: wait(guarded, "지민", "틀림", "192.0.2.1"), range(16)))
    assert sorted(told) == [0] * 4 + [2] * 12 and len(guarded.hashed) == 4


def test_nobody_waits_for_what_others_tried(guarded):
    for name, address in (("지민", "192.0.2.1"), ("Bo", "2001:db8::1"), ("Bo", "::ffff:192.0.2.1")):
        assert [wait(guarded, name, "틀림", address) for _ in range(5)][-1] == 2
    assert guarded.enter("지민", "열려라", "192.0.2.2")  # the same name elsewhere
    assert guarded.enter("BO", "참깨", "2001:db8:0:1::1") and guarded.enter("Bo", "참깨", "::ffff:192.0.2.2")
    assert wait(guarded, "bo", "참깨", "2001:db8::ffff") == 2 == wait(guarded, "Bo", "참깨", "192.0.2.1")  # one's own


def test_a_name_that_nobody_has_costs_as_much_and_waits_as_long(guarded):
    assert [wait(guarded, "없는이", "틀림", "192.0.2.1") for _ in range(5)] == [0, 0, 0, 0, 2]
    assert guarded.hashed == ["틀림"] * 4


def test_only_so_many_guesses_are_remembered(guarded, monkeypatch):
    monkeypatch.setattr(accounts, "MOST", 2)
    for name in ("하나", "지민", "지민", "지민", "지민", "두울"):
        assert wait(guarded, name, "틀림", "192.0.2.1") == 0
    assert len(guarded._guesses._wrong) == 2 and wait(guarded, "지민", "틀림", "192.0.2.1") == 2
    assert [wait(guarded, name, "틀림", "192.0.2.1") for name in ("세엣", "네엣", "지민")] == [0, 0, 0]


@pytest.mark.parametrize(
    "text, words", [("지민:열려라\n", ":1: is no line"), ("", "holds nobody"), (None, "No such file")]
)
def test_a_bad_password_file(tmp_path, text, words):
    if text is not None:
        (tmp_path / "people.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        accounts.read_passwords(tmp_path / "people.txt")


def test_people_are_added_from_a_pipe(tmp_path):
    path = tmp_path / "new" / "people.txt"  # before any server has made the folder
    done = run(add_annotator, "--auth_file", path, "--name", "지민", input="열려라 참깨 열려라\n")
    assert done.returncode == 0 and "지민" in done.stdout and "열려라" not in done.stdout + done.stderr
    assert accounts.read_passwords(path).keys() == {"지민"}
    done = run(add_annotator, "--auth_file", path, "--name", "나은", input="짧다\n")
    assert done.returncode == 2 and "give at least 8" in done.stderr and "Traceback" not in done.stderr
