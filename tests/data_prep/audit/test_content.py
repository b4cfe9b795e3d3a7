"""What is reported of a text, and the look-alikes that are not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data_prep.audit import content
from korlhf.korean.friendly import is_looping

# All numbers are invented; the checksum by hand, of 900101-123456?:
# 2*9+3*0+4*0+5*1+6*0+7*1+8*1+9*2+2*3+3*4+4*5+5*6 = 124, (11 - 124 % 11) % 10 = 8
RESIDENT = "900101-1234568"
FOREIGNER = "900101-5234560"  # 5 in place of 1: the sum is 156, (13 - 156 % 11) % 10 = 1 - see the test


def kinds(find, text):
    return [s.what for s in find(text)]


@pytest.mark.parametrize(
    "text",
    [
        "저는 AI 언어 모델이기 때문에 취향이 없어요.",
        "AI 언어 모델로서 저는 답할 수 없습니다.",
        "제가 인공지능 어시스턴트라서요.",
        "인공지능인 저는 여행을 못 가요.",
        "저는 인공 지능으로서 도와드려요.",
        "저는 농담을 좋아하는 AI 언어 모델이며 감정이 없어요.",
        "저는 챗봇입니다.",
        "전 AI라서 밥을 못 먹어요.",
        "저는 실제 사람이 아닙니다.",
        "저는 OpenAI에서 만든 모델이에요.",
        "As an AI language model, I cannot eat.",
        "I'm an AI assistant.",
        "I am just a language model.",
    ],
)
def test_self_descriptions(text):
    assert len(content.find_self_descriptions(text)) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "저는 인공지능을 공부하고 있어요.",
        "요즘 AI 기술이 정말 빨라요.",
        "언어 모델이라는 게 뭐예요?",
        "저는 챗봇이라는 말을 처음 들었어요.",
        "인공지능으로 그림을 그려요.",
        "저는 그런 사람이 아니에요.",
        "전 세계에서 가장 큰 언어 모델이며 영국에서 나왔어요.",
        "인공지능으로서의 가치를 따져요.",
        "인공지능인 저녁노을 그림",
        "I work as an AI engineer.",
        "AI 비서를 사고 싶어요.",
    ],
)
def test_artificial_intelligence_as_a_topic_is_no_self_description(text):
    assert content.find_self_descriptions(text) == []


@pytest.mark.parametrize(
    "text, what",
    [
        ("네.\n### 응답:\n좋아요", ["heading"]),
        ("### Response:", ["heading"]),
        ("아래는 작업을 설명하는 명령어입니다.", ["preamble"]),
        ("#새로운 질문#\n봄은 언제예요?", ["evolution"]),
        ("좋아요.\nHuman: 왜요?\nAssistant: 네", ["speaker", "speaker"]),
        ("사용자: 네?", ["speaker"]),
        ("## 준비물\n- 물", []),
        ("응답: 없음", []),
        ("`### 응답:`이라고 쓰세요.", []),
        ("Human이 뭐예요?", []),
    ],
)
def test_template_markers(text, what):
    assert kinds(content.find_template_markers, text) == what


@pytest.mark.parametrize(
    "text, what",
    [
        (f"제 번호는 {RESIDENT}예요.", ["resident registration number"]),
        ("9001011234568", ["resident registration number"]),
        ("210101-3456789", ["resident registration number"]),
        ("번호는 010-2345-6789입니다", ["phone number"]),
        ("+82 10-2345-6789", ["phone number"]),
        ("01023456789", ["phone number"]),
        ("02-345-6789", ["phone number"]),
        ("4111 1111 1111 1111로 결제", ["card number"]),
        ("4111111111111111", ["card number"]),
        ("3782-822463-10005", ["card number"]),
        ("minsu.kim@mail.co.kr로 보내요", ["e-mail"]),
        # look-alikes: a wrong checksum, no such day, a sum, a version, a date, a hotline, an account, a decorator
        ("900101-1234567", []),
        ("901301-1234567", []),
        ("4111 1111 1111 1112", []),
        ("1,234,567,890,123", []),
        ("0000 0000 0000 0000", []),
        ("1588-1234", []),
        ("2023-01-01-1234", []),
        ("3.14159265358979323846", []),
        ("git@github.com", []),
        ("@property", []),
        ("100010001000", []),
        ("112에 신고해요", []),
        ("1234567890123456789012", []),
    ],
)
def test_personal_data(text, what):
    assert kinds(content.find_personal, text) == what


def test_the_number_of_a_foreigner_has_its_own_checksum():
    # 2*9+3*0+4*0+5*1+6*0+7*1+8*5+9*2+2*3+3*4+4*5+5*6 = 156; (13 - 156 % 11) % 10 = (13 - 2) % 10 = 1
    assert kinds(content.find_personal, "900101-5234561") == ["resident registration number"]
    assert kinds(content.find_personal, FOREIGNER) == []


def test_masking_keeps_the_length_and_hides_the_number():
    masked = content.mask_personal(f"번호 {RESIDENT}, 전화 010-2345-6789, minsu@mail.kr")
    assert masked == "번호 900***-*******, 전화 010-****-****, min**@****.**"


@pytest.mark.parametrize(
    "text, what",
    [
        ("좋\ufffd아요", ["replacement character"]),
        ("占쏙옙", ["replacement character"]),
        ("ì•ˆë…• 하세요", ["UTF-8 as Latin-1"]),
        ("¾È³çÇÏ¼¼¿ä", ["EUC-KR as Latin-1"]),
        ("\ue001", ["private use"]),
        ("café, Ärger, ¿qué?, ½, 25°C, «예»", []),
        ("漢字 ① ㅋㅋ 😀", []),
    ],
)
def test_mojibake(text, what):
    assert kinds(content.find_mojibake, text) == what


def test_mojibake_as_python_makes_it():
    assert "안녕".encode().decode("latin-1") != "안녕"
    assert kinds(content.find_mojibake, "안녕하세요".encode().decode("latin-1"))[0] == "UTF-8 as Latin-1"
    assert kinds(content.find_mojibake, "안녕하세요".encode("cp949").decode("latin-1")) == ["EUC-KR as Latin-1"]


@pytest.mark.parametrize(
    "text, share",
    [("가나다라마바사아자차", 1.0), ("가나다라마 abcde", 0.5), ("짧다 ok", None), ("12345 67890 !!!", None)],
)
def test_share_of_hangul(text, share):
    assert content.hangul_share(text) == share


def test_code_and_addresses_do_not_count_as_language():
    assert (
        content.hangul_share("이렇게 출력하면 될 것 같아요:\n```python\nprint('hello world, how are you')\n```") == 1.0
    )
    assert content.hangul_share("여기서 받으시면 됩니다: https://example.com/a/very/long/address") == 1.0
    assert content.hangul_share("이 함수는 제곱을 돌려줘요.\ndef square(number):\n    return number * number") == 1.0


@pytest.mark.parametrize(
    "text, cut",
    [
        ("꿈을 꾸는 것은 좋아요. 하지만 매일 연습을 하는 것이 정말", ["after a word"]),
        ("좋은 곳이 많아요. 예를 들면 부산, 제주,", ["after a comma or bracket"]),
        ("좋은 곳이 많아요. 저는 부산이 제일 좋았어요", []),
        ("좋은 곳이 많아요. 저는 부산이 제일 좋다고 봐요.", []),
        ("준비물은 이거예요.\n1. 따뜻한 물\n2. 깨끗한 수건", []),
        ("좋은 곳이 많아요 부산 그리고 제주", []),
        ("그래요. 넵 ㅋㅋ", []),
        ("실행해 보세요. 결과는 이래요.\n```\n가 나 다\n```", []),
        ("길이는 대략 0.5 미터", []),
    ],
)
def test_answers_that_stop_in_mid_sentence(text, cut):
    assert kinds(content.find_cut, text) == cut


@pytest.mark.parametrize(
    "text",
    [
        "좋아요 좋아요 좋아요 네",
        "저는 갔어요 저는 갔어요 저는 갔어요",
        "아니라아니라아니라고요",
        "가 나 가 나 다 가 나 가 나",
        "가 나 다 라",
        "네",
        "",
        "가 가",
    ],
)
def test_loops_are_those_of_friendly(text):
    assert bool(content.find_loops(text)) == is_looping(text)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["가", "나", "다", "라", "마.", "바,", "사아사아사아", ","]), max_size=24).map(" ".join)
)
def test_loops_are_those_of_friendly_on_any_words(text):
    assert bool(content.find_loops(text)) == is_looping(text)


def test_the_spot_of_a_loop_covers_the_repetition():
    text = "저는 정말 정말 정말 좋아요. 오늘 날씨가 맑네요."
    (spot,) = content.find_loops(text)
    assert text[spot.start : spot.end] == "정말 정말 정말"


def test_tables_and_code_do_not_loop():
    assert content.find_loops("표예요.\n| 이름 | 나이 | 키 |\n| --- | --- | --- |\n| 가 | 나 | 다 |") == []
    assert content.find_loops("코드예요.\n```\n0 0 0 0 0 0\n```\n어때요?") == []


def test_leftover_marks_have_their_place():
    text = "name1 씨는 username1을 쓰나요? name1 씨."
    assert [(s.start, text[s.start : s.end]) for s in content.find_marks(text)] == [(0, "name1"), (25, "name1")]
