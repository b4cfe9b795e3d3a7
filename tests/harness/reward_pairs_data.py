"""Pairs of answers that are told apart by length alone, or by a mark that the prompt asks for."""

import random

from korlhf.data.example import Example
from korlhf.eval import reward

WORDS = [
    "오늘",
    "날씨",
    "산책",
    "저녁",
    "친구",
    "책",
    "영화",
    "음악",
    "바다",
    "커피",
    "여행",
    "운동",
    "공부",
    "요리",
    "주말",
    "아침",
    "사진",
    "그림",
    "노래",
    "가족",
    "꽃",
    "나무",
    "비",
    "눈",
    "바람",
    "시장",
    "버스",
    "기차",
    "공원",
    "학교",
]


def text(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def by_length(n, longer=0.85, seed=1):
    """Pairs of which the longer answer is the better one in this share; nothing else tells them apart."""
    rng = random.Random(seed)
    rows = [
        {
            "prompt": f"{i}번 질문: {text(rng, 6)}",
            "chosen": text(rng, rng.randint(12, 20)),
            "rejected": text(rng, rng.randint(3, 9)),
        }
        for i in range(n)
    ]
    return [
        r if i < longer * n else {**r, "chosen": r["rejected"], "rejected": r["chosen"]} for i, r in enumerate(rows)
    ]


def by_mark(n, seed=2):
    """Pairs that only matches_marks can tell: the better answer has the mark that the prompt asks for."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        asked = rng.choice([("◆", "●", "○"), ("◇", "○", "●")])
        rows.append(
            {
                "prompt": f"{asked[0]} {i}번 질문: {text(rng, 6)}",
                "chosen": f"{asked[1]} {text(rng, rng.randint(3, 15))}",
                "rejected": f"{asked[2]} {text(rng, rng.randint(3, 15))}",
                "category": "everyday" if i % 3 else "evol",
            }
        )
    return rows


def pairs_of(*examples):
    """reward.Pairs of (prompt, answers best first, category)."""
    made = [Example(({"role": "user", "content": p},), tuple(answers), category) for p, answers, category in examples]
    return reward.all_pairs(made, [e.prompt for e in made])
