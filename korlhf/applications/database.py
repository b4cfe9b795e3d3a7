"""One SQLite connection that several threads may use."""

import sqlite3
import threading
from contextlib import contextmanager

WAIT = 30  # seconds for another process to finish its write


class Database:
    """A context manager. path: a file, or ":memory:"; schema: statements for a database of one's own, as in memory."""

    def __init__(self, path, schema=""):
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.executescript(schema)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._db.close()

    @contextmanager
    def write(self):
        """A transaction that writes: all of it is on the disk when the block is left, or, after an exception,
        nothing."""
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
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def one(self, query, *values):
        """The first row of a SELECT, or None."""
        return next(iter(self.rows(query, *values)), None)
