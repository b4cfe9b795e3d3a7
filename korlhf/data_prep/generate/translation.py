"""Why a text is no translation of another: every check knows the two texts alone."""

import math
import re
from collections import Counter

FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
INLINE = re.compile(r"(?<![\w`])`[^`\n]+`(?![\w`])")
URL = re.compile(r"(?:https?://|www\.)[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
SCALED = re.compile(rf"({NUMBER.pattern})\s*(hundred|thousand|million|billion|trillion|k|m|b|bn)\b", re.IGNORECASE)
SCALES = {"hundred": 1e2, "thousand": 1e3, "k": 1e3, "million": 1e6, "m": 1e6, "billion": 1e9, "trillion": 1e12}
SCALES |= {"b": 1e9, "bn": 1e9}
KOREAN_NUMBER = re.compile(rf"(?:{NUMBER.pattern}[십백천만억조]+\s?)+(?:{NUMBER.pattern})?")
KOREAN_PART = re.compile(rf"({NUMBER.pattern})([십백천만억조]*)")
UNITS = {"십": 10, "백": 100, "천": 1000, "만": 10**4, "억": 10**8, "조": 10**12}
_UP_TO_TEN = (
    "영|제로/한 |한두|한번|하나|첫|일주일|일 년/두 |두세|둘|이틀/세 |서너|셋|석 |사흘/네 |넷|넉 |나흘/다섯|닷새/"
    "여섯|유월/일곱|이레/여덟/아홉/열 |열흘|시월"
)
SPELLED = dict(enumerate(_UP_TO_TEN.split("/"))) | {12: "열두|열둘", 20: "스무|스물", 24: "스물네|하루", 30: "서른|반"}
SPELLED |= {100: "백", 1000: "천", 10000: "만"}
SPEAKER = re.compile(
    r"^\s*(?:Human|Assistant|User|사람|인간|사용자|이용자|어시스턴트|도우미|비서)\s*[:：]", re.MULTILINE
)
MARKS = re.compile(r"</?(?:원문_*|번역문?)>")
LABEL = re.compile(
    r"[*#\s]*(?:한국어 )?(?:번역|번역문|번역본|번역 결과|Translation|Korean(?: translation)?)[*\s]*[:：][*\s]*",
    re.IGNORECASE,
)
HEADING = re.compile(r"[^\n]{0,40}번역[^\n]{0,20}[:：]\s*\n+")
QUOTES = (('"', '"'), ("“", "”"), ("'", "'"), ("‘", "’"), ("「", "」"), ("『", "』"))
# reason, what gives it away in the translation, and what in the original excuses it
TELLTALES = [
    (reason, re.compile(sign, re.IGNORECASE), re.compile(excuse, re.IGNORECASE))
    for reason, sign, excuse in (
        (
            "speaks of the translation",
            "번역|역주(?!행)|원문|translation",
            r"transl|interpret|original|source|language|\bAI\b",
        ),
        ("refusal", r"(?:인공지능|AI)(?:인| 언어)? ?모델|as an AI|language model", r"\bAI\b|language model|artificial"),
        (
            "refusal",
            r"(?:도와|도움을|답변해|답해|알려|제공해|말씀해|응해) ?드릴 수(?:는|가)? 없|"
            r"(?:제공|수행|답변|처리|응)할 수(?:는|가)? 없|I can(?:no|')t",
            r"can['’]?t|cannot|can not|unable|not able|not possible|won['’]t|impossible",
        ),
        (
            "refusal",
            r"\A(?:정말 |대단히 )?(?:죄송|미안)|I(?:'m| am) sorry",
            "sorry|apolog|afraid|excuse|pardon|regret|forgive|unfortunately",
        ),
    )
]
ASKS = re.compile(
    r"[?？]|(?:까요?|나요|가요|냐|는지요?|을지요?|주세요|주십시오|주시겠어요|줘요?|줄래요?|실래요?|어때요?|바랍니다|바라요|싶어요?|"
    r"싶습니다|궁금해요?|궁금합니다|부탁해요?|부탁드려요|부탁드립니다)[.!~…\s\"”'’)]*\Z"
)


def prose(text):
    """`text` without code and URLs."""
    return URL.sub(" ", INLINE.sub(" ", FENCE.sub(" ", text)))


def needs_translation(text):
    """Whether there are letters outside code and URLs."""
    return any(c.isalpha() for c in prose(text))


def hangul_share(text):
    """Of the letters outside code and URLs; 0 without letters."""
    letters = [c for c in prose(text) if c.isalpha()]
    return sum("가" <= c <= "힣" for c in letters) / max(len(letters), 1)


def unframed(source, text):
    """`text` without what a model put around the whole of it, where that cannot be part of the translation."""
    text, before = text.strip(), None
    speaks = "transl" in source.lower() or "korean" in source.lower()
    while text != before:
        before = text
        text = re.sub(r"\A<(원문_*|번역문?)>(.*)</\1>\Z", r"\2", text, flags=re.DOTALL).strip()
        if "```" not in source:
            text = re.sub(r"\A```[a-z]*\n([^`]*)\n?```\Z", r"\1", text).strip()
        if not speaks and (frame := LABEL.match(text) or HEADING.match(text)):
            text = text[frame.end() :]
        quoted = len(text) > 2 and (text[0], text[-1]) in QUOTES and not {text[0], text[-1]} & set(text[1:-1])
        if quoted and source[0] not in "\"'“‘«":
            text = text[1:-1].strip()
    return text


def values(text):
    """The numbers in a text: 1,500 -> 1500.0; 2 million and 200만 -> 2000000.0 (and 2.0 and 200.0)."""
    found = {_number(n) for n in NUMBER.findall(text)}
    found |= {_number(n, SCALES[scale.lower()]) for n, scale in SCALED.findall(text)}
    for number in KOREAN_NUMBER.findall(text):
        parts = [_number(digits, math.prod(UNITS[u] for u in units)) for digits, units in KOREAN_PART.findall(number)]
        found |= {*parts, sum(parts)}
    return found


def _number(digits, scale=1):
    return round(float(digits.replace(",", "")) * scale, 6)


def lost_number(source, text):
    """A number of the source that is not in the translation, neither in digits nor as a word; None if all are there."""
    source, text = prose(source), prose(text)
    there, scales = values(text), {m.start(): SCALES[m[2].lower()] for m in SCALED.finditer(source)}
    for match in NUMBER.finditer(source):
        value = _number(match[0])
        word = SPELLED.get(value)
        in_words = word and re.search(f"(?<![가-힣])(?:{word})", text)
        if not {value, _number(match[0], scales.get(match.start(), 1))} & there and not in_words:
            return match[0]
    return None


def lost_verbatim(source, text):
    """(what, the piece) of code or a URL that is not in the translation as it was, or None."""
    blocks = FENCE.findall(source)
    if Counter(FENCE.findall(text)) != Counter(blocks):
        return "code altered", (blocks or ["a block that was not there"])[0]
    outside = FENCE.sub(" ", source)
    urls = [url.rstrip(".,;:!?)'") for url in URL.findall(INLINE.sub(" ", outside))]
    for what, pieces in (("code altered", INLINE.findall(outside)), ("URL lost", urls)):
        for piece, n in Counter(pieces).items():
            if text.count(piece) < n:
                return what, piece
    return None


def fault(limits, source, text):
    """Why `text` is no translation of `source`: "reason: details", or None.

    limits: has min_hangul, min_length_ratio, max_length_ratio and length_slack, the program's flags.
    """
    before, after = prose(source).strip(), prose(text).strip()
    if " ".join(text.split()).lower() == " ".join(source.split()).lower():
        return "identical to the source"
    if (found := SPEAKER.search(text)) and not re.search(r"^\s*[A-Za-z][\w .]{0,20}:", source, re.MULTILINE):
        return f"speaker marker in the translation: {found[0].strip()}"
    if (found := MARKS.search(text)) and found[0] not in source:
        return f"frame left: {found[0]}"
    if found := lost_verbatim(source, text):
        return f"{found[0]}: {found[1][:80]}"
    for reason, sign, excuse in TELLTALES:
        if (found := sign.search(after)) and not excuse.search(source):
            return f"{reason}: {found[0]}"
    if (share := hangul_share(text)) < limits.min_hangul:
        return f"not Korean: {share:.0%} of the letters are Hangul"
    if len(after) < limits.min_length_ratio * len(before) - limits.length_slack:
        return f"too short: {len(after)} characters for {len(before)}"
    if len(after) > limits.max_length_ratio * len(before) + limits.length_slack:
        return f"too long: {len(after)} characters for {len(before)}"
    if before.endswith("?") and not ASKS.search(after):
        return "an answer in place of the question"
    number = lost_number(source, text)
    return f"number lost: {number}" if number else None
