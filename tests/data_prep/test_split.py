"""split.py as a user runs it: disjoint, covering, the same every time, categories by their shares."""

import json
import random
from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_harness import call, read, write

import data_prep.split as program
from korlhf.core.errors import InputError
from korlhf.data import load
from korlhf.data import near_duplicates as near
from korlhf.data import record as records
from korlhf.data_prep import split

WORDS = [
    "오늘",
    "어제",
    "내일",
    "친구가",
    "동생이",
    "엄마가",
    "회사에서",
    "학교에서",
    "점심을",
    "저녁을",
    "커피를",
    "책을",
    "영화를",
    "먹었어요",
    "마셨어요",
    "읽었어요",
    "봤어요",
    "좋아해요",
    "싫어해요",
    "어떻게",
    "언제",
    "같이",
    "혼자",
    "천천히",
    "조금",
    "정말",
    "여행을",
    "가고",
    "싶은데",
    "추천해",
    "주세요",
    "날씨가",
    "추워서",
    "감기에",
    "걸렸어요",
]


def sentence(seed):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(10))


def make(seed, category="everyday", **fields):
    return records.make(sentence(seed), category, f"test/{seed}", **fields)


def near_same(seed):
    """The sentence with its last word changed."""
    return sentence(seed) + "요"


@pytest.fixture
def run(tmp_path):
    """Function: (records, flags...) -> ({file stem: records}, report)."""

    def go(found, *argv, folder="parts"):
        out = tmp_path / folder
        call(program.main, ["--input", write(tmp_path / "in.jsonl", found), "--output_dir", str(out), *argv])
        parts = {p.stem: read(p) for p in sorted(out.glob("*.jsonl")) if p.stem != "split"}
        return parts, json.loads((out / "split.report.json").read_text(encoding="utf-8"))

    return go


# --- dealing out


def test_largest_remainder_by_hand():
    assert split.largest_remainder(10, [2, 4, 4]) == [2, 4, 4]
    assert split.largest_remainder(7, [2, 4, 4]) == [1, 3, 3]  # 1.4, 2.8, 2.8
    assert split.largest_remainder(1, [1, 1, 1]) == [1, 0, 0]
    assert split.largest_remainder(0, [1, 2]) == [0, 0]
    assert split.largest_remainder(5, [0, 1]) == [0, 5]


def test_weights_are_exact():
    assert split.weights("2,4,4", 0.1) == [Fraction(n, 100) for n in (18, 2, 36, 4, 36, 4)]
    assert split.weights("0.5, 0,1.5", 0.0) == [Fraction(1, 4), 0, 0, 0, Fraction(3, 4), 0]


def groups(kinds):
    return [split.Group([f"{i:04x}"], category, answered, [i]) for i, (category, answered) in enumerate(kinds)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60),
    st.sampled_from(["2,4,4", "1,0,0", "0,1,2", "1,0,3"]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(0, 5),
)
def test_every_category_is_dealt_out_by_its_shares(kinds, shares, test_share, seed):
    found, weights = groups(kinds), split.weights(shares, test_share)
    cells = split.deal(found, weights, seed)
    for category in {c for c, _ in kinds}:
        members = [i for i, (c, _) in enumerate(kinds) if c == category]
        counts = Counter(cells[i] for i in members)
        answered = sum(kinds[i][1] for i in members)
        enough = answered >= sum(split.largest_remainder(len(members), weights)[:2])
        if enough:
            assert all(abs(counts[k] - len(members) * w) < 1 for k, w in enumerate(weights)) and None not in counts
        else:
            assert counts[0] + counts[1] == answered
            assert counts[None] == (0 if sum(weights[2:]) else len(members) - answered)
        assert all(kinds[i][1] for i in members if cells[i] in (0, 1))
    assert cells == split.deal(found, weights, seed)


def test_the_order_of_the_groups_does_not_matter():
    found = groups([("a" if i % 3 else "b", i % 2 == 0) for i in range(100)])
    weights = split.weights("2,4,4", 0.1)
    place = dict(zip((g.name for g in found), split.deal(found, weights, 1)))
    turned = found[::-1]
    assert place == dict(zip((g.name for g in turned), split.deal(turned, weights, 1)))
    assert place != dict(zip((g.name for g in found), split.deal(found, weights, 2)))


def test_one_more_group_moves_few():
    found = groups([("a", True)] * 1000)
    weights = split.weights("2,4,4", 0.1)
    before = split.deal(found, weights, 1)
    after = split.deal([*found, split.Group(["ffff"], "a", True, [1000])], weights, 1)
    assert sum(a != b for a, b in zip(before, after)) <= 5  # one at each of the five borders


# --- the program


def test_files_shares_and_history(run):
    found = [make(i, "everyday" if i % 4 else "evol", output="네.") for i in range(400)]
    parts, report = run(found)
    assert {name: len(rows) for name, rows in parts.items()} == {
        "sft_train": 72,
        "sft_test": 8,
        "reward_train": 144,
        "reward_test": 16,
        "prompts_train": 144,
        "prompts_test": 16,
    }
    assert {name: sum(r["category"] == "evol" for r in rows) for name, rows in parts.items()} == {
        "sft_train": 18,
        "sft_test": 2,
        "reward_train": 36,
        "reward_test": 4,
        "prompts_train": 36,
        "prompts_test": 4,
    }
    assert report["table"]["evol"]["prompts_test"] == {"groups": 4, "target": 4.0, "records": 4}
    row = parts["sft_test"][0]
    assert row["history"] == [{"stage": "split", "step": "sft", "side": "test"}] and row["output"] == "네."
    assert row == {**next(r for r in found if r["id"] == row["id"]), "history": row["history"]}
    assert all("output" not in r for r in parts["prompts_train"] + parts["prompts_test"])


def test_the_training_reads_the_files(run, tmp_path):
    run([make(i, chosen="네, 좋아요.", rejected="싫어요.") for i in range(60)])
    for step, name in ((1, "sft_train"), (2, "reward_train"), (3, "prompts_train")):
        assert load.load_examples(str(tmp_path / "parts" / f"{name}.jsonl"), step)


def test_near_same_prompts_stay_together(run):
    found = [make(i, output="네.") for i in range(100)]
    found += [records.make(near_same(i), "everyday", "copy", output="네.") for i in range(60)]
    found += [records.make(sentence(i) + " !", "evol", "again", output="아니요.") for i in range(20)]
    parts, report = run(found, "--test_share 0.3")
    numbers = near.groups([records.prompt(r) for r in found], 0.8)
    group = {r["id"]: n for r, n in zip(found, numbers)}
    assert len(set(numbers)) == 100
    where = defaultdict(set)
    for name, rows in parts.items():
        for row in rows:
            where[group[row["id"]]].add(name)
    assert all(len(names) == 1 for names in where.values()) and len(where) == 100
    # PPO prompts are once in their files; everything else is kept
    again = sum(1 for r in found[160:] if where[group[r["id"]]] & {"prompts_train", "prompts_test"})
    assert sum(map(len, parts.values())) == 180 - again and again > 0
    assert report["dropped"]["the same prompt is in the PPO set already"]["count"] == again
    assert report["near_same"]["groups"] == 60 and report["near_same"]["largest_group"] == 3
    shown = report["near_same"]["examples"][0]
    assert shown["records"] == 3 and len(shown["prompts"]) == 2


def test_split_jsonl_says_where_everything_went(run, tmp_path):
    found = [make(i, **({"output": "네."} if i % 2 else {})) for i in range(50)]
    found.append(records.make(near_same(1), "everyday", "copy"))
    parts, report = run(
        found, "--shares", "1,0,0", "--exclude", write(tmp_path / "bench.jsonl", [{"prompt": near_same(3)}])
    )
    where = read(tmp_path / "parts" / "split.jsonl")
    assert [w["id"] for w in where] == [r["id"] for r in found]
    for name, rows in parts.items():
        assert [r["id"] for r in rows] == [w["id"] for w in where if f"{w['step']}_{w['side']}" == name]
    reasons = Counter(w["left_out"] for w in where if w["step"] is None)
    assert reasons == {
        "no answer, and step 1 alone has a share": 25,
        "no answer, while near-same prompts are in the SFT set": 1,
        "its prompt is in --exclude": 1,
    }
    assert {k: v["count"] for k, v in report["dropped"].items()} == reasons
    assert where[1]["group"] == where[50]["group"] and where[3]["group"] is None


def test_answers_do_not_go_into_the_ppo_files(run):
    told = {
        "chosen": "네.",
        "rejected": "싫어요.",
        "candidates": [{"text": "네."}],
        "answers": ["네."],
        "by": "score",
        "margin": 1.0,
        "chosen_score": 3,
        "original": {"prompt": "Hi", "chosen": "yes", "output": "no"},
        "topic": "먹거리",
    }
    parts, _ = run([make(i, **told) for i in range(5)], "--shares", "0,0,1", "--test_share 0")
    assert list(parts) == ["prompts_train"] and len(parts["prompts_train"]) == 5
    assert all(
        set(r) == {"id", "category", "source", "history", "prompt", "original", "topic"} for r in parts["prompts_train"]
    )
    assert parts["prompts_train"][0]["original"] == {"prompt": "Hi"}


def test_records_without_answers_never_train_sft(run, capsys):
    found = [make(i, **({"chosen": "네.", "rejected": "아니."} if i < 10 else {})) for i in range(100)]
    parts, report = run(found)
    assert len(parts["sft_train"]) == 9 and len(parts["sft_test"]) == 1
    assert {r["id"] for r in parts["sft_train"] + parts["sft_test"]} == {r["id"] for r in found[:10]}
    assert sum(map(len, parts.values())) == 100
    assert report["counts"]["reward records without a pair"] == 46  # 40.5 + 4.5, twice; ties go to the earlier file
    assert "everyday: too few prompts with an answer for the share of step 1" in capsys.readouterr().out


def test_a_conversation_is_more_than_its_last_turn(run):
    def talk(i):
        return [
            {"role": "user", "content": sentence(i)},
            {"role": "assistant", "content": sentence(i + 1000)},
            {"role": "user", "content": "응, 그래서 어떻게 하면 좋을까?"},
        ]

    parts, report = run([records.make(talk(i), "everyday", "test", output="네.") for i in range(30)])
    assert report["near_same"]["groups"] == 0 and sum(map(len, parts.values())) == 30


def test_the_same_every_time_and_in_any_order(run, tmp_path):
    found = [make(i, output="네.") for i in range(120)]
    run(found)
    first = {p.name: p.read_bytes() for p in (tmp_path / "parts").glob("*.jsonl")}
    run(found)
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "parts").glob("*.jsonl")}
    turned, _ = run(found[::-1], folder="turned")
    for name, rows in turned.items():
        assert {r["id"] for r in rows} == {
            json.loads(line)["id"] for line in first[f"{name}.jsonl"].decode("utf-8").splitlines()
        }
    other, _ = run(found, "--seed 7", folder="other")
    assert {r["id"] for r in other["sft_train"]} != {r["id"] for r in turned["sft_train"]}


def test_files_of_other_shares_do_not_stay(run, tmp_path):
    found = [make(i, output="네.") for i in range(60)]
    run(found)
    parts, _ = run(found, "--shares", "1,1,0", "--test_share 0")
    assert list(parts) == ["reward_train", "sft_train"] and not list((tmp_path / "parts").glob("*.part"))


def test_an_empty_file_is_warned_of(run, capsys):
    parts, _ = run([make(i, output="네.") for i in range(5)])
    assert parts["sft_test"] == [] and "WARNING: sft_test.jsonl is empty" in capsys.readouterr().out


def test_one_large_group_is_warned_of(run, capsys):
    frame = "다음 글을 읽고 글쓴이의 마음이 어떤지 짐작해서 짧고 다정하게 한 문장으로 답해 주세요. 글 번호는 "
    run([records.make(f"{frame}{i}번", "everyday", "test", output="네.") for i in range(40)])
    assert "WARNING: one group of near-duplicate prompts holds 40 of 40 records" in capsys.readouterr().out


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from(["", "요", " 네", " 정말 그런가요"]),
            st.sampled_from(["everyday", "evol"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(["2,4,4", "0,1,1"]),
    st.integers(0, 3),
)
def test_no_near_same_prompt_on_two_sides(tmp_path_factory, kinds, shares, seed):
    found = [
        records.make(sentence(i) + end, category, "test", **({"output": "네."} if answered else {}))
        for i, end, category, answered in kinds
    ]
    folder = tmp_path_factory.mktemp("split")
    call(
        program.main,
        [
            "--input",
            write(folder / "in.jsonl", found),
            "--output_dir",
            str(folder),
            "--shares",
            shares,
            "--test_share 0.3",
            "--seed",
            str(seed),
        ],
    )
    where = read(folder / "split.jsonl")
    assert len(where) == len(found)
    places = defaultdict(set)
    for number, line in zip(near.groups([records.prompt(r) for r in found], 0.8), where):
        if line["step"]:
            places[number].add((line["step"], line["side"]))
    assert all(len(p) == 1 for p in places.values())
    written = [
        r["id"] for name in split.CELLS if (folder / f"{name}.jsonl").exists() for r in read(folder / f"{name}.jsonl")
    ]
    assert sorted(written) == sorted(line["id"] for line in where if line["step"])
    prompts = [line["id"] for line in where if line["step"] == "prompts"]
    assert len(prompts) == len(set(prompts))


# --- what it refuses


@pytest.mark.parametrize(
    "flags", [["--shares", "1,2"], ["--shares", "0,0,0"], ["--test_share 1"], ["--test_share nan"], ["--threshold 0"]]
)
def test_the_parser_refuses(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(program.main, ["--input a.jsonl", "--output_dir b", *flags])
    assert stopped.value.code == 2 and f"{flags[0].split()[0]} " in capsys.readouterr().err


def test_outputs_that_cannot_be(tmp_path):
    file = write(tmp_path / "sft_train.jsonl", [make(1)])
    with pytest.raises(InputError, match="--output_dir .*is a file"):
        call(program.main, ["--input", file, "--output_dir", file])
    with pytest.raises(InputError, match="sft_train.jsonl would be overwritten"):
        call(program.main, ["--input", file, "--output_dir", str(tmp_path)])


def test_a_broken_record_leaves_the_earlier_files(run, tmp_path):
    run([make(i, output="네.") for i in range(20)])
    before = {p.name: p.read_bytes() for p in (tmp_path / "parts").iterdir()}
    with pytest.raises(InputError, match="in.jsonl:2: no prompt"):
        run([make(1), {"text": "글"}])
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "parts").iterdir()}
