"""What is slow or paid for, kept in an SQLite file: answers of servers and of local models, each under a hash of what was asked."""

import hashlib
import json
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from korlhf.core.errors import InputError


def cache_key(value):
    """sha256 of `value` as canonical JSON, hexadecimal."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


class Cache:
    """Answers in an SQLite file: key -> dict; the first answer to a key stays. Several processes may use one file.

    Raises InputError if the file cannot be used.
    """

    def __init__(self, path):
        self.path = Path(path).expanduser()
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=60, isolation_level=None
            )  # each statement is its own transaction
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(
                "PRAGMA synchronous=NORMAL"
            )  # survives a killed process; a power cut may cost the last answers, not the file
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(key TEXT PRIMARY KEY, request TEXT, reply TEXT NOT NULL, created TEXT NOT NULL)"
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._db.close()

    @contextmanager
    def _errors(self):
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"--cache {self.path}: {error}; make room there, or give another file") from error

    def get(self, key):
        """The dict kept under `key`, or None."""
        with self._errors():
            row = self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key, value, request=None):
        """Keep a dict; request: what was asked, for people who look into the file."""
        self.put_many([(key, value, request)])

    def put_many(self, rows):
        """Keep several at once, all or none: (key, value) or (key, value, request)."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [(key, _json(*request or [None]), _json(value), now) for key, value, *request in rows]
        with self._errors(), self._db:  # commits, or rolls back
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", rows)


def _json(value):
    return None if value is None else json.dumps(value, ensure_ascii=False)
