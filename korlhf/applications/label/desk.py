"""One person's work: the next item, a label, going back to earlier ones.

An item is given to as many people as it needs labels from, counting those who have it before them right now: a lease,
which runs out when they leave. A label that comes after its lease ran out is taken all the same. An item that
somebody flagged is given to nobody else until the flag is withdrawn. Nobody is told what others said."""

import json
import random
import time
from datetime import UTC, datetime

from korlhf.applications.label import ballot as ballots
from korlhf.applications.label.store import dumps, now
from korlhf.applications.web import Refused
from korlhf.data.ranking import key

NEXT = """
SELECT number FROM items i WHERE flags = 0 AND votes < :needed
AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.item = i.number AND l.annotator = :me AND l.current = 1)
AND votes + (SELECT count(*) FROM assignments a WHERE a.item = i.number AND a.annotator != :me AND a.until > :now)
    < :needed
{also} ORDER BY votes DESC, number LIMIT 1
"""  # items that have a label are finished first: agreement is known early
OWN_LEASE = "AND number IN (SELECT item FROM assignments WHERE annotator = :me AND until > 0)"
PAGE = 50  # own labels listed at once
MINE = """l.number, l.kind, l.given, json_extract(l.verdict, '$.edit') IS NOT NULL,
substr(coalesce(json_extract(i.record, '$.prompt'), json_extract(i.record, '$.messages[#-1].content')), 1, 80)"""
OWN = "labels l JOIN items i ON i.number = l.item WHERE l.annotator = ? AND l.current = 1"
LABEL = """
INSERT INTO labels (item, annotator, revises, kind, verdict, shown, seconds, given, ticket)
VALUES (:item, :me, :revises, :kind, :verdict, :shown, :seconds, :given, :ticket)
"""
COUNT_VOTES = """
UPDATE items SET
    votes = (SELECT count(*) FROM labels WHERE item = :item AND current = 1 AND kind IN ('order', 'all_bad')),
    flags = (SELECT count(*) FROM labels WHERE item = :item AND current = 1 AND kind = 'flag')
WHERE number = :item
"""


class Desk:
    """Hands out items of a Store and takes labels.

    needed: people who must label an item; lease: seconds for which an item waits for who was given it; seed: of the
    order of answers, which differs for each person and item; show_category: tell people what an item's category is,
    which may tell them what is expected."""

    def __init__(self, store, needed, lease, seed, show_category=False):
        self.store, self.needed, self.lease, self.seed = store, needed, lease, seed
        self.show_category = show_category

    def next(self, me):
        """The item that `me`, an annotator's number, is to label -> dict for the page, or None if there is none now.

        The one given last, if it has no label yet, is given again: nothing is lost by closing a window.
        """
        with self.store.write() as db:
            values = {"me": me, "needed": self.needed, "now": time.time()}
            rows = (db.execute(NEXT.format(also=also), values).fetchone() for also in (OWN_LEASE, ""))
            row = next(filter(None, rows), None)
            if row is None:
                return None
            ((number, item),) = self.store.items("number = ?", *row).items()
            shown = random.Random(f"{self.seed}:{me}:{item.id}").sample(range(len(item.answers)), len(item.answers))
            db.execute(
                "INSERT INTO assignments VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET since = excluded.since, until = excluded.until",
                (number, me, dumps(shown), values["now"], values["now"] + self.lease),
            )
        return self._view(number, me)

    def _view(self, number, me):
        """What the page is told of an item: nothing of models, scores, or others. Places are those on the page."""
        (item,) = self.store.items("number = ?", number).values()
        text, label, verdict = self.store.one(
            "SELECT a.shown, l.number, l.verdict FROM assignments a LEFT JOIN labels l "
            "ON l.item = a.item AND l.annotator = a.annotator AND l.current = 1 WHERE a.item = ? AND a.annotator = ?",
            *(number, me),
        )
        shown = json.loads(text)
        on_page = {place: i for i, place in enumerate(shown)}
        own = verdict and ballots.Ballot.model_validate_json(verdict).renamed(on_page).as_dict()
        return {
            "item": item.id,
            "category": item.record["category"] if self.show_category else "",
            "talk": item.record.get("messages") or [{"role": "user", "content": item.record["prompt"]}],
            "context": item.record.get("input", ""),
            "answers": [item.answers[place].text for place in shown],
            "revises": label,
            "verdict": own,
        }

    def submit(self, me, item_id, verdict, revises, ticket):
        """Take a label -> its number; it is on the disk when this returns.

        verdict: dict of ballot.read, places as on the page. revises: number of the own label it takes the place of,
        or None. ticket: a text of the page's own for each label; a label whose ticket is known was taken before, and
        is not taken twice. Raises Refused: malformed and the like, not_given for an item that `me` was never shown,
        conflict if the own label that counts is another than `revises` (from a second window)."""
        given = self.store.one(
            "SELECT i.number, a.shown, a.since FROM items i JOIN assignments a ON a.item = i.number "
            "WHERE a.annotator = ? AND i.id = ?",
            *(me, item_id),
        )
        if not given:
            raise Refused("not_given")
        number, shown, since = given
        places = json.loads(shown)
        said = ballots.read(verdict, len(places)).renamed(places)
        (item,) = self.store.items("number = ?", number).values()
        if said.edit and key(said.edit) in {key(a.text) for a in item.answers}:
            raise Refused("edit_is_an_answer")
        if not isinstance(ticket, str) or not 8 <= len(ticket) <= 80:
            raise Refused("malformed")
        row = {"item": number, "me": me, "revises": revises, "kind": said.kind, "verdict": dumps(said.as_dict())}
        row |= {"shown": shown, "seconds": round(time.time() - since, 3), "given": now(), "ticket": ticket}
        with self.store.write() as db:
            known = self.store.one("SELECT number, annotator, item FROM labels WHERE ticket = ?", ticket)
            if known and known[1:] != (me, number):
                raise Refused("malformed")
            if known:
                return known[0]
            own = self.store.one(f"SELECT l.number FROM {OWN} AND l.item = ?", me, number) or (None,)
            if own[0] != revises:
                raise Refused("conflict")
            db.execute("UPDATE labels SET current = 0 WHERE number = ?", (revises,))
            label = db.execute(LABEL, row).lastrowid
            db.execute("UPDATE assignments SET until = 0 WHERE item = ? AND annotator = ?", (number, me))
            db.execute(COUNT_VOTES, row)
        return label

    def back(self, me, before):
        """The own label given before the label of number `before` (None: the last one) as an item for the page, or
        None."""
        own = self._own("i.number", me, before, 1)
        if not own:
            return None
        with self.store.write() as db:
            db.execute("UPDATE assignments SET since = ? WHERE item = ? AND annotator = ?", (time.time(), *own[0], me))
        return self._view(*own[0], me)

    def _own(self, columns, me, before, most):
        query = f"SELECT {columns} FROM {OWN} AND l.number < ? ORDER BY l.number DESC LIMIT ?"
        return self.store.rows(query, me, 2**62 if before is None else before, most)

    def mine(self, me, before=None):
        """Own labels, the latest first: [{"label", "kind", "at", "edited", "prompt": how it begins}], PAGE of those
        before the label `before`."""
        names = ("label", "kind", "at", "edited", "prompt")
        return [dict(zip(names, row)) for row in self._own(MINE, me, before, PAGE)]

    def counts(self, me):
        """{"items", "done": of all items those with labels enough, "flagged", "mine": labels of one's own, "today":
        those given since midnight here}."""
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        counts = self.store.one(
            "SELECT count(*), count(*) FILTER (WHERE votes >= ? AND flags = 0), count(*) FILTER (WHERE flags > 0), "
            "(SELECT count(*) FROM labels WHERE annotator = ? AND current = 1), "
            "(SELECT count(*) FROM labels WHERE annotator = ? AND current = 1 AND given >= ?) FROM items",
            *(self.needed, me, me, midnight.astimezone(UTC).isoformat(timespec="milliseconds")),
        )
        return dict(zip(("items", "done", "flagged", "mine", "today"), counts))
