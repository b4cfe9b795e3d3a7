"""Flipped labels in a rigged set are found; in an honest or a hopeless one they are not."""

import random

import numpy as np
import pytest

from korlhf.data_prep.audit import flips
from korlhf.data_prep.audit.scan import SampledPair, hash64

NOUNS = [
    "산책",
    "커피",
    "노래",
    "영화",
    "여행",
    "친구",
    "가족",
    "운동",
    "요리",
    "책",
    "바다",
    "강아지",
    "날씨",
    "주말",
    "음식",
]
KIND = ["참 좋네요, 같이 해 봐요.", "정말 멋져요, 응원할게요!", "그랬군요, 힘드셨겠어요.", "천천히 해도 괜찮아요."]
RUDE = ["그걸 왜 나한테 물어.", "귀찮게 하지 마.", "알아서 하든가.", "관심 없다."]


def rigged(n, share, seed=1):
    """(pairs with `share` of the labels turned round, their row numbers)."""
    rng, pairs, turned = random.Random(seed), [], set()
    for i in range(n):
        kind, rude = (
            f"{rng.choice(NOUNS)} {rng.choice(NOUNS)} 이야기네요. {rng.choice(ends)}" for ends in (KIND, RUDE)
        )
        if rng.random() < share:
            turned.add(i)
            kind, rude = rude, kind
        prompt = f"{rng.choice(NOUNS)} 질문 {i}"
        pairs.append(SampledPair(i, f"a.jsonl:{i + 1}", "일상", prompt, kind, rude, hash64(prompt)))
    return pairs, turned


def test_ten_percent_turned_labels_are_found():
    pairs, turned = rigged(400, 0.1)
    found = flips.find(pairs, 1)
    suspicious = {pairs[i].row for i in np.flatnonzero(found.probability < flips.SUSPICIOUS)}
    assert len(suspicious & turned) / len(suspicious) > 0.8  # by chance it would be .1
    assert len(suspicious & turned) / len(turned) > 0.8
    assert found.figures["suspicious"] == len(suspicious) > 3 * found.figures["expected_by_chance"]
    assert found.figures["wrong_labels_estimated"] == pytest.approx(len(turned) / 400, abs=0.04)
    assert found.figures["accuracy"] == pytest.approx(1 - len(turned) / 400, abs=0.03)


def test_right_labels_are_not_suspected():
    found = flips.find(rigged(300, 0.0)[0], 1)
    assert found.figures["suspicious"] <= 2 and found.figures["wrong_labels_estimated"] < 0.02


def test_labels_by_chance_are_left_alone():
    found = flips.find(rigged(300, 0.5)[0], 1)
    assert found.figures["suspicious"] <= 6  # 2 %: nothing can be known of these pairs
    low, high = found.figures["ci95"]
    assert low < 0.5 < high


def test_pairs_of_one_prompt_are_judged_by_models_that_never_saw_it():
    """Answers of letters that no other prompt has: whoever saw the prompt knows its labels, whoever did not knows nothing."""
    pairs = [
        p._replace(prompt_hash=i % 30, chosen=chr(0xAC00 + i % 30) * 5, rejected=chr(0xB000 + i % 30) * 5)
        for i, p in enumerate(rigged(240, 0)[0])
    ]
    assert flips.find(pairs, 1).figures["accuracy"] == 0.5


def test_few_pairs_are_skipped_with_a_reason():
    assert flips.find(rigged(50, 0)[0], 1) == "50 pairs; at least 200 are needed"
    assert "1 different prompts" in flips.find([p._replace(prompt_hash=1) for p in rigged(200, 0)[0]], 1)


def test_fit_recovers_slope_and_lapses():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-3 * logits))  # what a label would be, if nobody slipped
    label = np.where(rng.random(20_000) < 0.1, ~right, right)
    slope, lapse = flips.fit(np.where(label, logits, -logits))
    assert slope == pytest.approx(3, rel=0.1) and lapse == pytest.approx(0.1, abs=0.01)


def test_the_calibration_adds_up():
    figures = flips.find(rigged(300, 0.1)[0], 1).figures
    assert sum(row["pairs"] for row in figures["calibration"]) == 300
    assert all(row["from"] <= row["claimed"] <= row["to"] for row in figures["calibration"])
