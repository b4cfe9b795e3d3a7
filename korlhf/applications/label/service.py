"""What the page may ask the server: functions of one dict that return one dict, {"error": code} for what the page has
words for.

codes: who (log in), wrong_name, wrong_password, storage, and those of ballot and desk. Any other exception is the
server's fault; the page then sends the same again."""

import functools
import sqlite3
import sys
import threading
import time

from korlhf.applications import accounts
from korlhf.applications.label import agreement
from korlhf.applications.label.desk import PAGE
from korlhf.applications.web import Refused, whole_number

# seconds for which agreement is not computed again, or 10 times what it took: with 100,000 labels that is seconds
FRESH = 2.0
LABELS_OF = (
    "SELECT number, name, (SELECT count(*) FROM labels WHERE annotator = a.number AND current = 1) FROM annotators a "
    "ORDER BY number"
)


class Service:
    """Answers for one Desk and its Accounts."""

    def __init__(self, desk, people):
        self.desk, self.people = desk, people
        self._figures, self._stale_at, self._lock = {}, float("-inf"), threading.Lock()

    def functions(self):
        """{name: function of a dict} of all that the page may call."""
        asks = (self._next, self._submit, self._back, self._again, self._mine, self._progress)
        handlers = [self._enter, self._leave, *map(self._logged_in, asks)]
        return {f"label{handler.__name__}": _reporting(handler) for handler in handlers}

    def _logged_in(self, ask):
        @functools.wraps(ask)
        def answer(data):
            me = self.people.who(data.get("token"))
            if me is None:
                raise Refused("who")
            return ask(me[0], data)

        return answer

    def _enter(self, data):
        name = accounts.clean_name(data.get("name"))
        if not name:
            raise Refused("wrong_name")
        token = self.people.enter(name, data.get("password", ""))
        if token is None:
            raise Refused("wrong_password")
        number, name = self.people.who(token)
        return {"token": token, "name": name, **self._next(number, {})}

    def _leave(self, data):
        self.people.leave(data.get("token"))
        return {}

    def _next(self, me, _):
        return {"item": self.desk.next(me), "counts": self.desk.counts(me)}

    def _submit(self, me, data):
        label = self.desk.submit(
            me, _text(data, "item"), data.get("verdict"), _number(data, "revises"), _text(data, "ticket")
        )
        return {"label": label, **self._next(me, {})}

    def _back(self, me, data):
        return {"item": self.desk.back(me, _number(data, "before"))}

    def _again(self, me, data):
        return {"item": self.desk.again(me, _number(data, "label"))}

    def _mine(self, me, data):
        labels = self.desk.mine(me, _number(data, "before"))
        return {"labels": labels, "more": len(labels) == PAGE}

    def _progress(self, me, _):
        people = [
            {"number": number, "labels": labels, "me": number == me, **({"name": name} if number == me else {})}
            for number, name, labels in self.desk.store.rows(LABELS_OF)
        ]
        return {
            "counts": self.desk.counts(me),
            "needed": self.desk.needed,
            "people": people,
            "agreement": self._agreement(),
        }

    def _agreement(self):
        """Of all labels, as they were a few seconds ago: computed once for everybody who looks."""
        with self._lock:
            began = time.monotonic()
            if began > self._stale_at:
                labels = self.desk.store.labels()  # before the items: every label is then about one of them
                self._figures = agreement.summary(self.desk.store.items(), labels, self.desk.needed)
                self._stale_at = time.monotonic() + max(FRESH, 10 * (time.monotonic() - began))
            return self._figures


def _reporting(handler):
    """`handler` with the errors that the page has words for as {"error": code}."""

    def answer(data):
        try:
            return handler(data) if isinstance(data, dict) else {"error": "malformed"}
        except Refused as refused:
            return refused.reply()
        except sqlite3.Error as error:
            print(f"error: the database could not be used: {error}; make room on its disk", file=sys.stderr, flush=True)
            return {"error": "storage"}

    return answer


def _number(data, name):
    value = data.get(name)
    if value is not None and not whole_number(value):
        raise Refused("malformed")
    return value


def _text(data, name):
    if not isinstance(data.get(name), str):
        raise Refused("malformed")
    return data[name]
