"""A rule-based check whether Korean answers are kind in tone and make sense, and in what speech level they speak.

Three things apart: kindness (no swearing, no contempt, no cold shoulder), sense (Korean, of known morphemes, whole, no
loop) and the speech level, which is told and not judged: 다정한 반말 is friendly, cold 존댓말 is not. An answer is
friendly if it is kind and makes sense.

It knows nothing of any reward model, so it can referee one. Swear words are korcen's; contempt and coldness are words
of the dictionary and grammar over Kiwi's morphemes (words.yaml), none of them taken from samples/. samples/README.md
tells how far it agrees with a reader: sarcasm in kind words passes, and so does well-formed nonsense, which a base
model's perplexity may tell.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from korlhf.korean import WORDS
from korlhf.korean.morphemes import Analysis, Morpheme, analyse, line, sentences
from korlhf.korean.speech_level import words

HANGUL = re.compile(r"[가-힣]")
MIN_WORDS, MIN_HANGUL = 2, 5
MIN_HANGUL_SHARE = 0.6  # of all non-space characters that are not punctuation
MAX_RUN = 3  # the same token n-gram this many times in a row is a loop
MIN_DISTINCT_BIGRAMS = 0.5

MIN_PER_MORPHEME, DOUBTFUL, MIN_KNOWN = -7.5, -6.5, 0.7  # chosen on the dev half of samples/friendly_labels.jsonl
CASES = ("JKS", "JKO", "JKG", "JKB")
PARTICLES = frozenset(["을", "를", "은", "는", "에게", "에서", "으로", "의", "에"])  # no words of their own
SENSE = ("empty", "not Korean", "broken characters", "salad", "loop", "incomplete")
KINDNESS = ("abuse", "contempt", "cold")
LEVELS = ("haeyo", "hapsyo", "banmal", "mixed", "none")

_CONTEMPT = frozenset(WORDS["contempt"].split())
_DENIED = re.compile(WORDS["contempt_denied"])
_COLD = re.compile("|".join(f"(?:{cue})" for cue in WORDS["cold"]).replace("~", r"(?: \S+){0,4}?"))
_QUOTED = re.compile(r"""["“‘'](?!\s)([^"”’'\n]{1,40})["”’'](?=\W|[은는이가을를도만의과와]|이?라|하|같|대신|말)""")
_LAUGHS = re.compile(r"[ㄱ-ㅎㅏ-ㅣ]+")
_KEYS = re.compile(r"[ㅋㅎㅠㅜㅡㅇㅉㄷㄴㄱㅊㅅ]+")  # ㅋㅋ, ㅠㅠ, ㅇㅇ, ㄱㅅ: typed alone by everybody
_LIST = re.compile(r"(?m)^\s*(?:[-*•·]|\d+[.)])\s+")
_SWEARING = ("general", "minor", "sexual", "belittle", "race", "parent", "special")  # korcen's levels, without politics
_YOUNG = re.compile(
    r"새끼 ?(?=[손발]|고양이|강아지|돼지|사자|곰|새|양|오리|호랑이|염소|줄|꼬)"
)  # 새끼발가락, 새끼 고양이
_EMOJI_OR_MARK = ("S", "W_")
_UNFINISHED = frozenset(["EP", "ETM", "JKC", "JKQ", "JC", "XR", "XPN", "MM", "NNB", "EC", *CASES])


@dataclass(frozen=True, slots=True)
class Manner:
    """One answer: reasons against it, of KINDNESS and SENSE; its speech level, of LEVELS."""

    reasons: tuple[str, ...]
    level: str

    @property
    def friendly(self) -> bool:
        """Kind, and of sense."""
        return not self.reasons

    @property
    def sense(self) -> bool:
        """Nothing of SENSE speaks against it, kind or not."""
        return not set(self.reasons) & set(SENSE)

    @property
    def polite(self) -> bool:
        """All its sentences are in 해요체 or 합니다체."""
        return self.level in ("haeyo", "hapsyo")


def manner(answer: str) -> Manner:
    """The Manner of one answer."""
    return manners([answer])[0]


def manners(answers: Sequence[str]) -> list[Manner]:
    """The Manner of each answer: faster than one by one."""
    texts = [answer.strip() for answer in answers]
    return [_manner(text, of) for text, of in zip(texts, analyse(texts))]


def _manner(text, of):
    if not text:
        return Manner(("empty",), "none")
    parts = sentences(of.morphemes)
    own = _own(text, parts)
    checks = {
        "not Korean": not _in_korean(text),
        "broken characters": _is_broken(text),
        "salad": _is_salad(text, of),
        "loop": _loops(text),
        "incomplete": _is_cut(text, of.morphemes),
        "abuse": _swears(text),
        "contempt": any(map(_scorned, own)) or _hides_scorn(text),
        "cold": any(_COLD.search(line(part)) for part in own),
    }
    return Manner(tuple(name for name, failed in checks.items() if failed), speech_level(parts))


def shares(found: Sequence[Manner]) -> dict[str, float]:
    """{"friendly", "sense", "polite"}: shares of at least one Manner. Kindness is never told without sense."""
    return {name: sum(getattr(m, name) for m in found) / len(found) for name in ("friendly", "sense", "polite")}


def speech_level(parts: Sequence[Sequence[Morpheme]]) -> str:
    """The level of the final endings of sentences: "haeyo" or "hapsyo" (the one there is more of), "banmal",
    "mixed" (banmal and one of the former), "none" without an ending."""
    found: Counter = Counter()
    for part in parts:
        endings = [one for one in part if one.tag in ("EF", "EC") or one.said == "요/JX"]
        last = endings[-1] if endings else None
        if last is None or (last.tag == "EC" and not last.form.endswith("요")):
            continue
        polite = last.form.endswith(("요", "죠", "여", "유"))
        formal = last.form.endswith(("니다", "니까", "시오"))
        found["haeyo" if polite else "hapsyo" if formal else "banmal"] += 1
    if not found:
        return "none"
    if found["banmal"] and len(found) > 1:
        return "mixed"
    return found.most_common(1)[0][0]


def _in_korean(text):
    """Most letters outside of quotes are Hangul; laughter and list numbers do not count."""
    rest = _LAUGHS.sub("", _QUOTED.sub("", text)) or text
    letters = [char for char in rest if char.isalpha()]
    return not letters and bool(HANGUL.search(text)) or bool(letters) and is_korean("".join(letters))


def _is_broken(text):
    """U+FFFD, or lone jamo other than those typed alone, within words."""
    jamo = [run for run in _LAUGHS.findall(text) if not _KEYS.fullmatch(run)]
    return "\ufffd" in text or sum(map(len, jamo)) > 3


def _is_salad(text, of: Analysis):
    """Improbable or unknown morphemes, particles that belong to no word or stand one on the other."""
    said = [one for one in of.morphemes if one.tag[0] in "NVMIXEJ"]
    if not said:
        return False
    known = sum(one.known for one in said) / len(said)
    if known < MIN_KNOWN and len(said) >= 3:
        return True
    if not _LIST.search(text) and len(said) >= 8 and of.per_morpheme < MIN_PER_MORPHEME:
        return True
    stacked = any(a.tag in ("JKO", "JKS") and b.tag in CASES for a, b in zip(of.morphemes, of.morphemes[1:]))
    loose = sum(word in PARTICLES for word in words(text))
    return stacked or loose >= 2 or (loose == 1 and of.per_morpheme < DOUBTFUL)


def _loops(text):
    bare = _LIST.sub("", text)
    return is_looping(bare) or bool(re.search(r"([가-힣])\1{5}|([ㄱ-ㅎㅏ-ㅣ])\2{19}", text))


def _is_cut(text, morphemes):
    """It ends in the middle of a sentence: no mark, and what is last cannot be."""
    tail = [one for one in morphemes if not one.tag.startswith(_EMOJI_OR_MARK)]
    if not tail or re.search(r"[.!?~…♡^)”\"']\s*$|[^\w\s,]\s*$|[ㅋㅎㅠㅜ]\s*$", text):
        return False
    last = tail[-1]
    if last.form.endswith("요") or last.tag in ("EF", "IC", "ETN"):
        return False
    ends = [k for k, one in enumerate(tail) if one.tag == "EF"]
    after = tail[ends[-1] + 1 :] if ends else tail
    if last.tag in _UNFINISHED or last.tag == "JX":
        return True
    listed = bool(_LIST.search(text.splitlines()[-1]))
    return not listed and any(one.tag in ("JKS", "JKO", "JKB", "EC", "ETM") for one in after)


@cache
def _korcen():
    """korcen's finder of patterns. Its import wraps the streams of the process for colours: taken back at once."""
    import colorama
    from korcen import korcen

    colorama.deinit()
    return korcen.check_and_report_profanity_pattern


def _swears(text):
    plain = _YOUNG.sub("", _QUOTED.sub("", text))
    return any(_korcen()(one, level) for one in {plain, unmasked(plain)} for level in _SWEARING)


def unmasked(text: str) -> str:
    """Without what hides a word: marks and digits between syllables (꺼.져), jamo for syllables (ㄸㅏ), drawn-out
    vowels (시이이발)."""
    text = re.sub(r"(?<=[가-힣ㄱ-ㅎ])[.@*_^\d-]+(?=[가-힣ㄱ-ㅎ])", "", text)
    text = re.sub("([ㄱ-ㅎ])([ㅏ-ㅣ])", lambda two: _syllable(*two.groups()), text)
    return re.sub(r"([가-힣])([아-잏])\2*", lambda two: two[1] if _drawn_out(*two.groups()) else two[0], text)


_LEADS, _VOWELS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"


def _syllable(lead, vowel):
    return chr(0xAC00 + (_LEADS.index(lead) * 21 + _VOWELS.index(vowel)) * 28) if lead in _LEADS else lead + vowel


def _drawn_out(syllable, after):
    a, b = ord(syllable) - 0xAC00, ord(after) - 0xAC00
    return a % 28 == 0 and b % 28 == 0 and b // 588 == 11 and a // 28 % 21 == b // 28 % 21


def scorn(text: str) -> tuple[str, ...]:
    """The words of contempt in a text, as form/tag, quotes and what is denied left out."""
    return tuple(said for part in _own(text, sentences(analyse([text])[0].morphemes)) for said in _scorned(part))


def _own(text, parts):
    """The sentences without what stands in quotes."""
    quotes = [match.span() for match in _QUOTED.finditer(text)]
    return (
        [[one for one in part if not any(a <= one.start < b for a, b in quotes)] for part in parts] if quotes else parts
    )


def _scorned(part):
    whole = line(part)
    return [
        one.said
        for one in part
        if one.said in _CONTEMPT and not _DENIED.search(whole.partition(f" {one.said} ")[2].join("  "))
    ]


def _hides_scorn(text):
    bare = _QUOTED.sub("", text)
    shown = unmasked(bare)
    return shown != bare and bool(scorn(shown))


def is_korean(text: str) -> bool:
    """Tell whether Hangul syllables make up most of the letters and digits."""
    letters = [char for char in text if char.isalnum()]
    return bool(letters) and len(HANGUL.findall(text)) >= MIN_HANGUL_SHARE * len(letters)


def is_looping(text: str) -> bool:
    """Tell whether words, or characters, repeat MAX_RUN times in a row, or too few word pairs are distinct."""
    tokens = words(text)
    for size in range(1, len(tokens) // MAX_RUN + 1):
        for start in range(len(tokens) - size * MAX_RUN + 1):
            if tokens[start : start + size] * MAX_RUN == tokens[start : start + size * MAX_RUN]:
                return True
    if re.search(r"([가-힣]{2,})\1\1", text):
        return True
    bigrams = list(zip(tokens, tokens[1:]))
    return bool(bigrams) and len(set(bigrams)) <= MIN_DISTINCT_BIGRAMS * len(bigrams)
