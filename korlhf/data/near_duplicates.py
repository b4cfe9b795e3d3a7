"""Near-duplicates: which prompts differ by a word or an ending only.

Two texts are near-duplicates when the Jaccard similarity of their sets of character 3-grams reaches a threshold, after
split.normalise: spacing, case and final punctuation do not count. MinHash (Broder 1997, "On the resemblance and
containment of documents") estimates it from short signatures; pairs that agree in a whole band of them are proposed
(Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", section 3.4) and looked at. A text shorter than SHORTEST is a near-duplicate of equal ones
alone: one letter changes most of its few 3-grams.

By hand, because datasketch hashes gram by gram in Python, and puts no bound on the pairs of texts that share a long
frame.
"""

import hashlib
import math
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np

from korlhf.data.split import normalise

SHORTEST = 8  # characters after normalising
HASHES = 128  # numbers of a signature: the standard error of an estimate of .8 is .035
RECALL = 0.999  # of the pairs exactly at the threshold this share is proposed by some band
MARGIN = 4.0  # standard errors that an estimate may fall short of the threshold and the texts are still looked at
BATCH_TEXTS, BATCH_CHARACTERS = 4096, 1 << 20  # signed at once
BLOCK = 1 << 14  # pairs handled at once
CROWD = 128  # a bucket with more texts is divided by further bands: pairs grow with the square of its size
DIVISIONS = 3  # how often; what is still together then differs in little but a frame, or is a near-duplicate


def grams(text: str) -> frozenset[str]:
    """The 3-grams of a normalised text."""
    return frozenset(text[i : i + 3] for i in range(len(text) - 2))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Size of the intersection over size of the union; 1 for two empty sets."""
    both = len(a & b)
    return both / (len(a) + len(b) - both) if a or b else 1.0


def groups(texts: Iterable[str], threshold: float = 0.8) -> list[int]:
    """The group of every text, numbered from 0 by first occurrence; near-duplicates, and those of those, share one.

    Decides by their exact similarity. Raises ValueError for a threshold outside of (0, 1].
    """
    kept = list(texts)
    grams_of = lru_cache(maxsize=1 << 10)(lambda i: grams(normalise(kept[i])))
    return Signatures(kept, threshold).groups(lambda i, j: jaccard(grams_of(i), grams_of(j)) >= threshold)


class Signatures:
    """MinHash signatures of a stream of texts, about 280 bytes a text; the texts themselves are not kept.

    `pairs` and `groups` name texts by their place in the stream, from 0. In buckets of more than CROWD texts that agree
    in DIVISIONS further bands as well, each text is compared with the first and with its neighbour only: they are one
    group already, or share a long frame. Raises ValueError for a threshold outside of (0, 1].
    """

    def __init__(self, texts: Iterable[str], threshold: float = 0.8):
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold {threshold}: must be above 0 and at most 1")
        self.threshold = threshold
        self.band = band_size(threshold)
        equal, long = array("Q"), array("q")
        signed, batch, characters = [np.empty((0, HASHES), np.uint16)], [], 0
        for i, text in enumerate(map(normalise, texts)):
            equal.append(_hash(text))
            if len(text) >= SHORTEST:
                long.append(i)
                batch.append(text)
                characters += len(text)
            if len(batch) == BATCH_TEXTS or characters >= BATCH_CHARACTERS:
                signed.append(_sign(batch))
                batch, characters = [], 0
        self._numbers = np.concatenate([*signed, _sign(batch)] if batch else signed)  # (long texts, HASHES)
        first, inverse = np.unique(np.array(equal, np.uint64), return_index=True, return_inverse=True)[1:]
        self.first = first[inverse].astype(np.int64)  # of every text the first one equal to it
        self._texts = np.array(long, np.int64)  # of every signature its text

    def __len__(self) -> int:
        return len(self.first)

    def pairs(self) -> Iterator[tuple[int, int, float]]:
        """Yield (i, j, estimated similarity) with i < j of near-duplicates; a pair may come several times.

        A text equal to an earlier one comes once, with the first such (similarity 1), and nowhere else.
        """
        for j in np.flatnonzero(self.first != np.arange(len(self))).tolist():
            yield int(self.first[j]), j, 1.0
        for a, b in self._proposals():
            estimates = self._estimates(a, b)
            near = estimates >= self.threshold
            yield from zip(self._texts[a[near]].tolist(), self._texts[b[near]].tolist(), estimates[near].tolist())

    def groups(self, same: Callable[[int, int], bool] | None = None) -> list[int]:
        """The group of every text, as the function `groups` gives it.

        same: decides on a proposed pair (i, j); not given, the estimate does.
        """
        parent = self.first.copy()
        margin = MARGIN * math.sqrt(self.threshold * (1 - self.threshold) / HASHES) if same else 0.0
        for a, b in self._proposals():
            apart = _roots(parent, self._texts[a]) != _roots(parent, self._texts[b])
            a, b = a[apart], b[apart]
            likely = self._estimates(a, b) >= self.threshold - margin
            for i, j in zip(self._texts[a[likely]].tolist(), self._texts[b[likely]].tolist()):
                roots = sorted((_root(parent, i), _root(parent, j)))
                if roots[0] != roots[1] and (same is None or same(i, j)):
                    parent[roots[1]] = roots[0]
        roots = _roots(parent, np.arange(len(parent)))  # the first text of each group: numbered by first occurrence
        return np.unique(roots, return_inverse=True)[1].tolist()

    def _proposals(self):
        """Yield blocks of signatures (a, b) that agree in a band, a < b; of equal texts the first stands for all."""
        firsts = np.flatnonzero(self.first[self._texts] == self._texts)
        for band in range(HASHES // self.band):
            yield from self._in_buckets(firsts, band, 0)

    def _in_buckets(self, members, band, division):
        """The proposals among signatures that agree in the `division` bands before `band`."""
        keys = np.zeros(len(members), np.uint64)  # equal numbers: they agree in this band
        for column in self._numbers[members, band * self.band : (band + 1) * self.band].T:
            keys = keys * _FACTOR + column
        order = np.argsort(keys, kind="stable")
        keys, members = keys[order], members[order]
        starts = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        sizes = np.diff(starts, append=len(keys))
        for size in np.unique(sizes[(sizes > 1) & (sizes <= CROWD)]).tolist():
            yield from _all_pairs(members, starts[sizes == size], size)
        for start, size in zip(starts[sizes > CROWD].tolist(), sizes[sizes > CROWD].tolist()):
            crowd = members[start : start + size]
            if division < DIVISIONS:
                yield from self._in_buckets(crowd, (band + 1) % (HASHES // self.band), division + 1)
            else:
                yield from _blocks(np.full(size - 1, crowd[0]), crowd[1:])
                yield from _blocks(crowd[1:-1], crowd[2:])

    def _estimates(self, a, b):
        """Estimated similarity of the signatures a[k] and b[k]: their share of equal numbers."""
        return (self._numbers[a] == self._numbers[b]).mean(axis=1)


def band_size(threshold: float) -> int:
    """The most numbers in a band with which pairs at the threshold are still proposed with probability RECALL."""
    fitting = [r for r in range(1, HASHES + 1) if 1 - (1 - threshold**r) ** (HASHES // r) >= RECALL]
    return max(fitting, default=1)


def _hash(text):
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


_FACTOR = np.uint64(_hash("factor") | 1)
_MULTIPLIERS = np.array([_hash(f"multiplier {k}") >> 32 | 1 for k in range(HASHES)], np.uint32)
_OFFSETS = np.array([_hash(f"offset {k}") >> 32 for k in range(HASHES)], np.uint32)


def _sign(batch):
    """Signatures (len(batch), HASHES) of normalised texts with three characters or more, 16 bits a number.

    Each 3-gram becomes 32 scattered bits; a signature's numbers are the minima of 128 linear permutations of them. Of
    each minimum the lower half is kept: two different ones agree in it once in 65,536.
    """
    codes = np.frombuffer("".join(batch).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    lengths = np.array([len(text) for text in batch])
    ends = np.cumsum(lengths)
    packed = codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:]
    packed = np.delete(packed, np.concatenate([ends[:-1] - 2, ends[:-1] - 1]))  # those that reach into the next text
    scattered = _scatter(packed)
    starts = np.cumsum(lengths - 2) - (lengths - 2)
    out = np.empty((len(batch), HASHES), np.uint16)
    permuted = np.empty_like(scattered)
    for k in range(HASHES):
        np.multiply(scattered, _MULTIPLIERS[k], out=permuted)
        np.add(permuted, _OFFSETS[k], out=permuted)
        out[:, k] = np.minimum.reduceat(permuted, starts) & np.uint32(0xFFFF)
    return out


def _scatter(x):
    """64-bit numbers -> 32 bits each of which depends on all of them (the finaliser of MurmurHash3, public domain)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = (x ^ x >> np.uint64(33)) * np.uint64(factor)
    return (x >> np.uint64(32)).astype(np.uint32)


def _all_pairs(members, starts, size):
    """Yield blocks of all pairs within each run of `size` members that begins at one of `starts`."""
    a, b = np.triu_indices(size, 1)
    runs = max(1, BLOCK // len(a))
    for at in range(0, len(starts), runs):
        begin = starts[at : at + runs, None]
        yield members[begin + a].ravel(), members[begin + b].ravel()


def _blocks(a, b):
    for at in range(0, len(a), BLOCK):
        yield a[at : at + BLOCK], b[at : at + BLOCK]


def _roots(parent, places):
    """The root of each place in a union-find forest."""
    roots = parent[places]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    return roots


def _root(parent, place):
    while parent[place] != place:
        place = parent[place]
    return int(place)
