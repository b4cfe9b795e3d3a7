"""The check of friendliness: kindness, sense and speech level apart; each reason, and what must not set it off."""

import subprocess
import sys

import pytest

from korlhf.korean.friendly import is_looping, manner, manners, shares, unmasked
from korlhf.korean.morphemes import analyse


@pytest.mark.parametrize(
    "answer",
    [
        "많이 속상하셨겠어요. 따뜻한 차 한잔하며 쉬어 가세요!",
        "축하드립니다. 다음 이야기도 들려주시겠습니까?",
        "우와! 정말 잘됐네요.",
        "오늘도 수고했어요 😊",
        "푹 쉬고 내일 또 이야기하자 ^^",
        "준비물은 이렇습니다.\n1. 물통\n2. 모자\n3. 간식",
        "바보 같은 질문이란 없어요. 편하게 물어보세요.",
        "그 주제에 대해 함께 알아볼까요?",
        "전염병이 돌 때는 손을 자주 씻어 주세요.",
        "보호구를 꼭 갖추고 타세요.",
        "불이 꺼지면 차단기를 먼저 확인해 보세요.",
        "새끼손가락을 다치셨군요. 얼음을 대 보세요.",
        "그건 네 탓이 아니에요. 오늘은 유난히 긴 하루였지요?",
        "끝까지 제가 곁에서 도와드릴게요.",
        "누가 '멍청이'라고 해도 그 말에 기죽지 마세요.",
        "나머지는 제가 알아서 챙겨 드릴게요.",
        "좋아요!",
        "네.",
        "좋은 하루 되세요",
        "괜찮아, 다음에 잘하면 되지. 내가 옆에서 응원할게!",
        "어서 오게나. 먼 길 오느라 고생이 많았네.",
        "ㅋㅋㅋ 정말요? 저도 듣고 싶어요!",
        "Wi-Fi가 느리면 공유기를 다시 켜 보세요.",
    ],
)
def test_friendly_answers(answer):
    assert manner(answer).reasons == ()
    assert manner(answer).friendly


@pytest.mark.parametrize(
    "answer, reason",
    [
        ("", "empty"),
        ("   ", "empty"),
        ("그것도 모르시다니 정말 한심하네요.", "contempt"),
        ("너 바보야?", "contempt"),
        ("찐ㄸㅏ야 저리 가", "contempt"),
        ("시끄러우니 꺼져.", "abuse"),
        ("시@발 뭐라는 거야", "abuse"),
        ("알아서 하세요.", "cold"),
        ("저는 그쪽 사정에 관심 없습니다.", "cold"),
        ("귀찮게 하지 마세요.", "cold"),
        ("전부 본인 탓이에요.", "cold"),
        ("검색해 보면 되잖아요.", "cold"),
        ("그 정도도 못 하세요?", "cold"),
        ("가시든지 말든지요.", "cold"),
        ("누가 그런 걸 물어봤나요?", "cold"),
        ("그런 것까지 제가 챙겨야 합니까?", "cold"),
        ("I am fine, thank you 네요.", "not Korean"),
        ("どういたしまして。", "not Korean"),
        ("정말 정말 정말 좋아요.", "loop"),
        ("밥을 먹고 밥을 먹고 밥을 먹고 잤어요.", "loop"),
        ("1. 쉬기\n2. 쉬기\n3. 쉬기\n4. 쉬기", "loop"),
        ("저는 오늘 시장에서 사과와", "incomplete"),
        ("먼저 물을 끓이고 면을 넣으", "incomplete"),
        ("거지도 켜릴 땀 봐라 보세요 그 힘\ufffd", "broken characters"),
        ("ㅇㅏㄴㄴㅕㅇ ㅎㅏㅅㅔ요", "broken characters"),
        ("책상 를 마시고 은 구름에서 가 뛰었습니다.", "salad"),
        ("뷁쉙 궳뫪 뛟쳁 됍니다.", "salad"),
    ],
)
def test_unfriendly_answers_give_the_reason(answer, reason):
    found = manner(answer)
    assert not found.friendly
    assert reason in found.reasons


@pytest.mark.parametrize(
    "answer, level, polite",
    [
        ("반가워요. 잘 지내셨죠?", "haeyo", True),
        ("반갑습니다. 잘 지내셨습니까?", "hapsyo", True),
        ("반갑습니다. 어서 와요. 편히 앉아요.", "haeyo", True),
        ("반가워. 잘 지냈어?", "banmal", False),
        ("반가워. 잘 지내셨어요?", "mixed", False),
        ("사과, 배, 포도", "none", False),
    ],
)
def test_the_speech_level_is_told_and_not_judged(answer, level, polite):
    found = manner(answer)
    assert (found.level, found.polite, found.friendly) == (level, polite, True)


def test_kindness_and_sense_are_apart():
    rude, broken = manner("알아서 하세요."), manner("고마워요 고마워요 고마워요")
    assert rude.sense and not rude.friendly
    assert not broken.sense and not broken.friendly
    assert shares([rude, broken, manner("고마워요."), manner("고마워.")]) == {
        "friendly": 0.5,
        "sense": 0.75,
        "polite": 0.75,
    }


def test_many_at_once_are_the_same_as_one_by_one():
    answers = ["고마워요.", "알아서 해라.", "", "고마워요.", "구름 를 마셔요"]
    assert manners(answers) == [manner(answer) for answer in answers]


def test_what_hides_a_word_is_taken_off():
    assert unmasked("꺼.져") == "꺼져" and unmasked("ㄸㅏ") == "따" and unmasked("시이이발") == "시발"
    assert unmasked("나아가요. 좋아요!") == "나가요. 좋아요!"  # only ever looked up, never shown


def test_an_analysis_tells_what_is_known_and_how_probable_it_is():
    (good, bad) = analyse(["물을 천천히 마셔 보세요.", "쀍뷁 훿뉅 꿻쭯"])
    assert [one.said for one in good.morphemes][:3] == ["물/NNG", "을/JKO", "천천히/MAG"]
    assert all(one.known for one in good.morphemes) and not any(one.known for one in bad.morphemes)
    assert bad.per_morpheme < -15 < -7 < good.per_morpheme < 0
    assert analyse([""])[0].per_morpheme == 0


def test_kiwi_and_korcen_are_loaded_at_the_first_answer_and_leave_the_streams_alone():
    code = (
        "import sys; import korlhf.korean.friendly as f; assert not {'kiwipiepy', 'korcen'} & set(sys.modules);"
        "out = sys.stdout; assert f.manner('고마워요.').friendly; assert 'korcen' in sys.modules and sys.stdout is out"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_looping_counts_adjacent_repeats_and_distinct_pairs():
    assert not is_looping("네, 네, 좋아요.")  # twice is not a loop
    assert is_looping("네, 네, 네, 좋아요.")
    # word pairs: ab ba ab bc ca ab ba -> 4 distinct of 7 is over one half; two more ab push it to 4 of 9
    assert not is_looping("가 나 가 나 다 가 나 가")
    assert is_looping("가 나 가 나 다 가 나 가 나 다")
