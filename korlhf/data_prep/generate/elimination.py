"""Why a reply is no evolution of an instruction: empty words, a refusal, the request copied, an answer instead."""

import re

from korlhf.korean.friendly import is_korean
from korlhf.korean.speech_level import words

MUTATIONS = (
    "FRESH_START",
    "ADD_CONSTRAINTS",
    "DEEPEN",
    "CONCRETIZE",
    "INCREASE_REASONING",
    "COMPLICATE",
    "SWITCH_TOPIC",
)
MAX_GROWTH = 10  # times its parent, and
SPARE_CHARS = 100  # so many more: the parent may be two words
LEAST_FENCE = 5
STOP_WORD = re.compile(
    "[이그저]|[이그저]?[것거]|[여거저]기|나|너|[저나]는|[내제]가|[네예응음어아또더다좀잘왜뭐]|아니(?:요)?|그래(?:요|서)?|그리고|그런데|"
    "하지만|무엇|안녕(?:하세요)?|감사합니다|고마워요|알겠(?:습니다|어요)|없음|없습니다|해당|내용"
)
_GIVE = r"(?:줘|줄래|줄 수|다오|달라|부탁|주(?:라|렴|세요|시기|시겠|실|십|겠))"
_WHAT = r"(?:뭐|뭘|무엇|무슨|어떻게|어떡|어디|언제|왜|누구|누가|얼마|어느|어떤|어때|어떨|몇)"
ASKS = re.compile(
    rf"\?|{_GIVE}|(?<!안녕하)(?:세요|시오)|(?:말해|봐)[.!~]*$|[하주쓰르지짓들]되,|"
    rf"{_WHAT}[^.!\n]*(?:까|지|나|니|냐|래|요|죠|데)[.!~…]*$",
    re.MULTILINE,
)
_SORRY = re.compile(r"\W*(?:정말 |대단히 |너무 )?(?:죄송|미안|유감|송구)")
_CANNOT = (
    r"(?:수 ?(?:가 |는 )?없(?:습니다|어요|네요|음)|어렵(?:습니다|네요)|어려워요|곤란(?:합니다|해요)|"
    r"불가능(?:합니다|해요)|부적절(?:합니다|해요)|않습니다)"
)
CANNOT = re.compile(_CANNOT)


def _any(*patterns, flags=0):
    """A function text -> whether one of the patterns occurs in it."""
    compiled = [re.compile(p, flags) for p in patterns]
    return lambda text: any(p.search(text) for p in compiled)


refuses = _any(
    rf"(?:해당|이|그|요청하신|말씀하신|주신) (?:요청|질문|내용|주제|말|글|지시|작업)[^.?!\n]{{0,30}}"
    rf"(?:답변|응|제공|생성|작성|변형|처리|다루|적절)[^.?!\n]{{0,12}}{_CANNOT}",
    r"(?:도와|답해|답변해|말씀해|알려|써|지어|바꿔|만들어|제공해|작성해) ?드릴 수 ?(?:가 |는 )?없(?:습니다|어요|네요)",
    r"(?:도와|답해|답변해?|말씀해?|제공해|작성해) ?드리기(?:가|는)? ?(?:어렵|어려|힘들|곤란)",
    r"(?:AI|인공지능)(?: 언어)? ?모델(?:로서|이라|이기|인 저)|저는 (?:AI|인공지능)|언어 모델로서",
    r"\bI['’]?m sorry\b|^\W*I (?:cannot|can['’]t)\b|\bAs an AI\b",
    flags=re.IGNORECASE,
)
ANSWER = [
    re.compile(p)
    for p in (  # an assistant speaking, unless the parent speaks so too
        r"^\W*(?:네|예|물론(?:이죠|이지요|입니다|이에요)?|알겠습니다|알겠어요|당연하죠|"
        r"좋은 질문(?:이네요|입니다|이에요))\s*[,.!]",
        r"^\W*다음은 [^?\n]{0,60}(?:입니다|이에요|예요|습니다)\s*[.:!]",
        r"요청하신 (?:대로|내용|말|글|질문)|도움이 (?:되(?:길|기를|시길|셨|었으면)|필요하시면)|도와 ?드리겠습니다",
        r"(?:알려|말씀해|설명해|추천해|소개해) ?드(?:릴게요|리겠습니다|리자면)",
        r"언제든지? (?:저에게 )?(?:말씀|질문|물어|문의)|더 (?:궁금|필요)하신|도움이 필요하신가요|도와 ?드릴까요|"
        r"(?:말씀|공유|설명)해 주셔서 감사",
    )
]
advises = _any(  # in a text that asks for nothing, these are an assistant's, too
    r"(?:것이|것도|게|편이|방법도) (?:좋습니다|도움이 됩니다|도움이 돼요)",
    r"(?:으면|하면|해도|셔도|셔야) (?:좋습니다|됩니다|돼요)",
    r"(?:권합니다|권해요|권장합니다|추천합니다|추천해요|추천 ?드립니다|추천 ?드려요|바랍니다)[.!~]",
    r"(?s:^\s*(?:\d{1,2}[.)]|[-*•])\s.*\n\s*(?:\d{1,2}[.)]|[-*•])\s)",  # a list of two items or more
    flags=re.MULTILINE,
)
_QUOTED = re.compile(r"([\"“‘'「『])([^\"“”‘’'「」『』]*)[\"”’'」』]")


def bare_reply(text):
    """The reply without blanks around it and without a pair of quotation marks around all of it."""
    quoted = _QUOTED.fullmatch(text.strip())
    return quoted[2].strip() if quoted else text.strip()


def failed_evolution(text, parent, leaks, max_chars):
    """Why `text` is no evolution of the instruction `parent`, as far as the two alone can tell; or None.

    leaks: compiled patterns of what repeats the request.
    """
    if not any(char.isalpha() for char in text) or all(map(STOP_WORD.fullmatch, words(text))):
        return "nothing but punctuation or stop words"
    if refuses(text) or (_SORRY.match(text) and (CANNOT.search(text) or not ASKS.search(text))):
        return "refusal or apology"
    if "=" * LEAST_FENCE in text or any(m in text for m in MUTATIONS) or any(p.search(text) for p in leaks):
        return "words of the request copied"
    if not is_korean(text):
        return "not Korean"
    if len(text) > min(max_chars, MAX_GROWTH * len(parent) + SPARE_CHARS):
        return "too long"
    return "an answer instead of an instruction" if is_answer(text, parent) else None


def is_answer(text, parent):
    """Whether `text` speaks as an assistant does, unlike its parent, or asks for nothing although its parent does."""
    if any(p.search(text) and not p.search(parent) for p in ANSWER):
        return True
    return not ASKS.search(text) and (ASKS.search(parent) is not None or advises(text))
