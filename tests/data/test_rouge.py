"""ROUGE-L by hand and by a plain longest common subsequence; the pool finds what comparing everything finds."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data.rouge import Pool, rouge_l, spread

LETTERS = st.text(alphabet="가나다라마 ", max_size=14)


def lcs(a, b):
    """Length of the longest common subsequence by the textbook table."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def by_hand(a, b):
    a, b = ("".join(unicodedata.normalize("NFC", t).split()) for t in (a, b))
    return 2 * lcs(a, b) / (len(a) + len(b)) if a or b else 1.0


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ("가나다라", "가나다라", 1.0),
        ("가나다라", "마바사아", 0.0),
        ("가나다라", "가다", 2 * 2 / 6),  # 가다 is a subsequence, though no substring
        ("가나다", "다나가", 2 * 1 / 6),  # order counts
        ("저녁 뭐 먹을까", "저녁뭐먹을까", 1.0),  # spacing does not
        ("저녁에 뭐 먹을까?", "점심에 뭐 먹을까?", 2 * 6 / 16),  # 에뭐먹을까?
        ("가", unicodedata.normalize("NFD", "가"), 1.0),
        ("", "가", 0.0),
    ],
)
def test_rouge_l_by_hand(a, b, expected):
    assert rouge_l(a, b) == pytest.approx(expected) == rouge_l(b, a)


def test_a_score_on_the_threshold_is_on_it():
    assert rouge_l("가나다라마바사아자차", "가나다라마바사하호후") == 0.7  # 2 * 7 / 20
    assert rouge_l("가나다라마바사아자차", "가나다라마바사아자후") == 0.9


@settings(max_examples=200, deadline=None)
@given(LETTERS, LETTERS)
def test_rouge_l_is_the_textbook_table(a, b):
    assert rouge_l(a, b) == pytest.approx(by_hand(a, b))


@settings(max_examples=200, deadline=None)
@given(st.lists(LETTERS, max_size=40), LETTERS, st.integers(0, 5))
def test_the_nearest_is_that_of_comparing_everything(texts, text, left_out):
    but = texts[:left_out]
    names = {"".join(t.split()) for t in but}
    scores = [by_hand(t, text) for t in texts if t.strip() and "".join(t.split()) not in names]
    score, found = Pool(texts).nearest(text, but)
    assert score == pytest.approx(max(scores, default=0.0) if text.strip() else 0.0)
    if score:
        assert found in texts and by_hand(found, text) == pytest.approx(score) and "".join(found.split()) not in names


def test_a_pool_grows_and_keeps_each_text_once():
    pool = Pool()
    assert pool.nearest("가나다") == (0.0, "") and len(pool) == 0
    pool.add("가나 라마")
    pool.add("가나라마")
    pool.add("  ")
    assert len(pool) == 1
    assert pool.nearest("가나다라") == (pytest.approx(2 * 3 / 8), "가나 라마")
    pool.add("가나다라")
    assert pool.nearest("가나다라") == (1.0, "가나다라")
    assert pool.nearest("가나다라", but=["가 나다라", "없는 글"]) == (pytest.approx(2 * 3 / 8), "가나 라마")
    assert pool.nearest("하호후") == (0.0, "")


def test_spread_counts_in_tenths():
    found = spread([0.0, 0.05, 0.1, 0.69, 0.95, 1.0])
    assert found["n"] == 6 and found["mean"] == pytest.approx(2.79 / 6, abs=1e-4)
    assert list(found["bins"].values()) == [2, 1, 0, 0, 0, 0, 1, 0, 0, 2] and list(found["bins"])[::9] == ["0.0", "0.9"]
    assert spread([])["mean"] is None
