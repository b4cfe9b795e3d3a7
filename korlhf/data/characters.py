"""Characters that cannot be seen, or cannot be written."""

import re

SEPARATOR = re.compile("[\x0b\x0c\x85\u2028\u2029]")  # line ends of other systems
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
# Zero-width space, (non-)joiner, word joiner, invisible operators, byte order mark, soft hyphen, Hangul filler,
# directions, tags.
INVISIBLE = re.compile(
    "[\u200b\u200c\u200d\u2060-\u2064\ufeff\u00ad\u3164\uffa0\u200e\u200f\u202a-\u202e\u2066-\u2069\u180e\U000e0001"
    "\U000e0020-\U000e007f]"
)
SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair: JSON can hold one ("\\ud83d"), UTF-8 cannot
_HIDDEN = re.compile(f"\r|{SEPARATOR.pattern}|{CONTROL.pattern}|{INVISIBLE.pattern}")


def visible(text: str, joiners: bool = False) -> str:
    """The text with characters that cannot be seen spelt as ⟨U+200B⟩; the joiners within emojis only if asked."""
    return _HIDDEN.sub(lambda m: m[0] if m[0] == "\u200d" and not joiners else f"⟨U+{ord(m[0]):04X}⟩", text)
