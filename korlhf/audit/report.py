"""Everything that was found as one JSON object: what audit.json holds and audit.html shows."""

from korlhf.audit.bias import best_rules
from korlhf.audit.kinds import ALWAYS_REMOVED, BIT, GOOD_ONLY, KINDS, SEVERITIES
from korlhf.audit.scan import LENGTH_BINS

CROSS = ("duplicate_row", "duplicate_prompt", "near_duplicate_prompt", "contradiction", "both_sides", "label_flip", "test_overlap")
TOP_VARIANTS = 8


def findings(scan, rows, removed, examples):
    """A list of what was found, worst first: per kind, set and part of the rows.

    removed: kinds named in --remove. examples: {(kind, set): list} of those that concern several rows.
    """
    out = []
    for (set_name, kind, part), f in scan.findings.items():
        shown = [p._asdict() for p in f.examples.items]
        out.append(_finding(kind, set_name, part, f.texts, scan.texts[set_name, part], removed, spots=f.spots,
                            variants=dict(f.variants.most_common(TOP_VARIANTS)), examples=shown))
    for kind in CROSS:
        for number, set_name in enumerate(scan.sets):
            count = int(((rows.bits & BIT[kind]) > 0)[rows.sets == number].sum())
            if count:
                shown = examples.get((kind, set_name), [])
                out.append(_finding(kind, set_name, "row", count, scan.texts[set_name, "row"], removed, pairs=shown))
    order = list(KINDS)
    return sorted(out, key=lambda f: (SEVERITIES.index(f["severity"]), order.index(f["kind"]), -f["share"], f["set"], f["part"]))


def _finding(kind, set_name, part, count, of, removed, **more):
    k = KINDS[kind]
    return {"kind": kind, "title": k.title, "severity": k.severity, "why": k.why, "set": set_name, "part": part, "count": count, "of": of,
            "share": count / of, "fix": _fix(kind, part, removed), **more}


def _fix(kind, part, removed):
    if KINDS[kind].fix == "clean":
        return "cleaned"
    if kind in GOOD_ONLY and part == "rejected":
        return "nothing: fine in a rejected answer"
    return "row removed" if kind in (*ALWAYS_REMOVED, *removed) else f"nothing (--remove {kind})"


def sets(scan):
    """Per set: files, rows, texts per part, and the lengths of its texts in bins of characters."""
    return [{"name": name, "files": [s.path for s in scan.sources if s.set == name], "rows": scan.texts[name, "row"],
             "texts": {part: n for (of, part), n in scan.texts.items() if of == name and part != "row"},
             "lengths": {part: counts.tolist() for (of, part), counts in scan.lengths.items() if of == name}} for name in scan.sets]


def between_answers(scan, seed):
    """Per set with pairs: lengths, forms, responders and best trivial rules."""
    out = {}
    for name, tally in scan.tallies.items():
        sample = scan.sampled[name]
        rules = best_rules([(p.category, (p.prompt, p.chosen, p.rejected)) for p in sample.items], seed)
        out[name] = {"pairs": tally.pairs, "length": tally.length_table(), "form": tally.form_table(),
                     "responders": tally.responder_table(), "rules": rules, "rules_measured_on": len(sample.items)}
    return out


def length_bins():
    """Lower ends of the bins of lengths, in characters."""
    return LENGTH_BINS.tolist()
