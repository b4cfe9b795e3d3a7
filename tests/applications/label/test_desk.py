"""Who gets which item, leases, revising, and that nothing is overwritten, also with two processes on one file."""

import json
import sqlite3
import subprocess
import sys
from collections import Counter

import pytest
from label_harness import rows, write

from korlhf.applications.accounts import Accounts
from korlhf.applications.label import desk as desks
from korlhf.applications.label import items
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.store import Store
from korlhf.applications.web import Refused
from korlhf.core.errors import InputError

FIRST = {"kind": "order", "groups": [[0]]}


@pytest.fixture
def clock(monkeypatch):
    """The time that leases go by; set .now."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(desks.time, "time", lambda: Clock.now)
    return Clock


@pytest.fixture
def make(tmp_path):
    """Function: (items, answers of each, needed) -> (Desk, numbers of three people)."""
    opened = []

    def new(n=3, k=2, needed=2):
        store = Store(tmp_path / "labels.sqlite")
        opened.append(store)
        store.add_items(items.read([write(tmp_path / "in.jsonl", rows(n, k))])[0])
        accounts = Accounts(store)
        people = [accounts.who(accounts.enter(name))[0] for name in ("가영", "나은", "다솜")]
        return Desk(store, needed, lease=60, seed=7), people

    yield new
    for store in opened:
        store.__exit__()


def give(desk, me, verdict=None, item=None, revises=None, ticket=None):
    item = item or desk.next(me)["item"]
    return desk.submit(me, item, verdict or FIRST, revises, ticket or f"ticket-{me}-{item}-{revises}")


def test_an_item_is_given_to_no_more_people_than_it_needs(make, clock):
    desk, (a, b, c) = make(n=2, needed=2)
    first = desk.next(a)["item"]
    assert desk.next(b)["item"] == first  # it needs two
    assert desk.next(c)["item"] != first
    clock.now += 61  # both leases have run out
    assert desk.next(c)["item"] != first  # the one that was given to c is given to c again
    give(desk, c)
    assert desk.next(c)["item"] == first


def test_a_label_after_its_lease_ran_out_is_taken(make, clock):
    desk, (a, b, _) = make(n=1, needed=1)
    item = desk.next(a)["item"]
    clock.now += 61
    give(desk, b)
    give(desk, a, item=item)
    assert desk.counts(a) == {"items": 1, "done": 1, "flagged": 0, "mine": 1} == desk.counts(b)


def test_the_item_at_hand_comes_again_and_labelled_ones_do_not(make):
    desk, (a, b, _) = make(n=3, needed=2)
    seen = []
    while (item := desk.next(a)) is not None:
        assert desk.next(a)["item"] == item["item"]  # closing the window loses nothing
        seen.append(item["item"])
        give(desk, a)
    assert len(set(seen)) == 3 and desk.counts(b)["done"] == 0
    assert desk.next(b)["item"] == seen[0]


def test_items_that_have_a_label_come_first(make):
    desk, (a, b, c) = make(n=3, needed=2)
    give(desk, a, {"kind": "skip"})
    second = desk.next(a)["item"]
    give(desk, a)
    assert desk.next(b)["item"] == second  # the first has no label
    assert desk.next(c)["item"] != second  # b has it


def test_skipped_items_go_to_others_and_flagged_ones_to_nobody(make):
    desk, (a, b, _) = make(n=1, needed=1)
    item = desk.next(a)["item"]
    skipped = give(desk, a, {"kind": "skip"})
    assert desk.next(a) is None and desk.next(b)["item"] == item
    flagged = give(desk, a, {"kind": "flag", "reason": "broken"}, item, skipped)
    assert desk.next(b) is None and desk.counts(b)["flagged"] == 1
    give(desk, a, {"kind": "skip"}, item, flagged)  # the flag is withdrawn
    assert desk.next(b)["item"] == item


def test_the_order_of_answers_differs_by_person_is_recorded_and_stays(make):
    desk, (a, b, _) = make(n=20, k=4, needed=2)
    orders = []
    for _ in range(20):
        mine, other = desk.next(a), desk.next(b)
        assert sorted(mine["answers"]) == sorted(other["answers"]) and mine["item"] == other["item"]
        assert desk.next(a)["answers"] == mine["answers"]
        orders.append((mine["answers"], other["answers"]))
        label = give(desk, a, {"kind": "order", "groups": [[2]]})
        give(desk, b)
        assert desk.again(a, label)["answers"] == mine["answers"]
        assert desk.again(a, label)["verdict"] == {"kind": "order", "groups": [[2]]}
    assert sum(one != two for one, two in orders) > 14  # 1 in 24 are the same by chance
    of_items = desk.store.items()
    for number, given in desk.store.labels().items():
        for label in given:
            texts = [of_items[number].answers[place].text for place in label.shown]
            assert texts == orders[number - 1][label.annotator == b]
            assert of_items[number].answers[label.ballot.groups[0][0]].text == texts[2 if label.annotator == a else 0]


def test_the_page_is_told_nothing_of_models_scores_and_others(make):
    desk, (a, b, _) = make(n=1, k=3)
    desk.next(a)
    give(desk, a, {"kind": "all_bad", "comment": "비밀 메모"})
    told = json.dumps(desk.next(b), ensure_ascii=False)
    assert "secret" not in told and "score" not in told and "메모" not in told and "all_bad" not in told
    assert set(desk.next(b)) == {"item", "category", "talk", "context", "answers", "revises", "verdict"}


def test_a_revision_keeps_what_was_said_before(make):
    desk, (a, b, _) = make(n=1)
    item = desk.next(a)["item"]
    first = give(desk, a, {"kind": "all_bad", "edit": "고친 글", "edit_of": 0, "comment": "음"})
    back = desk.back(a, None)
    assert back["item"] == item and back["revises"] == first
    assert back["verdict"] == {"kind": "all_bad", "edit": "고친 글", "edit_of": 0, "comment": "음"}
    second = give(desk, a, FIRST, item, first)
    assert desk.store.rows("SELECT kind FROM labels ORDER BY number") == [("all_bad",), ("order",)]
    (label,) = desk.store.labels()[1]
    assert (label.number, label.revisions) == (second, 1) and desk.back(a, second) is None
    assert desk.back(b, None) is None and desk.again(b, second) is None  # nobody sees another's


def test_one_goes_back_label_by_label(make):
    desk, (a, _, _) = make(n=3)
    numbers = [give(desk, a) for _ in range(3)]
    assert [desk.back(a, before)["revises"] for before in (None, numbers[2], numbers[1])] == numbers[::-1]
    assert [m["label"] for m in desk.mine(a)] == numbers[::-1]
    assert [m["label"] for m in desk.mine(a, before=numbers[1])] == numbers[:1]


def test_a_second_window_does_not_overwrite(make):
    desk, (a, _, _) = make(n=1)
    item = desk.next(a)["item"]
    kept = give(desk, a, item=item, ticket="window-1")
    with pytest.raises(Refused, match="conflict"):
        give(desk, a, {"kind": "all_bad"}, item, None, "window-2")
    assert desk.store.labels()[1][0].number == kept


def test_a_label_that_is_sent_again_is_taken_once(make):
    desk, (a, b, _) = make(n=2)
    item = desk.next(a)["item"]
    number = give(desk, a, item=item, ticket="the-ticket")
    assert give(desk, a, item=item, ticket="the-ticket") == number
    assert len(desk.store.rows("SELECT * FROM labels")) == 1
    desk.next(b)
    with pytest.raises(Refused, match="malformed"):  # another's ticket
        give(desk, b, item=item, ticket="the-ticket")


def test_an_item_that_was_not_given_takes_no_label(make):
    desk, (a, b, _) = make(n=2, needed=1)
    item = desk.next(a)["item"]
    for who, what in ((b, item), (a, "0" * 16)):
        with pytest.raises(Refused, match="not_given"):
            give(desk, who, item=what)


def test_importing_again_keeps_items_and_labels(make, tmp_path):
    desk, (a, _, _) = make(n=2)
    give(desk, a)
    more = items.read([write(tmp_path / "in.jsonl", rows(3))])[0]
    assert desk.store.add_items(more) == 1 and desk.store.add_items(more) == 0
    assert desk.counts(a) == {"items": 3, "done": 0, "flagged": 0, "mine": 1}


WORKER = """
import sys, time
from korlhf.applications.accounts import Accounts
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.store import Store
path, name, needed = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store(path) as store:
    accounts = Accounts(store)
    me = accounts.who(accounts.enter(name))[0]
    desk, n = Desk(store, needed, 600, 1), 0
    print("ready", flush=True)
    sys.stdin.readline()
    while (item := desk.next(me)) is not None:
        n += 1
        time.sleep(0.005)  # the other process has a turn
        desk.submit(me, item["item"], {"kind": "order", "groups": [[n % 2]], "comment": name}, None, f"{name}-{n:08d}")
    print(n, flush=True)
"""


def test_two_processes_at_once_share_the_items_and_overwrite_nothing(tmp_path, needed=2):
    path = tmp_path / "labels.sqlite"
    with Store(path) as store:
        store.add_items(items.read([write(tmp_path / "in.jsonl", rows(150))])[0])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), name, str(needed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("하나", "두리")
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    counts = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0] and sum(counts) == 150 * needed and min(counts) > 0
    with Store(path) as store:
        given = store.labels()
        assert len(given) == 150
        assert all(len({label.annotator for label in of_one}) == len(of_one) == needed for of_one in given.values())
        assert Counter(label.ballot.comment for of_one in given.values() for label in of_one) == {
            "하나": counts[0],
            "두리": counts[1],
        }


def test_what_is_written_is_synced(tmp_path):
    with Store(tmp_path / "labels.sqlite") as store:
        assert store.rows("PRAGMA synchronous") == [(2,)] and store.rows("PRAGMA journal_mode") == [("wal",)]


def test_a_write_that_fails_leaves_nothing(make):
    desk, (a, _, _) = make(n=1)
    with pytest.raises(sqlite3.IntegrityError), desk.store.write() as db:
        db.execute("UPDATE items SET votes = 9")
        db.execute("INSERT INTO items (id, record, answers, added) SELECT id, record, answers, added FROM items")
    assert desk.counts(a)["done"] == 0 and give(desk, a)


@pytest.mark.parametrize(
    "make_it, words",
    [
        (lambda p: p.mkdir(), "cannot be used"),
        (lambda p: p.write_text("no database at all " * 99), "file is not a database"),
        (lambda p: sqlite3.connect(p).execute("CREATE TABLE t (x)"), "is not a file of labels"),
    ],
)
def test_an_unusable_database_is_one_line(tmp_path, make_it, words):
    path = tmp_path / "labels.sqlite"
    make_it(path)
    with pytest.raises(InputError, match=words) as error:
        Store(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_database_that_cannot_be_written_is_found_at_the_start(tmp_path):
    (tmp_path / "a file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="--database .*a file/labels.sqlite: cannot be used"):
        Store(tmp_path / "a file" / "labels.sqlite")
    with pytest.raises(InputError, match="no such file"):
        Store(tmp_path / "labels.sqlite", must_exist=True)
