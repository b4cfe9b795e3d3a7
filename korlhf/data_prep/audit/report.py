"""Everything that was found: as one JSON object, audit.json; as a page, audit.html; as a table for the terminal."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from korlhf.data_prep.audit import ALWAYS_REMOVED, BIT, GOOD_ONLY, KINDS
from korlhf.data_prep.audit.labels import best_rules

SEVERITIES = ("high", "medium", "low")
CROSS = (  # kinds that concern several rows
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
DRAWN = ("prompt", "output", "chosen", "rejected", "text")  # parts whose lengths are drawn
SHOWN_FORMS = 12  # the most telling features
IN_TERMINAL = 25  # findings printed


def findings(scan, rows, args, examples):
    """A list of what was found, worst first: per kind, set and part of the rows.

    args: the flags. examples: {(kind, set): list} of those that concern several rows.
    """
    found = []
    for (set_name, kind, part), f in scan.findings.items():
        of = scan.texts[set_name, part]
        variants, shown = dict(f.variants.most_common(TOP_VARIANTS)), [p._asdict() for p in f.examples.items]
        more = {"spots": f.spots, "variants": variants, "examples": shown}
        found.append({**_finding(kind, set_name, part, (f.texts, of), args), **more})
    for kind in CROSS:
        for number, set_name in enumerate(scan.sets):
            count = int(((rows.bits & BIT[kind]) > 0)[rows.sets == number].sum())
            if count:
                of = scan.texts[set_name, "row"]
                shown = {"pairs": examples.get((kind, set_name), [])}
                found.append({**_finding(kind, set_name, "row", (count, of), args), **shown})
    order = list(KINDS)
    return sorted(
        found, key=lambda f: (SEVERITIES.index(f["severity"]), order.index(f["kind"]), -f["share"], f["set"], f["part"])
    )


def _finding(kind, set_name, part, counts, args):
    count, of = counts
    removed = kind in (*ALWAYS_REMOVED, *args.remove)
    if KINDS[kind].fix == "clean":
        fix = "cleaned"
    elif kind in GOOD_ONLY and part == "rejected":
        fix = "nothing: fine in a rejected answer"
    elif removed and set_name == "test" and not args.remove_test_rows:
        fix = "nothing (--remove_test_rows)"
    else:
        fix = "row removed" if removed else f"nothing (--remove {kind})"
    return {
        "kind": kind,
        "title": KINDS[kind].title,
        "severity": KINDS[kind].severity,
        "why": KINDS[kind].why,
        "set": set_name,
        "part": part,
        "count": count,
        "of": of,
        "share": count / of,
        "fix": fix,
    }


def sets(scan):
    """Per set: files, rows, texts per part, and the lengths of its texts in bins of characters."""
    return [
        {
            "name": name,
            "files": [s.path for s in scan.sources if s.set == name],
            "rows": scan.texts[name, "row"],
            "texts": {part: n for (of, part), n in scan.texts.items() if of == name and part != "row"},
            "lengths": {part: counts for (of, part), counts in scan.lengths.items() if of == name},
        }
        for name in scan.sets
    ]


def between_answers(scan, seed):
    """Per set with pairs: lengths, forms, responders and best trivial rules."""
    return {
        name: {
            "pairs": tally.pairs,
            "length": tally.length_table(),
            "form": tally.form_table(),
            "responders": tally.responder_table(),
            "rules": best_rules(
                [(p.category, (p.prompt, p.chosen, p.rejected)) for p in scan.sampled[name].items], seed
            ),
            "rules_measured_on": len(scan.sampled[name].items),
        }
        for name, tally in scan.tallies.items()
    }


def warnings(between):
    """One line for every set and category of which a trivial rule tells chosen from rejected.

    between: of `between_answers`. A rule counts from a lower end of its interval above STRONG_RULE; the whole set
    first.
    """
    lines = []
    for name, figures in between.items():
        for category, found in sorted(figures["rules"].items(), key=lambda item: item[0] != "all"):
            if "rule" in found and found["ci95"][0] > STRONG_RULE:
                where = f"{name} pairs" if category == "all" else f"{name} pairs, {category}"
                lines.append(
                    f"{where}: the rule '{found['rule']}' alone tells chosen from rejected in "
                    f"{found['accuracy']:.3f} of {found['n']} pairs "
                    f"(95 % {found['ci95'][0]:.3f}-{found['ci95'][1]:.3f}; guessing .500): "
                    "a reward model may learn no more than that"
                )
    return lines


def page(audit):
    """audit.json as one self-contained HTML page. All texts of the data are escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, percent=percent, share=share)
    template = environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    kinds = {}
    for finding in audit["findings"]:
        kinds.setdefault(finding["kind"], []).append(finding)
    return template.render(a=audit, charts=charts(audit), kinds=kinds, shown_forms=SHOWN_FORMS)


def number(n):
    """12345 -> 12,345; a fraction with one digit behind the point."""
    return f"{n:,}" if isinstance(n, int) else f"{n:,.1f}"


def percent(value):
    """.1234 -> 12.3 %; a little more than nothing is not 0 %."""
    return "<0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def share(value):
    """.1234 -> .123"""
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def charts(audit):
    """Per set {"name", "parts", "bins": [{"label", "bars": [{"part", "count", "height" in %}]}]} of its lengths."""
    lows = audit["length_bins"]
    labels = [f"{low}–{high - 1}" if high - low > 1 else f"{low}" for low, high in zip(lows, lows[1:])]
    found = []
    for one in audit["sets"]:
        counts = {part: one["lengths"][part] for part in DRAWN if part in one["lengths"]}
        shares = {part: [n / max(1, sum(of)) for n in of] for part, of in counts.items()}
        tallest = max((s for of in shares.values() for s in of), default=1)
        bins = []
        for i, label in enumerate([*labels, f"{lows[-1]}+"]):
            bars = [
                {"part": p, "count": counts[p][i], "height": round(100 * shares[p][i] / tallest, 1)} for p in counts
            ]
            bins.append({"label": label, "bars": bars})
        found.append({"name": one["name"], "parts": list(counts), "bins": bins})
    return found


def table(audit):
    """The summary for the terminal, worst first."""
    found = audit["findings"]
    rows, n_files = sum(s["rows"] for s in audit["sets"]), sum(len(s["files"]) for s in audit["sets"])
    lines = [f"audit: {rows:,} rows in {n_files} files", *(f"  WARNING: {line}" for line in audit["warnings"])]
    width = max((len(f"{f['set']} {f['part']}") for f in found), default=0)
    for f in found[:IN_TERMINAL]:
        where = f"{f['set']} {f['part']}"
        share_of_all = f"{f['count']:>9,} of {f['of']:>9,} {percent(f['share']):>8}"
        lines.append(f"  {f['severity']:<6} {share_of_all}  {where:<{width}}  {f['title']}")
    if len(found) > IN_TERMINAL:
        lines.append(f"  ... and {len(found) - IN_TERMINAL} more in audit.html")
    for name, figures in audit["between_answers"].items():
        rule = figures["rules"]["all"]
        if "rule" in rule:
            low, high = map(share, rule["ci95"])
            lines.append(
                f"  {name}: the rule {rule['rule']!r} alone is right in {share(rule['accuracy'])} of {rule['n']:,} "
                f"pairs (95 % {low}-{high}); guessing gets .500"
            )
    for f in audit["fixed"] or ():
        kept = f"{f['kept_rows']:,} rows kept ({f['cleaned_rows']:,} cleaned)"
        lines.append(f"  fixed: {f['path']}: {kept}, {f['removed_rows']:,} removed")
    if audit["fixed"]:
        lines += left(found)
    return "\n".join(lines if found else [*lines, "  nothing found in texts and rows"])


def left(found):
    """What --fix left in the files, and the flags that remove it: lines for the terminal. found: of `findings`."""
    counts = {}
    for f in found:
        if f["fix"].startswith("nothing ("):
            by_kind = counts.setdefault("test" if f["fix"] == "nothing (--remove_test_rows)" else "", {})
            by_kind[f["kind"]] = by_kind.get(f["kind"], 0) + f["count"]
    lines = []
    for where, by_kind in sorted(counts.items()):
        named = ", ".join(f"{KINDS[kind].title} ({kind}) {n:,}" for kind, n in by_kind.items())
        if where == "test":
            lines.append(
                f"  left in the test set, which --fix does not shrink: {named}; --remove_test_rows removes them"
            )
        else:
            lines.append(f"  left: {named}; remove what you do not want with --remove {' '.join(by_kind)}")
    return lines
