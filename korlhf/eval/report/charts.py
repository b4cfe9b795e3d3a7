"""Drawings by matplotlib as inline SVG.

The only text in them are numbers, so they serve both languages, and no text of the data gets into a drawing. Colours
are variables of templates/style.css, which knows light, dark and paper. Left out: logarithmic axes and zooming.
"""

import io
import math
import re
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from korlhf.eval.report.words import say

WIDTH, HEIGHT = 400, 230  # of a chart, in the units of the SVG
LEFT, RIGHT, TOP, BOTTOM = 0.13, 0.97, 0.93, 0.13  # its frame, as shares of these
ROW, DOTS, MARGIN = 22, 136, 18  # height and width of a dot with its whisker, and what is free left and right of them
MOST = 240  # points of a line
SHARED = 1.5  # columns of a table share a scale if it is at most so many times as wide as each of theirs
COLOURS = {"training": "#000001", "heldout": "#000002", "soft": "#000003", "line": "#000004"}
STYLE = {
    **{"svg.fonttype": "none", "font.size": 13, "figure.facecolor": "none", "axes.facecolor": "none"},
    **{f"axes.spines.{side}": False for side in ("left", "right", "top")},
    **{"axes.edgecolor": COLOURS["soft"], "axes.axisbelow": True, "axes.autolimit_mode": "round_numbers"},
    **{"axes.xmargin": 0, "axes.ymargin": 0, "grid.color": COLOURS["line"], "grid.linewidth": 1},
    **{f"{axis}tick.{of}": COLOURS["soft"] for axis in "xy" for of in ("color", "labelcolor")},
    **{"xtick.major.pad": 5, "ytick.major.pad": 7, "ytick.major.size": 0, "lines.markersize": 6},
}
SHORTER = [  # what a page with hundreds of drawings can do without: two thirds of their bytes
    (re.compile(pattern, re.DOTALL), new)
    for pattern, new in (
        (r'^.*?<svg[^>]*viewBox="0 0 (\S+) (\S+)"[^>]*>', r'<svg viewBox="0 0 \1 \2" width="\1" height="\2">'),
        (r"<metadata>.*?</metadata>|<style.*?</style>|<clipPath.*?</clipPath>", ""),
        (r' clip-path="[^"]*"| transform="rotate\(-0 [^"]*"| font-family: [^;"]*;', ""),
        (r' id="\w[\w.]*_\d+"', ""),
        (r"xlink:href", "href"),
        (r"(\d+\.\d)\d+(?=[^<>]*>)", r"\1"),  # places, not labels
        (r"\s+", " "),
        (r"<defs>\s*</defs>|(?<=>) (?=<)", ""),
    )
]
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass
class Chart:
    """readings: what a pointer shows, a list of points per line: [share of the width, x, y]; x is text, y too, or in
    both languages."""

    svg: Markup
    readings: list


def finite(value):
    """Whether a value is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def minus(text):
    """A text of numbers with real minus signs."""
    return text.replace("-", "−")


def thinned(points, most=MOST):
    """At most `most` points: of more, means of equal runs of them. Returns (points, length of the runs)."""
    size = math.ceil(len(points) / most)
    runs = [points[i : i + size] for i in range(0, len(points), size)] if size > 1 else []
    return [tuple(sum(v) / len(run) for v in zip(*run)) for run in runs] or points, max(size, 1)


def lines(series, salt):
    """A chart of lines over the steps of a training, counted from 0. series: list of (colour, [(step, value)], whether
    each point gets a dot); salt: a text that no other drawing of the page has."""
    last = max(1, *(step for _, points, _ in series for step, _ in points))

    def draw(axes):
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        for colour, points, marked in series:
            style = {"color": COLOURS[colour], "linewidth": 1.6, "solid_joinstyle": "round", "clip_on": False}
            axes.plot(*zip(*points), marker="o" if marked or len(points) == 1 else "", **style)
        axes.set_xlim(0, last)

    readings = [[_reading(x, last, f"{round(x):,}", _number(y)) for x, y in points] for _, points, _ in series]
    return Chart(_drawn(draw, salt), readings)


def calibration(bins, salt):
    """A calibration chart of bins: {"predicted", "won", "n"}, shares from 0 to 1, with its "interval" if a bin has one.

    Returns None without bins that can be drawn.
    """
    numbers = ("predicted", "won", "n")
    bins = [b for b in bins if isinstance(b, dict) and all(finite(b.get(k)) for k in numbers) and b["n"] > 0]
    if not bins:
        return None
    spans = [(b, b["interval"]) for b in bins if _is_interval(b.get("interval"))]
    left = 0.5 if min(b["predicted"] for b in bins) >= 0.5 else 0.0
    low = 0.5 if min([b["won"] for b in bins] + [interval[0] for _, interval in spans]) >= 0.5 else 0.0
    most = max(b["n"] for b in bins)

    def draw(axes):
        axes.grid(axis="y")
        axes.plot([max(left, low), 1], [max(left, low), 1], color=COLOURS["soft"], dashes=(4, 4), linewidth=1)
        for b, interval in spans:
            axes.vlines(b["predicted"], *interval, color=COLOURS["heldout"], linewidth=2, clip_on=False)
        sizes = [(6 + 10 * math.sqrt(b["n"] / most)) ** 2 for b in bins]
        x, y = ([b[k] for b in bins] for k in ("predicted", "won"))
        axes.scatter(x, y, sizes, color=COLOURS["heldout"], linewidths=0, clip_on=False)
        axes.set(xlim=(left, 1), ylim=(low, 1))

    won = [say("charts.won_of", won=f"{b['won']:.3f}", n=f"{b['n']:,}") for b in bins]
    shares = [b["predicted"] for b in bins]
    readings = [_reading(x - left, 1 - left, f"{x:.3f}", y) for x, y in zip(shares, won)]
    return Chart(_drawn(draw, salt), [readings])


def whiskers(columns, salt):
    """Dots with whiskers for the columns of a table. columns: an estimate ({"mean", "low", "high"}) or None per row.

    Returns a drawing per column, None where nothing is to be drawn: ROW high per row and once more for the labels of
    the ticks, so that a table can show it slice by slice. Columns have one scale if that squeezes none of them much.
    """
    dots = [[(k, e) for k, e in enumerate(column) if e and all(map(finite, _ends(e)))] for column in columns]
    spans = {k: (min(e["low"] for _, e in of), max(e["high"] for _, e in of)) for k, of in enumerate(dots) if of}
    if spans:
        common = min(low for low, _ in spans.values()), max(high for _, high in spans.values())
        if all(common[1] - common[0] <= SHARED * (high - low) for low, high in spans.values()):
            spans = dict.fromkeys(spans, common)
    return [_whiskers(of, spans[k], len(columns[k]), f"{salt}-{k}") if of else None for k, of in enumerate(dots)]


def _whiskers(dots, span, rows, salt):
    low, high = span if span[1] - span[0] > 1e-9 else (span[0] - 1, span[1] + 1)

    def draw(axes):
        axes.grid(axis="x")
        if low <= 0 <= high:
            axes.axvline(0, color=COLOURS["soft"], dashes=(2, 2), linewidth=1)
        y = [k for k, _ in dots]
        axes.hlines(y, *([e[end] for _, e in dots] for end in ("low", "high")), color=COLOURS["heldout"], linewidth=2)
        axes.plot([e["mean"] for _, e in dots], y, "o", color=COLOURS["heldout"], markersize=8, clip_on=False)
        axes.set(xlim=(low, high), ylim=(rows - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10], min_n_ticks=2))
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(left=False, labelleft=False, bottom=False, labelsize=12)

    height = ROW * (rows + 1)
    return _drawn(draw, salt, (DOTS, height), (MARGIN / DOTS, ROW / height, 1 - MARGIN / DOTS, 1))


def _ends(estimate):
    return estimate["low"], estimate["mean"], estimate["high"]


def _is_interval(value):
    return isinstance(value, list) and len(value) == 2 and all(map(finite, value))


def _reading(x, width, *texts):
    return [round(LEFT + x / width * (RIGHT - LEFT), 4), *texts]


def _number(value):
    return minus(f"{value:,}" if isinstance(value, int) else f"{value:.4g}")


def _drawn(draw, salt, size=(WIDTH, HEIGHT), frame=(LEFT, BOTTOM, RIGHT, TOP)):
    """The SVG of what `draw` draws into axes. frame: left, bottom, right and top of these as shares of the size."""
    left, bottom, right, top = frame
    out = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=[side / 72 for side in size])
        axes = figure.add_axes((left, bottom, right - left, top - bottom))
        draw(axes)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        figure.savefig(out, format="svg", metadata=NO_METADATA)
    svg = out.getvalue()
    for pattern, new in SHORTER:
        svg = pattern.sub(new, svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)
