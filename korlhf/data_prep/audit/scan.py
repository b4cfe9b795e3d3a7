"""The first reading of all files: the texts are looked at row by row, and what is kept of a row is a few numbers.

Per row 26 bytes (its findings as bits, a hash of its contents, its set, file and line), per pair 40 bytes; samples of
fixed size hold texts. So the memory does not grow with the texts, and a file of a million lines is read like any other.
"""

import hashlib
import random
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from itertools import combinations
from typing import NamedTuple

from rapidfuzz import fuzz

from korlhf.core.errors import InputError
from korlhf.data.example import RowError, RowSkipped, read_row
from korlhf.data.fields import ANSWER_PARTS, fields, replaced
from korlhf.data.readers import read_rows
from korlhf.data.registry import NEEDS
from korlhf.data.split import conversation_key, normalise
from korlhf.data_prep.audit import BIT, CHANGED, GOOD_ONLY, cleaning, content
from korlhf.data_prep.audit.cleaning import Spot
from korlhf.data_prep.audit.labels import Tally, features
from korlhf.data_prep.audit.passages import passage, shortened

STEPS = {"sft": 1, "reward": 2, "prompts": 3}
NEAR_IDENTICAL = 95.0  # percent of rapidfuzz.fuzz.ratio, over normalised texts
MAX_PAIRS = 20_000  # per set: for trivial rules and suspicious labels
VARIANTS = 100
LENGTH_BINS = [0, 1, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120]  # characters: lower ends
LANGUAGE_PARTS = ("prompt", "turn", "text", *ANSWER_PARTS)
DIALOGUE = "Human:"  # English sets write the turns of a prompt out


class Source(NamedTuple):
    """One input file. set: sft, reward, prompts, test, or the file's own name; role: as set, or input."""

    set: str
    role: str
    path: str


class Reservoir:
    """A uniform sample of at most `size` items of a stream, the same for the same seed (Vitter 1985, algorithm R)."""

    def __init__(self, size, seed):
        self.size, self.seen, self.items = size, 0, []
        self._random = random.Random(seed)

    def offer(self, make, *args):
        """Count one item, make(*args), which is only made when it is kept."""
        self.seen += 1
        at = self.seen - 1 if self.seen <= self.size else self._random.randrange(self.seen)
        if at < self.size:
            self.items[at : at + 1] = [make(*args)]


class Finding:
    """What was found of one kind in one part of one set.

    texts: with at least one spot; spots: all of them; variants: of the spots, those beyond VARIANTS as "others".
    """

    def __init__(self, size, seed):
        self.texts, self.spots, self.variants, self.examples = 0, 0, Counter(), Reservoir(size, seed)

    def add(self, place, column, text, spots):
        self.texts += 1
        self.spots += len(spots)
        for spot in spots:
            known = spot.what in self.variants or len(self.variants) < VARIANTS
            self.variants[spot.what if known else "others"] += 1
        self.examples.offer(passage, place, column, text, spots[0])


class SampledPair(NamedTuple):
    """One pair of a row, as in the file but for tokens and invisible characters. prompt_hash: of the conversation."""

    row: int
    place: str
    category: str
    prompt: str
    chosen: str
    rejected: str
    prompt_hash: int


class Scan:
    """All that one reading leaves. Row numbers count over all files in the order of `sources`, from 0.

    args: the flags; pair_hashes: per pair the hash of its conversation with (chosen, rejected), (rejected, chosen),
    chosen, rejected.
    """

    def __init__(self, sources, args):
        self.sources, self.args = list(sources), args
        self.sets = list(dict.fromkeys(s.set for s in self.sources))
        self.findings, self.texts, self.lengths = {}, Counter(), {}
        self.bits, self.row_hash, self.line = array("Q"), array("Q"), array("Q")
        self.set_of, self.source_of = array("H"), array("H")
        self.pair_row, self.pair_hashes = array("Q"), [array("Q") for _ in range(4)]
        self.tallies = defaultdict(Tally)
        self.sampled = {name: Reservoir(MAX_PAIRS, f"{args.seed}:pairs:{name}") for name in self.sets}

    def __len__(self):
        return len(self.bits)

    def place(self, row):
        """The "FILE:LINE" of a row number."""
        return f"{self.sources[self.source_of[row]].path}:{self.line[row]}"

    def conversations(self, bar):
        """Read all files -> the normalised conversation of every row, in order; everything else is kept in here.

        bar: gets update() per row. Raises InputError for a file that cannot be read or of which no row has known
        columns.
        """
        for number, source in enumerate(self.sources):
            unusable = Counter()
            first = len(self)
            for place, row in read_rows(source.path):
                self.line.append(int(place.rpartition(":")[2]))
                self.set_of.append(self.sets.index(source.set))
                self.source_of.append(number)
                yield self._look_at(place, row, source, unusable)
                bar.update()
            if unusable.total() == len(self) - first:
                reason = unusable.most_common(1)[0][0]
                raise InputError(
                    f"{self.place(first)}: none of the {unusable.total()} rows of this file can be read: {reason}"
                )

    def _look_at(self, place, row, source, unusable):
        """Look at one row and remember what was found -> its conversation; an unreadable row has one of its own."""
        bits, found, clean, texts = 0, [], {}, fields(row)
        self.texts[source.set, "row"] += 1
        for field in texts:
            self.texts[source.set, field.part] += 1
            lengths = self.lengths.setdefault((source.set, field.part), [0] * len(LENGTH_BINS))
            lengths[bisect_right(LENGTH_BINS, len(field.text)) - 1] += 1
            text, kinds, clean[field.path] = inspect(field, self.args)
            found.append(set(kinds))
            for kind, spots in kinds.items():
                self._finding(source.set, kind, field.part).add(place, field.column, text, spots)
                if kind not in GOOD_ONLY or field.part != "rejected":
                    bits |= BIT[kind]
        self.row_hash.append(hash64(*(part for field in texts for part in (field.part, clean[field.path]))))
        changed = any(clean[f.path] != f.text for f in texts)
        bits |= CHANGED * changed
        example, kind, reason = None, "", ""
        if not bits & BIT["empty"]:
            example, kind, reason = _read(replaced(row, clean) if changed else row, STEPS.get(source.role))
        if kind:
            bits |= BIT[kind]
            spot = Spot(0, 0, reason.split(" (")[0].split("; ")[0][:80])
            self._finding(source.set, kind, "row").add(place, "", reason, [spot])
        if kind == "unusable_row":
            unusable[reason] += 1
        key = f"\ufffc{len(self)}" if example is None else conversation_key(example.messages) or normalise(example.text)
        answers = [(f.text, features(f.text, k)) for f, k in zip(texts, found) if f.part in ("chosen", "rejected")]
        if len(answers) > 1:
            prompt = next((f.text for f in reversed(texts) if f.part == "prompt"), "")
            self._tally(place, row, source.set, (prompt, hash64(key)), answers)
            if example and self._compare(place, source.set, key, example.answers):
                bits |= BIT["near_identical_pair"]
        self.bits.append(bits)
        return key

    def _finding(self, set_name, kind, part):
        key = set_name, kind, part
        if key not in self.findings:
            self.findings[key] = Finding(self.args.examples, f"{self.args.seed}:{set_name}:{kind}:{part}")
        return self.findings[key]

    def _tally(self, place, row, set_name, prompt, answers):
        """Count and sample the pairs of a row as they stand there. prompt: (text, hash); answers: (text, features)."""
        category = str(row.get("category") or row.get("subset") or "all")
        tally, (text, number) = self.tallies[set_name], prompt
        models = row.get("chosen_model"), row.get("rejected_model")
        if all(isinstance(name, str) for name in models):
            tally.responders[models] += 1
        pairs = list(combinations(answers, 2))
        tally.add(category, pairs)
        for (chosen, _), (rejected, _) in pairs:
            pair = len(self), place, category, text, chosen, rejected, number
            self.sampled[set_name].offer(_sampled_pair, *pair)

    def _compare(self, place, set_name, key, answers):
        """Remember the pairs of a row by hashes -> whether two of its answers are nearly the same."""
        near = False
        for chosen, rejected in combinations(answers, 2):
            a, b = normalise(chosen), normalise(rejected)
            self.pair_row.append(len(self))
            for hashes, parts in zip(self.pair_hashes, ((a, b), (b, a), (a,), (b,))):
                hashes.append(hash64(key, *parts))
            if similarity := fuzz.ratio(a, b, score_cutoff=NEAR_IDENTICAL):
                near = True
                both, spot = f"{shortened(chosen)} | {shortened(rejected)}", f"similarity {similarity:.0f} %"
                finding = self._finding(set_name, "near_identical_pair", "row")
                finding.add(place, "chosen | rejected", both, [Spot(0, 0, spot)])
        return near


def cleaned(field):
    """(Text of a field without its surroundings, {kind: spots} of what is cleaned in it, the whole cleaned text)."""
    before, text, after = _body(field)
    found = {kind: spots for kind, check in cleaning.CLEANED.items() if (spots := check.find(text))}
    return text, found, before + (cleaning.clean(text) if found or not text.strip() else text) + after


def _body(field):
    """(before, text, after) of a field: around the turns of a written-out dialogue blanks are part of the format."""
    body = field.text.strip()
    if field.part != "prompt" or not body.startswith(DIALOGUE):
        return "", field.text, ""
    start = field.text.index(body)
    return field.text[:start], body, field.text[start + len(body) :]


def inspect(field, args):
    """Look at one text -> (the text without its surroundings, {kind: spots in it}, the whole cleaned text)."""
    text, found, clean = cleaned(field)
    if not clean.strip() and field.part not in ("input", "system"):
        what = "tokens or invisible characters only" if text.strip() else "blanks only" if text else "nothing"
        return text, {**found, "empty": [Spot(0, len(text), what)]}, clean
    answer = field.part in ANSWER_PARTS
    for kind, find in content.REPORTED.items():
        if answer or kind not in content.OF_ANSWERS:
            found[kind] = find(text)
    if not answer:
        found["template_marker"] = [s for s in found["template_marker"] if s.what in content.OF_PROMPTS]
    if answer and len("".join(clean.split())) < args.min_answer_chars:
        found["short_answer"] = [Spot(0, len(text), "short")]
    if field.part in LANGUAGE_PARTS:
        share = content.hangul_share(clean, args.min_hangul)
        if share is not None and share < args.min_hangul:
            found["not_korean"] = [Spot(0, len(text), "no Hangul at all" if share == 0 else "little Hangul")]
    return text, {kind: spots for kind, spots in found.items() if spots}, clean


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


def _sampled_pair(row, place, category, prompt, chosen, rejected, prompt_hash):
    chosen, rejected = (
        cleaning.CLEANED["special_token"].fix(cleaning.CLEANED["invisible"].fix(text)) for text in (chosen, rejected)
    )
    return SampledPair(row, place, category, prompt, chosen, rejected, prompt_hash)


def hash64(*parts):
    """64 bits of some texts in order."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little")
