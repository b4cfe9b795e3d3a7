"""Words and speech level: what a Korean sentence ends in.

Read off the surface: the last word of a sentence, without its punctuation.
"""

import re

SENTENCES = re.compile(r"[^.!?~…\n]+[.!?~…]*")
EDGE_MARKS = ".,!?~…\"'()[]{}:;“”‘’·"
FINAL_MARKS = ".!?~…"
FINAL_PLAIN = tuple("다어아지네야해자라니냐까군걸게래데")


def words(text: str) -> list[str]:
    """Split into eojeol (space-separated words), the punctuation at their edges stripped; empty ones are dropped."""
    return [word for word in (raw.strip(EDGE_MARKS) for raw in text.split()) if word]


def last_word(text: str) -> str:
    """The last eojeol, "" if there is none."""
    return (words(text) or [""])[-1]


def polite_word(word: str) -> bool:
    """Tell whether one word, punctuation stripped, closes a sentence in 해요체, 합니다체 or 하십시오체."""
    if word.endswith(("요", "죠", "시오")):
        return True
    if len(word) < 3 or not word.endswith(("니다", "니까")):
        return False
    stem = ord(word[-3]) - 0xAC00
    return 0 <= stem < 11172 and stem % 28 == 17  # 17: the final consonant ㅂ, as in 합니다; 그러니까 has none


def polite_ending(text: str) -> bool:
    """Tell whether the last word closes a sentence politely."""
    return polite_word(last_word(text))


def is_complete(text: str) -> bool:
    """Tell whether a text ends in a sentence-final mark or in a final ending, not in the middle of a phrase."""
    return text[-1] in FINAL_MARKS or polite_ending(text) or last_word(text).endswith(FINAL_PLAIN)
