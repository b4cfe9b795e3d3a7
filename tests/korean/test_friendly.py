import pytest

from korlhf.korean.friendly import friendly, is_looping
from korlhf.korean.speech_level import is_polite


@pytest.mark.parametrize(
    "answer",
    [
        "많이 속상하셨겠어요. 따뜻한 차 한잔하며 쉬어 가세요!",
        "축하드립니다. 다음 이야기도 들려주시겠습니까?",
        "우와! 정말 잘됐네요.",  # one fragment among polite sentences
        "불이 꺼지면 차단기를 먼저 확인해 보세요.",
        "그건 네 탓이 아니에요. 오늘은 유난히 긴 하루였지요?",
        "끝까지 제가 곁에서 도와드릴게요.",
        "이 주제를 함께 살펴볼까요?",
        "좋은 하루 되세요",  # no mark, but a final ending
    ],
)
def test_friendly_answers(answer):
    assert friendly(answer) == (True, ())


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("", "empty"),
        ("   ", "empty"),
        ("그냥 네가 찾아봐.", "impolite"),
        ("좋아. 나도 갈래.", "impolite"),
        ("그것도 모르시다니 정말 한심하네요.", "abuse"),
        ("시끄러우니 꺼져.", "impolite"),
        ("알아서 하세요.", "dismissive"),
        ("저는 관심 없습니다.", "dismissive"),
        ("귀찮으니 다음에 물어보세요.", "dismissive"),
        ("전부 본인 탓이에요.", "dismissive"),
        ("네.", "too short"),
        ("I am fine, thank you 네요.", "not Korean"),
        ("정말 정말 정말 좋아요.", "loop"),
        ("밥을 먹고 밥을 먹고 밥을 먹고 잤어요.", "loop"),
        ("하하하하하하 그래요.", "loop"),
        ("저는 오늘 시장에서 사과와", "incomplete"),
    ],
)
def test_unfriendly_answers_give_the_reason(answer, reason):
    ok, reasons = friendly(answer)
    assert not ok
    assert reason in reasons


def test_polite_allows_one_impolite_sentence_of_several():
    assert is_polite("저런. 많이 놀라셨지요?")
    assert not is_polite("저런. 세상에. 많이 놀라셨지요?")
    assert not is_polite("저런.")
    assert not is_polite("...")


def test_looping_counts_adjacent_repeats_and_distinct_pairs():
    assert not is_looping("네, 네, 좋아요.")  # twice is not a loop
    assert is_looping("네, 네, 네, 좋아요.")
    # word pairs: ab ba ab bc ca ab ba -> 4 distinct of 7 is over one half; two more ab push it to 4 of 9
    assert not is_looping("가 나 가 나 다 가 나 가")
    assert is_looping("가 나 가 나 다 가 나 가 나 다")
