"""Names, passwords, log-ins."""

import pytest
from app_server import run

from applications.label import add_annotator
from korlhf.applications import accounts
from korlhf.applications.accounts import SCHEMA, Accounts, clean_name
from korlhf.applications.database import Database
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
