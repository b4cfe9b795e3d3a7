"""What the page may ask the server: functions of one dict that return one dict, {"error": code} for what the page has
words for.

codes: who (log in), wrong_name, wrong_password, storage, and those of ballot and desk. Any other exception is the
server's fault; the page then sends the same again."""

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


class Service:
    """Answers for one Desk and its Accounts: each method of ASKS, enter and leave is a function of the page."""

    def __init__(self, desk, people):
        self._desk, self._people = desk, people
        self._figures, self._stale_at, self._lock = {}, float("-inf"), threading.Lock()

    def functions(self):
        """{name: function of a dict} of all that the page may call."""
        return {f"label_{name}": self._function(name) for name in ("enter", "leave", *ASKS)}

    def _function(self, name):
        def answer(data):
            try:
                return self._answer(name, **data)
            except Refused as refused:
                return refused.reply()
            except sqlite3.Error as error:
                reason = f"the database could not be used: {error}; make room on its disk"
                print(f"error: {reason}", file=sys.stderr, flush=True)
                return {"error": "storage"}

        return answer

    def _answer(self, name, /, token=None, **data):
        if name not in ASKS:
            return self.enter(**data) if name == "enter" else self.leave(token)
        me = self._people.who(token)
        if me is None:
            raise Refused("who")
        if not all(isinstance(value, KINDS.get(key, object)) for key, value in data.items()):
            raise Refused("malformed")
        return getattr(self, name)(me[0], **data)

    def enter(self, name=None, password=""):
        if not accounts.clean_name(name):
            raise Refused("wrong_name")
        token = self._people.enter(name, password)
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
