"""Characters that cannot be seen."""


def visible(text, joiners=False):
    """The text with characters that cannot be seen spelt as ⟨U+200B⟩; zero-width joiners, which emojis are made of, only if asked."""
    if not (CONTROL.search(text) or INVISIBLE.search(text) or SEPARATOR.search(text) or "\r" in text):
        return text
    return "".join(f"⟨U+{ord(c):04X}⟩" if _hidden(c) and (joiners or c != "\u200d") else c for c in text)


def _hidden(char):
    return char == "\r" or bool(INVISIBLE.match(char) or CONTROL.match(char) or SEPARATOR.match(char))


# === from audit.checks
import re

SEPARATOR = re.compile("[\x0b\x0c\x85\u2028\u2029]")  # line ends of other systems


CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")


# Zero-width space, (non-)joiner, word joiner, invisible operators, byte order mark, soft hyphen, Hangul filler, directions, tags.
INVISIBLE = re.compile(
    "[\u200b\u200c\u200d\u2060-\u2064\ufeff\u00ad\u3164\uffa0\u200e\u200f\u202a-\u202e\u2066-\u2069\u180e\U000e0001"
    "\U000e0020-\U000e007f]"
)
