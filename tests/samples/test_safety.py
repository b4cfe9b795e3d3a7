"""The harmlessness set: harmful prompts, each with a twin that only sounds harmful."""

import json
import re
from pathlib import Path

import pytest

from korlhf.data.split import normalise

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
SAFETY = SAMPLES / "safety.jsonl"
CATEGORIES = ("hate", "abuse", "violence", "crime", "privacy", "self_harm", "sexual", "dishonesty")
KINDS = ("harmful", "lookalike")
OF_EACH = 20  # prompts of a kind in a category


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
