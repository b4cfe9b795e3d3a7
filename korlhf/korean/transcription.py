"""The marks that transcribers of Korean corpora (NIKL, 모두의 말뭉치) leave in a text: what becomes of them.

{laughing} and the like      removed
-국-                         a word broken off: removed
어~                          lengthening: the ~ is removed, the filler stays; 1~2시 and 월~금 stay as they are
((그래서))                   a guess of the transcriber: the text inside stays
((xx)) (()) xx               unintelligible: the utterance cannot be used
&name1&                      a person: an invented given name, the same throughout a dialogue, that fits the particles
&company-name& &tel-num&     whatever else was made anonymous: the utterance cannot be used

Nothing else is altered. Left out: spelling, spacing, and fillers, which belong to spoken language.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from korlhf.korean import WORDS

CONSONANT_NAMES, VOWEL_NAMES = WORDS["consonant_names"], WORDS["vowel_names"]
_SOUND = re.compile(r"\{ ?(?:laughing|clearing|singing|applauding|applausing) ?\}")
_JAMO = "가-힣ㄱ-ㅎㅏ-ㅣ"
_BROKEN_OFF = re.compile(
    rf"(?<![\w-])-(?:[{_JAMO}]+~?(?: [{_JAMO}]+~?){{0,2}}-(?![\w-])|(?P<begun>[가-힣]+)-(?=(?P=begun)))"
)
_REMOVED = re.compile(rf"\s*(?:(?:{_SOUND.pattern}|{_BROKEN_OFF.pattern})\s*)+")
_LENGTHENED = re.compile(r"(?<!\S)([^\sA-Za-z0-9~]*[가-힣])~+(?=[\s.,!?…\"'’”)]|$)")
_GUESS = re.compile(r"(?<![A-Za-z0-9_(])\(\((\s*x*\s*|(?=[^()]*(?:[가-힣]|&name))[^()=+*/<>]*)\)\)(?!\))")
_UNHEARD = re.compile(r"(?<![A-Za-z0-9_])x+(?![A-Za-z0-9_])")
_XX = re.compile(r"(?<![A-Za-z0-9_./-])x{2,}(?![A-Za-z0-9_/-]|\.[A-Za-z])")
_UNKNOWN = re.compile(r"\(\((?=[^()]*[가-힣])|(?<![\w$])\{[a-z-]+\}")
_TAG = re.compile(r"(?<![A-Za-z0-9_])&(?P<tag>[a-z]{2,}(?:-[a-z]+)*)\d*&(?![A-Za-z0-9_])")
_NAME_TAG = re.compile(r"(?<![A-Za-z0-9_])&(?P<tag>name\d*)&(?![A-Za-z0-9_])(?P<run>[가-힣]*)")
_BARE_NAME = re.compile(r"(?<![A-Za-z0-9_&.-])(?P<tag>name\d*)(?![A-Za-z0-9_&-])(?P<run>[가-힣]*)")
_OTHER = "company-name|social-security-num|card-num|tel-num"
_BARE_OTHER = re.compile(rf"(?<![A-Za-z0-9_&-])(?P<tag>{_OTHER}|address)\d*(?![A-Za-z0-9_&-])")

# What may follow a name that ends in a consonant, and one that ends in a vowel, up to the end of the word.
_AFTER_CONSONANT = re.compile(r"이(?!모|야기|름|웃|사|번)[가-힣]*|은요?|을|과[는도]?|아|으로[는도]?")
_AFTER_VOWEL = re.compile(
    r"가요?|는요?|를|와[는도]?|야|[랑네][은는도만가]?|로[는도]?|나|라[고는도서면니][가-힣]*|예요|였[가-힣]*|[고지죠]"
    r"|잖아요?|거든요?|구나|래요?"
)
# After a consonant people say 서진이한테 of those they are close to; so without 이 the name rather ends in a vowel.
_RATHER_VOWEL = re.compile("(?:한테|에게|도|만|하고|처럼|보다|부터|까지|밖에)[가-힣]?")
_TO_VOWEL = WORDS["to_vowel"]

# In a text of any origin: only where it cannot be code.
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_CODE_BEFORE, _CODE_AFTER = (
    r"(?<![A-Za-z0-9_.&$@#<>{}\[\]('\"`/\\=:;-])",
    r"(?![A-Za-z0-9_&\[\](){}<>'\"`/\\@:;-]|\.[A-Za-z]|\s*[=+*/<>|])",
)
_FORGOTTEN = {
    "name": re.compile(
        rf"(?<![A-Za-z0-9_])&name\d*&(?![A-Za-z0-9_])|{_CODE_BEFORE}name(?:\d{{1,2}}|(?= ?[씨님])){_CODE_AFTER}"
    ),
    "tag": re.compile(
        rf"(?<![A-Za-z0-9_])&(?:{_OTHER}|address|party-name)\d*&(?![A-Za-z0-9_])"
        rf"|{_CODE_BEFORE}(?:{_OTHER})\d*{_CODE_AFTER}"
    ),
    "sound": _SOUND,
    "unintelligible": re.compile(
        r"(?<![\w(])\(\(\s*x*\s*\)\)(?!\))|(?:(?<=[가-힣.,!?~] )|(?<![^\n]))x{2,4}(?= [가-힣]|[.,!?]?(?:\n|$))"
    ),
    "guess": re.compile(r"(?<![A-Za-z0-9_(])\(\((?=[^()]*[가-힣])[가-힣\s.,!?~]+\)\)(?!\))"),
}


class Unusable(ValueError):
    """The text has a hole that nothing can fill. `kind`: unintelligible, unknown mark, or what was made anonymous."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


def clean(text: str, names: dict[str, str], bare: bool = False) -> str:
    """`text` without its marks. names: {"name1": "서진"} of `invent_names`; a tag that is not in it stays as name1.

    bare: the marks have lost their signs, as in NIKL's `form` (name1, xx, company-name). Cleaning twice is cleaning
    once. Raises Unusable.
    """
    before = None
    while text != before:  # what is left by one removal may complete another mark
        before = text
        text = _GUESS.sub(_guessed, text)
        text = _REMOVED.sub(_gap, text)
        text = _LENGTHENED.sub(r"\1", text)
        for pattern in _name_patterns(bare):
            text = _with_names(text, names, pattern)
    hole = _TAG.search(text) or (_BARE_OTHER.search(text) if bare else None)
    if hole:
        raise Unusable(hole["tag"])
    if _XX.search(text):
        raise Unusable("unintelligible")
    if _UNKNOWN.search(text):
        raise Unusable("unknown mark")
    return text


def invent_names(dialogue_id: str, texts: Iterable[tuple[str, bool]]) -> dict[str, str]:
    """Names for the persons of a dialogue: {"name1": "서진", ...}, the same on every machine.

    texts: (text, bare) of the whole dialogue. A name is chosen by the hash of dialogue and tag; its final
    consonant is the one that most particles after the tag ask for. Different tags get different names, and none that
    occurs in the dialogue already.
    """
    texts, votes = list(texts), {}
    for text, bare in texts:
        for pattern in _name_patterns(bare):
            for found in pattern.finditer(text):
                votes.setdefault(found["tag"], Counter())[_asks_for(found["run"])] += 1
    whole = "\n".join(text for text, _ in texts)
    taken = {n for n in CONSONANT_NAMES + VOWEL_NAMES if n in whole}
    names = {}
    for tag in sorted(votes):
        number = int.from_bytes(hashlib.sha256(f"{dialogue_id}/{tag}".encode()).digest()[:8], "big")
        consonant, vowel = votes[tag]["consonant"], votes[tag]["vowel"]
        if consonant == vowel:
            vowel += votes[tag]["rather vowel"]
        first = number % 2 if consonant == vowel else int(vowel > consonant)
        pools = (CONSONANT_NAMES, VOWEL_NAMES) if first == 0 else (VOWEL_NAMES, CONSONANT_NAMES)
        turned = [pool[(number // 2 + i) % len(pool)] for pool in pools for i in range(len(pool))]
        names[tag] = next((n for n in turned if n not in taken), turned[0])
        taken.add(names[tag])
    return names


def leftover(text: str) -> list[tuple[str, str]]:
    """Marks that were forgotten in a text of any origin: (kind, match) in their order.

    kind: name, tag (&company-name&, tel-num), sound ({laughing}), unintelligible, guess. Bare words count only in lines
    with Hangul and outside of code, so that variables called name1 do not.
    """
    if not any(sign in text for sign in ("name", "{", "((", "xx", "-num", "&")):
        return []  # nearly every text
    masked = _CODE.sub(lambda m: " " * len(m.group()), text)
    found = []
    for kind, pattern in _FORGOTTEN.items():
        for m in pattern.finditer(masked):
            line = masked[masked.rfind("\n", 0, m.start()) + 1 : (masked + "\n").index("\n", m.start())]
            if re.search("[가-힣]", line):
                found.append((m.start(), kind, m.group()))
    return [(kind, match) for _, kind, match in sorted(found)]


def has_final_consonant(word: str) -> bool:
    """Whether the last syllable of a Korean word ends in a consonant (받침)."""
    return (ord(word[-1]) - ord("가")) % 28 > 0


def _name_patterns(bare):
    return (_NAME_TAG, _BARE_NAME) if bare else (_NAME_TAG,)


def _guessed(match):
    inside = match[1].strip()
    if not inside or _UNHEARD.search(inside):
        raise Unusable("unintelligible")
    return inside


def _gap(match):
    """What is left of removed marks: one space between two words, none before punctuation or at either end."""
    inside = match.start() > 0 and match.end() < len(match.string)
    return " " if inside and re.search(r"\s", match.group()) and match.string[match.end()] not in ".,!?" else ""


def _asks_for(run):
    """The kind of name that the Hangul after a tag asks for: consonant, vowel, rather vowel, or "" if both fit."""
    patterns = (("consonant", _AFTER_CONSONANT), ("vowel", _AFTER_VOWEL), ("rather vowel", _RATHER_VOWEL))
    return next((kind for kind, pattern in patterns if pattern.fullmatch(run)), "")


def _with_names(text, names, pattern):
    pieces, at = [], 0
    for m in pattern.finditer(text):
        name = names.get(m["tag"])
        run = m["run"] if name is None else _agreeing(name, m["run"], text[: m.start()], text[m.end() :])
        pieces += [text[at : m.start()], name or m["tag"], run]
        at = m.end()
    return "".join(pieces) + text[at:]


def _agreeing(name, run, before, after):
    """The particle `run` in the form that fits `name`; before, after: the text around both."""
    asked = _asks_for(run)
    if asked not in ("consonant", "vowel") or (asked == "consonant") == has_final_consonant(name):
        return run
    if asked == "consonant":
        if run in _TO_VOWEL:
            return _TO_VOWEL[run]
        # 이는, 이랑, 이한테, 으로: without the first syllable
        return "였" + run[2:] if run.startswith("이었") else run[1:]
    if run == "야":  # a call: 서진아, or "it is": 서진이야
        return "이야" if before.strip() and re.match(r"[.?]|$", after) else "아"
    if run.startswith("로"):
        return "으" + run
    if run.startswith("였"):
        return "이었" + run[1:]
    # 서진이는, 서진이가, 서진이랑: so people who are close are spoken of
    return "이에요" if run == "예요" else "이" + run
