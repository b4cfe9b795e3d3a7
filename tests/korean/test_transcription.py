"""Transcription marks: what becomes of each, names that fit their particles, and everything that is no mark."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from korlhf.korean import transcription as marks

NAMES = {"name1": "서진", "name2": "민서"}
CLEANED = [
    ("어~ &name1& 씨는 -국- 국수 드셨어요?", "어 서진 씨는 국수 드셨어요?"),
    ("{laughing} 네. {clearing} {singing} 좋아요. {laughing}", "네. 좋아요."),
    ("그렇죠 {applauding}.", "그렇죠."),
    ("가{applausing}세요", "가세요"),
    ("{laughing}", ""),
    ("저는 -거-", "저는"),
    ("-그 사- 그 사람이 -해- 했어요", "그 사람이 했어요"),
    ("-국-국수 먹었어", "국수 먹었어"),
    ("아~ 그~ 음~~ 그래~?", "아 그 음 그래?"),
    ("토요일에 ((터미널))에서 보자. ((그래서 말인데)) 응", "토요일에 터미널에서 보자. 그래서 말인데 응"),
    ("((&name1&가)) 왔어", "서진이가 왔어"),
    ("&name3&한테 물어봐", "name3한테 물어봐"),
    ("-가 -{laughing}나- 다-", ""),  # what one removal completes is removed as well
]
# fmt: off
LEGITIMATE = [
    "정답은 next", "username1을 쓰세요.", "`name1`", "👨‍👩‍👧 가족", "ㅋㅋㅋ ㅠㅠ", "學校에 갔어요.",
    "print(name1)", "((a+b))*c", "if ((a && b))", "f((y))", "R&D&E", "A & B & C", "1~2시", "월~금", "3시~",
    "~하는 편", "코로나-19", "- 목록", "-5도", "https://x.kr/~u?a=1&name1&b=2", "010-1234-5678", "(웃음)", "{}",
    "{'a': 1}", "20xx년", "x축과 y축", "가-나-다", "e-mail", "아~주", "name1 = 3", "이름은 my_name1이야", "&nbsp;",
    "어 음 그 저기", "두  칸", "xxx.com", "[name]", "def f(name): return name",
]
# fmt: on
# fmt: off
MARKS = [
    "{laughing}", "~", "-국-", "((그래서))", "&name1&", "&name2&이는", "어~", " ", "-", "((", "))", "가", "{", "}",
    "&", "x", "name1", "\n",
]
# fmt: on


@pytest.mark.parametrize("text, expected", CLEANED)
def test_marks_are_removed_and_nothing_else(text, expected):
    assert marks.clean(text, NAMES) == expected


@pytest.mark.parametrize(
    "text, kind",
    [
        ("저는 ((xx)) 갔어요", "unintelligible"),
        ("(())", "unintelligible"),
        ("그건 ((x)) 뭐", "unintelligible"),
        ("((xx 그거))", "unintelligible"),
        ("저는((xx))", "unintelligible"),
        ("무슨 xx 맞냐", "unintelligible"),
        ("&company-name& 다녀요", "company-name"),
        ("&address&인데요", "address"),
        ("번호가 &tel-num2& 맞죠", "tel-num"),
        ("&card-num&", "card-num"),
        ("&social-security-num&", "social-security-num"),
        ("&affiliation& 소속", "affiliation"),
        ("그거 ((아까 (웃음) 그거))", "unknown mark"),
        ("{coughing} 네", "unknown mark"),
    ],
)
def test_a_hole_makes_the_utterance_unusable(text, kind):
    with pytest.raises(marks.Unusable) as error:
        marks.clean(text, NAMES)
    assert error.value.kind == kind


@pytest.mark.parametrize(
    "text, expected",
    [
        ("음~ name1는 그래요", "음 서진이는 그래요"),
        ("name2 씨는요", "민서 씨는요"),
        ("xx 이제 고등학교", "unintelligible"),
        ("company-name2 들어가 봤어?", "company-name"),
        ("지금 address인데", "address"),
        ("username1", "username1"),
        ("tel-num", "tel-num"),
        ("&name2&이", "민서가"),
    ],
)
def test_form_has_its_marks_without_signs(text, expected):
    if expected in ("unintelligible", "company-name", "address", "tel-num"):
        with pytest.raises(marks.Unusable, match=expected):
            marks.clean(text, NAMES, bare=True)
    else:
        assert marks.clean(text, NAMES, bare=True) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("&name1&가 &name1&는 &name1&를 &name1&랑", "서진이가 서진이는 서진이를 서진이랑"),
        ("&name1&야, 밥 먹자", "서진아, 밥 먹자"),
        ("이 사람이 &name1&야.", "이 사람이 서진이야."),
        (
            "&name1&예요. &name1&였어요. &name1&로 할까? &name1&라고 해요.",
            "서진이에요. 서진이었어요. 서진으로 할까? 서진이라고 해요.",
        ),
        ("&name2&이 &name2&은 &name2&을 &name2&과 &name2&아", "민서가 민서는 민서를 민서와 민서야"),
        ("&name2&이는 &name2&이랑 &name2&이한테 &name2&이라고 &name2&이야", "민서는 민서랑 민서한테 민서라고 민서야"),
        ("&name2&이에요 &name2&이었어요 &name2&으로", "민서예요 민서였어요 민서로"),
        ("&name1&이는 &name2&가 &name1& 씨 &name2&도 &name1&인데요", "서진이는 민서가 서진 씨 민서도 서진인데요"),
        ("&name2&이모네 &name1&가게", "민서이모네 서진가게"),
    ],
)
def test_particles_are_corrected_only_where_they_do_not_fit(text, expected):
    assert marks.clean(text, NAMES) == expected


@pytest.mark.parametrize(
    "said, consonant",
    [
        (["&name1&이는 왔어?"], True),
        (["&name1&은 어때"], True),
        (["&name1&아 밥 먹자"], True),
        (["&name1&이 전화 왔어"], True),
        (["&name1&는 왔어?"], False),
        (["&name1&가 그랬어"], False),
        (["&name1&야 밥 먹자"], False),
        (["&name1&랑 갔어"], False),
        (["&name1&이는", "&name1&이가", "&name1&는"], True),
        (["&name1&이는", "&name1&가", "&name1&는"], False),
        (["&name1&한테도 말해"], False),
        (["&name1&한테", "&name1&이는"], True),
    ],
)
def test_the_name_has_the_final_consonant_that_most_particles_ask_for(said, consonant):
    for dialogue in map(str, range(8)):
        name = marks.invent_names(dialogue, [(text, False) for text in said])["name1"]
        assert ((ord(name[-1]) - 0xAC00) % 28 > 0) == consonant


def test_names_are_the_same_everywhere_and_differ_from_each_other():
    tags = " ".join(f"&name{i}& 씨" for i in range(1, 31))
    names = marks.invent_names("SDRW2000000777.1", [(tags, False)])
    assert names == marks.invent_names("SDRW2000000777.1", [("name2 씨", True), (tags, False)])
    assert len(set(names.values())) == 30
    assert names["name1"] != marks.invent_names("SDRW2000000778.1", [(tags, False)])["name1"]
    # one digest, read off: sha256("SDRW2000000777.1/name1") begins with this number
    first = int.from_bytes(hashlib.sha256(b"SDRW2000000777.1/name1").digest()[:8], "big")
    pool = marks.VOWEL_NAMES if first % 2 else marks.CONSONANT_NAMES
    assert names["name1"] == pool[first // 2 % len(pool)]


def test_a_name_that_occurs_in_the_dialogue_is_not_given_to_somebody_else():
    alone = marks.invent_names("a", [("&name1& 씨", False)])["name1"]
    assert marks.invent_names("a", [(f"&name1& 씨, {alone} 씨 아세요?", False)])["name1"] != alone


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(MARKS + LEGITIMATE), max_size=8), st.booleans(), st.sampled_from([NAMES, {}]))
def test_cleaning_twice_is_cleaning_once(pieces, bare, names):
    try:
        once = marks.clean("".join(pieces), names, bare)
    except marks.Unusable:
        return
    assert marks.clean(once, names, bare) == once


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(LEGITIMATE), max_size=6), st.sampled_from([" ", "\n", ". "]))
def test_legitimate_text_is_not_touched(pieces, between):
    text = between.join(pieces)
    assert marks.clean(text, NAMES) == text
    assert marks.leftover(text) == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("음 name1 씨는 여행 좋아해요?", [("name", "name1")]),
        ("우리 name2는 그래. &name1&도", [("name", "name2"), ("name", "&name1&")]),
        ("음 name 씨는 저기", [("name", "name")]),
        ("오늘 company-name2에 갔어요", [("tag", "company-name2")]),
        ("번호는 tel-num 맞죠? &address&예요", [("tag", "tel-num"), ("tag", "&address&")]),
        ("네 {laughing} 맞아요", [("sound", "{laughing}")]),
        ("저는 ((xx)) 그리고 (())", [("unintelligible", "((xx))"), ("unintelligible", "(())")]),
        ("한 적이 있어. xx 이제", [("unintelligible", "xx")]),
        ("((그래서)) 왔어", [("guess", "((그래서))")]),
        ("name1, name2 = input().split()", []),
        ("```\nname1 씨\n```", []),
        ("<div class='company-name'>회사</div>", []),
        ("&name1&", []),
    ],
)
def test_forgotten_marks_are_found_in_any_text(text, expected):
    assert marks.leftover(text) == expected
