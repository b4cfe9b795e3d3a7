"""Labels as training files: majority, ties, edits, circles; read by step 2 and by rank; nobody's name in them."""

import json

import pytest
from app_server import lines
from label_harness import given, order, rows, write

from applications.label import export as export_program
from data_prep import rank
from korlhf.applications.accounts import Accounts
from korlhf.applications.label import export, items
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.items import Item
from korlhf.applications.label.store import Store
from korlhf.data import load
from korlhf.data.ranking import Candidate

ITEM = Item(
    "a" * 16,
    {"id": "b" * 16, "category": "everyday", "source": "test", "history": [], "prompt": "안녕?"},
    (Candidate("가", ("m0",), 1.0, 0), Candidate("나", ("m1",), 3.0, 1), Candidate("다", ("m2",), None, 2)),
)
A, B, C = "가", "나", "다"
TIE, BAD, EVEN = "people: a tie", "people: both bad", "people: as many votes for as against"
ABC = order([0], [1], [2])


@pytest.mark.parametrize(
    "ballots, least, expected, dropped",
    [
        ([ABC, order([0], [2], [1]), order([1], [0], [2])], 0, {A + B: 0.667, A + C: 1.0, B + C: 0.667}, {}),
        ([ABC, order([0], [2], [1]), order([1], [0], [2])], 0.7, {A + C: 1.0}, {export.BELOW: 2}),
        ([order([0, 1, 2]), order([0, 1], [2])], 0, {}, {TIE: 1, EVEN: 2}),
        ([{"kind": "all_bad"}], 0, {}, {BAD: 3}),
        ([order([0])], 0, {A + B: 1.0, A + C: 1.0}, {}),  # of the two others nothing was said
        ([ABC, order([0, 1, 2]), order([0, 1, 2])], 0, {}, {TIE: 3}),
        ([{"kind": "all_bad", "edit": "새", "edit_of": 0}], 0, {"새" + x: 1.0 for x in (A, B, C)}, {BAD: 3}),
    ],
)
def test_most_votes_decide_each_pair(ballots, least, expected, dropped):
    decided, left_out = export.decide(ITEM, given(*ballots), least)
    assert {d.chosen.text + d.rejected.text: round(d.agreement, 3) for d in decided} == expected
    assert left_out == dropped


def test_an_edit_is_better_than_all_and_the_original_is_kept():
    labels = given(order([1], [0], [2], edit="나은 글", edit_of=1), order([1], [2], [0]))
    decided, dropped = export.decide(ITEM, labels)
    assert {(d.chosen.text, d.rejected.text) for d in decided} == {
        *(("나은 글", text) for text in (A, B, C)),
        *((B, text) for text in (A, C)),
    }
    assert dropped == {EVEN: 1}
    record = export.ranked_record(ITEM, labels, decided)
    assert record["answers"] == ["나은 글", B, A] and record["models"][:2] == [None, "m1"]


def test_the_same_edit_by_two_people_has_two_votes():
    edits = (
        order([0], edit="새 글", edit_of=0),
        order([1], edit="새  글", edit_of=1),
        order([1], edit="딴 글", edit_of=1),
    )
    decided, _ = export.decide(ITEM, given(*edits))
    votes = {d.chosen.text: len(d.votes) for d in decided if d.rejected.text == C and d.chosen.place is None}
    assert votes == {"새 글": 2, "딴 글": 1}
    assert export.chain(decided)[0].text == "새 글" and "딴 글" not in [a.text for a in export.chain(decided)]


def test_a_circle_is_cut_to_a_list_in_which_every_two_are_decided():
    decided, _ = export.decide(ITEM, given(ABC, order([1], [2], [0]), order([2], [0], [1])))
    assert {d.chosen.text + d.rejected.text for d in decided} == {A + B, B + C, C + A}  # each by 2 of 3
    assert [a.text for a in export.chain(decided)] == [A, B]


def test_a_pair_has_its_provenance_and_no_names():
    labels = given(order([1], [0], [2], comment="좋아요"), order([0, 1], [2]), order([1]))
    first = next(d for d in export.decide(ITEM, labels)[0] if d.rejected.text == A)
    at, history = "2026-01-01T00:00:0{}.000+00:00".format, [{"stage": "label", "annotators": 3}]
    assert export.pair_record(ITEM, first) == {
        **ITEM.record,
        **{"history": history, "item": "a" * 16, "chosen": B, "rejected": A, "chosen_model": "m1"},
        **{"rejected_model": "m0", "chosen_score": 3.0, "rejected_score": 1.0, "margin": 2.0, "by": "human"},
        "agreement": 0.6667,
        "votes": [
            {"annotator": "annotator_01", "at": at(1), "seconds": 1.5, "said": "chosen", "comment": "좋아요"},
            {"annotator": "annotator_02", "at": at(2), "seconds": 1.5, "said": "tie"},
            {"annotator": "annotator_03", "at": at(3), "seconds": 1.5, "said": "chosen"},
        ],
    }


@pytest.fixture
def labelled(tmp_path):
    """A database of 12 prompts with 3 answers, labelled by two people in every way there is; the records file."""
    records = write(tmp_path / "scored.jsonl", rows(12, 3))
    ways = [ABC, order([2]), order([0, 1], [2]), {"kind": "all_bad"}, {"kind": "skip"}]
    ways += [
        {"kind": "flag", "reason": "unclear"},
        order([1], edit="사람이 고친 답변이에요.", edit_of=1),
        order([0, 1, 2]),
    ]
    with Store(tmp_path / "labels.sqlite") as store:
        store.add_items(items.read([records])[0])
        desk, accounts = Desk(store, 2, 60, 3), Accounts(store)
        for name, shift in (("김비밀", 0), ("이비밀", 3)):
            (me, _), n = accounts.who(accounts.enter(name)), shift
            while item := desk.next(me):
                desk.submit(me, item["item"], ways[n % len(ways)], None, f"ticket-{me}-{n}")
                n += 1
    return tmp_path / "labels.sqlite", records


def run(database, output, *flags):
    export_program.main(["--database", str(database), "--output", str(output), *map(str, flags)])
    return lines(output)


def test_step_2_reads_pairs_and_ranked_answers(labelled, tmp_path):
    found = run(labelled[0], tmp_path / "pairs.jsonl")
    examples = load.load_examples(str(tmp_path / "pairs.jsonl"), 2)
    assert [list(e.answers) for e in examples] == [[r["chosen"], r["rejected"]] for r in found] and len(found) > 5
    assert all(e.category == "everyday" for e in examples)
    ranked = run(labelled[0], tmp_path / "ranked.jsonl", "--form", "ranked")
    examples = load.load_examples(str(tmp_path / "ranked.jsonl"), 2)
    assert [list(e.answers) for e in examples] == [r["answers"] for r in ranked]
    decided = {(r["id"], r["chosen"], r["rejected"]) for r in found}
    for record in ranked:
        texts = record["answers"]
        assert all((record["id"], x, y) in decided for i, x in enumerate(texts) for y in texts[i + 1 :])


def test_rank_makes_the_same_pairs_of_the_labels(labelled, tmp_path):
    ours = run(labelled[0], tmp_path / "pairs.jsonl")
    said = run(labelled[0], tmp_path / "given.jsonl", "--form", "labels")
    assert {r.get("verdict") for r in said} == {"tie", "both_bad", None}
    words = ["--input", labelled[1], "--output", str(tmp_path / "ranked.jsonl")]
    rank.main([*words, "--labels", str(tmp_path / "given.jsonl"), "--people_only", "everyday"])
    theirs = lines(tmp_path / "ranked.jsonl")
    assert {r["by"] for r in theirs} == {"human"} and any(r["chosen"] == "사람이 고친 답변이에요." for r in theirs)
    columns = ("id", "chosen", "rejected", "chosen_model", "rejected_model", "chosen_score", "rejected_score", "margin")
    assert sorted(str([r[c] for c in columns]) for r in theirs) == sorted(str([r[c] for c in columns]) for r in ours)


def test_no_name_leaves_the_database_and_what_is_left_out_is_counted(labelled, tmp_path):
    full = run(labelled[0], tmp_path / "full.jsonl", "--form", "full")
    assert {r["annotator"] for r in full} == {"annotator_01", "annotator_02"}
    assert "비밀" not in (tmp_path / "full.jsonl").read_text(encoding="utf-8")
    assert {r["verdict"]["kind"] for r in full} == {"order", "all_bad", "skip", "flag"}
    flagged = {r["item"] for r in full if r["verdict"]["kind"] == "flag"}
    assert flagged and not flagged & {r["item"] for r in run(labelled[0], tmp_path / "pairs.jsonl")}
    report = json.loads((tmp_path / "pairs.report.json").read_text(encoding="utf-8"))
    assert report["dropped"]["item: flagged"]["count"] == len(flagged) and report["agreement"]["percent_n"] > 0
    assert report["counts"] == {"items": 12, "labels": len(full)}
    voted = [r["item"] for r in full if r["verdict"]["kind"] in ("order", "all_bad")]
    found = run(labelled[0], tmp_path / "twice.jsonl", "--min_annotators", 2)
    assert found and {voted.count(r["item"]) for r in found} == {2}
