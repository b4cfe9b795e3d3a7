"""Everything that was found as one JSON object: what audit.json holds and audit.html shows."""

from korlhf.data_prep.audit.bias import best_rules
from korlhf.data_prep.audit.kinds import ALWAYS_REMOVED, BIT, GOOD_ONLY, KINDS, SEVERITIES
from korlhf.data_prep.audit.scan import LENGTH_BINS

CROSS = (
    "duplicate_row",
    "duplicate_prompt",
    "near_duplicate_prompt",
    "contradiction",
    "both_sides",
    "label_flip",
    "test_overlap",
)
TOP_VARIANTS = 8
STRONG_RULE = 0.6


def findings(scan, rows, removed, examples):
    """A list of what was found, worst first: per kind, set and part of the rows.

    removed: kinds named in --remove. examples: {(kind, set): list} of those that concern several rows.
    """
    out = []
    for (set_name, kind, part), f in scan.findings.items():
        shown = [p._asdict() for p in f.examples.items]
        out.append(
            _finding(
                kind,
                set_name,
                part,
                f.texts,
                scan.texts[set_name, part],
                removed,
                spots=f.spots,
                variants=dict(f.variants.most_common(TOP_VARIANTS)),
                examples=shown,
            )
        )
    for kind in CROSS:
        for number, set_name in enumerate(scan.sets):
            count = int(((rows.bits & BIT[kind]) > 0)[rows.sets == number].sum())
            if count:
                shown = examples.get((kind, set_name), [])
                out.append(_finding(kind, set_name, "row", count, scan.texts[set_name, "row"], removed, pairs=shown))
    order = list(KINDS)
    return sorted(
        out, key=lambda f: (SEVERITIES.index(f["severity"]), order.index(f["kind"]), -f["share"], f["set"], f["part"])
    )


def _finding(kind, set_name, part, count, of, removed, **more):
    k = KINDS[kind]
    return {
        "kind": kind,
        "title": k.title,
        "severity": k.severity,
        "why": k.why,
        "set": set_name,
        "part": part,
        "count": count,
        "of": of,
        "share": count / of,
        "fix": _fix(kind, part, removed),
        **more,
    }


def _fix(kind, part, removed):
    if KINDS[kind].fix == "clean":
        return "cleaned"
    if kind in GOOD_ONLY and part == "rejected":
        return "nothing: fine in a rejected answer"
    return "row removed" if kind in (*ALWAYS_REMOVED, *removed) else f"nothing (--remove {kind})"


def sets(scan):
    """Per set: files, rows, texts per part, and the lengths of its texts in bins of characters."""
    return [
        {
            "name": name,
            "files": [s.path for s in scan.sources if s.set == name],
            "rows": scan.texts[name, "row"],
            "texts": {part: n for (of, part), n in scan.texts.items() if of == name and part != "row"},
            "lengths": {part: counts.tolist() for (of, part), counts in scan.lengths.items() if of == name},
        }
        for name in scan.sets
    ]


def between_answers(scan, seed):
    """Per set with pairs: lengths, forms, responders and best trivial rules."""
    out = {}
    for name, tally in scan.tallies.items():
        sample = scan.sampled[name]
        rules = best_rules([(p.category, (p.prompt, p.chosen, p.rejected)) for p in sample.items], seed)
        out[name] = {
            "pairs": tally.pairs,
            "length": tally.length_table(),
            "form": tally.form_table(),
            "responders": tally.responder_table(),
            "rules": rules,
            "rules_measured_on": len(sample.items),
        }
    return out


def warnings(between):
    """One line for every set and category of which a trivial rule tells chosen from rejected; between: of `between_answers`.

    A rule counts from a lower end of its interval above STRONG_RULE; the whole set first.
    """
    lines = []
    for name, figures in between.items():
        for category, found in sorted(figures["rules"].items(), key=lambda item: item[0] != "all"):
            if "rule" in found and found["ci95"][0] > STRONG_RULE:
                where = f"{name} pairs" if category == "all" else f"{name} pairs, {category}"
                lines.append(
                    f"{where}: the rule '{found['rule']}' alone tells chosen from rejected in {found['accuracy']:.3f} of "
                    f"{found['n']} pairs (95 % {found['ci95'][0]:.3f}-{found['ci95'][1]:.3f}; guessing .500): "
                    "a reward model may learn no more than that"
                )
    return lines


def length_bins():
    """Lower ends of the bins of lengths, in characters."""
    return LENGTH_BINS.tolist()
