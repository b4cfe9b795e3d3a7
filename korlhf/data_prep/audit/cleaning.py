"""Defects of single texts that can be cleaned: leftover tokens, invisible characters, stray spaces, decomposed Hangul.

A Check has `find(text)`, the spots in order, and `fix(text)`, the text without them. `clean(text)` applies all of them
until nothing changes, so cleaning twice is cleaning once. What may be meant stays as it is: joiners within emojis and
between letters of scripts that need them, code in backticks, indentation, tables, aligned comments, HTML. Defects that
cannot be cleaned are in content.py.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from korlhf.data.characters import CONTROL, INVISIBLE, SEPARATOR


class Spot(NamedTuple):
    """text[start:end] is what was found; `what` names the variant, for counting."""

    start: int
    end: int
    what: str


class Check(NamedTuple):
    """find: text -> list of Spot; replacement: of what was found, a text or a function of it."""

    find: Callable[[str], list[Spot]]
    replacement: str | Callable[[str], str] = ""

    def fix(self, text):
        """The text without what `find` finds."""
        for start, end, _ in reversed(self.find(text)):
            new = self.replacement if isinstance(self.replacement, str) else self.replacement(text[start:end])
            text = text[:start] + new + text[end:]
        return text


FENCE = re.compile(r"```.*?(?:```|\Z)|~~~\n.*?(?:\n~~~|\Z)", re.DOTALL)
INLINE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
FILLER = "\ufffc"  # stands for code where the place of the rest matters; neither letter nor space

# No text means these, wherever they stand.
SURE_TOKEN = re.compile(
    r"<\|[A-Za-z0-9_]{2,40}\|>|<｜[^<>｜\n]{2,40}｜>|\[\|[A-Za-z_]{2,30}\|\]|<(?:start|end)_of_turn>|<<SYS>>|<</SYS>>"
    r"|\[/?INST\]|<(?:eos|bos|pad|unk|usr|sys)>"
)
# HTML knows <s>...</s> too, and texts on tokenizers speak of [SEP].
STRIKE = re.compile(r"<s>[^<>]+</s>")
EDGE_TOKEN = re.compile(r"</?s>|\[(?:CLS|SEP|PAD|MASK|EOS|BOS)\]")
LAST_TOKEN = re.compile(rf"(?:{SURE_TOKEN.pattern}|{EDGE_TOKEN.pattern})\Z")
LONGEST_TOKEN = 50

DIRECTIONS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
# Arabic, the scripts of India, Tibetan, Khmer, Mongolian
JOINING_SCRIPT = re.compile("[\u0600-\u0dff\u0f00-\u0fff\u1780-\u18af]")
FLAG = "\U0001f3f4"  # the flags of England, Scotland, Wales are this and tag characters

CARRIAGE = re.compile(r"\r\n?")
RUN = re.compile("(?<=\\S)[ \u00a0\u3000]{2,}(?=\\S)")
HANGUL = re.compile("[가-힣ㄱ-ㅎㅏ-ㅣ]")
LOOSE_LEFT = re.compile(r"[가-힣ㄱ-ㅎㅏ-ㅣA-Za-z0-9.,?!~…\"'”’)\]%]")
LOOSE_RIGHT = re.compile(r"[가-힣ㄱ-ㅎㅏ-ㅣA-Za-z0-9\"'“‘(\[]")
CODE_SIGN = re.compile(r"[={}|\\;#]|//|->|[A-Za-z_]\w*\(", re.ASCII)
LIST_MARK = re.compile(r"\s*(?:\d+[.)]|[-*+•·])\Z")
INDENTED = re.compile(r"(?: {2}|\t)\s*\S")


def mask_code(text, filler=FILLER):
    """The text with code in backticks replaced by as many fillers; line ends stay."""
    if "`" not in text and "~~~" not in text:
        return text
    for pattern in (FENCE, INLINE):
        text = pattern.sub(lambda m: "".join(c if c == "\n" else filler for c in m.group()), text)
    return text


def last_tokens(text):
    """Where the tokens begin that end the text, or its length; blanks between them and behind them do not count."""
    begin = len(text)
    while text[:begin].rstrip()[-1:] in (">", "]"):
        end = len(text[:begin].rstrip())
        token = LAST_TOKEN.search(text[max(0, end - LONGEST_TOKEN) : end])
        if not token:
            break
        begin = end - len(token.group())
    return begin


def find_tokens(text):
    """Literal special tokens of tokenizers and chat templates, e.g. <|endoftext|>; in code only at the very end."""
    if not ("<" in text or "[" in text):
        return []
    end = last_tokens(text)
    masked = mask_code(text)[:end]
    masked = STRIKE.sub(lambda m: FILLER * len(m.group()) if m.group() != text.strip() else m.group(), masked)
    found = [*SURE_TOKEN.finditer(masked)]
    found += [m for m in EDGE_TOKEN.finditer(masked) if m.group() in ("<s>", "</s>") or not masked[: m.start()].strip()]
    if end < len(text) and not _struck(text, end):
        found += [m for p in (SURE_TOKEN, EDGE_TOKEN) for m in p.finditer(text, end)]
    return [Spot(m.start(), m.end(), m.group()) for m in sorted(found, key=lambda m: m.start())]


def _struck(text, end):
    """Whether what ends the text is the </s> of an HTML <s>...</s> that does not hold the whole text."""
    return text[end:].strip() == "</s>" and any(m.end() >= end + 4 and m.start() for m in STRIKE.finditer(text))


def _plain(text):
    """Whether there is no control or invisible character at all; a quick look that most texts pass."""
    return text.replace("\n", "").isprintable() and "\u3164" not in text and "\uffa0" not in text


def find_invisible(text):
    """Zero-width and other invisible characters, but not those that an emoji, a flag or another script needs."""
    if _plain(text) or not INVISIBLE.search(text):
        return []
    rtl = bool(RIGHT_TO_LEFT.search(text))
    return [
        Spot(m.start(), m.end(), f"U+{ord(m.group()):04X}")
        for m in INVISIBLE.finditer(text)
        if not _needed(text, m.start(), rtl)
    ]


def _needed(text, at, rtl):
    char = text[at]
    if char in DIRECTIONS:
        return rtl
    before = text[:at].rstrip("\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")[-1:]
    after = text[at + 1 : at + 2]
    if char in "\u200c\u200d" and before and after:
        pictures = unicodedata.category(before) == "So" and unicodedata.category(after) in ("So", "Sm")
        return char == "\u200d" and pictures or bool(JOINING_SCRIPT.match(before) and JOINING_SCRIPT.match(after))
    if char >= "\U000e0020":
        return text[:at].rstrip("".join(map(chr, range(0xE0020, 0xE0080))))[-1:] == FLAG
    return False


def find_control(text):
    """Control characters and halves of surrogate pairs; line ends of other systems."""
    if _plain(text):
        return []
    found = [*CONTROL.finditer(text), *SEPARATOR.finditer(text)]
    return [Spot(m.start(), m.end(), f"U+{ord(m.group()):04X}") for m in sorted(found, key=lambda m: m.start())]


def find_carriage_returns(text):
    return [Spot(m.start(), m.end(), "CR LF" if len(m.group()) == 2 else "CR") for m in CARRIAGE.finditer(text)]


def find_trailing(text):
    """Blanks at the very end, also those before the tokens that end the text."""
    tokens = last_tokens(text)
    parts = [(0, tokens), (tokens, len(text))] if tokens < len(text) else [(0, len(text))]
    ends = [(begin + len(text[begin:end].rstrip()), end) for begin, end in parts]
    return [Spot(start, end, _blanks(text[start:end])) for start, end in ends if 0 < start < end]


def find_leading(text):
    """Blanks at the very beginning, but not the indentation of a text that begins with an indented block."""
    start = len(text) - len(text.lstrip())
    if not 0 < start < len(text):
        return []
    line = text.rfind("\n", 0, start) + 1
    lines = text[line:].split("\n")
    if INDENTED.match(lines[0]) and any(INDENTED.match(other) for other in lines[1:]):
        start = line
    return [Spot(0, start, _blanks(text[:start]))] if start else []


def _blanks(text):
    return "line end" if "\n" in text else "one space" if text == " " else "spaces"


def find_doubled(text):
    """Two or more spaces within a Korean sentence, as deleted words leave them; not where they may be layout."""
    if not ("  " in text or "\u00a0" in text or "\u3000" in text):
        return []
    masked = mask_code(text)
    return [
        Spot(m.start(), m.end(), f"{min(m.end() - m.start(), 4)}{'+' if m.end() - m.start() > 3 else ''} spaces")
        for m in RUN.finditer(masked)
        if _loose(masked, m.start(), m.end())
    ]


def _loose(text, start, end):
    """Whether the run of spaces text[start:end] is a slip: between words of prose."""
    if not (LOOSE_LEFT.match(text[start - 1]) and LOOSE_RIGHT.match(text[end])):
        return False
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    line = text[first : last if last >= 0 else len(text)]
    left, right = text[first:start].split()[-1], text[end : first + len(line)].split()[0]
    if not (HANGUL.search(left) or HANGUL.search(right)) or INDENTED.match(line) or CODE_SIGN.search(line):
        return False
    if LIST_MARK.match(text[first:start]):
        return False
    wide = end - start > 2 or "   " in line
    return not (wide and ("   " in _line_before(text, first).strip() or "   " in _line_after(text, last).strip()))


def _line_before(text, first):
    return text[text.rfind("\n", 0, max(first - 1, 0)) + 1 : max(first - 1, 0)]


def _line_after(text, last):
    return "" if last < 0 else text[last + 1 :].split("\n", 1)[0]


def find_decomposed(text):
    """Characters that are not in composed form (NFC), e.g. Hangul as separate Jamo; each run is one spot."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return []
    spots, at = [], 0
    for m in re.finditer(r"\S+", text):
        if not unicodedata.is_normalized("NFC", m.group()):
            spots.append(
                Spot(m.start(), m.end(), "decomposed Hangul" if re.search("[\u1100-\u11ff]", m.group()) else "other")
            )
        at = m.end()
    return spots or [Spot(0, at, "other")]


CLEANED = {
    "control": Check(find_control, lambda found: "\n" if SEPARATOR.match(found) else ""),
    "carriage_return": Check(find_carriage_returns, "\n"),
    "not_nfc": Check(find_decomposed, partial(unicodedata.normalize, "NFC")),
    "invisible": Check(find_invisible),
    "special_token": Check(find_tokens),
    "trailing_space": Check(find_trailing),
    "leading_space": Check(find_leading),
    "doubled_space": Check(find_doubled, " "),
}


def clean(text):
    """The text without any of these defects; one of nothing but defects becomes "". A clean text stays as it is."""
    while True:
        before = text
        for check in CLEANED.values():
            text = check.fix(text)
        text = text if text.strip() else ""
        if text == before:
            return text
