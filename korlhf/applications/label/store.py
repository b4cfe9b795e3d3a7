"""The SQLite file of a labelling: items, annotators, who was shown what, and every label that was ever given.

A label is a new row: nothing is overwritten, the row it revises stays. WAL with synchronous=FULL: what `write` has left is on the disk,
also after a kill or a power cut. Several processes may use one file. Left out: deciding who gets which item (desk.py).
"""

import json
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from korlhf.applications.label import verdicts
from korlhf.applications.label.items import MOST, Item
from korlhf.core.errors import InputError
from korlhf.data import ranking

APPLICATION_ID, VERSION = 0x4B6F4C62, 1  # "KoLb": tells this file from other SQLite files
WAIT = 30  # seconds for another process to finish its write
SCHEMA = """
CREATE TABLE items (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, record TEXT NOT NULL, answers TEXT NOT NULL, added TEXT NOT NULL,
                    votes INTEGER NOT NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0);
CREATE INDEX open_items ON items (flags, votes DESC, number);
CREATE TABLE annotators (number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, name TEXT NOT NULL, joined TEXT NOT NULL);
CREATE TABLE sessions (token TEXT PRIMARY KEY, annotator INTEGER NOT NULL REFERENCES annotators, proof TEXT NOT NULL, began TEXT NOT NULL);
CREATE TABLE assignments (item INTEGER NOT NULL REFERENCES items, annotator INTEGER NOT NULL REFERENCES annotators, shown TEXT NOT NULL,
                          since REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (item, annotator)) WITHOUT ROWID;
CREATE INDEX leases ON assignments (annotator, until);
CREATE TABLE labels (number INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER NOT NULL REFERENCES items,
                     annotator INTEGER NOT NULL REFERENCES annotators, revises INTEGER REFERENCES labels, kind TEXT NOT NULL,
                     verdict TEXT NOT NULL, shown TEXT NOT NULL, seconds REAL NOT NULL, given TEXT NOT NULL, ticket TEXT UNIQUE NOT NULL,
                     current INTEGER NOT NULL DEFAULT 1);
CREATE UNIQUE INDEX one_current_label ON labels (item, annotator) WHERE current = 1;
CREATE INDEX own_labels ON labels (annotator, number) WHERE current = 1;
"""


@dataclass(frozen=True)
class Given:
    """A label. annotator: number of the person. shown: places of the answers in the order on the page. seconds: from showing to label."""

    number: int
    annotator: int
    verdict: verdicts.Verdict
    shown: tuple[int, ...]
    seconds: float
    at: str
    revisions: int = 0


class Store:
    """One open file; may be used by several threads. Raises InputError if it cannot be used.

    must_exist: only read a file that is there; otherwise it is made if need be, and must be writable.
    """

    def __init__(self, path, must_exist=False):
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        if must_exist and not self.path.is_file():
            raise InputError(f"--database {self.path}: no such file; give the file that label.py was started with")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA foreign_keys=ON")
            self._check()
            if not must_exist:
                with self.write() as db:  # a file that cannot be written is found now, not at the first label
                    db.execute(f"PRAGMA user_version={VERSION}")
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"--database {self.path}: cannot be used: {reason}; check folder and permissions, or give another"
            ) from error

    def _check(self):
        """Refuse files of other programs and versions; a new file gets its tables."""
        found = (
            self._db.execute("PRAGMA application_id").fetchone()[0],
            self._db.execute("PRAGMA user_version").fetchone()[0],
        )
        if found == (0, 0) and not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._db.execute("PRAGMA journal_mode=WAL")
            with self.write() as db:  # of two processes that find it empty, the second waits here and finds the tables
                if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version={VERSION}")
        elif found != (APPLICATION_ID, VERSION):
            raise InputError(f"--database {self.path}: is not a file of labels of this version; give another name")
        self._db.execute("PRAGMA synchronous=FULL")  # a label that was acknowledged survives a power cut

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._db.close()

    @contextmanager
    def write(self):
        """A transaction that writes: all of it is on the disk when the block is left, or, after an exception, nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, query, *values):
        """All rows of a SELECT."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def add_items(self, items):
        """Items that are not there yet -> how many were added. Those that are there stay as they are, with their labels."""
        with self.write() as db:
            before = db.execute("SELECT count(*) FROM items").fetchone()[0]
            db.executemany(
                "INSERT OR IGNORE INTO items (id, record, answers, added) VALUES (?, ?, ?, ?)",
                [(i.id, dumps(i.record), dumps([asdict(a) for a in i.answers]), now()) for i in items],
            )
            return db.execute("SELECT count(*) FROM items").fetchone()[0] - before

    def item(self, number):
        """The Item of a number."""
        return _item(*self.rows("SELECT id, record, answers FROM items WHERE number = ?", number)[0])

    def items(self):
        """All, in the order they came -> {number: Item}."""
        return {
            number: _item(*rest)
            for number, *rest in self.rows("SELECT number, id, record, answers FROM items ORDER BY number")
        }

    def labels(self):
        """What counts now -> {number of the item: [Given, oldest first]}."""
        found = {}
        query = (
            "WITH all_of AS (SELECT item, annotator, count(*) - 1 AS revisions FROM labels GROUP BY item, annotator) "
            "SELECT l.item, l.number, l.annotator, l.verdict, l.shown, l.seconds, l.given, a.revisions FROM labels l "
            "JOIN all_of a ON a.item = l.item AND a.annotator = l.annotator WHERE l.current = 1 ORDER BY l.number"
        )
        for item, number, annotator, verdict, shown, seconds, at, revisions in self.rows(query):
            found.setdefault(item, []).append(
                Given(number, annotator, stored_verdict(verdict), tuple(json.loads(shown)), seconds, at, revisions)
            )
        return found

    def history(self, item, annotator):
        """Verdicts of one person on one item, the first first."""
        found = self.rows(
            "SELECT verdict FROM labels WHERE item = ? AND annotator = ? ORDER BY number", item, annotator
        )
        return [stored_verdict(verdict) for (verdict,) in found]


def _item(item_id, record, answers):
    return Item(
        item_id,
        json.loads(record),
        tuple(ranking.Candidate(**{**a, "models": tuple(a["models"])}) for a in json.loads(answers)),
    )


def stored_verdict(text):
    """A verdict as `write` stored it; its places were checked then."""
    return verdicts.read(json.loads(text), MOST)


def dumps(value):
    return json.dumps(value, ensure_ascii=False)


def now():
    """The time as text, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
