"""Labels as training files: majority, ties, edits, circles; read by step 2 and by rank; nobody's name in them."""

import json

import pytest
from label_harness import EXPORT, ROOT, lines, loaded, program, rows, write

from korlhf.applications.accounts import Accounts
from korlhf.applications.label import export, items
from korlhf.applications.label.desk import Desk
from korlhf.applications.label.items import Item
from korlhf.applications.label.store import Given, Store
from korlhf.applications.label.verdicts import read
from korlhf.data import load
from korlhf.data.ranking import Candidate

ITEM = Item(
    "a" * 16,
    {"id": "b" * 16, "category": "everyday", "source": "test", "history": [], "prompt": "안녕?"},
    (Candidate("가", ("m0",), 1.0, 0), Candidate("나", ("m1",), 3.0, 1), Candidate("다", ("m2",), None, 2)),
)


def labels(*verdicts):
    return [
        Given(n, n, read(v, 3), (0, 1, 2), 1.5, f"2026-01-01T00:00:0{n}.000+00:00") for n, v in enumerate(verdicts, 1)
    ]


def order(*groups, **more):
    return {"kind": "order", "groups": [list(g) for g in groups], **more}


def pairs(given, **more):
    decided, dropped = export.decide(ITEM, given, **more)
    return {(d.pair.chosen.text, d.pair.rejected.text): round(d.agreement, 3) for d in decided}, dict(dropped)


def test_most_votes_decide_each_pair():
    given = labels(order([0], [1], [2]), order([0], [2], [1]), order([1], [0], [2]))
    assert pairs(given) == ({("가", "나"): 0.667, ("가", "다"): 1.0, ("나", "다"): 0.667}, {})
    assert pairs(given, min_agreement=0.7) == ({("가", "다"): 1.0}, {export.BELOW: 2})


def test_ties_bad_ones_and_even_votes_are_no_pairs():
    assert pairs(labels(order([0, 1, 2]), order([0, 1], [2]))) == (
        {},
        {"people: a tie": 1, "people: as many votes for as against": 2},
    )
    assert pairs(labels({"kind": "all_bad"})) == ({}, {"people: both bad": 3})
    assert pairs(labels(order([0]))) == (
        {("가", "나"): 1.0, ("가", "다"): 1.0},
        {},
    )  # of the two others nothing was said
    assert pairs(labels(order([0], [1], [2]), order([0, 1, 2]), order([0, 1, 2]))) == ({}, {"people: a tie": 3})


def test_an_edit_is_better_than_all_and_the_original_is_kept():
    given = labels(order([1], [0], [2], edit="나은 글", edit_of=1), order([1], [2], [0]))
    found, dropped = pairs(given)
    assert found == {
        ("나은 글", "가"): 1.0,
        ("나은 글", "나"): 1.0,
        ("나은 글", "다"): 1.0,
        ("나", "가"): 1.0,
        ("나", "다"): 1.0,
    }
    assert dropped == {"people: as many votes for as against": 1}
    record = export.ranked_record(ITEM, given, export.decide(ITEM, given)[0])
    assert record["answers"] in (["나은 글", "나", "가"], ["나은 글", "나", "다"]) and record["models"][:2] == [
        None,
        "m1",
    ]
    bad = labels({"kind": "all_bad", "edit": "새 글", "edit_of": 0})
    assert pairs(bad)[0] == {("새 글", "가"): 1.0, ("새 글", "나"): 1.0, ("새 글", "다"): 1.0}


def test_the_same_edit_by_two_people_has_two_votes():
    given = labels(
        order([0], edit="새 글", edit_of=0), order([1], edit="새  글", edit_of=1), order([1], edit="딴 글", edit_of=1)
    )
    decided, _ = export.decide(ITEM, given)
    votes = {
        d.pair.chosen.text: len(d.votes)
        for d in decided
        if d.pair.rejected.text == "다" and d.pair.chosen.place is None
    }
    assert votes == {"새 글": 2, "딴 글": 1}
    assert export.chain(decided)[0].text == "새 글" and "딴 글" not in [a.text for a in export.chain(decided)]


def test_a_circle_is_cut_to_a_list_in_which_every_two_are_decided():
    given = labels(order([0], [1], [2]), order([1], [2], [0]), order([2], [0], [1]))  # each beats the next by 2 of 3
    decided, _ = export.decide(ITEM, given)
    assert {(d.pair.chosen.text, d.pair.rejected.text) for d in decided} == {("가", "나"), ("나", "다"), ("다", "가")}
    assert [a.text for a in export.chain(decided)] == ["가", "나"]


def test_a_pair_has_its_provenance_and_no_names():
    given = labels(order([1], [0], [2], comment="좋아요"), order([0, 1], [2]), order([1]))
    first = next(d for d in export.decide(ITEM, given)[0] if d.pair.rejected.text == "가")
    record = export.pair_record(ITEM, given, first)
    assert (
        record.items()
        >= {
            "id": "b" * 16,
            "prompt": "안녕?",
            "chosen": "나",
            "rejected": "가",
            "chosen_model": "m1",
            "rejected_model": "m0",
            "margin": 2.0,
            "by": "human",
            "agreement": 0.6667,
        }.items()
    )
    assert record["history"] == [{"stage": "label", "annotators": 3}] and ITEM.record["history"] == []
    assert record["votes"] == [
        {
            "annotator": "annotator_01",
            "at": "2026-01-01T00:00:01.000+00:00",
            "seconds": 1.5,
            "said": "chosen",
            "comment": "좋아요",
        },
        {"annotator": "annotator_02", "at": "2026-01-01T00:00:02.000+00:00", "seconds": 1.5, "said": "tie"},
        {"annotator": "annotator_03", "at": "2026-01-01T00:00:03.000+00:00", "seconds": 1.5, "said": "chosen"},
    ]


@pytest.fixture
def labelled(tmp_path):
    """A database of 12 prompts with 3 answers, labelled by two people in every way there is; the records file."""
    records = write(tmp_path / "scored.jsonl", rows(12, 3))
    with Store(tmp_path / "labels.sqlite") as store:
        store.add_items(items.read([records])[0])
        accounts = Accounts(store)
        a, b = (accounts.who(accounts.enter(name))[0] for name in ("김비밀", "이비밀"))
        desk = Desk(store, 2, 60, 3)
        ways = [
            order([0], [1], [2]),
            order([2]),
            order([0, 1], [2]),
            {"kind": "all_bad"},
            {"kind": "skip"},
            {"kind": "flag", "reason": "unclear"},
            order([1], edit="사람이 고친 답변이에요.", edit_of=1),
            order([0, 1, 2]),
        ]
        for me, shift in ((a, 0), (b, 3)):
            for n in range(12):
                item = desk.next(me)
                if item is None:
                    break
                desk.submit(me, item["item"], ways[(n + shift) % len(ways)], None, f"ticket-{me}-{n}")
    return tmp_path / "labels.sqlite", records


def run(database, output, *flags):
    loaded(EXPORT).main(["--database", str(database), "--output", str(output), *map(str, flags)])
    return lines(output)


def test_step_2_reads_pairs_and_ranked_answers(labelled, tmp_path):
    found = run(labelled[0], tmp_path / "pairs.jsonl")
    examples = load.load_examples(str(tmp_path / "pairs.jsonl"), 2)
    assert [list(e.answers) for e in examples] == [[r["chosen"], r["rejected"]] for r in found] and len(found) == 10
    assert all(e.category == "everyday" for e in examples)
    ranked = run(labelled[0], tmp_path / "ranked.jsonl", "--form", "ranked")
    assert [list(e.answers) for e in load.load_examples(str(tmp_path / "ranked.jsonl"), 2)] == [
        r["answers"] for r in ranked
    ]
    decided = {(r["id"], r["chosen"], r["rejected"]) for r in found}
    for record in ranked:
        assert all(
            (record["id"], x, y) in decided for i, x in enumerate(record["answers"]) for y in record["answers"][i + 1 :]
        )


def test_rank_makes_the_same_pairs_of_the_labels(labelled, tmp_path):
    ours = run(labelled[0], tmp_path / "pairs.jsonl")
    given = run(labelled[0], tmp_path / "given.jsonl", "--form", "labels")
    assert {r.get("verdict") for r in given} == {"tie", "both_bad", None}
    loaded(ROOT / "data_prep" / "rank.py").main(
        [
            "--input",
            labelled[1],
            "--output",
            str(tmp_path / "ranked.jsonl"),
            "--labels",
            str(tmp_path / "given.jsonl"),
            "--people_only",
            "everyday",
        ]
    )
    theirs = lines(tmp_path / "ranked.jsonl")
    assert {r["by"] for r in theirs} == {"human"} and any(r["chosen"] == "사람이 고친 답변이에요." for r in theirs)
    columns = ("id", "chosen", "rejected", "chosen_model", "rejected_model", "chosen_score", "rejected_score", "margin")
    assert sorted(str([r[c] for c in columns]) for r in theirs) == sorted(str([r[c] for c in columns]) for r in ours)


def test_no_name_leaves_the_database_and_flagged_items_are_left_out(labelled, tmp_path):
    full = run(labelled[0], tmp_path / "full.jsonl", "--form", "full")
    assert {r["annotator"] for r in full} == {"annotator_01", "annotator_02"}
    assert "비밀" not in (tmp_path / "full.jsonl").read_text(encoding="utf-8")
    assert {r["verdict"]["kind"] for r in full} == {"order", "all_bad", "skip", "flag"}
    flagged = {r["item"] for r in full if r["verdict"]["kind"] == "flag"}
    assert flagged and not flagged & {r["item"] for r in run(labelled[0], tmp_path / "pairs.jsonl")}
    report = json.loads((tmp_path / "pairs.report.json").read_text(encoding="utf-8"))
    assert report["dropped"]["item: flagged"]["count"] == len(flagged) and report["agreement"]["percent_n"] > 0
    assert report["counts"] == {"items": 12, "labels": len(full)}


def test_items_with_too_few_labels_can_be_left_out(labelled, tmp_path):
    full = run(labelled[0], tmp_path / "full.jsonl", "--form", "full")
    twice = {
        i
        for i in {r["item"] for r in full}
        if sum(r["item"] == i and r["verdict"]["kind"] in ("order", "all_bad") for r in full) == 2
    }
    found = run(labelled[0], tmp_path / "pairs.jsonl", "--min_annotators", 2)
    assert found and {r["item"] for r in found} <= twice


@pytest.mark.parametrize(
    "words, message",
    [
        (["--min_agreement", "1.5"], "give a share from 0 to 1"),
        (["--form", "labels", "--min_agreement", ".5"], "go with pairs and ranked"),
    ],
)
def test_bad_flags_are_refused(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        loaded(EXPORT).main(["--database", "x.sqlite", "--output", str(tmp_path / "o.jsonl"), *words])
    assert message in capsys.readouterr().err


def test_an_absent_database_is_one_line(tmp_path):
    done = program(EXPORT, "--database", "none.sqlite", "--output", tmp_path / "o.jsonl", cwd=tmp_path)
    assert (
        done.returncode == 2
        and done.stderr.startswith("error: --database none.sqlite: no such file")
        and done.stderr.count("\n") == 1
    )
