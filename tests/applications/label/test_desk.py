"""Who gets which item, leases, revising, and that nothing is overwritten, also with two processes on one file."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from label_harness import order, rows, write

from korlhf.applications.accounts import Accounts
from korlhf.applications.label import desk as desks
from korlhf.applications.label import items
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.store import Store
from korlhf.applications.web import Refused

FIRST = order([0])


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
    with Store(tmp_path / "labels.sqlite") as store:

        def new(n=3, k=2, needed=2):
            store.add_items(items.read([write(tmp_path / "in.jsonl", rows(n, k))])[0])
            accounts = Accounts(store)
            people = [accounts.who(accounts.enter(name))[0] for name in ("가영", "나은", "다솜")]
            return Desk(store, needed, lease=60, seed=7), people

        yield new


def give(desk, me, verdict=FIRST, item=None, revises=None, ticket=None):
    item = item or desk.next(me)["item"]
    return desk.submit(me, item, verdict, revises, ticket or f"ticket-{me}-{item}-{revises}")


def test_an_item_is_given_to_no_more_people_than_it_needs(make, clock):
    desk, (a, b, c) = make(n=2, needed=2)
    first = desk.next(a)["item"]
    assert desk.next(b)["item"] == first  # it needs two
    assert desk.next(c)["item"] != first
    clock.now += 61  # both leases have run out
    assert desk.next(c)["item"] != first  # the one that was given to c is given to c again
    give(desk, c)
    assert desk.next(c)["item"] == first


def test_a_label_after_its_lease_ran_out_is_taken_and_importing_again_keeps_it(make, clock, tmp_path):
    desk, (a, b, _) = make(n=1, needed=1)
    item = desk.next(a)["item"]
    clock.now += 61
    give(desk, b)
    give(desk, a, item=item)
    assert desk.counts(a) == {"items": 1, "done": 1, "flagged": 0, "mine": 1, "today": 1} == desk.counts(b)
    assert desk.store.add_items(items.read([write(tmp_path / "in.jsonl", rows(2))])[0]) == 1  # what is there stays
    assert desk.counts(a) == {"items": 2, "done": 1, "flagged": 0, "mine": 1, "today": 1}
    desk.store.rows("UPDATE labels SET given = '2020-01-01T00:00:00.000+00:00' WHERE annotator = ?", a)
    assert (desk.counts(a)["today"], desk.counts(b)["today"]) == (0, 1)


def test_the_item_at_hand_comes_again_and_items_that_have_a_label_come_first(make):
    desk, (a, b, c) = make(n=3, needed=2)
    give(desk, a, {"kind": "skip"})
    second = desk.next(a)["item"]
    assert desk.next(a)["item"] == second  # closing the window loses nothing
    give(desk, a)
    assert desk.next(b)["item"] == second  # the first has no label
    assert desk.next(c)["item"] != second  # b has it
    give(desk, a)
    assert desk.next(a) is None and desk.counts(b)["done"] == 0


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
        orders.append((mine["answers"], other["answers"]))
        give(desk, a, order([2]))
        give(desk, b)
        again = desk.back(a, None)
        assert (again["answers"], again["verdict"]) == (mine["answers"], order([2]))
    assert sum(one != two for one, two in orders) > 14  # 1 in 24 are the same by chance
    for (number, item), labels in zip(desk.store.items().items(), desk.store.labels().values()):
        for label in labels:
            texts = [item.answers[place].text for place in label.shown]
            assert texts == orders[number - 1][label.annotator == b]
            assert item.answers[label.ballot.groups[0][0]].text == texts[2 if label.annotator == a else 0]


def test_the_page_is_told_nothing_of_models_scores_and_others(make):
    desk, (a, b, _) = make(n=1, k=3)
    give(desk, a, {"kind": "all_bad", "comment": "비밀 메모"})
    told = desk.next(b)
    assert set(told) == {"item", "category", "talk", "context", "answers", "revises", "verdict"}
    assert not any(word in json.dumps(told, ensure_ascii=False) for word in ("secret", "score", "메모", "all_bad"))
    assert told["category"] == ""  # it may tell what is expected
    desk.show_category = True
    assert desk.next(b)["category"] == "everyday"


def test_a_revision_keeps_what_was_said_before(make):
    desk, (a, b, _) = make(n=3)
    said = {"kind": "all_bad", "edit": "고친 글", "edit_of": 0, "comment": "음"}
    item = desk.next(a)["item"]
    first = give(desk, a, said)
    back = desk.back(a, None)
    assert (back["item"], back["revises"], back["verdict"]) == (item, first, said)
    assert desk.mine(a)[0]["edited"] and desk.mine(a)[0]["prompt"] == "0번째 질문이에요."
    second = give(desk, a, FIRST, item, first)
    assert desk.store.rows("SELECT kind FROM labels ORDER BY number") == [("all_bad",), ("order",)]
    (label,) = desk.store.labels()[1]
    assert (label.number, label.revisions) == (second, 1) and desk.back(a, second) is None
    assert desk.back(b, None) is None and not desk.mine(a)[0]["edited"]  # nobody sees another's
    numbers = [second, *(give(desk, a) for _ in range(2))]
    assert [desk.back(a, before)["revises"] for before in (None, numbers[2], numbers[1])] == numbers[::-1]
    assert [m["label"] for m in desk.mine(a, before=numbers[2])] == numbers[1::-1]


def test_a_second_window_does_not_overwrite_and_a_label_sent_again_is_taken_once(make):
    desk, (a, b, _) = make(n=1)
    item = desk.next(a)["item"]
    kept = give(desk, a, item=item, ticket="window-1")
    with pytest.raises(Refused, match="conflict"):
        give(desk, a, {"kind": "all_bad"}, item, None, "window-2")
    assert give(desk, a, item=item, ticket="window-1") == kept
    assert desk.store.rows("SELECT number FROM labels") == [(kept,)]
    desk.next(b)
    with pytest.raises(Refused, match="malformed"):  # another's ticket
        give(desk, b, item=item, ticket="window-1")


def test_what_is_refused(make):
    desk, (a, b, _) = make(n=2, needed=1)
    item = desk.next(a)
    for me, which in ((b, item["item"]), (a, "0" * 16)):
        with pytest.raises(Refused, match="not_given"):
            give(desk, me, item=which)
    with pytest.raises(Refused, match="edit_is_an_answer"):
        give(desk, a, {"kind": "order", "edit": item["answers"][1].replace(" ", "  "), "edit_of": 0})
    with pytest.raises(Refused, match="malformed"):
        give(desk, a, order([2]))


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
    path, pipes = tmp_path / "labels.sqlite", {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with Store(path) as store:
        store.add_items(items.read([write(tmp_path / "in.jsonl", rows(100))])[0])
    command = [sys.executable, "-c", WORKER, str(path)]
    workers = [subprocess.Popen([*command, name, str(needed)], **pipes) for name in ("하나", "두리")]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    counts = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0] and sum(counts) == 100 * needed and min(counts) > 0
    with Store(path) as store:
        labels = store.labels().values()
    assert len(labels) == 100 and all(len({x.annotator for x in of_one}) == len(of_one) == needed for of_one in labels)
    said = Counter(label.ballot.comment for of_one in labels for label in of_one)
    assert said == {"하나": counts[0], "두리": counts[1]}
