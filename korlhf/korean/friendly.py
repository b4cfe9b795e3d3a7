"""A rule-based check whether one Korean answer is friendly in form: polite, clean and on its feet.

It knows nothing of any reward model, so it can referee one: a policy that learns to please its reward model alone will
be caught here when it turns rude, empty or repetitive. It reads the surface only: sarcasm without a set phrase passes.
"""

import re

from korlhf.korean import WORDS
from korlhf.korean.speech_level import is_complete, is_polite, words

ABUSE, DISMISSIVE = WORDS["abuse"], WORDS["dismissive"]  # parts of words and set phrases, matched anywhere
PATTERN = re.compile("|".join(WORDS["dismissive_patterns"]))
HANGUL = re.compile(r"[가-힣]")
MIN_WORDS, MIN_HANGUL = 2, 5
MIN_HANGUL_SHARE = 0.6  # of all non-space characters that are not punctuation
MAX_RUN = 3  # the same token n-gram this many times in a row is a loop
MIN_DISTINCT_BIGRAMS = 0.5


def friendly(answer: str) -> tuple[bool, tuple[str, ...]]:
    """Return (friendly or not, the reasons that failed), reasons among "impolite", "abuse", "dismissive", "empty",
    "too short", "not Korean", "loop", "incomplete"."""
    text = answer.strip()
    if not text:
        return False, ("empty",)
    checks = {
        "impolite": not is_polite(text),
        "abuse": any(part in text for part in ABUSE),
        "dismissive": any(part in text for part in DISMISSIVE) or bool(PATTERN.search(text)),
        "too short": len(words(text)) < MIN_WORDS and len(HANGUL.findall(text)) < MIN_HANGUL,
        "not Korean": not is_korean(text),
        "loop": is_looping(text),
        "incomplete": not is_complete(text),
    }
    reasons = tuple(name for name, failed in checks.items() if failed)
    return not reasons, reasons


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
