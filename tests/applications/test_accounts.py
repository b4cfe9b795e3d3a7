"""Names, passwords, sessions."""

import os

import pytest
from app_server import run

from applications.label import add_annotator
from korlhf.applications import accounts
from korlhf.applications.accounts import Accounts, clean_name
from korlhf.applications.label.store import Store
from korlhf.core.errors import InputError


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "labels.sqlite") as opened:
        yield opened


@pytest.mark.parametrize(
    "text, name",
    [
        (" 김  지민 ", "김 지민"),
        ("\u1100\u1161\u110b\u1167\u11bc", "가영"),
        ("Ｂｏ", "Bo"),
        ("", ""),
        (" ", ""),
        ("가:나", ""),
        ("가" * 41, ""),
        ("가\u0007", ""),
        ("가\u202e나", ""),
        (None, ""),
        (3, ""),
    ],
)
def test_names(text, name):
    assert clean_name(text) == name


def test_a_name_is_one_person_however_it_is_written(store):
    people = Accounts(store)
    first, second = people.enter("Kim"), people.enter(" kim ")
    assert first != second and people.who(first) == people.who(second) == (1, "Kim")
    people.leave(first)
    assert people.who(first) is None and people.who(second) and people.who("") is None and people.who(None) is None


def test_passwords(store, tmp_path):
    path = tmp_path / "people.txt"
    accounts.write_password(path, "김지민", "비밀번호1")
    accounts.write_password(path, "Bo", "열려라")
    people = Accounts(store, accounts.read_passwords(path))
    assert people.who(people.enter("김지민", "비밀번호1")) == (1, "김지민") and people.enter("BO", "열려라")
    assert not any(
        people.enter(*words)
        for words in (
            ("김지민", "열려라"),
            ("김지민", ""),
            ("없는이", "열려라"),
            ("김지민", None),
            ("김지민", "\ud800"),
            ("", "열려라"),
        )
    )
    assert "비밀번호1" not in path.read_text(encoding="utf-8") and os.stat(path).st_mode & 0o777 == 0o600
    assert [line.split(":")[0] for line in path.read_text(encoding="utf-8").splitlines()] == ["김지민", "Bo"]


def test_sessions_end_with_the_password_and_outlive_a_restart(store, tmp_path):
    path = tmp_path / "people.txt"
    trusted = Accounts(store).enter("지민")
    accounts.write_password(path, "지민", "하나")
    token = Accounts(store, accounts.read_passwords(path)).enter("지민", "하나")
    again = Accounts(store, accounts.read_passwords(path))
    assert again.who(token) and again.who(trusted) is None  # it was begun without a password
    accounts.write_password(path, "지민", "두울")
    assert Accounts(store, accounts.read_passwords(path)).who(token) is None


@pytest.mark.parametrize("text, words", [("지민:열려라\n", ":1: is no line"), ("", "holds nobody")])
def test_a_bad_password_file(tmp_path, text, words):
    path = tmp_path / "people.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        accounts.read_passwords(path)
    with pytest.raises(InputError, match="No such file"):
        accounts.read_passwords(tmp_path / "none.txt")


def test_people_are_added_from_a_terminal_or_a_pipe(tmp_path):
    path = tmp_path / "new" / "people.txt"  # before any server has made the folder
    done = run(add_annotator, "--auth_file", path, "--name", "지민", input="열려라 참깨 열려라\n")
    assert done.returncode == 0 and "지민" in done.stdout and "열려라" not in done.stdout + done.stderr
    assert accounts.read_passwords(path).keys() == {"지민"}
    path.write_text("\n", encoding="utf-8")  # everybody was taken out by hand
    accounts.write_password(path, "나은", "열려라 참깨")
    assert accounts.read_passwords(path).keys() == {"나은"}
    for words, said, message in (
        (["--name", "가:나"], "열려라 참깨 열려라\n", "--name"),
        (["--name", "나은"], "짧다\n", "give at least 8"),
    ):
        done = run(add_annotator, "--auth_file", path, *words, input=said)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
