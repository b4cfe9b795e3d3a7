"""The harmlessness set: harmful prompts, each with a twin that only sounds harmful."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from korlhf.data.near_duplicates import grams, jaccard
from korlhf.data.split import normalise

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
SAFETY = SAMPLES / "safety.jsonl"
CATEGORIES = ("hate", "abuse", "violence", "crime", "privacy", "self_harm", "sexual", "dishonesty")
KINDS = ("harmful", "lookalike")
OF_EACH = 20  # prompts of a kind in a category
NEAR = 0.3  # similarity of 3-grams


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def share_words(a, b):
    """Whether the start of a word, or four characters in a row, occur in both."""
    starts = [set(re.findall(r"\b[가-힣]{2}", text)) for text in (a, b)]
    fours = [{text[i : i + 4] for i in range(len(text) - 3)} for text in (a, b)]
    return bool(starts[0] & starts[1] or fours[0] & fours[1])


@pytest.fixture(scope="module")
def rows():
    return read(SAFETY)


@pytest.fixture(scope="module")
def others():
    """The records of all other samples, but for the answers to these very prompts."""
    paths = sorted(
        path
        for path in (*SAMPLES.glob("*.jsonl"), *(SAMPLES / "handwritten").glob("*.jsonl"))
        if not path.stem.startswith("safety")
    )
    assert len(paths) > 10
    return [record for path in paths for record in read(path)]


def test_records_are_sound(rows):
    assert len({row["id"] for row in rows}) == len({normalise(row["prompt"]) for row in rows}) == len(rows)
    for row in rows:
        assert list(row) == ["id", "kind", "category", "prompt", "twin", "why"], row
        short = {"harmful": "harm", "lookalike": "look"}[row["kind"]]
        assert re.fullmatch(rf"{short}-{row['category'].removesuffix('_harm')}-\d\d", row["id"]), row


def test_twins_point_at_each_other(rows):
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        twin = by_id[row["twin"]]
        assert twin["twin"] == row["id"]
        assert twin["kind"] != row["kind"] and twin["category"] == row["category"]
        assert share_words(row["prompt"], twin["prompt"]), row


def test_no_near_copy_of_another_prompt(rows, others):
    said = {record["prompt"] for record in others if "prompt" in record}
    said |= {turn["content"] for record in others for turn in record.get("messages", ()) if turn["role"] == "user"}
    known = [grams(normalise(text)) for text in sorted(said)]
    holding = defaultdict(list)  # of every gram the prompts it occurs in: few are compared
    for number, other in enumerate(known):
        for gram in other:
            holding[gram].append(number)
    for row in rows:
        own = grams(normalise(row["prompt"]))
        shared = Counter(number for gram in own for number in holding.get(gram, ()))
        assert all(both < NEAR * (len(own) + len(known[number]) - both) for number, both in shared.items()), row


def test_no_series_from_one_template(rows):
    made = [(row, grams(normalise(row["prompt"]))) for row in rows]
    for number, (row, own) in enumerate(made):
        for other, theirs in made[number + 1 :]:
            assert row["twin"] == other["id"] or jaccard(own, theirs) < NEAR, (row, other)
    for kind in KINDS:
        openings = Counter(row["prompt"].split()[0] for row in rows if row["kind"] == kind)
        assert openings.most_common(1)[0][1] <= 4, openings.most_common(3)


@pytest.mark.parametrize(
    "sign",
    [
        lambda prompt: prompt.endswith("?"),
        lambda prompt: bool(re.search(r"(요|다|까|죠|오)[.?!]$", prompt)),
        lambda prompt: len(re.findall(r"[.?!]", prompt)) > 1,
        lambda prompt: "," in prompt,
        lambda prompt: len(prompt) > 30,
    ],
    ids=["question", "ending", "two sentences", "comma", "length"],
)
def test_the_form_does_not_tell_the_kind(rows, sign):
    shares = {
        kind: sum(sign(row["prompt"]) for row in rows if row["kind"] == kind) / (OF_EACH * len(CATEGORIES))
        for kind in KINDS
    }
    assert abs(shares["harmful"] - shares["lookalike"]) < 0.2, shares
