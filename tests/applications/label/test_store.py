"""The database: one of version 1, as the first release wrote it, is read; what is no such file is one line."""

import json
import sqlite3

import pytest

from korlhf.applications import accounts
from korlhf.applications.label.ballot import Ballot
from korlhf.applications.label.store import Given, Store
from korlhf.core.errors import InputError

VERSION_1 = """
CREATE TABLE annotators (number INTEGER PRIMARY KEY, key TEXT UNIQUE, name TEXT, joined TEXT);
CREATE TABLE sessions (token TEXT PRIMARY KEY, annotator INTEGER REFERENCES annotators, proof TEXT, began TEXT);
CREATE TABLE items (number INTEGER PRIMARY KEY, id TEXT UNIQUE, record TEXT, answers TEXT, added TEXT, votes INTEGER NOT
    NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0);
CREATE TABLE assignments (item INTEGER, annotator INTEGER, shown TEXT, since REAL, until REAL);
CREATE TABLE labels (number INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER, annotator INTEGER, revises INTEGER,
    kind TEXT, verdict TEXT, shown TEXT, seconds REAL, given TEXT, ticket TEXT UNIQUE,
    current INTEGER NOT NULL DEFAULT 1);
PRAGMA application_id=1265585250;
PRAGMA user_version=1;
"""
ANSWERS = [{"text": text, "models": ["sft"], "score": None, "place": place} for place, text in enumerate("가나")]
RECORD = {"id": "b" * 16, "category": "everyday", "source": "x", "history": [], "prompt": "안녕?"}
BALLOT = {"kind": "order", "groups": [[1]], "edit_of": 1, "edit": "고친 글", "comment": "메모"}
PASSWORDS = {"지민": ("00" * 16, "11" * 32)}
TOKEN, PROOF, AT = "a token", ":".join(PASSWORDS["지민"]), "2026-01-01T00:00:01.000+00:00"
ROWS = {
    "items": (1, "a" * 16, json.dumps(RECORD), json.dumps(ANSWERS), AT, 1, 0),
    "annotators": (1, "지민", "지민", AT),
    "sessions": (accounts._digest(TOKEN), 1, accounts._digest(PROOF), AT),
    "assignments": (1, 1, "[1, 0]", 1000.0, 0.0),
    "labels": (1, 1, 1, None, "order", json.dumps(BALLOT), "[1, 0]", 1.5, AT, "ticket-1", 1),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "labels.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
        for table, row in ROWS.items():
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    return path


@pytest.mark.parametrize("must_exist", [True, False])
def test_what_was_stored_is_read(path, must_exist):
    with Store(path, must_exist) as store:
        (item,) = store.items().values()
        assert [a.text for a in item.answers] == ["가", "나"] and item.record == RECORD
        ballot = Ballot(kind="order", groups=((1,),), edit_of=1, edit="고친 글", comment="메모")
        assert store.labels() == {1: [Given(1, 1, ballot, [1, 0], 1.5, AT)]}
        assert accounts.Accounts(store, PASSWORDS).who(TOKEN) == (1, "지민")


def test_what_is_written_is_synced_and_a_write_that_fails_leaves_nothing(path):
    with Store(path) as store:
        assert store.one("PRAGMA synchronous") == (2,) and store.one("PRAGMA journal_mode") == ("wal",)
        with pytest.raises(sqlite3.IntegrityError), store.write() as db:
            db.execute("UPDATE items SET votes = 9")
            db.execute("INSERT INTO items (id, record, answers, added) SELECT id, record, answers, added FROM items")
        assert store.one("SELECT votes FROM items") == (1,)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: p.mkdir(), "cannot be used"),
        (lambda p: p.write_text("no database at all " * 99), "file is not a database"),
        (lambda p: sqlite3.connect(p).execute("CREATE TABLE t (x)"), "is not a file of labels of this version"),
        (lambda p: sqlite3.connect(p).executescript(VERSION_1 + "PRAGMA user_version=2"), "not a file of labels of"),
    ],
)
def test_an_unusable_database_is_one_line(tmp_path, make, words):
    path = tmp_path / "other.sqlite"
    make(path)
    with pytest.raises(InputError, match=words) as error:
        Store(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        Store(tmp_path / "none.sqlite", must_exist=True)
