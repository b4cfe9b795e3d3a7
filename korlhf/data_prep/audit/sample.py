"""Bounded memories of an endless stream, the same for the same seed: random samples, capped counters, short passages around a spot."""

import random
from collections import Counter
from typing import NamedTuple

from korlhf.data.characters import visible
from korlhf.data_prep.audit.content import mask_personal

CONTEXT = 60  # characters shown before and after a spot
LONGEST = 160  # of the spot itself
VARIANTS = 100
ARROWS = {" ": "␣", "\n": "↵\n", "\t": "⇥", "\r": "␍", "\u00a0": "␣", "\u3000": "␣"}


class Reservoir:
    """A uniform sample of at most `size` items of a stream (Vitter 1985, algorithm R)."""

    def __init__(self, size, seed):
        self.size, self.seen, self.items = size, 0, []
        self._random = random.Random(seed)

    def place(self):
        """Count one item -> where to keep it, or None: so that an item is only made when it is kept."""
        self.seen += 1
        at = self.seen - 1 if self.seen <= self.size else self._random.randrange(self.seen)
        return at if at < self.size else None

    def keep(self, at, item):
        """Put the item where `place` said."""
        if at == len(self.items):
            self.items.append(item)
        else:
            self.items[at] = item


class Passage(NamedTuple):
    """A spot in its surroundings, fit to be shown: invisible characters are spelt out, personal data blotted out."""

    place: str
    column: str
    before: str
    spot: str
    after: str


def passage(place, column, text, spot):
    """The Passage of one Spot of a text."""
    text = mask_personal(text)
    start, end = spot.start, min(spot.end, spot.start + LONGEST)
    before = ("…" if start > CONTEXT else "") + visible(text[max(0, start - CONTEXT) : start])
    after = visible(text[end : end + CONTEXT]) + ("…" if end + CONTEXT < len(text) else "")
    shown = "".join(ARROWS.get(c, c) for c in text[start:end]) if not text[start:end].strip() else text[start:end]
    shown = visible(shown, joiners=True) + ("…" if end < spot.end else "")
    return Passage(place, column, before, shown if text else "∅", after)


def shortened(text, length=200):
    """The beginning of a text, fit to be shown."""
    return visible(mask_personal(text[: length + CONTEXT])[:length]) + (" …" if len(text) > length else "")


def count(counter: Counter, name):
    """counter[name] += 1, but names beyond the first VARIANTS are counted together."""
    counter[name if name in counter or len(counter) < VARIANTS else "others"] += 1
