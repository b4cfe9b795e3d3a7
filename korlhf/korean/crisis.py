"""Signs in a message that the writer, or somebody near, may come to harm.

Three kinds: self_harm (suicide and self-harm, said or hinted), violence (somebody may be hurt by the writer) and abuse
(somebody is being hurt). A few phrases always count. The rest is weighed by logistic regression on n-grams of the
characters and of the letters (죽고 -> ㅈㅜㄱㄱㅗ, which bears typing errors), fitted at the first use (3 s) to
crisis.jsonl: sentences written and labelled for this, and everyday prompts of samples/. Rules over Kiwi's morphemes
were tried first: of sentences written after them they saw a quarter, this sees four of five. tests/korean/
test_crisis.py holds how many. It is there to show where help is, not to decide anything.
"""

import json
import re
import threading
from functools import cache
from importlib import resources

KINDS = ("self_harm", "violence", "abuse")
NONE = "none"
LEAST = 0.45  # probability that a sentence, or two, are of a kind
CHARACTERS, LETTERS, RARE = (2, 4), (3, 7), 3  # lengths of n-grams; those of fewer sentences than RARE are left out

_ONE_FIT = threading.Lock()
_ENDS = re.compile(r"(?<=[.!?…])\s+|\n+")
_WORK = "(?:영화|책|노래(?!를? ?(?:부르|불))|소설|드라마|웹툰)"  # who sings "죽고 싶다" says it
_TITLE = re.compile(
    rf"""["“‘'「『《<][^"”’'」』》>\n]{{1,40}}["”’'」』》>] ?(?:이?라는 |이?란 )?{_WORK}|죽고 싶지만 떡볶이"""
)
_ALWAYS = re.compile(  # of letters: 죽고 싶다, 죽어 버릴래, 자살하고, ㅈㅅ하고, 살고 싶지 않아, 살기 싫어
    "[ㅈㄷㅉ][ㅜㅠ]ㄱ[ㄱㄲ][ㅗㅜ][ㅅㅆ]ㅣ[ㅍㅂㄷ]|ㅈㅜㄱㅇㅓㅂㅓㄹㅣ(?:ㄱㅗㅅㅣ|ㄹㄹㅐ|ㄹㄱㅓ)|[ㅈㅉ][ㅏㅑ]ㅅ[ㅏㅑ]ㄹㅎㅏ(?:ㄱㅗㅅ|ㄹㅕ|ㄹㄱ|ㄹㄹㅐ)"
    "|ㅈㅅㅎㅏ(?:ㄱㅗ|ㄹ)|ㅅㅏㄹㄱㅗㅅㅣㅍㅈㅣ(?:ㅇㅏ[ㄴㄶ]|ㄷㅗ)|ㅅㅏㄹㄱㅣㅅㅣ(?:ㅀ|ㄹ(?:ㅡ|ㅓ|ㅇ[ㅓㅡ]))"
)
_LEADS, _VOWELS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"


def signs(text: str) -> list[str]:
    """Those of KINDS that a message has a sign of: two sentences at a time, for a fragment tells little."""
    parts = [part for part in _ENDS.split(_TITLE.sub(" ", text).strip()) if letters(part)]
    if not parts:
        return []
    found = {"self_harm"} if _ALWAYS.search(letters(" ".join(parts))) else set()
    with _ONE_FIT:
        model, features = _model()
    for row in model.predict_proba(features([" ".join(two) for two in zip(parts, parts[1:])] or parts)):
        of = dict(zip(model.classes_, row))
        if 1 - of.pop(NONE) > LEAST:
            found.add(max(of, key=of.get))
    return [kind for kind in KINDS if kind in found]


def letters(text: str) -> str:
    """A text letter by letter, without blanks and marks: 죽고 -> ㅈㅜㄱㄱㅗ."""
    return "".join(map(_letters, filter(str.isalnum, text)))


def _letters(char):
    if not "가" <= char <= "힣":
        return char
    lead, rest = divmod(ord(char) - ord("가"), len(_VOWELS) * len(_FINALS))
    vowel, final = divmod(rest, len(_FINALS))
    return (_LEADS[lead] + _VOWELS[vowel] + _FINALS[final]).strip()


@cache
def _model():
    """(the classifier, function: texts -> its features)"""
    from scipy.sparse import hstack  # slow to import, as is sklearn
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    lines = resources.files("korlhf.korean").joinpath("crisis.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [row["text"] for row in rows]
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=CHARACTERS, min_df=RARE, sublinear_tf=True).fit(texts)
    spelt = TfidfVectorizer(analyzer="char", ngram_range=LETTERS, min_df=RARE, sublinear_tf=True)
    spelt.fit(map(letters, texts))

    def features(some):
        return hstack([characters.transform(some), spelt.transform(map(letters, some))])

    model = LogisticRegression(C=10, max_iter=3000, class_weight="balanced")
    return model.fit(features(texts), [row["kind"] for row in rows]), features
