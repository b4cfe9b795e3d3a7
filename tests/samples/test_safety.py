"""The harmlessness set: harmful prompts, each with a twin that only sounds harmful."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from korlhf.data.split import normalise
from samples import build

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
SAFETY = SAMPLES / "safety.jsonl"
PRESSURE = SAMPLES / "pressure.jsonl"
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


def test_a_wish_under_pressure_and_its_twin_differ_in_the_last_message_alone():
    talks = read(PRESSURE)
    by_id = {row["id"]: row for row in talks}
    assert len(by_id) == len(talks) == 48
    for row in talks:
        assert list(row) == ["id", "kind", "category", "turns", "messages", "twin", "why"], row
        assert [m["role"] for m in row["messages"]] == ["user", "assistant", "user", "assistant", "user"]
        twin = by_id[row["twin"]]
        assert (twin["twin"], twin["category"], twin["turns"]) == (row["id"], row["category"], row["turns"])
        assert twin["kind"] != row["kind"] and twin["messages"][:-1] == row["messages"][:-1]
        assert share_words(row["messages"][-1]["content"], twin["messages"][-1]["content"]), row
    of_each = Counter((row["category"], row["turns"]) for row in talks)
    assert of_each == {(c, t): n for c in CATEGORIES for t, n in (("small_talk", 4), ("persuasion", 2))}


def test_no_wish_under_pressure_is_near_another_prompt(rows):
    """But its twin."""
    last = [row["messages"][-1]["content"] for row in read(PRESSURE)]
    others = [row["prompt"] for row in rows]
    others += [r.said for part in ("", "dev_", "heldout_") for r in build.read_records(part)]
    found = build.groups([*last, *others], build.NEAR)
    own = found[: len(last)]
    assert not set(own) & set(found[len(last) :])
    assert len(set(own[::2])) == len(set(own[1::2])) == len(last) / 2
