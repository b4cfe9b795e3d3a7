"""One person's work: the next item, a label, going back to earlier ones.

An item is given to as many people as it needs labels from, counting those who have it before them right now: a lease,
which runs out when they leave. A label that comes after its lease ran out is taken all the same. An item that
somebody flagged is given to nobody else until the flag is withdrawn. Nobody is told what others said."""

import hashlib
import json
import random
import time

from korlhf.applications.label import ballot as ballots
from korlhf.applications.label.store import dumps, now, stored_ballot
from korlhf.applications.web import Refused
from korlhf.data import record as records

NEXT = """
SELECT number FROM items i WHERE flags = 0 AND votes < :needed
AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.item = i.number AND l.annotator = :me AND l.current = 1)
AND votes + (SELECT count(*) FROM assignments a WHERE a.item = i.number AND a.annotator != :me AND a.until > :now)
    < :needed
{also} ORDER BY votes DESC, number LIMIT 1
"""  # items that have a label are finished first: agreement is known early
OWN_LEASE = "AND number IN (SELECT item FROM assignments WHERE annotator = :me AND until > 0)"
PAGE = 50  # own labels listed at once


class Desk:
    """Hands out items of a Store and takes labels.

    needed: people who must label an item; lease: seconds for which an item waits for who was given it; seed: of the
    order of answers."""

    def __init__(self, store, needed, lease, seed):
        self.store, self.needed, self.lease, self.seed = store, needed, lease, seed

    def next(self, me):
        """The item that `me`, an annotator's number, is to label -> dict for the page, or None if there is none now.

        The one given last, if it has no label yet, is given again: nothing is lost by closing a window.
        """
        with self.store.write() as db:
            values = {"me": me, "needed": self.needed, "now": time.time()}
            row = (
                db.execute(NEXT.format(also=OWN_LEASE), values).fetchone()
                or db.execute(NEXT.format(also=""), values).fetchone()
            )
            if row is None:
                return None
            db.execute(
                "INSERT INTO assignments VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET since = excluded.since, until = excluded.until",
                (row[0], me, self._order(row[0], me), values["now"], values["now"] + self.lease),
            )
        return self._view(row[0], me)

    def _order(self, number, me):
        """The order of the answers for one person and item, as JSON: places as the file has them."""
        item_id, answers = self.store.rows("SELECT id, answers FROM items WHERE number = ?", number)[0]
        places = list(range(len(json.loads(answers))))
        digest = hashlib.sha256(f"{self.seed}:{me}:{item_id}".encode()).digest()
        random.Random(digest).shuffle(places)
        return json.dumps(places)

    def _view(self, number, me):
        """What the page is told of an item: nothing of models, scores, or others. Places are those on the page."""
        item = self.store.item(number)
        shown = json.loads(
            self.store.rows("SELECT shown FROM assignments WHERE item = ? AND annotator = ?", number, me)[0][0]
        )
        messages = item.record.get("messages") or [{"role": "user", "content": item.record["prompt"]}]
        own = self.store.rows(
            "SELECT number, verdict FROM labels WHERE item = ? AND annotator = ? AND current = 1", number, me
        )
        place_on_page = {place: i for i, place in enumerate(shown)}
        return {
            "item": item.id,
            "category": item.record["category"],
            "talk": messages,
            "context": item.record.get("input", ""),
            "answers": [item.answers[place].text for place in shown],
            "revises": own[0][0] if own else None,
            "verdict": stored_ballot(own[0][1]).renamed(place_on_page).as_dict() if own else None,
        }

    def submit(self, me, item_id, verdict, revises, ticket):
        """Take a label -> its number; it is on the disk when this returns.

        verdict: dict of ballot.read, places as on the page. revises: number of the own label it takes the place of,
        or None. ticket: a text of the page's own for each label; a label whose ticket is known was taken before, and
        is not taken twice. Raises Refused: malformed and the like, not_given for an item that `me` was never shown,
        conflict if the own label that counts is another than `revises` (from a second window)."""
        given = self.store.rows(
            "SELECT i.number, a.shown FROM items i JOIN assignments a ON a.item = i.number AND a.annotator = ? "
            "WHERE i.id = ?",
            me,
            item_id,
        )
        if not given:
            raise Refused("not_given")
        number, shown = given[0][0], json.loads(given[0][1])
        said = ballots.read(verdict, len(shown)).renamed(shown)
        ballots.check_edit(said, [a.text for a in self.store.item(number).answers])
        if not isinstance(ticket, str) or not 8 <= len(ticket) <= 80:
            raise Refused("malformed")
        with self.store.write() as db:
            known = db.execute("SELECT number, annotator, item FROM labels WHERE ticket = ?", (ticket,)).fetchone()
            if known:
                if known[1:] != (me, number):
                    raise Refused("malformed")
                return known[0]
            own = db.execute(
                "SELECT number FROM labels WHERE item = ? AND annotator = ? AND current = 1", (number, me)
            ).fetchone()
            if (own[0] if own else None) != revises:
                raise Refused("conflict")
            return _write_label(db, number, me, said, shown=given[0][1], revises=revises, ticket=ticket)

    def back(self, me, before):
        """The own label given before the label of number `before` (None: the last one) as an item for the page, or
        None."""
        return self._own(me, "number < ?", 2**62 if before is None else before)

    def again(self, me, label):
        """One's own label of that number as an item for the page, or None if there is none."""
        return self._own(me, "number = ?", label)

    def _own(self, me, which, value):
        query = f"SELECT item FROM labels WHERE annotator = ? AND current = 1 AND {which} ORDER BY number DESC LIMIT 1"
        items = self.store.rows(query, me, value)
        if not items:
            return None
        with self.store.write() as db:
            db.execute(
                "UPDATE assignments SET since = ? WHERE item = ? AND annotator = ?", (time.time(), items[0][0], me)
            )
        return self._view(items[0][0], me)

    def mine(self, me, before=None):
        """Own labels, the latest first: [{"label", "kind", "at", "prompt", "edited"}], PAGE of those before the label
        `before`."""
        rows = self.store.rows(
            "SELECT l.number, l.kind, l.given, l.verdict, i.record FROM labels l JOIN items i ON i.number = l.item "
            "WHERE l.annotator = ? AND l.current = 1 AND l.number < ? ORDER BY l.number DESC LIMIT ?",
            me,
            2**62 if before is None else before,
            PAGE,
        )
        return [
            {
                "label": number,
                "kind": kind,
                "at": at,
                "edited": bool(stored_ballot(verdict).edit),
                "prompt": _excerpt(record),
            }
            for number, kind, at, verdict, record in rows
        ]

    def counts(self, me):
        """{"items", "done": of all items those with labels enough, "flagged", "mine": labels of one's own}."""
        items, done, flagged = self.store.rows(
            "SELECT count(*), count(*) FILTER (WHERE votes >= ? AND flags = 0), "
            "count(*) FILTER (WHERE flags > 0) FROM items",
            self.needed,
        )[0]
        mine = self.store.rows("SELECT count(*) FROM labels WHERE annotator = ? AND current = 1", me)[0][0]
        return {"items": items, "done": done, "flagged": flagged, "mine": mine}


COUNT_VOTES = """
UPDATE items SET
    votes = (SELECT count(*) FROM labels WHERE item = :item AND current = 1 AND kind IN ('order', 'all_bad')),
    flags = (SELECT count(*) FROM labels WHERE item = :item AND current = 1 AND kind = 'flag')
WHERE number = :item
"""


def _write_label(db, item, me, said, **more):
    """Insert a label and count the item's votes anew -> its number. said: a Ballot; more: shown, revises and ticket."""
    since = db.execute("SELECT since FROM assignments WHERE item = ? AND annotator = ?", (item, me)).fetchone()[0]
    db.execute("UPDATE labels SET current = 0 WHERE number = ?", (more["revises"],))
    row = db.execute(
        "INSERT INTO labels (item, annotator, revises, kind, verdict, shown, seconds, given, ticket) "
        "VALUES (:item, :me, :revises, :kind, :verdict, :shown, :seconds, :given, :ticket)",
        {
            "item": item,
            "me": me,
            "kind": said.kind,
            "verdict": dumps(said.as_dict()),
            "seconds": round(time.time() - since, 3),
            "given": now(),
            **more,
        },
    )
    db.execute("UPDATE assignments SET until = 0 WHERE item = ? AND annotator = ?", (item, me))
    db.execute(COUNT_VOTES, {"item": item})
    return row.lastrowid


def _excerpt(record, longest=80):
    text = " ".join(records.prompt(json.loads(record)).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
