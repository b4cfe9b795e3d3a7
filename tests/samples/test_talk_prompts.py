"""The prompts whose answers are printed before and after a training: of every kind, and in no training set."""

from collections import Counter
from pathlib import Path

from samples import build

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def test_they_are_of_every_kind_and_near_no_other_prompt():
    rows = build.read_jsonl(SAMPLES / "talk_prompts.jsonl")
    assert len(rows) == 12 and set(Counter(row["category"] for row in rows)) == set(build.CATEGORIES)
    said = ["\n".join(build.turns_of(row)[::2]) for row in rows]
    others = [r.said for part in ("", "dev_", "heldout_") for r in build.read_records(part)]
    groups = build.groups([*said, *others], build.NEAR)
    sizes = Counter(groups)
    assert [sizes[group] for group in groups[: len(said)]] == [1] * len(said), "a prompt is nearly that of a record"
