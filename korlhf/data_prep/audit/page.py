"""audit.json for people: one self-contained HTML page, and a short table for the terminal."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

PARTS = ("prompt", "output", "chosen", "rejected", "text")  # whose lengths are drawn
SHOWN_FORMS = 12  # the most telling features
IN_TERMINAL = 25  # findings printed


def write(path, audit):
    """Write the page whole or not at all. All texts of the data are escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, percent=percent, share=share)
    template = environment.from_string(
        files("korlhf.data_prep.audit").joinpath("page.html").read_text(encoding="utf-8")
    )
    path = Path(path)
    part = path.with_name(path.name + ".part")
    page = template.render(a=audit, charts=charts(audit), kinds=by_kind(audit["findings"]), shown_forms=SHOWN_FORMS)
    part.write_text(page, encoding="utf-8")
    part.replace(path)


def number(n):
    """12345 -> 12,345; a fraction with one digit behind the point."""
    return f"{n:,}" if isinstance(n, int) else f"{n:,.1f}"


def percent(value):
    """.1234 -> 12.3 %; a little more than nothing is not 0 %."""
    return "<0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def share(value):
    """.1234 -> .123"""
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def by_kind(findings):
    """Findings -> one entry per kind in the same order: its texts for people, and the findings of all sets and parts."""
    out = {}
    for finding in findings:
        out.setdefault(finding["kind"], []).append(finding)
    return out


def charts(audit):
    """Per set the bars of its lengths: [{"name", "bins": [{"label", "bars": [{"part", "count", "height" 0-100}]}]}]."""
    lows = audit["length_bins"]
    labels = [f"{low}–{high - 1}" if high - low > 1 else f"{low}" for low, high in zip(lows, lows[1:])] + [
        f"{lows[-1]}+"
    ]
    out = []
    for of in audit["sets"]:
        parts = [p for p in PARTS if p in of["lengths"]]
        tallest = max((n / max(1, sum(of["lengths"][p])) for p in parts for n in of["lengths"][p]), default=1)
        bins = [
            {"label": label, "bars": [_bar(p, of["lengths"][p], i, tallest) for p in parts]}
            for i, label in enumerate(labels)
        ]
        out.append({"name": of["name"], "parts": parts, "bins": bins})
    return out


def _bar(part, counts, i, tallest):
    return {"part": part, "count": counts[i], "height": round(100 * counts[i] / max(1, sum(counts)) / tallest, 1)}


def table(audit):
    """The summary for the terminal, worst first."""
    found = audit["findings"]
    lines = [
        f"audit: {sum(s['rows'] for s in audit['sets']):,} rows in {sum(len(s['files']) for s in audit['sets'])} files"
    ]
    lines += [f"  WARNING: {line}" for line in audit["warnings"]]
    where = [f"{f['set']} {f['part']}" for f in found]
    width = max(map(len, where), default=0)
    lines += [
        f"  {f['severity']:<6} {f['count']:>9,} of {f['of']:>9,} {percent(f['share']):>8}  {w:<{width}}  {f['title']}"
        for f, w in zip(found[:IN_TERMINAL], where)
    ]
    if len(found) > IN_TERMINAL:
        lines.append(f"  ... and {len(found) - IN_TERMINAL} more in audit.html")
    for name, of in audit["between_answers"].items():
        rule = of["rules"]["all"]
        if "rule" in rule:
            lines.append(
                f"  {name}: the rule {rule['rule']!r} alone is right in {share(rule['accuracy'])} of {rule['n']:,} pairs "
                f"(95 % {share(rule['ci95'][0])}-{share(rule['ci95'][1])}); guessing gets .500"
            )
    for f in audit["fixed"] or ():
        lines.append(
            f"  fixed: {f['path']}: {f['kept_rows']:,} rows kept ({f['cleaned_rows']:,} cleaned), {f['removed_rows']:,} removed"
        )
    return "\n".join(lines if found else [*lines, "  nothing found in texts and rows"])
