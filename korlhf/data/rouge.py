"""How much two texts have in common: ROUGE-L, and the nearest text of a growing pool.

ROUGE-L is taken over characters without spaces: Korean spacing varies from writer to writer, and a syllable carries
about as much as a short English word. Left out: other units, and the weighting of recall over precision; generated
texts are compared with each other, so neither is the reference. Source: Lin 2004, section 3 (LCS of two sentences).
"""

import unicodedata
from collections.abc import Iterable

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel

BINS = 10


def units(text: str) -> str:
    """`text` as it is compared: composed (NFC), without white space."""
    return "".join(unicodedata.normalize("NFC", text).split())


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F1, 0..1: 2 * (longest common subsequence) / (length a + length b) over characters without spaces.

    Two texts without characters are equal: 1.
    """
    return Indel.normalized_similarity(units(a), units(b))


def spread(scores: Iterable[float]) -> dict:
    """What the report says of similarities: {"n", "mean", "bins": {from: how many}}, ten bins; 1.0 is in the last."""
    scores = np.asarray([*scores], dtype=float)
    counts, edges = np.histogram(scores, bins=BINS, range=(0, 1))
    return {
        "n": len(scores),
        "mean": round(float(scores.mean()), 4) if len(scores) else None,
        "bins": {f"{edge:.1f}": int(n) for edge, n in zip(edges, counts)},
    }


class Pool:
    """Texts, each once, and the nearest of them to another text by ROUGE-L."""

    def __init__(self, texts: Iterable[str] = ()):
        self._texts: dict[str, str] = {}  # as compared -> as added
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Add a text; one that is there already, or has no characters, is passed over."""
        if units(text):
            self._texts.setdefault(units(text), text)

    def nearest(self, text: str, but: Iterable[str] = ()) -> tuple[float, str]:
        """(ROUGE-L, text) of the nearest text, of equal ones the first; (0.0, "") if none has anything in common.

        but: texts that do not count.
        """
        left_out = set(map(units, but))
        choices = [other for other in self._texts if other not in left_out]
        if not choices:
            return 0.0, ""
        other, score, _ = process.extractOne(units(text), choices, scorer=Indel.normalized_similarity)
        return (score, self._texts[other]) if score else (0.0, "")
