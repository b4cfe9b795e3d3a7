"""One reading of all files: the texts are looked at row by row, and what is kept of a row is a few numbers.

Per row 26 bytes (its findings as bits, a hash of its contents, its set, file and line), per pair 40 bytes; samples of fixed size hold
texts. So the memory does not grow with the texts, and a file of a million lines is read like any other.
"""

import hashlib
from array import array
from collections import Counter, defaultdict
from itertools import combinations
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz

from korlhf.core.errors import InputError
from korlhf.data.columns import ANSWER_PARTS, fields, read_row, replaced
from korlhf.data.example import RowError, RowSkipped
from korlhf.data.readers import read_rows
from korlhf.data.registry import NEEDS
from korlhf.data.split import conversation_key, normalise
from korlhf.data_prep.audit import checks, content
from korlhf.data_prep.audit.bias import Tally, features
from korlhf.data_prep.audit.checks import Spot
from korlhf.data_prep.audit.kinds import BIT, GOOD_ONLY
from korlhf.data_prep.audit.sample import Reservoir, count, passage, shortened

STEPS = {"sft": 1, "reward": 2, "prompts": 3}
NEAR_IDENTICAL = 95.0  # percent of rapidfuzz.fuzz.ratio, over normalised texts
MAX_PAIRS = 20_000  # per set: for trivial rules and suspicious labels
LENGTH_BINS = np.array([0, 1, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120])  # characters: lower ends
LANGUAGE_PARTS = ("prompt", "turn", "text", *ANSWER_PARTS)
DIALOGUE = "Human:"  # English sets write the turns of a prompt out


class Source(NamedTuple):
    """One input file. set: sft, reward, prompts, test, or the file's own name; role: sft, reward, prompts, test or input."""

    set: str
    role: str
    path: str


class Limits(NamedTuple):
    """min_hangul: least share of Hangul; min_answer_chars: without blanks; examples: shown of each finding."""

    min_hangul: float
    min_answer_chars: int
    examples: int
    seed: int


class Finding:
    """What was found of one kind in one part of one set. texts: with at least one spot; spots: all of them; variants: of the spots."""

    def __init__(self, size, seed):
        self.texts, self.spots, self.variants, self.examples = 0, 0, Counter(), Reservoir(size, seed)


class SampledPair(NamedTuple):
    """One pair of a row, as it stands in the file but for tokens and invisible characters. prompt_hash: of the conversation."""

    row: int
    place: str
    category: str
    prompt: str
    chosen: str
    rejected: str
    prompt_hash: int


class Scan:
    """All that one reading leaves. Row numbers count over all files in the order of `sources`, from 0."""

    def __init__(self, sources, limits):
        self.sources, self.limits = list(sources), limits
        self.sets = list(dict.fromkeys(s.set for s in self.sources))
        self.findings, self.texts, self.lengths = {}, Counter(), {}
        self.bits, self.row_hash, self.line = array("Q"), array("Q"), array("Q")
        self.set_of, self.source_of = array("H"), array("H")
        self.pair_row, self.pair_hash, self.turned_hash = array("Q"), array("Q"), array("Q")
        self.chosen_hash, self.rejected_hash = array("Q"), array("Q")
        self.tallies = defaultdict(Tally)
        self.sampled = {name: Reservoir(MAX_PAIRS, f"{limits.seed}:pairs:{name}") for name in self.sets}

    def __len__(self):
        return len(self.bits)

    def place(self, row):
        """ "FILE:LINE" of a row number."""
        return f"{self.sources[self.source_of[row]].path}:{self.line[row]}"

    def conversations(self, bar):
        """Read all files -> the normalised conversation of every row, in order; everything else is kept in here on the way.

        bar: gets update() per row. Raises InputError for a file that cannot be read or of which no row has known columns.
        """
        for number, source in enumerate(self.sources):
            reasons = Counter()
            first = len(self)
            for place, row in read_rows(source.path):
                self.line.append(int(place.rpartition(":")[2]))
                self.set_of.append(self.sets.index(source.set))
                self.source_of.append(number)
                yield self._look_at(place, row, source, reasons)
                bar.update()
            if reasons.total() == len(self) - first:
                raise InputError(
                    f"{self.place(first)}: none of the {reasons.total()} rows of this file can be read: "
                    f"{reasons.most_common(1)[0][0]}"
                )

    def _look_at(self, place, row, source, reasons):
        """Look at one row and remember what was found -> its conversation; of an unreadable row something no other row has."""
        bits, found, clean_texts, texts = 0, [], {}, fields(row)
        self.texts[source.set, "row"] += 1
        for field in texts:
            self.texts[source.set, field.part] += 1
            self._length(source.set, field)
            kinds, clean = inspect(field, self.limits)
            found.append(set(kinds))
            clean_texts[field.path] = clean
            for kind, (text, spots) in kinds.items():
                self._found(source.set, kind, field.part, place, field.column, text, spots)
                if kind not in GOOD_ONLY or field.part != "rejected":
                    bits |= BIT[kind]
        self.row_hash.append(hash64(*(part for field in texts for part in (field.part, clean_texts[field.path]))))
        example, reason, kind = None, "", ""
        if not bits & BIT["empty"]:
            changed = any(clean_texts[f.path] != f.text for f in texts)
            example, kind, reason = _read(replaced(row, clean_texts) if changed else row, STEPS.get(source.role))
        if kind:
            bits |= BIT[kind]
            self._found(
                source.set, kind, "row", place, "", reason, [Spot(0, 0, reason.split(" (")[0].split("; ")[0][:80])]
            )
        if kind == "unusable_row":
            reasons[reason] += 1
        key = f"\ufffc{len(self)}" if example is None else conversation_key(example.messages) or normalise(example.text)
        bits |= self._pairs(place, row, source, example, key, texts, found)
        self.bits.append(bits)
        return key

    def _found(self, set_name, kind, part, place, column, text, spots):
        finding = self.findings.get((set_name, kind, part))
        if finding is None:
            finding = self.findings[set_name, kind, part] = Finding(
                self.limits.examples, f"{self.limits.seed}:{set_name}:{kind}:{part}"
            )
        finding.texts += 1
        finding.spots += len(spots)
        for spot in spots:
            count(finding.variants, spot.what)
        if (at := finding.examples.place()) is not None:
            finding.examples.keep(at, passage(place, column, text, spots[0]))

    def _length(self, set_name, field):
        if (set_name, field.part) not in self.lengths:
            self.lengths[set_name, field.part] = np.zeros(len(LENGTH_BINS), np.int64)
        self.lengths[set_name, field.part][int(np.searchsorted(LENGTH_BINS, len(field.text), "right")) - 1] += 1

    def _pairs(self, place, row, source, example, key, texts, found):
        """Remember the pairs of a row -> the bits of what was found between its answers."""
        answers = [
            (f.text, features(f.text, kinds)) for f, kinds in zip(texts, found) if f.part in ("chosen", "rejected")
        ]
        if len(answers) < 2:
            return 0
        category = str(row.get("category") or row.get("subset") or "all")
        tally, bits = self.tallies[source.set], 0
        if isinstance(row.get("chosen_model"), str) and isinstance(row.get("rejected_model"), str):
            tally.responders[row["chosen_model"], row["rejected_model"]] += 1
        prompt = next((f.text for f in reversed(texts) if f.part == "prompt"), "")
        for (chosen, has), (rejected, has_not) in combinations(answers, 2):
            tally.add(category, chosen, rejected, has, has_not)
            if (at := self.sampled[source.set].place()) is not None:
                self.sampled[source.set].keep(
                    at,
                    SampledPair(
                        len(self),
                        place,
                        category,
                        prompt,
                        _without_tokens(chosen),
                        _without_tokens(rejected),
                        hash64(key),
                    ),
                )
        for chosen, rejected in combinations(example.answers, 2) if example else ():
            a, b = normalise(chosen), normalise(rejected)
            self.pair_row.append(len(self))
            self.pair_hash.append(hash64(key, a, b))
            self.turned_hash.append(hash64(key, b, a))
            self.chosen_hash.append(hash64(key, a))
            self.rejected_hash.append(hash64(key, b))
            if fuzz.ratio(a, b, score_cutoff=NEAR_IDENTICAL):
                bits |= BIT["near_identical_pair"]
                both = f"{shortened(chosen)} | {shortened(rejected)}"
                self._found(
                    source.set,
                    "near_identical_pair",
                    "row",
                    place,
                    "chosen | rejected",
                    both,
                    [Spot(0, 0, f"similarity {fuzz.ratio(a, b):.0f} %")],
                )
        return bits


def cleaned(field):
    """(The cleaned text of a field, {kind: spots} of what was cleaned, in the text without its surroundings)."""
    before, text, after = _body(field)
    found = {kind: spots for kind, check in checks.CLEANED.items() if (spots := check.find(text))}
    return before + (checks.clean(text) if found or not text.strip() else text) + after, found


def _body(field):
    """(before, text, after) of a field: around the turns of a written-out dialogue blanks are part of the format."""
    body = field.text.strip()
    if field.part != "prompt" or not body.startswith(DIALOGUE):
        return "", field.text, ""
    start = field.text.index(body)
    return field.text[:start], body, field.text[start + len(body) :]


def inspect(field, limits):
    """Look at one text -> ({kind: (text, spots)}, the cleaned text). Offsets of spots refer to the text beside them."""
    clean, found = cleaned(field)
    text = _body(field)[1]
    if not clean.strip() and field.part not in ("input", "system"):
        what = "tokens or invisible characters only" if text.strip() else "blanks only" if text else "nothing"
        found["empty"] = [Spot(0, len(text), what)]
        return {kind: (text, spots) for kind, spots in found.items()}, clean
    answer = field.part in ANSWER_PARTS
    for kind, find in content.REPORTED.items():
        if answer or kind not in content.OF_ANSWERS:
            if spots := find(text):
                found[kind] = spots
    if not answer and "template_marker" in found:
        found["template_marker"] = [s for s in found["template_marker"] if s.what in content.OF_PROMPTS]
    if answer and len("".join(clean.split())) < limits.min_answer_chars:
        found["short_answer"] = [Spot(0, len(text), "short")]
    if (
        field.part in LANGUAGE_PARTS
        and (share := content.hangul_share(clean, limits.min_hangul)) is not None
        and share < limits.min_hangul
    ):
        found["not_korean"] = [Spot(0, len(text), "no Hangul at all" if share == 0 else "little Hangul")]
    return {kind: (text, spots) for kind, spots in found.items() if spots}, clean


def _read(row, step):
    """(Example or None, kind of finding or "", reason) of a row for a step; None: for any step."""
    try:
        example = read_row(row)
    except RowSkipped as skipped:
        return None, "identical_pair", str(skipped)
    except RowError as error:
        return None, "unusable_row", str(error)
    if step and step not in example.steps:
        return None, "unusable_row", f"step {step} needs {NEEDS[step]}"
    return example, "", ""


def _without_tokens(text):
    return checks.CLEANED["special_token"].fix(checks.CLEANED["invisible"].fix(text))


def hash64(*parts):
    """64 bits of some texts in order."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little")
