import pytest

from korlhf.korean.speech_level import polite_word
from korlhf.korean.trivial_rules import accuracy, best_trivial_rules, trivial_rules

LONGER_WINS = [("질문", "아주 긴 대답", "답"), ("질문", "꽤 긴 대답", "답"), ("질문", "짧다", "이쪽이 더 길다")]


@pytest.mark.parametrize(
    "word, polite",
    [
        ("좋아요", True),
        ("그렇죠", True),
        ("합니다", True),
        ("입니까", True),
        ("하십시오", True),
        ("그러니까", False),
        ("아니다", False),
        ("좋아", False),
        ("니다", False),
        ("", False),
    ],
)
def test_polite_word(word, polite):
    assert polite_word(word) is polite


def test_accuracy_counts_a_tie_as_one_half():
    longer = trivial_rules(LONGER_WINS)["longer"]
    assert longer("질문", "가나", "다라") is None
    assert accuracy(longer, LONGER_WINS) == pytest.approx(2 / 3)
    assert accuracy(longer, [("질문", "가나", "다라"), ("질문", "가나다", "가")]) == pytest.approx(0.75)


def test_direction_comes_from_training_pairs_not_from_test_pairs():
    shorter_wins = [(prompt, rejected, chosen) for prompt, chosen, rejected in LONGER_WINS]
    assert "longer" in trivial_rules(LONGER_WINS) and "shorter" not in trivial_rules(LONGER_WINS)
    assert "shorter" in trivial_rules(shorter_wins)
    # trained on "longer wins", tested where shorter wins twice of three: .333, not max(.333, .667)
    assert best_trivial_rules(LONGER_WINS, shorter_wins)["longer"] == pytest.approx(1 / 3)


def test_each_surface_rule():
    train = [("산에 가요", "산에 가요? 네, 좋아요! 가요~ ", "응")]
    rules = trivial_rules(train)
    better = {
        "longer",
        "more !",
        "more ?",
        "more ~",
        "more ,",
        "trailing space",
        "ends with punctuation",
        "polite ending",
        "more sentences",
        "more overlap with the prompt",
    }
    assert better <= set(rules)
    for name in better:
        assert rules[name](*train[0]) is True
    assert rules["more ."](*train[0]) is None


def test_single_word_and_last_syllable():
    train = [("ㄱ", "정말 좋네", "싫어"), ("ㄴ", "정말 가자", "그래 해"), ("ㄷ", "정말 그래", "그래 해")]
    rules = trivial_rules(train)
    assert "word 정말" in rules  # 3 of 3; 그래 separates one pair only
    assert rules["word 정말"]("ㄹ", "정말, 고마워", "고마워") is True
    assert rules["word 정말"]("ㄹ", "정말로", "고마워") is None  # the eojeol, not a part of one
    assert "no last syllable 해" in rules
    assert rules["no last syllable 해"]("ㄹ", "좋아", "그만해.") is True
