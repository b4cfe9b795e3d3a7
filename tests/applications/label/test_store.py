"""A database of version 1, as the first release wrote it, is read: items, labels, log-ins."""

import json
import sqlite3

import pytest

from korlhf.applications import accounts
from korlhf.applications.label.ballot import Ballot
from korlhf.applications.label.store import SCHEMA, Given, Store

ANSWERS = [{"text": text, "models": ["sft"], "score": None, "place": place} for place, text in enumerate("가나")]
RECORD = {"id": "b" * 16, "category": "everyday", "source": "x", "history": [], "prompt": "안녕?"}
BALLOT = {"kind": "order", "groups": [[1]], "edit_of": 1, "edit": "고친 글", "comment": "메모"}
PASSWORDS = {"지민": ("00" * 16, "11" * 32)}
TOKEN, PROOF = "a token", ":".join(PASSWORDS["지민"])
ROWS = {
    "items": (1, "a" * 16, json.dumps(RECORD), json.dumps(ANSWERS), "2026-01-01T00:00:00.000+00:00", 1, 0),
    "annotators": (1, "지민", "지민", "2026-01-01T00:00:00.000+00:00"),
    "sessions": (accounts._digest(TOKEN), 1, accounts._digest(PROOF), "2026-01-01T00:00:00.000+00:00"),
    "assignments": (1, 1, "[1, 0]", 1000.0, 0.0),
    "labels": (
        1,
        1,
        1,
        None,
        "order",
        json.dumps(BALLOT),
        "[1, 0]",
        1.5,
        "2026-01-01T00:00:01.000+00:00",
        "ticket-1",
        1,
    ),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "labels.sqlite"
    database = sqlite3.connect(path)
    database.executescript(f"{SCHEMA}PRAGMA application_id={0x4B6F4C62}; PRAGMA user_version=1;")
    for table, row in ROWS.items():
        database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    database.commit()
    database.close()
    return path


def test_what_was_stored_is_read(path):
    with Store(path, must_exist=True) as store:
        assert [a.text for a in store.items()[1].answers] == ["가", "나"] and store.item(1).record == RECORD
        ballot = Ballot("order", ((1,),), 1, "고친 글", "", "메모")
        assert store.labels() == {1: [Given(1, 1, ballot, (1, 0), 1.5, "2026-01-01T00:00:01.000+00:00", 0)]}
        assert accounts.Accounts(store, PASSWORDS).who(TOKEN) == (1, "지민")


def test_a_database_of_another_version_is_refused(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=2")
    with pytest.raises(Exception, match="not a file of labels of this version"):
        Store(path)
