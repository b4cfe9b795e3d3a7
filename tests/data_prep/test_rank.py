"""rank.py as a user runs it: pairs with their reasons, labels, what it refuses, and what the report warns of."""

import pytest
from prep_harness import call, read, run, write
from prep_harness import run as run_program

import data_prep.rank as program
from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data import record as records

JUDGE = {
    "model": "gpt-4o",
    "rubric": "everyday.yaml",
    "rubric_sha256": "ab",
    "structured": True,
    "method": "token probabilities",
    "samples": 1,
}


def candidate(text, model, score=None, **more):
    return {
        "text": text,
        "model": model,
        "settings": {},
        "finish_reason": "stop",
        "score": score,
        "judge": JUDGE,
        **more,
    }


def record(prompt, category, *candidates, **more):
    return records.make(prompt, category, "test", candidates=list(candidates), **more)


SCORED = [
    record(
        "오늘 뭐 했어?",
        "everyday",
        candidate("집에서 쉬었어요.", "sft", 4.0),
        candidate("그냥 있었죠.", "sft", 3.0),
        output="책을 읽었어요.",
    ),
    record(
        "비행기는 어떻게 나나요?",
        "translated",
        candidate("날개 덕분이에요.", "sft", 4.5),
        candidate("양력이 생겨서 떠요.", "chatgpt", 2.0),
    ),
    record(
        [
            {"role": "user", "content": "저 사람 싫어."},
            {"role": "assistant", "content": "왜요?"},
            {"role": "user", "content": "그냥 싫다니까."},
        ],
        "harmful",
        candidate("마음이 상했군요.", "chatgpt", 4.0),
        candidate("저도 싫어요.", "sft", 2.0),
        topic="사람",
    ),
]
EVERYDAY, TRANSLATED, HARMFUL = (r["id"] for r in SCORED)


@pytest.fixture
def run(tmp_path):
    """Function: (records, flags..., labels=rows) -> (pairs, report)."""

    def go(found, *flags, labels=None):
        flags = [*flags, *(["--labels", write(tmp_path / "labels.jsonl", labels)] if labels is not None else [])]
        ran = run_program(program, tmp_path, found, *flags)
        return ran.out, ran.report

    return go


def chosen(pairs):
    return {(p["chosen"], p["rejected"], p["by"]) for p in pairs}


def test_pairs_by_score(run, capsys):
    pairs, report = run(SCORED)
    assert pairs[0] == {
        "id": EVERYDAY,
        "category": "everyday",
        "source": "test",
        "history": [{"stage": "rank", "by": "score"}],
        "prompt": "오늘 뭐 했어?",
        "chosen": "집에서 쉬었어요.",
        "rejected": "그냥 있었죠.",
        "chosen_model": "sft",
        "rejected_model": "sft",
        "chosen_score": 4.0,
        "rejected_score": 3.0,
        "margin": 1.0,
        "by": "score",
    }
    assert (
        len(pairs) == 3
        and pairs[2]["messages"] == SCORED[2]["messages"]
        and "prompt" not in pairs[2]
        and "topic" not in pairs[2]
    )
    assert report["pairs"] == {"everyday": {"score": 1}, "harmful": {"score": 1}, "translated": {"score": 1}}
    by_score = report["decided_by"]["score"]
    # sft against chatgpt: one won, one lost; the everyday pair is sft's alone. Listed first: all three.
    # Lengths 9 > 7, 9 < 11, 9 > 7
    assert by_score["wins_of_responder"] == {"chatgpt": {"share": 0.5, "n": 2}, "sft": {"share": 0.5, "n": 2}}
    assert by_score["chosen_is_listed_first"] == {"share": 1.0, "n": 3} and by_score["chosen_is_longer"] == {
        "share": 0.6667,
        "n": 3,
    }
    assert "3  pairs by score" in capsys.readouterr().out


def test_the_training_reads_the_pairs(run, tmp_path):
    run(SCORED)
    examples = load.load_examples(str(tmp_path / "out.jsonl"), 2)
    assert [e.answers for e in examples] == [
        ("집에서 쉬었어요.", "그냥 있었죠."),
        ("날개 덕분이에요.", "양력이 생겨서 떠요."),
        ("마음이 상했군요.", "저도 싫어요."),
    ]
    assert len(examples[2].messages) == 3 and examples[2].category == "harmful"


def test_input_column_stays(run):
    pairs, _ = run(
        [
            record(
                "요약해 주세요.",
                "instruct",
                candidate("봄이 왔대요.", "a", 2),
                candidate("봄.", "a", 1),
                input="봄이 왔다.",
            )
        ]
    )
    assert pairs[0]["input"] == "봄이 왔다." and pairs[0]["prompt"] == "요약해 주세요."


def test_rules_people_and_categories_left_out(run):
    pairs, report = run(
        SCORED, "--prefer", "translated:chatgpt>sft", "--people_only everyday", "--leave_out", "harmful"
    )
    assert chosen(pairs) == {("양력이 생겨서 떠요.", "날개 덕분이에요.", "rule")} and pairs[0]["margin"] == -2.5
    assert {k: v["count"] for k, v in report["dropped"].items()} == {
        "pair: not labelled by people": 1,
        "prompt: its category is left out": 1,
    }


def test_thresholds_and_limits(run):
    three = [
        record(
            "뭐 먹지?",
            "everyday",
            candidate("국수요.", "a", 3.0),
            candidate("김밥이요.", "a", 2.0),
            candidate("글쎄요.", "a", 1.0),
        )
    ]
    assert len(run(three)[0]) == 3
    assert chosen(run(three, "--pairs best_worst")[0]) == {("국수요.", "글쎄요.", "score")}
    assert len(run(three, "--threshold 2.5")[0]) == 2
    assert len(run(three, "--min_margin 1.5")[0]) == 1
    assert len(run(three, "--max_pairs_per_prompt 2")[0]) == 2


def test_labels(run):
    labels = [
        {"id": EVERYDAY, "chosen": "그냥 있었죠.", "rejected": "집에서 쉬었어요.", "annotator": "kim"},
        {"prompt": "비행기는  어떻게 나나요", "chosen": "날개에 양력이 생겨서 떠요.", "rejected": "날개 덕분이에요."},
        {"messages": SCORED[2]["messages"], "verdict": "both_bad", "answers": ["마음이 상했군요.", "저도 싫어요."]},
    ]
    pairs, report = run(SCORED, "--prefer", "translated:chatgpt>sft", "--people_only everyday", labels=labels)
    assert chosen(pairs) == {
        ("그냥 있었죠.", "집에서 쉬었어요.", "human"),
        ("날개에 양력이 생겨서 떠요.", "날개 덕분이에요.", "human"),
        ("양력이 생겨서 떠요.", "날개 덕분이에요.", "rule"),
    }
    assert report["counts"]["of these edited by people"] == 1 and report["counts"]["labels"] == 3
    assert report["dropped"]["pair: people: both bad"]["count"] == 1
    edited = next(p for p in pairs if p["chosen"].startswith("날개에"))
    assert edited["chosen_model"] is None and edited["margin"] is None and edited["rejected_model"] == "sft"


def test_several_annotators(run):
    first = {"id": EVERYDAY, "chosen": "그냥 있었죠.", "rejected": "집에서 쉬었어요."}
    turned = {"id": EVERYDAY, "chosen": "집에서 쉬었어요.", "rejected": "그냥 있었죠."}
    pairs, report = run(SCORED[:1], labels=[{**first, "annotator": "a"}, {**turned, "annotator": "b"}])
    assert not pairs and report["dropped"]["pair: people: as many votes for as against"]["count"] == 1
    pairs, _ = run(
        SCORED[:1], labels=[{**first, "annotator": "a"}, {**turned, "annotator": "b"}, {**first, "annotator": 3}]
    )
    assert chosen(pairs) == {("그냥 있었죠.", "집에서 쉬었어요.", "human")}


def test_a_label_file_of_ones_own_is_input_and_labels_at_once(tmp_path):
    own = write(
        tmp_path / "own.jsonl",
        [
            {"prompt": "잘 지냈어요?", "chosen": "네, 잘 지냈어요.", "rejected": "네", "category": "everyday"},
            {"instruction": "추천 좀 해 줘.", "chosen": "국수 어때요?", "rejected": "몰라요."},
        ],
    )
    call(program.main, ["--input", own, "--labels", own, "--output", str(tmp_path / "out.jsonl")])
    pairs = read(tmp_path / "out.jsonl")
    assert chosen(pairs) == {("네, 잘 지냈어요.", "네", "human"), ("국수 어때요?", "몰라요.", "human")}
    assert [p["category"] for p in pairs] == ["everyday", "all"]


def test_labels_on_the_other_side_of_a_split(run, tmp_path):
    labels = [
        {"id": i, "chosen": a, "rejected": b}
        for i, a, b in (
            (EVERYDAY, "그냥 있었죠.", "집에서 쉬었어요."),
            (TRANSLATED, "날개 덕분이에요.", "양력이 생겨서 떠요."),
        )
    ]
    with pytest.raises(InputError, match=rf"labels.jsonl:2: no record has the id '{TRANSLATED}'.*--also_labelled"):
        run(SCORED[:1], labels=labels)
    pairs, report = run(SCORED[:1], "--also_labelled", write(tmp_path / "test.jsonl", SCORED[1:]), labels=labels)
    assert len(pairs) == 1 and report["counts"]["labels on other records, passed over"] == 1


def test_the_same_prompt_in_two_files_is_one(tmp_path):
    one = write(tmp_path / "a.jsonl", [record("심심해.", "everyday", candidate("산책해요.", "sft", 2.0))])
    two = write(tmp_path / "b.jsonl", [record(" 심심해!", "everyday", candidate("책을 읽어요.", "chatgpt", 3.0))])
    call(program.main, ["--input", one, two, "--output", str(tmp_path / "out.jsonl")])
    assert chosen(read(tmp_path / "out.jsonl")) == {("책을 읽어요.", "산책해요.", "score")}


def test_records_without_answers_are_counted(run):
    _, report = run(
        [
            *SCORED[:1],
            records.make("안녕?", "everyday", "test", output="네, 안녕하세요."),
            record("뭐 해?", "everyday", candidate("쉬어요.", "a", 3)),
        ]
    )
    assert {k: v["count"] for k, v in report["dropped"].items()} == {"prompt: without answers": 1}


def test_no_pairs_left(run, capsys):
    pairs, report = run(SCORED[:1], "--threshold 5")
    assert not pairs and report["best_trivial_rule"] is None
    assert "no pairs are left" in capsys.readouterr().out


def test_a_trivial_rule_that_does_it_is_warned_of(run, capsys):
    marked = [
        record(
            f"{i}번 질문이에요.",
            "everyday",
            candidate(f"{i}번 대답은 아주 길고 자세해요.", "a", 3),
            candidate(f"{i}번.", "b", 2),
        )
        for i in range(20)
    ]
    _, report = run(marked)
    assert report["best_trivial_rule"]["accuracy"] == 1.0 and report["best_trivial_rule"]["n"] == 10
    assert "WARNING: the trivial rule" in capsys.readouterr().out
    fair = [
        record(f"{i}번 질문이에요.", "everyday", candidate("가나", "a", 3 - i % 2), candidate("다라", "b", 2 + i % 2))
        for i in range(40)
    ]
    pairs, report = run(fair)
    assert [p["chosen"] for p in pairs].count("가나") == 20
    assert report["decided_by"]["score"]["chosen_is_listed_first"] == {"share": 0.5, "n": 40}


def test_a_category_that_nobody_has(run, capsys):
    _, report = run(SCORED[:1], "--people_only everday")
    assert report["warnings"] == ["WARNING: --people_only everday: no record has this category; the input has everyday"]
    assert report["warnings"][0] in capsys.readouterr().out


def test_scores_on_different_scales(run):
    other = {**JUDGE, "model": "reward", "method": "reward model"}
    with pytest.raises(InputError, match=r"in.jsonl:1: .*different scales.*gpt-4o.*reward"):
        run([record("응?", "everyday", candidate("네.", "a", 3.0), candidate("아니요.", "a", -1.0, judge=other))])
    asked_otherwise = {**JUDGE, "method": "mean of n samples", "samples": 5, "structured": False}
    assert (
        len(
            run(
                [
                    record(
                        "응?",
                        "everyday",
                        candidate("네.", "a", 3.0),
                        candidate("아니요.", "a", 1.0, judge=asked_otherwise),
                    )
                ]
            )[0]
        )
        == 1
    )
    unscored = candidate("글쎄.", "b", None, judge=other)
    assert (
        len(run([record("응?", "everyday", candidate("네.", "a", 3.0), candidate("아니요.", "a", 1.0), unscored)])[0])
        == 1
    )


@pytest.mark.parametrize(
    "label, what",
    [
        ({"id": "0" * 16, "chosen": "가", "rejected": "나"}, "no record has the id '0000000000000000'"),
        ({"prompt": "없는 질문", "chosen": "가", "rejected": "나"}, "no record has the prompt '없는 질문'"),
        ({"chosen": "가", "rejected": "나"}, "neither id nor prompt"),
        ({"id": EVERYDAY, "chosen": "새 글", "rejected": "또 새 글"}, "'또 새 글' is none of the 2 answers"),
        ({"id": EVERYDAY, "chosen": "그냥 있었죠."}, "chosen and rejected, two texts"),
        ({"id": EVERYDAY, "chosen": "그냥  있었죠.", "rejected": "그냥 있었죠."}, "the two answers are the same"),
        ({"id": EVERYDAY, "verdict": "bad", "answers": ["그냥 있었죠.", "집에서 쉬었어요."]}, "the verdict is 'bad'"),
        ({"id": EVERYDAY, "verdict": "tie", "answers": ["그냥 있었죠."]}, "a list of the two texts"),
        ({"id": EVERYDAY, "verdict": "tie", "answers": ["그냥 있었죠.", "새 글"]}, "'새 글' is none of"),
        ({"id": EVERYDAY, "verdict": "tie", "answers": ["그냥 있었죠.", 3]}, "two texts"),
    ],
)
def test_labels_that_cannot_be(run, label, what):
    with pytest.raises(InputError, match=rf"labels.jsonl:1: .*{what}"):
        run(SCORED[:1], labels=[label])


@pytest.mark.parametrize(
    "flags, what",
    [
        (["--prefer", "chatgpt>sft"], "CATEGORY:BETTER>WORSE"),
        (
            ["--prefer", "translated:gpt>sft"],
            "'gpt' has answered no prompt of the category translated; responders there: chatgpt, sft",
        ),
        (["--prefer", "translated:sft>chatgpt", "translated:chatgpt>sft"], "better and worse at once"),
        (["--prefer", "translated:sft>sft"], "better and worse at once"),
        (["--labels missing.jsonl"], "no such file"),
    ],
)
def test_flags_that_cannot_be(run, flags, what):
    with pytest.raises(InputError, match=what):
        run(SCORED, *flags)


def test_candidates_that_cannot_be(run):
    with pytest.raises(InputError, match=r"in.jsonl:1: the score of candidate 1 is 'gut'"):
        run([record("응?", "everyday", candidate("네.", "a", "gut"))])
    with pytest.raises(InputError, match=r"in.jsonl:1: candidates is str"):
        run([{"prompt": "응?", "candidates": "네."}])


@pytest.mark.parametrize(
    "flags", [["--min_margin", "-1"], ["--max_pairs_per_prompt", "-1"], ["--also_labelled x"], ["--pairs some"]]
)
def test_the_parser_refuses(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(program.main, ["--input a.jsonl", "--output b.jsonl", *flags])
    assert stopped.value.code == 2 and flags[0].split()[0] in capsys.readouterr().err
