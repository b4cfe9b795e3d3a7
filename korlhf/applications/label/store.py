"""The SQLite file of a labelling: items, annotators, who was shown what, and every label that was ever given.

A label is a new row: nothing is overwritten, the row it revises stays. WAL with synchronous=FULL: what `write` has
left is on the disk, also after a kill or a power cut. Several processes may use one file. Left out: deciding who gets
which item (desk.py)."""

import json
import sqlite3
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from korlhf.applications import accounts
from korlhf.applications.database import Database
from korlhf.applications.label.ballot import Ballot
from korlhf.applications.label.items import Item
from korlhf.core.errors import InputError, told
from korlhf.data import ranking

APPLICATION_ID, VERSION = 0x4B6F4C62, 1  # "KoLb": tells this file from other SQLite files
SCHEMA = f"""{accounts.SCHEMA.strip()}
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, record TEXT NOT NULL, answers TEXT NOT NULL,
    added TEXT NOT NULL, votes INTEGER NOT NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS open_items ON items (flags, votes DESC, number);
CREATE TABLE IF NOT EXISTS assignments (
    item INTEGER NOT NULL REFERENCES items, annotator INTEGER NOT NULL REFERENCES annotators, shown TEXT NOT NULL,
    since REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (item, annotator)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases ON assignments (annotator, until);
CREATE TABLE IF NOT EXISTS labels (
    number INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER NOT NULL REFERENCES items,
    annotator INTEGER NOT NULL REFERENCES annotators, revises INTEGER REFERENCES labels, kind TEXT NOT NULL,
    verdict TEXT NOT NULL, shown TEXT NOT NULL, seconds REAL NOT NULL, given TEXT NOT NULL,
    ticket TEXT UNIQUE NOT NULL, current INTEGER NOT NULL DEFAULT 1);
CREATE UNIQUE INDEX IF NOT EXISTS one_current_label ON labels (item, annotator) WHERE current = 1;
CREATE INDEX IF NOT EXISTS own_labels ON labels (annotator, number) WHERE current = 1;
PRAGMA application_id={APPLICATION_ID};
PRAGMA user_version={VERSION};
"""
MARKS = (
    "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
    "FROM pragma_application_id, pragma_user_version"
)


@dataclass(frozen=True)
class Given:
    """A label. annotator: number of the person. shown: places of the answers in the order on the page. seconds: from
    showing to label."""

    number: int
    annotator: int
    ballot: Ballot
    shown: list[int]
    seconds: float
    at: str
    revisions: int = 0


class Store(Database):
    """One open file. Raises InputError if it cannot be used.

    must_exist: only read a file that is there; otherwise it is made if need be, and must be writable.
    """

    def __init__(self, path, must_exist=False):
        path = Path(path).expanduser()
        if must_exist and not path.is_file():
            raise InputError(f"--database {path}: no such file; give the file that label.py was started with")
        remedy = "check folder and permissions, or give another"
        with told(f"--database {path}: cannot be used", remedy, (sqlite3.Error, OSError)):
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path)
            *marks, tables = self.one(MARKS)
            if tables and marks != [APPLICATION_ID, VERSION]:
                raise InputError(f"--database {path}: is not a file of labels of this version; give another name")
            if not must_exist:  # a file that cannot be written is found now, not at the first label
                self._db.executescript(f"PRAGMA journal_mode=WAL; BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            self._db.execute("PRAGMA synchronous=FULL")  # a label that was acknowledged survives a power cut

    def add_items(self, items):
        """Items that are not there yet -> how many were added. Those that are there stay as they are, with their
        labels."""
        rows = [(i.id, dumps(i.record), dumps([asdict(a) for a in i.answers]), now()) for i in items]
        with self.write() as db:
            return db.executemany(
                "INSERT OR IGNORE INTO items (id, record, answers, added) VALUES (?, ?, ?, ?)", rows
            ).rowcount

    def items(self, which="TRUE", *values):
        """Those of a condition, in the order they came -> {number: Item}."""
        query = f"SELECT number, id, record, answers FROM items WHERE {which} ORDER BY number"
        return {
            number: Item(item_id, json.loads(record), tuple(map(_candidate, json.loads(answers))))
            for number, item_id, record, answers in self.rows(query, *values)
        }

    def labels(self):
        """What counts now -> {number of the item: [Given, oldest first]}."""
        labels = {}
        query = (
            "SELECT item, number, annotator, verdict, shown, seconds, given, revisions FROM "
            "(SELECT *, count(*) OVER (PARTITION BY item, annotator) - 1 AS revisions FROM labels) "
            "WHERE current = 1 ORDER BY number"
        )
        for item, number, annotator, said, shown, *rest in self.rows(query):
            given = Given(number, annotator, Ballot.model_validate_json(said), json.loads(shown), *rest)
            labels.setdefault(item, []).append(given)
        return labels


def _candidate(answer):
    return ranking.Candidate(**{**answer, "models": tuple(answer["models"])})


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def now():
    """The time as text, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
