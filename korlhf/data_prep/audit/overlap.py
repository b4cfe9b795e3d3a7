"""What rows have in common: copies, repeated and near-duplicate prompts, contradicting labels, overlap with the test.

Works on the numbers that scan.py keeps of every row. Prompts are equal after korlhf.data.split.normalise, over the
whole conversation; near-duplicates after korlhf/data/near_duplicates.py, whose groups are chains: the first and the
last of a chain may differ more than the threshold.
"""

import random

import numpy as np
import pandas as pd

from korlhf.data_prep.audit import BIT

TEST = "test"


class Rows:
    """The rows of a scan as numpy arrays. equal, near: (rows,) the row's group of equal, or near-duplicate, prompts."""

    def __init__(self, scan, equal, near):
        self.bits = np.array(scan.bits, np.uint64)
        self.sets = np.array(scan.set_of, np.int64)
        self.hashes = np.array(scan.row_hash, np.uint64)
        self.equal, self.near = np.asarray(equal, np.int64), np.asarray(near, np.int64)
        self.whole = (self.bits & np.uint64(BIT["unusable_row"] | BIT["empty"])) == 0

    def mark(self, kind, rows):
        """Set the bit of a kind of finding on some rows."""
        self.bits[rows] |= np.uint64(BIT[kind])

    def of_set(self, number):
        """Numbers of the readable rows of a set."""
        return np.flatnonzero((self.sets == number) & self.whole)


def matrix(rows, groups, names):
    """names x names counts: [a][b] rows of set a with a prompt of set b; [a][a] with a prompt of an earlier row."""
    mine = [groups[rows.of_set(i)] for i in range(len(names))]
    repeats = [len(found) - len(np.unique(found)) for found in mine]
    return {
        a: {b: repeats[i] if i == j else int(np.isin(mine[i], mine[j]).sum()) for j, b in enumerate(names)}
        for i, a in enumerate(names)
    }


def shared(groups, here, there):
    """The rows `here` whose group a row of `there` has, and for each the first such row; two arrays."""
    first = pd.Series(there, groups[there])
    other = first[~first.index.duplicated()].reindex(groups[here]).to_numpy(float)
    hit = ~np.isnan(other)
    return here[hit], other[hit].astype(np.int64)


def repeated(rows, keys):
    """Row numbers whose key an earlier row of the same set has, and for each the first such row; two arrays.

    Unreadable rows have no key.
    """
    whole = np.flatnonzero(rows.whole)
    first = pd.Series(whole).groupby([rows.sets[whole], keys[whole]]).transform("first").to_numpy(np.int64)
    later = first != whole
    return whole[later], first[later]


def mark_copies(rows):
    """Set the bits of copied rows and repeated prompts -> {kind: (later, first rows)}, of the strictest kind."""
    out, taken = {}, np.zeros(len(rows.bits), bool)
    by_kind = {"duplicate_row": rows.hashes, "duplicate_prompt": rows.equal, "near_duplicate_prompt": rows.near}
    for kind, keys in by_kind.items():
        later, first = repeated(rows, keys)
        new = ~taken[later]
        out[kind] = later[new], first[new]
        taken[later] = True
        rows.mark(kind, later[new])
    return out


def mark_contradictions(rows, scan):
    """Set the bits of rows with labels that others contradict -> {kind: (rows, for each one of the others)}.

    contradiction: the same two answers to the same prompt with the opposite label. both_sides: an answer that is chosen
    here and rejected in another row, against a third one.
    """
    row = np.array(scan.pair_row, np.int64)
    pair, turned, chosen, rejected = (np.array(hashes, np.uint64) for hashes in scan.pair_hashes)
    here, there = _matches(pair, turned, row)
    rows.mark("contradiction", here)
    out = {"contradiction": (here, there)}
    here, there = _matches(chosen, rejected, row)
    plain = (rows.bits[here] & np.uint64(BIT["contradiction"])) == 0
    rows.mark("both_sides", here[plain])
    out["both_sides"] = here[plain], there[plain]
    return out


def _matches(left, right, row):
    """Rows with a pair whose `left` number is the `right` number of another row's pair, each once, and that other row.

    Pairs are in the order of rows: if the first match is in one's own row, the last may be in another.
    """
    ends = pd.Series(row).groupby(right).agg(["first", "last"]).reindex(left)
    other = np.where(ends["first"] != row, ends["first"], ends["last"]).astype(float)
    hit = ~np.isnan(other) & (other != row)
    here, at = np.unique(row[hit], return_index=True)
    return here, other[hit][at].astype(np.int64)


def mark_test_overlap(rows, scan):
    """Set the bits of training rows whose prompt is nearly in the test set -> (rows, one test row each)."""
    if TEST not in scan.sets:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    test = scan.sets.index(TEST)
    here, there = shared(rows.near, np.flatnonzero((rows.sets != test) & rows.whole), rows.of_set(test))
    rows.mark("test_overlap", here)
    return here, there


def some(here, there, size, seed):
    """At most `size` of the row pairs (here[i], there[i]), drawn by seed, in order."""
    picked = sorted(random.Random(seed).sample(range(len(here)), min(size, len(here))))
    return [(int(here[i]), int(there[i])) for i in picked]
