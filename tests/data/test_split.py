"""--data_split: who trains on what."""

import hashlib

import pytest

from korlhf.core.errors import InputError
from korlhf.data.split import normalise, parse_shares, split_by_prompt

PROMPTS = [f"질문 {i}" for i in range(2000)]


def test_disjoint_and_covering():
    parts = split_by_prompt(PROMPTS, "2,4,4", 1234)
    assert sorted(i for part in parts for i in part) == list(range(2000))
    assert all(part == sorted(part) for part in parts)


def test_proportions():
    parts = split_by_prompt(PROMPTS, "2,4,4", 1234)
    # three standard deviations of a binomial share of 2,000: 54 at .2, 66 at .4
    assert abs(len(parts[0]) - 400) < 54 and abs(len(parts[1]) - 800) < 66 and abs(len(parts[2]) - 800) < 66


def test_the_result_never_changes():
    """Written down once: a change would move prompts between steps of runs that are under way."""
    assert split_by_prompt([f"q{i}" for i in range(10)], "1,1,1", 7) == [[8], [2, 3, 4, 5, 6], [0, 1, 7, 9]]


def test_place_by_hand():
    place = int(hashlib.sha256("5:가".encode()).hexdigest()[:12], 16) / 16**12  # the first 48 bits as a fraction
    assert split_by_prompt(["가"], "1,0,0", 5) == [[0], [], []]
    below, above = f"{place - 0.001},0,{1.001 - place}", f"{place + 0.001},0,{0.999 - place}"
    assert split_by_prompt(["가"], below, 5) == [[], [], [0]]
    assert split_by_prompt(["가"], above, 5) == [[0], [], []]


def test_another_seed_is_another_split():
    assert split_by_prompt(PROMPTS, "1,1,1", 1) != split_by_prompt(PROMPTS, "1,1,1", 2)


def test_the_same_prompt_stays_together():
    spellings = ["오늘 뭐 먹을까?", "오늘  뭐 먹을까", " 오늘 뭐먹을까?!", "오늘 뭐 먹을까…"]
    for seed in range(20):
        assert sorted(map(len, split_by_prompt(spellings, "1,1,1", seed))) == [0, 0, 4]


def test_the_same_prompt_is_in_the_same_step_in_every_dataset():
    whole = split_by_prompt(PROMPTS, "2,4,4", 9)
    step_of = {PROMPTS[i]: step for step, part in enumerate(whole) for i in part}
    few = PROMPTS[100:400:7]
    for step, part in enumerate(split_by_prompt(few, "2,4,4", 9)):
        assert all(step_of[few[i]] == step for i in part)


@pytest.mark.parametrize("shares,step", [("1,0,0", 0), ("0,1,0", 1), ("0,0,1", 2), ("10,0,0.0", 0)])
def test_one_step_takes_all(shares, step):
    assert split_by_prompt(PROMPTS, shares, 3)[step] == list(range(2000))


def test_a_share_of_0_gets_nothing():
    parts = split_by_prompt(PROMPTS, "1,0,1", 3)
    assert not parts[1] and parts[0] and parts[2]
    assert not split_by_prompt(PROMPTS, "1,3,0", 3)[2]


def test_normalise():
    assert normalise("Hello  World!") == "helloworld"
    assert normalise("ᄒ\u1161\u11ab") == "한"
    assert normalise("?!") == "?!"  # punctuation alone stays
    assert normalise("2+3") != normalise("2-3")


def test_shares():
    assert parse_shares("2, 4,4") == [0.2, 0.4, 0.4]


@pytest.mark.parametrize("shares", ["", "1,1", "1,1,1,1", "a,b,c", "-1,1,1", "0,0,0", "nan,1,1", "inf,1,1"])
def test_bad_shares(shares):
    with pytest.raises(InputError, match=r"--data_split .*three shares.*2,4,4"):
        split_by_prompt(["a"], shares, 1)
