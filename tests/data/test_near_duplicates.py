"""Near-same texts: against brute force, on invented sentences."""

import random
import unicodedata
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data import near_duplicates as near
from korlhf.data.split import normalise

# fmt: off
WORDS = [
    "오늘", "어제", "내일", "친구가", "동생이", "엄마가", "회사에서", "학교에서", "집에서", "점심을", "저녁을",
    "커피를", "책을", "영화를", "먹었어요", "마셨어요", "읽었어요", "봤어요", "좋아해요", "싫어해요", "어떻게", "왜",
    "언제", "같이", "혼자", "천천히", "빨리", "조금", "많이", "정말", "여행을", "가고", "싶은데", "추천해", "주세요",
    "날씨가", "추워서", "감기에", "걸렸어요",
]
# fmt: on


def sentences(n, seed, words=(6, 14)):
    """Invented sentences, every other one a changed copy of the one before."""
    draw = random.Random(seed)
    out = []
    for _ in range(n // 2):
        said = [draw.choice(WORDS) for _ in range(draw.randint(*words))]
        out.append(" ".join(said))
        for _ in range(draw.randint(0, 3)):
            said[draw.randrange(len(said))] = draw.choice(WORDS)
        out.append(" ".join(said))
    return out


def brute_force(texts, threshold):
    """Groups by comparing every two texts."""
    keys = [normalise(t) for t in texts]
    sets = [{k[i : i + 3] for i in range(len(k) - 2)} for k in keys]
    group = list(range(len(texts)))
    for i, j in combinations(range(len(texts)), 2):
        long = min(len(keys[i]), len(keys[j])) >= near.SHORTEST
        if keys[i] == keys[j] or long and len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j]):
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if g == old else g for g in group]
    numbers = {}
    return [numbers.setdefault(g, len(numbers)) for g in group]


def test_jaccard_by_hand():
    # 가나다라마: 가나다 나다라 다라마; 가나다라바: 가나다 나다라 다라바; two of four
    assert near.jaccard(near.grams("가나다라마"), near.grams("가나다라바")) == 0.5
    assert (
        near.jaccard(near.grams("가"), near.grams("나")) == 1.0
    )  # both without a 3-gram; `groups` compares such by equality


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_groups_are_those_of_brute_force(threshold):
    texts = sentences(600, seed=1)
    assert near.groups(texts, threshold) == brute_force(texts, threshold)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS[:5]), min_size=1, max_size=7).map(" ".join), max_size=12),
    st.sampled_from([0.4, 0.8, 1.0]),
)
def test_groups_of_any_texts(texts, threshold):
    assert near.groups(texts, threshold) == brute_force(texts, threshold)


def test_numbers_follow_the_first_occurrence():
    assert near.groups(
        [
            "주말에 뭐 하고 지내세요?",
            "가장 좋아하는 계절은 무엇인가요?",
            "주말에  뭐하고 지내세요",
            "가장 좋아하는 계절은 무엇인가요",
        ]
    ) == [0, 1, 0, 1]


def test_a_chain_is_one_group():
    base = "저는 아침마다 공원에서 달리기를 하는데 오늘은 비가 와서 못 나갔어요"
    texts = [base, base + " 그래서요", base + " 그래서요 정말요"]
    sets = [near.grams(normalise(t)) for t in texts]
    assert near.jaccard(sets[0], sets[1]) > 0.85 and near.jaccard(sets[1], sets[2]) > 0.85 > near.jaccard(
        sets[0], sets[2]
    )
    assert near.groups(texts, 0.85) == [0, 0, 0]


def test_short_texts_only_when_equal():
    assert len(normalise("밥 먹었어요?")) < near.SHORTEST
    assert near.groups(["밥 먹었어요?", "밥먹었어요", "밥 먹었나요?", "", " "]) == [0, 0, 1, 2, 2]
    # one of 8 characters, one of 7: five of six 3-grams are shared
    assert near.groups(["가나다라마바사아", "가나다라마바사"], 0.8) == [0, 1]


def test_no_texts_and_equal_texts():
    assert near.groups([]) == []
    assert near.groups(iter(["같은 말을 여러 번 하고 있어요"] * 5)) == [0] * 5


def test_text_of_every_kind():
    decomposed = unicodedata.normalize("NFD", "자모로 나뉜 한국어 문장")
    odd = [
        "😀" * 9,
        "😀" * 10,
        "\ud800 반쪽짜리 글자가 들어 있는 글",
        decomposed,
        "자모로 나뉜 한국어 문장",
        "a" * 20000,
    ]
    assert near.groups(odd) == [0, 0, 1, 2, 2, 3]  # runs of one character have one 3-gram


def test_estimates_are_near_the_truth():
    texts = sentences(400, seed=2)
    signatures = near.Signatures(texts, 0.3)
    found = {(i, j): estimate for i, j, estimate in signatures.pairs()}
    assert len(found) > 150
    exact = {p: near.jaccard(*(near.grams(normalise(texts[i])) for i in p)) for p in found}
    errors = np.array([found[p] - exact[p] for p in found if exact[p] < 1])
    assert abs(errors.mean()) < 0.03 and errors.std() < 0.06  # one estimate: at most sqrt(.25 / 128) = .044


def test_pairs_name_equal_texts_once_with_their_first():
    texts = [
        "오늘은 뭐 하고 지냈어요?",
        "좋아하는 노래가 있으면 알려 주세요",
        "오늘은 뭐하고 지냈어요",
        "오늘은 뭐 하고 지냈어요!!",
    ]
    signatures = near.Signatures(texts)
    assert len(signatures) == 4
    assert list(signatures.pairs()) == [(0, 2, 1.0), (0, 3, 1.0)]


def test_pairs_by_estimate_give_the_groups_of_the_stream():
    texts = sentences(500, seed=3)
    signatures = near.Signatures(iter(texts))
    group = list(range(len(texts)))
    for i, j, _ in signatures.pairs():
        assert i < j
        group = [group[i] if g == group[j] else g for g in group]
    numbers = {}
    assert signatures.groups() == [numbers.setdefault(g, len(numbers)) for g in group]


def test_a_crowd_that_shares_a_long_frame(monkeypatch):
    monkeypatch.setattr(near, "CROWD", 8)  # so that 400 texts are a crowd
    frame = "다음 문장을 읽고 분위기를 살려서 자연스러운 영어로 옮겨 주세요. 설명은 쓰지 마세요. "
    texts = [frame + s for s in sentences(400, seed=4, words=(10, 14))]
    expected = brute_force(texts, 0.9)
    assert 100 < len(set(expected)) < 400
    found = near.groups(texts, 0.9)
    same = [(i, j) for i, j in combinations(range(400), 2) if expected[i] == expected[j]]
    assert sum(found[i] == found[j] for i, j in same) > 0.97 * len(same)
    assert all(expected[i] == expected[j] for i, j in combinations(range(400), 2) if found[i] == found[j])


def test_a_crowd_of_near_same_texts_is_one_group(monkeypatch):
    monkeypatch.setattr(near, "CROWD", 8)
    texts = [
        f"제 전화기 화면이 갑자기 꺼졌는데 어디에 맡겨야 할지 모르겠어요. 접수 번호는 {i}번이에요." for i in range(300)
    ]
    assert set(near.groups(texts, 0.8)) == {0}
    signatures = near.Signatures(texts, 0.8)
    assert sum(1 for _ in signatures.pairs()) < 300 * 300 / 4  # not all pairs


def test_a_batch_boundary_does_not_matter(monkeypatch):
    texts = sentences(300, seed=5)
    whole = near.groups(texts)
    monkeypatch.setattr(near, "BATCH_TEXTS", 7)
    monkeypatch.setattr(near, "BLOCK", 16)
    assert near.groups(texts) == whole


def test_a_signature_is_the_minimum_over_the_3_grams():
    a, b = "아침에 일찍 일어났어요", "저녁에 늦게 잠들었어요"
    first, second = near._sign([a, b]).astype(int)
    assert (first == near._sign([a])[0]).all()  # whatever else is in the batch
    assert (first != second).mean() > 0.8
    inner = near._sign(["일찍 일어났어요"])[0].astype(int)  # all of its 3-grams are among those of a
    shared = len(near.grams("일찍 일어났어요")) / len(near.grams(a))
    assert (inner == first).mean() == pytest.approx(shared, abs=0.15)


@pytest.mark.parametrize("threshold, rows", [(0.8, 5), (0.5, 2), (1.0, 128)])
def test_band_size(threshold, rows):
    # .8: 1 - (1 - .8^5)^25 = .99995, with 6 rows 1 - (1 - .8^6)^21 = .9983; .5: 1 - (1 - .5^3)^42 = .9963 falls short
    assert near.band_size(threshold) == rows


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan")])
def test_a_threshold_that_cannot_be(threshold):
    with pytest.raises(ValueError, match="threshold"):
        near.groups(["글"], threshold)
