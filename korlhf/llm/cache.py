"""What is slow or paid for, kept in an SQLite file under a hash of what was asked.

By hand on sqlite3: diskcache unpickles what it finds, and people cannot read it.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from korlhf.core.errors import InputError

PATIENCE = 60.0  # seconds to wait for another process


def cache_key(value: Any) -> str:
    """sha256 of `value` as canonical JSON, hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """Answers in an SQLite file: key -> dict; the first answer to a key stays. Several processes may use one file.

    Raises InputError if the file cannot be used.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # isolation_level None: each statement is a transaction
            self._db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._write_ahead()
            self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last answers, not the file
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers "
                "(key TEXT PRIMARY KEY, request TEXT, reply TEXT NOT NULL, created TEXT NOT NULL)"
            )

    def _write_ahead(self):
        """Of several processes that make the file at once, SQLite has all but one fail here without their timeout."""
        limit = time.monotonic() + PATIENCE
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > limit:
                    raise
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"--cache {self.path}: {error}; make room there, or give another file") from error

    def get(self, key: str) -> dict | None:
        """The dict kept under `key`, or None."""
        with self._errors():
            row = self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: dict, request: Any = None) -> None:
        """Keep a dict; request: what was asked, for people who look into the file."""
        self.put_many([(key, value, request)])

    def put_many(self, rows: Iterable[tuple]) -> None:
        """Keep several at once, all or none: (key, value) or (key, value, request)."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        values = [(key, _json(*request or [None]), _json(value), now) for key, value, *request in rows]
        with self._errors(), self._db:  # commits, or rolls back
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", values)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
