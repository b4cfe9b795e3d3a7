"""How much two texts have in common: ROUGE-L, and the nearest text of a growing pool.

ROUGE-L is taken over characters without spaces: Korean spacing varies from writer to writer, and a syllable carries
about as much as a short English word. Left out: other units, and the weighting of recall over precision; generated
texts are compared with each other, so neither is the reference. Source: Lin 2004, section 3 (LCS of two sentences).
"""

import unicodedata
from array import array
from collections.abc import Iterable

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel

FIRST_CHUNK = 32  # texts compared exactly before the bounds are looked at again; doubled every time
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
    """Texts, each once, and the nearest of them to another text by ROUGE-L.

    Exact: a text can have no longer subsequence in common than it has characters in common. That bound is cheap for all
    texts at once (lists of texts by character), so only those whose bound beats the best found so far are compared.
    Characters are renumbered in order of appearance: rapidfuzz is several times faster on code points below 256, and
    the frequent syllables appear first.
    """

    def __init__(self, texts: Iterable[str] = ()):
        self._texts = []  # as added
        self._units = []  # as compared, renumbered
        self._numbers = {}  # character -> the one it is compared as
        self._lengths = array("i")
        self._index = {}  # renumbered units -> place in the lists
        self._holding = {}  # (character, how often it came before in the text) -> places of the texts that have it
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Add a text; one that is there already, or has no characters, is passed over."""
        found = self._renumbered(text)
        if not found or found in self._index:
            return
        place = self._index[found] = len(self._texts)
        self._texts.append(text)
        self._units.append(found)
        self._lengths.append(len(found))
        for key in _counted(found):
            self._holding.setdefault(key, array("i")).append(place)

    def nearest(self, text: str, but: Iterable[str] = ()) -> tuple[float, str]:
        """(ROUGE-L, text) of the nearest text; of equally near ones the first added that shares most characters. `but`:
        texts that do
        not count. (0.0, "") if no text has a character in common.
        """
        wanted = self._renumbered(text)
        bounds = self._bounds(wanted)
        for place in (self._index.get(self._renumbered(other)) for other in but):
            if place is not None:
                bounds[place] = 0
        order = np.argsort(-bounds, kind="stable")
        best, nearest, at, size = 0.0, "", 0, FIRST_CHUNK
        while at < len(order) and bounds[order[at]] > best:
            chunk = order[at : at + size]
            chunk = chunk[bounds[chunk] > best]
            found = process.extractOne(
                wanted, [self._units[i] for i in chunk], scorer=Indel.normalized_similarity, score_cutoff=best
            )
            if found is not None and found[1] > best:
                best, nearest = found[1], self._texts[chunk[found[2]]]
            at, size = at + size, size * 2
        return best, nearest

    def _renumbered(self, text):
        return "".join(self._numbers.setdefault(char, chr(len(self._numbers))) for char in units(text))

    def _bounds(self, wanted):
        """(texts,) the most ROUGE-L each text can have with `wanted`: its characters in common, order left aside."""
        if not self._texts:
            return np.zeros(0)
        places = [np.frombuffer(self._holding[key], dtype=np.int32) for key in _counted(wanted) if key in self._holding]
        shared = np.bincount(np.concatenate(places), minlength=len(self)) if places else np.zeros(len(self))
        return 2 * shared / (np.frombuffer(self._lengths, dtype=np.int32) + len(wanted))


def _counted(text):
    """(character, how often it came before) of every character: a third 가 meets only a third one."""
    seen = {}
    for char in text:
        seen[char] = seen.get(char, 0) + 1
        yield char, seen[char]
