"""How texts are shown: a spot in its surroundings, or a beginning; nothing invisible and nothing personal in it."""

from typing import NamedTuple

from korlhf.data.characters import visible
from korlhf.data_prep.audit.content import mask_personal

CONTEXT = 60  # characters shown before and after a spot
LONGEST = 160  # of the spot itself
ARROWS = {" ": "␣", "\n": "↵\n", "\t": "⇥", "\r": "␍", "\u00a0": "␣", "\u3000": "␣"}


class Passage(NamedTuple):
    """A spot in its surroundings, fit to be shown: invisible characters are spelt out, personal data blotted out."""

    place: str
    column: str
    before: str
    spot: str
    after: str


def passage(place, column, text, spot):
    text = mask_personal(text)
    start, end = spot.start, min(spot.end, spot.start + LONGEST)
    before = ("…" if start > CONTEXT else "") + visible(text[max(0, start - CONTEXT) : start])
    after = visible(text[end : end + CONTEXT]) + ("…" if end + CONTEXT < len(text) else "")
    found = text[start:end]
    shown = found if found.strip() else "".join(ARROWS.get(c, c) for c in found)
    shown = visible(shown, joiners=True) + ("…" if end < spot.end else "")
    return Passage(place, column, before, shown if text else "∅", after)


def shortened(text, length=200):
    """The beginning of a text, fit to be shown."""
    return visible(mask_personal(text[: length + CONTEXT])[:length]) + (" …" if len(text) > length else "")
