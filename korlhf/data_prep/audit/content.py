"""Defects of single texts that no program can put right: reported with their place, removed when a user names them.

Each function is text -> list of Spot. They prefer silence to noise: a sum of money is no card number, and
"인공지능을 공부해요" no confession.
"""

import datetime
import re

from korlhf.data_prep.audit.cleaning import FILLER, Spot, mask_code
from korlhf.korean import transcription as marks
from korlhf.korean.friendly import MAX_RUN, MIN_DISTINCT_BIGRAMS
from korlhf.korean.speech_level import EDGE_MARKS, FINAL_MARKS, is_complete

# A speaker that calls itself a program. NOUN after a first-person subject and before a form of "to be", or NOUN + 로서.
_AI = r"(?:AI|A\.I\.|에이아이|인공\s?지능)"
_KIND = r"(?:모델|챗봇|비서|어시스턴트|시스템|프로그램|봇|도우미|에이전트)"
_NOUN = (
    rf"(?:{_AI}(?:\s?(?:기반|대화형|대화|언어))*(?:\s?{_KIND})?|(?:(?:대규모|대형|거대)\s?)?언어\s?모델|챗봇|컴퓨터\s?프로그램|"
    r"챗\s?GPT|ChatGPT|GPT-?\d?)"
)
_BE = (
    r"(?:이?므로|이기|이며|이고|이어서|이여서|라서|이라서|이?지만|입니다|인데|이에요|예요|(?:으?로서)(?!의)|"
    r"으로써|니까|일 뿐|에 불과|(?:으?로),|이라(?![고는])|야[.!~,])"
)
_I = r"(?<![가-힣])(?:저는|제가|나는|내가|전|난)\s+"
_SELF_KOREAN = re.compile(
    rf"(?<![가-힣])(?:(?:저는|나는|저도|나도|제가|내가|난)\s+(?:[^\s.!?\n]+\s+){{0,4}}?|(?:전|저)\s+){_NOUN}{_BE}"
    rf"|{_NOUN}(?:(?:으?로서)(?!의)|으로써|인 (?:저|제|나)(?![가-힣]*[녁들]))"
    rf"|{_I}(?:(?:실제|진짜|살아 있는)\s+)?(?:사람|인간)이 아니(?:라|며|고|기|에요|므|지만)"
    rf"|{_I}(?:(?:실제|진짜|살아 있는)\s+)?(?:사람|인간)이 아닙니다"
    r"|(?<![가-힣])(?:저는|제가)\s+(?:[^\s.!?\n]+\s+){0,3}?(?:OpenAI|오픈\s?AI)(?:에서|가|에 의해) "
    r"(?:개발|만든|만들|훈련|학습)",
    re.IGNORECASE,
)
_SELF_ENGLISH = re.compile(
    r"\bas an? (?:\w+ )?(?:(?:AI|artificial intelligence)(?: language)?(?: (?:model|assistant|chatbot|system|program))"
    r"|AI,|AI I\b|(?:large )?language model|chatbot)|\bI(?:'m| am) (?:just |only |merely )?an? (?:\w+ )?"
    r"(?:AI|artificial intelligence|(?:large )?language model|chatbot|virtual assistant)"
    r"(?! (?:engineer|researcher|developer|student|enthusiast|expert))\b",
    re.IGNORECASE,
)
# Without one of these there is no such passage: a quick look that most texts fail.
_HINT = re.compile(
    r"ai|a\.i\.|에이아이|인공|언어 ?모델|챗봇|챗 ?gpt|gpt|프로그램|(?:사람|인간)이 아[니닙]|오픈|artificial|"
    "language model|chatbot|virtual assistant"
)

_HEADING = re.compile(
    r"^#{1,4}[ \t]*(?:명령어|지시문?|질문|입력|응답|답변|출력|"
    r"Instruction|Input|Response|Output|Question|Answer)[ \t]*:",
    re.MULTILINE,
)
_PREAMBLE = re.compile(r"아래는 작업을 설명하는 명령어|Below is an instruction that describes a task")
_EVOLVED = re.compile(r"#\s?(?:새로운|주어진|다시 쓴|재작성된|변형된) (?:질문|프롬프트|명령어?|지시)\s?#")
_SPEAKER = re.compile(r"^(?:Human|Assistant|User|사용자|AI|챗봇)[ \t]?:", re.MULTILINE)

_MOBILE = re.compile(r"(?<![\d.-])(?:\+?82[- ]?\(?0?\)?|0)1[016789](?P<sep>[-. ]?)\d{3,4}(?P=sep)\d{4}(?![\d-])")
_LANDLINE = re.compile(r"(?<![\d.-])\(?0(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|50[2-8]?|70)\)?[- ]\d{3,4}-\d{4}(?![\d-])")
_RESIDENT = re.compile(r"(?<![\d-])(\d{6})([- ]?)([1-8])(\d{6})(?![\d-])")
_CARD = re.compile(
    r"(?<![\d.,-])(?:[3-69]\d{3}(?P<sep>[- ])\d{4}(?P=sep)\d{4}(?P=sep)\d{4}|"
    r"3[47]\d{2}(?P<sep2>[- ])\d{6}(?P=sep2)\d{5}|[3-69]\d{15}|3[47]\d{13})(?![\d-]|[.,]\d)"
)
_EMAIL = re.compile(
    r"(?<![\w.+-])(?!git@)[A-Za-z0-9][\w.+-]*@[A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(?![\w@])",
    re.ASCII,
)
_WEIGHTS = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
_CENTURIES = {1: 1900, 2: 1900, 5: 1900, 6: 1900, 3: 2000, 4: 2000, 7: 2000, 8: 2000}
_WITHOUT_CHECKSUM = datetime.date(2020, 10, 1)  # numbers given from then on are random behind the first seven digits

_UTF8_AS_LATIN = re.compile(
    "(?:[\u00ea-\u00ed][\u0080-\u00bf‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2})+|Ã[\u0080-\u00bf]|â€[\u0080-\u00bf™œ“”¦]?"
)
_EUCKR_AS_LATIN = re.compile("(?:[\u00b0-\u00c8][\u00a1-\u00fe]){2,}")
_BROKEN = re.compile("\ufffd+|占쏙옙|[\ue000-\uf8ff]")

_SUSPECT = re.compile("[\u0080-\u00ff\ufffd占\ue000-\uf8ff]")

_URL = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+")
_CODE_LINE = re.compile(
    r"^(?=[^가-힣\n]*$).*(?:[;{}:)\]>]\s*$| = |^\s*(?:import|from|def|class|return|for|if|else|public|SELECT)\b.*)",
    re.MULTILINE,
)
_NOT_HANGUL = re.compile("[^가-힣ㄱ-ㅣ\u1100-\u11ff]+")
FEW_LETTERS = 10  # too few to tell the language

_REPEATED_SYLLABLES = re.compile(r"([가-힣]{2,60})\1\1")
_TABLE_LINE = re.compile(r"^.*\|.*\|.*$", re.MULTILINE)
_SENTENCE_END = re.compile(rf"[{FINAL_MARKS}](?!\d)")  # 0.5 ends no sentence
_NO_SENTENCE = re.compile(r"\s*(?:[-*+•·#>|]|\d+[.)])")
OPEN = ",·(“‘["  # no sentence ends in these
SHORT_FOR_A_CUT = 20  # characters; a shorter answer may well be a phrase


def find_self_descriptions(text):
    """Passages in which the speaker calls itself an AI, a language model, a chatbot; as a topic they are fine."""
    if not _HINT.search(text.lower()):
        return []
    found = sorted([*_SELF_KOREAN.finditer(text), *_SELF_ENGLISH.finditer(text)], key=lambda m: m.start())
    return [Spot(m.start(), m.end(), "English" if m.group().isascii() else "Korean") for m in found]


def find_template_markers(text):
    """Pieces of prompt templates: "### 응답:", an instruction's preamble, lines that begin with a speaker's name."""
    masked = mask_code(text)
    patterns = (("heading", _HEADING), ("preamble", _PREAMBLE), ("evolution", _EVOLVED), ("speaker", _SPEAKER))
    return sorted(Spot(m.start(), m.end(), what) for what, pattern in patterns for m in pattern.finditer(masked))


def find_marks(text):
    """Anonymisation and transcription marks that were left: name1, &company-name&, ((xx)), {laughing}."""
    spots, after = [], {}
    for kind, match in marks.leftover(text):
        alone = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(match)}(?![A-Za-z0-9_])").search(text, after.get(match, 0))
        start = alone.start() if alone else text.index(match)
        after[match] = start + len(match)
        spots.append(Spot(start, start + len(match), kind))
    return sorted(spots)


def find_personal(text):
    """Korean phone and resident registration numbers, card numbers, e-mail addresses; with checksums."""
    spots = []
    if "@" in text:
        spots += [Spot(m.start(), m.end(), "e-mail") for m in _EMAIL.finditer(text)]
    if not re.search(r"\d{4}", text):
        return spots
    spots += [
        Spot(m.start(), m.end(), "resident registration number") for m in _RESIDENT.finditer(text) if _is_resident(m)
    ]
    taken = {i for s in spots for i in range(s.start, s.end)}
    for what, pattern in (("card number", _CARD), ("phone number", _MOBILE), ("phone number", _LANDLINE)):
        for m in pattern.finditer(text):
            if m.start() not in taken and (what != "card number" or luhn(m.group())):
                spots.append(Spot(m.start(), m.end(), what))
                taken |= set(range(m.start(), m.end()))
    return sorted(spots)


def luhn(number):
    """Whether the digits of `number` pass the check of ISO/IEC 7812-1; one digit repeated is no card's number."""
    digits = [int(c) for c in number if c.isdigit()]
    doubled = [d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _is_resident(match):
    """A plausible date of birth, and the checksum; without it only numbers given since October 2020, with a hyphen."""
    birth, separator, kind, _ = match.groups()
    try:
        born = datetime.date(_CENTURIES[int(kind)] + int(birth[:2]), int(birth[2:4]), int(birth[4:]))
    except ValueError:
        return False
    digits = [int(c) for c in match.group() if c.isdigit()]
    base = 13 if int(kind) >= 5 else 11  # foreigners' numbers add 2
    right = (base - sum(d * w for d, w in zip(digits, _WEIGHTS)) % 11) % 10 == digits[12]
    return right or (separator == "-" and born >= _WITHOUT_CHECKSUM)


def mask_personal(text):
    """The text with personal data blotted out, same length: the first three characters stay."""
    for spot in find_personal(text):
        kept = text[spot.start : spot.start + 3]
        text = text[: spot.start] + kept + re.sub(r"[^\s@.-]", "*", text[spot.start + 3 : spot.end]) + text[spot.end :]
    return text


def find_mojibake(text):
    """What a wrong decoding leaves: replacement characters, UTF-8 or EUC-KR read as Latin-1, private-use characters."""
    if not _SUSPECT.search(text):
        return []
    spots = [
        Spot(m.start(), m.end(), "private use" if "\ue000" <= m.group() <= "\uf8ff" else "replacement character")
        for m in _BROKEN.finditer(text)
    ]
    spots += [Spot(m.start(), m.end(), "UTF-8 as Latin-1") for m in _UTF8_AS_LATIN.finditer(text)]
    spots += [
        Spot(m.start(), m.end(), "EUC-KR as Latin-1")
        for m in _EUCKR_AS_LATIN.finditer(text)
        if re.search("[\u00a1-\u00bf]", m.group())
    ]
    return sorted(spots)


def hangul_share(text, enough=1.0):
    """The share of Hangul among the letters outside code and addresses, or None if there are too few letters to tell.

    enough: where the share is this high already with code and addresses, that figure will do.
    """
    share = _hangul_share(text)
    if share is not None and share < enough:
        share = _hangul_share(_CODE_LINE.sub("", _URL.sub("", mask_code(text))))
    return share


def _hangul_share(text):
    letters = sum(map(str.isalpha, text))
    return len(_NOT_HANGUL.sub("", text)) / letters if letters >= FEW_LETTERS else None


def find_cut(text):
    """The last sentence of an answer that stops before its end, in a text whose other sentences are ended by a mark."""
    bare = text.rstrip()
    if len(bare) < SHORT_FOR_A_CUT or bare.endswith(FILLER):
        return []
    masked = mask_code(bare)
    last_line = masked.rsplit("\n", 1)[-1]
    begin = max((m.end() for m in _SENTENCE_END.finditer(masked)), default=0)
    last = masked[begin:].strip()
    ends_open = "가" <= bare[-1] <= "힣" or bare[-1] in OPEN
    listed = (
        _NO_SENTENCE.match(last_line)
        or FILLER in last_line
        or "\n" in masked[begin:].strip()
        or _CODE_LINE.match(last_line)
    )
    if not begin or listed or not ends_open or len(last.split()) < 2 or is_complete(last):
        return []
    return [Spot(len(bare) - len(last), len(bare), "after " + ("a comma or bracket" if bare[-1] in OPEN else "a word"))]


def find_loops(text):
    """Where the text loops, as korlhf.korean.friendly.is_looping has it, outside code and tables; at most one spot.

    The same words MAX_RUN times in a row, the same syllables three times, or hardly any pair of words that is new.
    """
    prose = _TABLE_LINE.sub(lambda m: " " * len(m.group()), mask_code(text, " "))
    tokens = [(word, m.start(), m.end()) for m in re.finditer(r"\S+", prose) if (word := m.group().strip(EDGE_MARKS))]
    words = [word for word, _, _ in tokens]
    places = {}
    for i, word in enumerate(words):
        places.setdefault(word, []).append(i)
    for i, word in enumerate(words):
        for j in places[word] if len(places[word]) >= MAX_RUN else ():
            end = i + MAX_RUN * (j - i)
            if i < j and end <= len(words) and words[2 * j - i] == word and words[i:j] * MAX_RUN == words[i:end]:
                return [Spot(tokens[i][1], tokens[end - 1][2], "words")]
    if m := _REPEATED_SYLLABLES.search(prose):
        return [Spot(m.start(), m.end(), "syllables")]
    pairs = list(zip(words, words[1:]))
    if pairs and len(set(pairs)) <= MIN_DISTINCT_BIGRAMS * len(pairs):
        return [Spot(tokens[0][1], tokens[-1][2], "few new words")]
    return []


REPORTED = {
    "self_description": find_self_descriptions,
    "template_marker": find_template_markers,
    "mark": find_marks,
    "personal_data": find_personal,
    "mojibake": find_mojibake,
    "cut_off": find_cut,
    "loop": find_loops,
}
OF_ANSWERS = ("self_description", "cut_off", "loop")  # looked for in answers only
OF_PROMPTS = ("preamble", "evolution")  # of the template markers; headings and speakers are how people write a prompt
