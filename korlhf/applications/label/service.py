"""What the page may ask the server: a dict in, a dict out, Refused for what the page has words for.

codes: who (log in), wrong_name, wrong_password, wait, storage, and those of ballot and desk. Any other exception is the
server's fault; the page then sends the same again."""

import inspect
import sqlite3
import sys
import threading
import time

from korlhf.applications import accounts
from korlhf.applications.label import agreement
from korlhf.applications.label.desk import PAGE
from korlhf.applications.web import Refused

# seconds for which agreement is not computed again, or 10 times what it took: with 100,000 labels that is seconds
FRESH = 2.0
PEOPLE = """
SELECT number, (SELECT count(*) FROM labels WHERE annotator = a.number AND current = 1) AS labels, name
FROM annotators a ORDER BY number
"""
ASKS = ("next", "submit", "back", "mine", "progress")  # only of who has logged in
KINDS = {"item": str, "ticket": str, "revises": int | None, "before": int | None}  # of what the page sends
LARGEST = 2**63  # SQLite has no larger number


class Service:
    """Answers for one Desk and its Accounts: enter, leave, and each method of ASKS."""

    def __init__(self, desk, people):
        self._desk, self._people = desk, people
        self._figures, self._stale_at, self._lock = {}, float("-inf"), threading.Lock()

    def answer(self, name, data, address=""):
        """What the page asks for by a name -> dict. data: dict, whatever it holds; address: of who asks. Raises
        Refused."""
        token, values = data.get("token"), {key: value for key, value in data.items() if key != "token"}
        try:
            if name == "enter":
                return self.enter(data.get("name"), data.get("password", ""), address)
            if name == "leave":
                return self.leave(token)
            if name not in ASKS:
                raise Refused("not_here")
            me = self._people.who(token)
            if me is None:
                raise Refused("who")
            return getattr(self, name)(*_arguments(getattr(self, name), me[0], values))
        except sqlite3.Error as error:
            reason = f"the database could not be used: {error}; make room on its disk"
            print(f"error: {reason}", file=sys.stderr, flush=True)
            raise Refused("storage") from error

    def enter(self, name, password, address):
        if not accounts.clean_name(name):
            raise Refused("wrong_name")
        token = self._people.enter(name, password, address)
        if token is None:
            raise Refused("wrong_password")
        number, name = self._people.who(token)
        return {"token": token, "name": name, **self.next(number)}

    def leave(self, token):
        self._people.leave(token)
        return {}

    def next(self, me):
        return {"item": self._desk.next(me), "counts": self._desk.counts(me)}

    def submit(self, me, item, verdict, ticket, revises=None):
        return {"label": self._desk.submit(me, item, verdict, revises, ticket), **self.next(me)}

    def back(self, me, before=None):
        return {"item": self._desk.back(me, before)}

    def mine(self, me, before=None):
        labels = self._desk.mine(me, before)
        return {"labels": labels, "more": len(labels) == PAGE}

    def progress(self, me):
        people = [
            {"number": number, "labels": labels, "me": number == me, **({"name": name} if number == me else {})}
            for number, labels, name in self._desk.store.rows(PEOPLE)
        ]
        with self._lock:  # the agreement of all labels, a few seconds old: computed once for everybody who looks
            began = time.monotonic()
            if began > self._stale_at:
                labels = self._desk.store.labels()  # before the items: every label is then about one of them
                self._figures = agreement.summary(self._desk.store.items(), labels, self._desk.needed)
                self._stale_at = time.monotonic() + max(FRESH, 10 * (time.monotonic() - began))
        counts = self._desk.counts(me)
        return {"counts": counts, "needed": self._desk.needed, "people": people, "agreement": self._figures}


def _arguments(function, me, values):
    """The arguments of what the page may ask for. Raises Refused if one is missing, unknown or of another kind."""
    try:
        bound = inspect.signature(function).bind(me, **values)
    except TypeError as error:
        raise Refused("malformed") from error
    for name, value in values.items():
        if not isinstance(value, KINDS.get(name, object)) or (isinstance(value, int) and not 0 <= value < LARGEST):
            raise Refused("malformed")
    return bound.args
