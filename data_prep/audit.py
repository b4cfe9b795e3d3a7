"""Look for what would poison training in data sets, show it, and on request put it right.

Reads JSONL, JSON, CSV or parquet files as they are, twice: once to look, once to fetch examples and to write the fixed files. Writes
OUTPUT/audit.html for people and OUTPUT/audit.json for programs; with --fix also OUTPUT/fixed/NAME.jsonl and NAME.removed.jsonl with the
reasons. What it finds is no failure: the exit code is 0.
"""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from korlhf import __version__
from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data.near_duplicates import HASHES, Signatures
from korlhf.data_prep.audit import fix, flips, overlap, page, report
from korlhf.data_prep.audit.kinds import REMOVABLE
from korlhf.data_prep.audit.scan import Limits, Scan, Source

ROLES = ("sft", "reward", "prompts", "test")
SHOWN_FLIPS = 30


@dataclass(frozen=True, kw_only=True)
class AuditFlags:
    """audit"""

    sft: list[str] = flags.flag([], "files of step 1: prompts with answers")
    reward: list[str] = flags.flag([], "files of step 2: chosen + rejected, or ranked answers")
    prompts: list[str] = flags.flag([], "files of step 3: prompts")
    test: list[str] = flags.flag([], "held-out files of any step; their prompts must not be in the others")
    input: list[str] = flags.flag([], "files without a role: each is a set of its own")
    output: str = flags.flag(flags.REQUIRED, "folder for audit.html, audit.json and fixed/")
    fix: bool = flags.flag(False, "write the files again, cleaned, without rows that cannot be used")
    remove: list[str] = flags.flag([], f"with --fix: also remove the rows with these findings: {', '.join(REMOVABLE)}")
    min_hangul: float = flags.flag(
        0.3, "a text with a smaller share of Hangul among its letters is reported as not Korean"
    )
    min_answer_chars: int = flags.flag(
        5, "an answer with fewer characters, blanks not counted, is reported as very short"
    )
    threshold: float = flags.flag(0.8, "Jaccard similarity of character 3-grams from which two prompts are near-same")
    examples: int = flags.flag(5, "examples shown of each finding")
    seed: int = flags.flag(1234, "seed of samples, halves and folds")


def parse(argv=None):
    parser = flags.Parser(description="Look for what would poison training in data sets, and put it right")
    flags.add(parser, AuditFlags)
    args = flags.read(parser.parse_args(argv), AuditFlags)
    if not any(getattr(args, role) for role in (*ROLES, "input")):
        parser.error("nothing to look at: give --input FILES, or files by role: --sft, --reward, --prompts, --test")
    unknown = [kind for kind in args.remove if kind not in REMOVABLE]
    if unknown:
        parser.error(
            f"--remove {' '.join(unknown)}: no such kind of finding to remove; choose from {', '.join(REMOVABLE)}"
        )
    if args.remove and not args.fix:
        parser.error("--remove needs --fix")
    if not 0 < args.threshold <= 1:
        parser.error(f"--threshold {args.threshold}: give a similarity above 0 and at most 1")
    if not 0 <= args.min_hangul <= 1:
        parser.error(f"--min_hangul {args.min_hangul}: give a share from 0 to 1")
    flags.check_positive({"examples": args.examples}, parser)
    return args


def sources(args):
    """The input files with their sets. Raises InputError for a file that is given twice in one role, or is absent."""
    found = []
    for role in (*ROLES, "input"):
        paths = getattr(args, role)
        for path in paths:
            if sum(Path(p).resolve() == Path(path).resolve() for p in paths) > 1:
                raise InputError(f"--{role} {path}: is given twice; give every file once")
            if not Path(path).expanduser().is_file():
                raise InputError(f"--{role} {path}: no such file")
            found.append(Source(role, role, str(Path(path).expanduser())))
    own = [s for s in found if s.role == "input"]
    names = dict(zip((s.path for s in own), fix.file_names(own)))
    return [s._replace(set=names[s.path]) if s.role == "input" else s for s in found]


def first_reading(args, files):
    """Scan all files -> (Scan, overlap.Rows)."""
    scan = Scan(files, Limits(args.min_hangul, args.min_answer_chars, args.examples, args.seed))
    with program.bar(desc="reading", unit="rows") as bar:
        signatures = Signatures(scan.conversations(bar), args.threshold)
        bar.set_description("near-duplicate prompts")
        rows = overlap.Rows(scan, signatures.first, signatures.groups())
    return scan, rows


def judge_labels(args, scan, rows):
    """Mark suspicious labels -> (figures or {"skipped": reason}, the most suspicious pairs for the report)."""
    pairs = [p for name in scan.tallies for p in scan.sampled[name].items]
    if len(pairs) > flips.MAX_PAIRS:
        pairs = [pairs[i] for i in np.random.default_rng(args.seed).choice(len(pairs), flips.MAX_PAIRS, replace=False)]
    total = sum(t.pairs for t in scan.tallies.values())
    note = f", a sample of {total:,}" if total > len(pairs) else ""
    print(f"suspicious labels: {len(pairs):,} pairs{note}", file=sys.stderr, flush=True)
    found = flips.find(pairs, args.seed)
    if isinstance(found, str):
        return {"skipped": found}, []
    order = np.argsort(found.probability, kind="stable")
    rows.mark(
        "label_flip",
        np.unique([pairs[i].row for i in order if found.probability[i] < flips.SUSPICIOUS]).astype(np.int64),
    )
    return {**found.figures, "of": total}, [
        flips.shown(pairs[i], float(found.probability[i])) for i in order[:SHOWN_FLIPS]
    ]


def across_rows(args, scan, rows):
    """Mark what rows have in common -> ({(kind, set): [(row, other row)]} to show, matrices, {(a, b): [(row, other)]} to show)."""
    shown = {}
    found = {
        **overlap.mark_copies(rows),
        **overlap.mark_contradictions(rows, scan),
        "test_overlap": overlap.mark_test_overlap(rows, scan),
    }
    for kind, (here, there) in found.items():
        for number, name in enumerate(scan.sets):
            mine = rows.sets[here] == number
            shown[kind, name] = overlap.some(here[mine], there[mine], args.examples, f"{args.seed}:{kind}:{name}")
    cells = {
        (a, b): overlap.some(*overlap.shared(rows, rows.near, i, j), args.examples, f"{args.seed}:{a}:{b}")
        for i, a in enumerate(scan.sets)
        for j, b in enumerate(scan.sets)
        if i < j
    }
    matrices = {
        "equal": overlap.matrix(rows, rows.equal, scan.sets),
        "near": overlap.matrix(rows, rows.near, scan.sets),
    }
    return shown, matrices, cells


def second_reading(args, scan, rows, wanted):
    """Fetch the texts of the wanted rows and write the fixed files -> ({row: texts}, report on the fixed files or None)."""
    if not wanted and not args.fix:
        return {}, None
    with program.bar(total=len(scan), desc="fixing" if args.fix else "examples", unit="rows") as bar:
        if not args.fix:
            return fix.second_reading(scan, rows.bits, wanted, None, bar), None
        with fix.Fixer(Path(args.output).expanduser() / "fixed", scan.sources, args.remove) as fixer:
            return fix.second_reading(scan, rows.bits, wanted, fixer, bar), fixer.report()


def main(argv=None):
    args, began = parse(argv), time.time()
    output = Path(args.output).expanduser()
    files = sources(args)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be a folder: {error.strerror or error}; give another") from error
    scan, rows = first_reading(args, files)
    shown, matrices, cells = across_rows(args, scan, rows)
    labels, suspicious = judge_labels(args, scan, rows)
    wanted = {row for pairs in [*shown.values(), *cells.values()] for pair in pairs for row in pair}
    texts, fixed = second_reading(args, scan, rows, wanted)
    examples = {key: [[texts[a], texts[b]] for a, b in pairs] for key, pairs in shown.items()}
    overlaps = [
        {"a": a, "b": b, "examples": [[texts[i], texts[j]] for i, j in pairs]}
        for (a, b), pairs in cells.items()
        if pairs
    ]
    between = report.between_answers(scan, args.seed)
    audit = {
        "program": "audit",
        "korlhf": __version__,
        "settings": asdict(args),
        "warnings": report.warnings(between),
        "sets": report.sets(scan),
        "length_bins": report.length_bins(),
        "findings": report.findings(scan, rows, args.remove, examples),
        "between_answers": between,
        "overlap": {**matrices, "examples": overlaps, "threshold": args.threshold, "hashes": HASHES},
        "labels": labels,
        "suspicious_labels": suspicious,
        "fixed": fixed,
        "seconds": round(time.time() - began, 1),
    }
    write_json(output / "audit.json", audit)
    page.write(output / "audit.html", audit)
    print(page.table(audit))
    print(f"written: {output / 'audit.html'}, {output / 'audit.json'}" + (f", {output / 'fixed'}" if fixed else ""))


if __name__ == "__main__":
    program.run(main)
