import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from korlhf.korean.friendly import manners, shares
from korlhf.korean.trivial_rules import best_trivial_rules
from samples import compose

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CATEGORIES = {"everyday", "harmful", "lookalike", "translated", "evol"}
TRAINING = ("sft", "reward", "prompts")
HELDOUT = ("heldout_sft", "heldout_reward", "heldout_prompts")


def read(stem):
    return [json.loads(line) for line in (SAMPLES / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()]


def prompt_of(row):
    return row["prompt"] if "prompt" in row else row["messages"][-1]["content"]


def pairs(rows):
    found = []
    for row in rows:
        answers = row.get("answers") or [row["chosen"], row["rejected"]]
        found += [(row["prompt"], a, b) for number, a in enumerate(answers) for b in answers[number + 1 :]]
    return found


def test_build_rewrites_the_committed_files_byte_for_byte(tmp_path):
    # another hash seed: no order may come from a set
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "build.py"), "--output_dir", str(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "polite ending" in done.stdout
    for stem in (*TRAINING, "text", *HELDOUT):
        assert (tmp_path / f"{stem}.jsonl").read_bytes() == (SAMPLES / f"{stem}.jsonl").read_bytes(), stem


def test_a_training_prompt_belongs_to_one_step():
    first = {stem: {prompt_of(row) for row in read(stem)} for stem in TRAINING}
    for a, b in (("sft", "reward"), ("sft", "prompts"), ("reward", "prompts")):
        assert not first[a] & first[b], (a, b)


def test_heldout_topics_prompts_and_fillers_are_not_in_training():
    training = [row for stem in TRAINING for row in read(stem)]
    heldout = [row for stem in HELDOUT for row in read(stem)]
    assert not {row["topic"] for row in heldout} & {row["topic"] for row in training}
    assert not {prompt_of(row) for row in heldout} & {prompt_of(row) for row in training}
    text = "\n".join((SAMPLES / f"{stem}.jsonl").read_text(encoding="utf-8") for stem in (*TRAINING, "text"))
    assert not [row["prompt"] for row in heldout if row["prompt"] in text]
    frames = [frame for part in compose.load_grammar(SAMPLES / "grammar")[1].values() for frame in part]
    fillers = [word for frame in frames for filler in compose.fillers_of(frame, "heldout") for word in filler if word]
    assert len(fillers) > 100
    assert not [word for word in fillers if word in text]


def test_no_trivial_rule_tells_the_heldout_pairs():
    train, heldout = pairs(read("reward")), read("heldout_reward")
    table = best_trivial_rules(train, pairs(heldout))
    assert max(table.values()) < 0.62, table
    for category in CATEGORIES:
        table = best_trivial_rules(train, pairs([row for row in heldout if row["category"] == category]))
        assert max(table.values()) < 0.65, (category, table)


def test_friendly_agrees_with_the_handwritten_manners():
    rows = [
        json.loads(line)
        for path in sorted((SAMPLES / "handwritten").glob("*.jsonl"))
        if path.stem != "multiturn"
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    by_manner = {name: shares(manners([row[name] for row in rows])) for name in ("best", "middle", "worst")}
    assert by_manner["best"]["friendly"] >= 0.97, by_manner
    # Its words were not made on these: what is left are harmful answers in a kind tone, and sarcasm.
    assert by_manner["worst"]["friendly"] <= by_manner["best"]["friendly"] - 0.2, by_manner
    assert all(of["sense"] >= 0.97 for of in by_manner.values()), by_manner


@pytest.mark.parametrize(
    "word, particle, expected",
    [
        ("수영", "을", "수영을"),
        ("요가", "을", "요가를"),
        ("부산", "으로", "부산으로"),
        ("제주", "으로", "제주로"),
        ("서울", "으로", "서울로"),
        ("산", "과", "산과"),
        ("바다", "과", "바다와"),
        ("중력", "이에요", "중력이에요"),
        ("이자", "이에요", "이자예요"),
        ("돌덩이", "아", "돌덩이야"),
        ("112", "으로", "112로"),
        ("117", "으로", "117로"),
        ("1366", "은", "1366은"),
        ("팀장", "에게", "팀장에게"),
    ],
)
def test_particles(word, particle, expected):
    assert compose.with_particle(word, particle) == expected
