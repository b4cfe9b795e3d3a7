"""What is cleaned out of a text, and what must stay as it is."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.data_prep.audit.cleaning import CLEANED, clean

EOS = "<|endoftext|>"
FAMILY = "👨\u200d👩\u200d👧"
PLANTED = [  # kind, text, what is found, the text cleaned
    ("special_token", f"네, 좋아요.{EOS}", [EOS], "네, 좋아요."),
    ("special_token", f"네, 좋아요.{EOS}\n{EOS} ", [EOS, EOS], "네, 좋아요."),
    ("special_token", "반가워요</s>", ["</s>"], "반가워요"),
    ("special_token", "<s> 반가워요 </s>", ["<s>", "</s>"], "반가워요"),
    ("special_token", "반가워요</s>또 봐요", ["</s>"], "반가워요또 봐요"),
    ("special_token", "네<|im_end|> 그래요<eos>", ["<|im_end|>", "<eos>"], "네 그래요"),
    ("special_token", "그래요<end_of_turn>", ["<end_of_turn>"], "그래요"),
    ("special_token", "그래요[|endofturn|]", ["[|endofturn|]"], "그래요"),
    ("special_token", "[CLS] 그래요 [SEP]", ["[CLS]", "[SEP]"], "그래요"),
    ("special_token", f"```python\nprint(1){EOS}", [EOS], "```python\nprint(1)"),
    ("special_token", "네 <|im_end|> 그래요", ["<|im_end|>"], "네 그래요"),
    ("special_token", "<|endof<|im_end|>text|>네", ["<|im_end|>"], "네"),
    ("invisible", "안\u200b녕하세요", ["U+200B"], "안녕하세요"),
    ("invisible", "\ufeff안녕하세요\u2060", ["U+FEFF", "U+2060"], "안녕하세요"),
    ("invisible", "안녕\u200d하세요", ["U+200D"], "안녕하세요"),
    ("invisible", "네\u3164 좋아\u00ad요\u202e", ["U+3164", "U+00AD", "U+202E"], "네 좋아요"),
    ("control", "안녕\x00하세요\x1f", ["U+0000", "U+001F"], "안녕하세요"),
    ("control", "첫째\u2028둘째", ["U+2028"], "첫째\n둘째"),
    ("control", "안녕\ud83d", ["U+D83D"], "안녕"),
    ("carriage_return", "첫째\r\n둘째\r셋째", ["CR LF", "CR"], "첫째\n둘째\n셋째"),
    ("trailing_space", "네, 좋아요. ", ["one space"], "네, 좋아요."),
    ("trailing_space", f"네, 좋아요. {EOS}", ["one space"], "네, 좋아요."),
    ("trailing_space", "네, 좋아요.\n\n", ["line end"], "네, 좋아요."),
    ("leading_space", "  네, 좋아요.", ["spaces"], "네, 좋아요."),
    ("leading_space", "\n    a = 1\n    b = 2", ["line end"], "    a = 1\n    b = 2"),
    ("doubled_space", "저는  어제 갔어요.   좋았어요", ["2 spaces", "3 spaces"], "저는 어제 갔어요. 좋았어요"),
    ("doubled_space", "음식은 \u00a0맛있어요", ["2 spaces"], "음식은 맛있어요"),
    ("doubled_space", "- 저는  갔어요", ["2 spaces"], "- 저는 갔어요"),
    ("not_nfc", unicodedata.normalize("NFD", "좋아요") + " 네", ["decomposed Hangul"], "좋아요 네"),
    ("not_nfc", "cafe\u0301", ["other"], "café"),
]
LEGITIMATE = [
    "정답은 next",
    "ㅋㅋㅋ ㅠㅠ 정말요?",
    f"가족이에요 {FAMILY}!",
    "멋져요 👍🏽 ❤️ 🏳️\u200d🌈 👩🏽\u200d⚕️",
    "漢字와 日本語, English도 섞어요.",
    "café, naïve, ½, 1~2시, 월~금",
    "a  = 1",
    "x = 1  # 하나",
    "if a < b and c > d:",
    "배열 [0]과 [i:j], [이름] 님께",
    "<b>굵게</b> <br> <padding>",
    "<s>취소한 말</s>을 지웠어요.",
    "2 < 3 > 1",
    "1.  첫째는 이거예요",
    "목록:\n  - 안쪽  목록",
    "`<|endoftext|>` 토큰을 설명할게요.",
    "`a  b`는 그대로예요.",
    "```\nif x:\n    y  = 가  나\n```",
    "값은 `[SEP]` 뒤에 있어요.",
    "이름    나이\n민수    스물",
    "| 이름  | 나이 |",
    "문장을 [SEP] 토큰으로 나눠요.",
    "print(가)  # 출력",
    "int a;  // 정수 가",
    "He said so.  Then he left.",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 잉글랜드",
    "نمی\u200cخواهم",
    "\u200fשלום",
    "क्\u200dष",
    "① ② ㎏ ℃ “따옴표” …",
]
PIECES = [
    *" \n\t\r가나다abc.,`#|<>[]=~1",
    "  ",
    EOS,
    "</s>",
    "<s>",
    "[SEP]",
    "\u200b",
    "\u200d",
    "👩",
    "⚕",
    "\ufe0f",
    "\x00",
    "\u2028",
    "\u1112",
    "\u1161",
    "\u11ab",
    "e\u0301",
    "```",
    "~~~\n",
    "\ud800",
    "\u00a0",
    "<|",
    "|>",
    "\u3164",
    "\u202e",
    "ש",
]
SOME_TEXT = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@pytest.mark.parametrize("kind, text, what, cleaned", PLANTED)
def test_a_planted_defect_is_found_and_cleaned(kind, text, what, cleaned):
    spots = CLEANED[kind].find(text)
    assert [s.what for s in spots] == what
    assert all(0 <= s.start < s.end <= len(text) for s in spots)
    assert clean(text) == cleaned


@pytest.mark.parametrize("text", LEGITIMATE)
def test_legitimate_text_is_not_touched(text):
    assert {kind: spots for kind, check in CLEANED.items() if (spots := check.find(text))} == {}
    assert clean(text) == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([t for t in LEGITIMATE]), min_size=1, max_size=4), st.sampled_from(["\n\n", "\n"]))
def test_legitimate_paragraphs_are_not_touched(parts, between):
    text = between.join(parts)
    assert clean(text) == text


@settings(max_examples=200, deadline=None)
@given(SOME_TEXT)
def test_cleaning_twice_is_cleaning_once_and_leaves_nothing_to_find(text):
    found, once = any(check.find(text) for check in CLEANED.values()), clean(text)
    assert clean(once) == once
    assert not any(check.find(once) for check in CLEANED.values())
    assert found or once == text or not text.strip()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("가나다라마바사아자차카타파하 .,!?\n"), max_size=40).map("".join))
def test_only_blanks_go_from_plain_korean(text):
    assert clean(text).split() == text.split()


def test_a_text_of_nothing_but_defects_becomes_empty():
    assert clean(f"\u200b{EOS}") == clean(" \n") == clean("\ufeff") == ""


def test_the_spot_is_where_the_defect_is():
    assert CLEANED["invisible"].find("안\u200b녕")[0][:2] == (1, 2)
    assert CLEANED["doubled_space"].find("가  나")[0][:2] == (1, 3)
    assert CLEANED["trailing_space"].find("가 " + EOS)[0][:2] == (1, 2)
