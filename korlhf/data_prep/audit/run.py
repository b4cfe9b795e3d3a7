"""The parts of an audit in order. The program is data_prep/audit.py."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from korlhf import __version__
from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.core.files import AtomicFile, whole_files, write_json
from korlhf.data.near_duplicates import HASHES, Signatures
from korlhf.data_prep.audit import ROLES, fix, labels, overlap, report
from korlhf.data_prep.audit.scan import LENGTH_BINS, Scan, Source

SHOWN_FLIPS = 30


def sources(args):
    """The input files with their sets. Raises InputError for a file that is given twice in one role, or is absent."""
    found = []
    for role in ROLES:
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
    scan = Scan(files, args)
    with progress.bar(desc="reading", unit="rows") as bar:
        signatures = Signatures(scan.conversations(bar), args.threshold)
        bar.set_description("near-duplicates")
        return scan, overlap.Rows(scan, signatures.first, signatures.groups())


def judge_labels(args, scan, rows):
    """Mark suspicious labels -> (figures or {"skipped": reason}, the most suspicious pairs for the report)."""
    pairs = [p for name in scan.tallies for p in scan.sampled[name].items]
    if len(pairs) > labels.MOST_PAIRS:
        drawn = np.random.default_rng(args.seed).choice(len(pairs), labels.MOST_PAIRS, replace=False)
        pairs = [pairs[i] for i in drawn]
    total = sum(t.pairs for t in scan.tallies.values())
    note = f", a sample of {total:,}" if total > len(pairs) else ""
    print(f"suspicious labels: {len(pairs):,} pairs{note}", file=sys.stderr, flush=True)
    found = labels.flips(pairs, args.seed)
    if isinstance(found, str):
        return {"skipped": found}, []
    probability, figures = found
    suspicious = [pairs[i].row for i in np.flatnonzero(probability < labels.SUSPICIOUS)]
    rows.mark("label_flip", np.array(suspicious, np.int64))
    worst = np.argsort(probability, kind="stable")[:SHOWN_FLIPS]
    return {**figures, "of": total}, [labels.shown(pairs[i], float(probability[i])) for i in worst]


def across_rows(args, scan, rows):
    """Mark what rows have in common.

    Returns ({(kind, set): [(row, other row)]} to show, matrices, {(a, b): [(row, other)]} of shared prompts to show).
    """
    shown = {}
    found = overlap.mark_copies(rows) | overlap.mark_contradictions(rows, scan)
    found["test_overlap"] = overlap.mark_test_overlap(rows, scan)
    for kind, (here, there) in found.items():
        for number, name in enumerate(scan.sets):
            mine = rows.sets[here] == number
            shown[kind, name] = overlap.some(here[mine], there[mine], args.examples, f"{args.seed}:{kind}:{name}")
    cells = {}
    for i, a in enumerate(scan.sets):
        for j, b in list(enumerate(scan.sets))[i + 1 :]:
            pairs = overlap.shared(rows.near, rows.of_set(i), rows.of_set(j))
            cells[a, b] = overlap.some(*pairs, args.examples, f"{args.seed}:{a}:{b}")
    matrices = {name: overlap.matrix(rows, getattr(rows, name), scan.sets) for name in ("equal", "near")}
    return shown, matrices, cells


def second_reading(args, scan, rows, wanted):
    """Fetch the texts of the wanted rows and write the fixed files -> ({row: texts}, report on those files or None)."""
    if not wanted and not args.fix:
        return {}, None
    with progress.bar(total=len(scan), desc="fixing" if args.fix else "examples", unit="rows") as bar:
        if not args.fix:
            return fix.second_reading(scan, rows.bits, wanted, None, bar), None
        fixer = fix.Fixer(Path(args.output).expanduser() / "fixed", scan.sources, args.remove, args.remove_test_rows)
        with whole_files(fixer.paths) as fixer.files:
            return fix.second_reading(scan, rows.bits, wanted, fixer, bar), fixer.report()


def run(args):
    """Audit the files that the flags `args` name, and write everything -> the content of audit.json."""
    began, output, files = time.time(), Path(args.output).expanduser(), sources(args)
    scan, rows = first_reading(args, files)
    shown, matrices, cells = across_rows(args, scan, rows)
    figures, suspicious = judge_labels(args, scan, rows)
    wanted = {row for pairs in [*shown.values(), *cells.values()] for pair in pairs for row in pair}
    texts, fixed = second_reading(args, scan, rows, wanted)
    shown, cells = (
        {key: [[texts[a], texts[b]] for a, b in pairs] for key, pairs in found.items()} for found in (shown, cells)
    )
    overlaps = [{"a": a, "b": b, "examples": pairs} for (a, b), pairs in cells.items() if pairs]
    between = report.between_answers(scan, args.seed)
    audit = {
        "program": "audit",
        "korlhf": __version__,
        "settings": asdict(args),
        "warnings": report.warnings(between),
        "sets": report.sets(scan),
        "length_bins": LENGTH_BINS,
        "findings": report.findings(scan, rows, args, shown),
        "between_answers": between,
        "overlap": {**matrices, "examples": overlaps, "threshold": args.threshold, "hashes": HASHES},
        "labels": figures,
        "suspicious_labels": suspicious,
        "fixed": fixed,
        "seconds": round(time.time() - began, 1),
    }
    write_json(output / "audit.json", audit)
    with AtomicFile(output / "audit.html", "--output") as page:
        page.write(report.page(audit))
    return audit
