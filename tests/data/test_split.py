"""--data_split: who trains on what."""

import pytest

from korlhf.core.errors import InputError
from korlhf.data.split import normalise, split_by_prompt

PROMPTS = [f"질문 {i}" for i in range(2000)]


def test_disjoint_and_covering():
    parts = split_by_prompt(PROMPTS, "2,4,4", 1234)
    assert sorted(i for part in parts for i in part) == list(range(2000))
    assert all(part == sorted(part) for part in parts)


def test_the_result_never_changes():
    """Written down once: a change would move prompts between steps of runs that are under way."""
    assert split_by_prompt([f"q{i}" for i in range(10)], "1,1,1", 7) == [[8], [2, 3, 4, 5, 6], [0, 1, 7, 9]]


def test_the_same_prompt_stays_together():
    spellings = ["오늘 뭐 먹을까?", "오늘  뭐 먹을까", " 오늘 뭐먹을까?!", "오늘 뭐 먹을까…"]
    for seed in range(20):
        assert sorted(map(len, split_by_prompt(spellings, "1,1,1", seed))) == [0, 0, 4]


@pytest.mark.parametrize("shares,step", [("1,0,0", 0), ("0,1,0", 1), ("0,0,1", 2), ("10,0,0.0", 0)])
def test_one_step_takes_all(shares, step):
    assert split_by_prompt(PROMPTS, shares, 3)[step] == list(range(2000))


def test_normalise():
    assert normalise("Hello  World!") == "helloworld"
    assert normalise("ᄒ\u1161\u11ab") == "한"
    assert normalise("?!") == "?!"  # punctuation alone stays
    assert normalise("2+3") != normalise("2-3")


@pytest.mark.parametrize("shares", ["", "1,1", "1,1,1,1", "a,b,c", "-1,1,1", "0,0,0", "nan,1,1", "inf,1,1"])
def test_bad_shares(shares):
    with pytest.raises(InputError, match=r"--data_split .*three shares.*2,4,4"):
        split_by_prompt(["a"], shares, 1)
