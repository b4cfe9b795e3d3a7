"""What rows have in common: copies, repeated and near-same prompts, contradicting labels, prompts that training and test share.

Works on the numbers that scan.py keeps of every row. Prompts are equal after splits.normalise, over the whole conversation; near-same
after korlhf/data/near_duplicates.py, whose groups are chains: the first and the last of a chain may differ more than the threshold.
"""

import random

import numpy as np

from korlhf.data_prep.audit.kinds import BIT

TEST = "test"


class Rows:
    """The rows of a scan as numpy arrays. equal, near: (rows,) number of the row's group of equal, or near-same, prompts."""

    def __init__(self, scan, equal, near):
        self.bits = np.array(scan.bits, np.uint64)
        self.sets = np.array(scan.set_of, np.int64)
        self.hashes = np.array(scan.row_hash, np.uint64)
        self.equal, self.near = np.asarray(equal, np.int64), np.asarray(near, np.int64)
        self.whole = (self.bits & np.uint64(BIT["unusable_row"] | BIT["empty"])) == 0

    def mark(self, kind, rows):
        """Set the bit of a kind of finding on some rows."""
        self.bits[rows] |= np.uint64(BIT[kind])


def matrix(rows, groups, names):
    """names x names counts: [a][b] rows of set a whose prompt is in set b as well; [a][a] those whose prompt an earlier row of a has."""
    out = {}
    for b, other in enumerate(names):
        there = np.zeros(int(groups.max(initial=-1)) + 1, bool)
        there[groups[(rows.sets == b) & rows.whole]] = True
        for a, name in enumerate(names):
            mine = groups[(rows.sets == a) & rows.whole]
            out.setdefault(name, {})[other] = len(mine) - len(np.unique(mine)) if a == b else int(there[mine].sum())
    return out


def shared(rows, groups, a, b):
    """Row numbers of set a whose prompt is in set b too, and for each the first such row of b; two arrays."""
    here = np.flatnonzero((rows.sets == a) & rows.whole)
    there = np.flatnonzero((rows.sets == b) & rows.whole)
    found, first = np.unique(groups[there], return_index=True)
    at = np.searchsorted(found, groups[here])
    hit = (
        (at < len(found)) & (found[np.minimum(at, max(len(found) - 1, 0))] == groups[here])
        if len(found)
        else np.zeros(len(here), bool)
    )
    return here[hit], there[first[at[hit]]]


def repeated(rows, keys):
    """Row numbers whose key an earlier row of the same set has, and for each the first such row; two arrays. Unreadable rows have none."""
    whole = np.flatnonzero(rows.whole)
    order = whole[np.lexsort((whole, keys[whole], rows.sets[whole]))]
    if not len(order):
        return order, order
    fresh = np.concatenate(
        [[True], (keys[order][1:] != keys[order][:-1]) | (rows.sets[order][1:] != rows.sets[order][:-1])]
    )
    first = order[np.flatnonzero(fresh)][np.cumsum(fresh) - 1]
    later = np.sort(order[~fresh])
    back = np.empty(int(order.max()) + 1, np.int64)
    back[order] = first
    return later, back[later]


def mark_copies(rows):
    """Set the bits of copied rows and repeated prompts -> {kind: (later rows, first rows)}; each row is of the strictest kind only."""
    out, taken = {}, np.zeros(len(rows.bits), bool)
    for kind, keys in (
        ("duplicate_row", rows.hashes),
        ("duplicate_prompt", rows.equal),
        ("near_duplicate_prompt", rows.near),
    ):
        later, first = repeated(rows, keys)
        new = ~taken[later]
        later, first = later[new], first[new]
        taken[later] = True
        rows.mark(kind, later)
        out[kind] = later, first
    return out


def mark_contradictions(rows, scan):
    """Set the bits of rows with labels that others contradict -> {kind: (rows, for each one of the others)}.

    contradiction: the same two answers to the same prompt with the opposite label. both_sides: an answer that is chosen here and
    rejected in another row, against a third one.
    """
    pair_row = np.array(scan.pair_row, np.int64)
    pair, turned = np.array(scan.pair_hash, np.uint64), np.array(scan.turned_hash, np.uint64)
    here, there = _matches(pair, turned, pair_row)
    rows.mark("contradiction", here)
    out = {"contradiction": (here, there)}
    chosen, rejected = np.array(scan.chosen_hash, np.uint64), np.array(scan.rejected_hash, np.uint64)
    here, there = _matches(chosen, rejected, pair_row)
    plain = (rows.bits[here] & np.uint64(BIT["contradiction"])) == 0
    rows.mark("both_sides", here[plain])
    out["both_sides"] = here[plain], there[plain]
    return out


def _matches(left, right, pair_row):
    """Rows with a pair whose `left` number is the `right` number of a pair of another row, each once, and one such other row."""
    order = np.argsort(right, kind="stable")
    found = right[order]
    begin, end = np.searchsorted(found, left, "left"), np.searchsorted(found, left, "right")
    last = np.maximum(end - 1, 0)
    first_row = pair_row[order[np.minimum(begin, max(len(order) - 1, 0))]] if len(order) else pair_row
    last_row = pair_row[order[last]] if len(order) else pair_row
    # Pairs are in the order of rows: if the first match is in one's own row, the last may be in another.
    other = np.where(first_row != pair_row, first_row, last_row)
    hit = (end > begin) & (other != pair_row)
    here, at = np.unique(pair_row[hit], return_index=True)
    return here, other[hit][at]


def mark_test_overlap(rows, scan):
    """Set the bits of training rows whose prompt is, equal or near-same, in the test set -> (rows, one test row each); two arrays."""
    if TEST not in scan.sets:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    test = scan.sets.index(TEST)
    found = [shared(rows, rows.near, a, test) for a in range(len(scan.sets)) if a != test]
    here = np.concatenate([h for h, _ in found]) if found else np.empty(0, np.int64)
    there = np.concatenate([t for _, t in found]) if found else np.empty(0, np.int64)
    rows.mark("test_overlap", here)
    return here, there


def some(here, there, size, seed):
    """At most `size` of the row pairs (here[i], there[i]), drawn by seed, in order."""
    picked = sorted(random.Random(seed).sample(range(len(here)), min(size, len(here))))
    return [(int(here[i]), int(there[i])) for i in picked]
