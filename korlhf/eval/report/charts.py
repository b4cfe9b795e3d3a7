"""The geometry of the drawings: points, ticks and labels as numbers and texts; templates/macros.html draws them as inline SVG.

Left out: logarithmic axes and zooming.
"""

import math

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 30
FRAME = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}
MOST = 240  # points of a line
BANDS = 60  # places of a chart that tell their values
DOT_WIDTH, DOT_HEIGHT, DOT_MARGIN = 120, 22, 8
ENDS = ("low", "mean", "high")
SHARED = 1.5  # columns of a table share a scale if it is at most so many times as wide as each of theirs


def finite(value):
    """Whether a value is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def ticks(low, high, about=4):
    """Round numbers, 1, 2 or 5 times a power of ten apart, of which the first is at most `low` and the last at least `high`."""
    if high <= low:
        low, high = low - (abs(low) * 0.1 or 1.0), high + (abs(high) * 0.1 or 1.0)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    apart = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / apart + 1e-9), math.ceil(high / apart - 1e-9)
    return [round(i * apart, 12) for i in range(first, last + 1)]


def label(value, apart=0.0):
    """A number for an axis: as many digits behind the point as the distance of the ticks needs; 12k, 3.5M."""
    for least, size, ending in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return minus(f"{value / size:.4g}{ending}")
    if value and abs(value) < 1e-3 and apart < 1e-3:
        return minus(f"{value:.3g}")
    digits = max(0, -math.floor(math.log10(apart) + 1e-9)) if apart else 2
    return minus(f"{value:.{digits}f}")


def minus(text):
    """A text of numbers with real minus signs."""
    return text.replace("-", "−")


def number(value):
    """A number in four digits, for what a pointer shows."""
    return minus(f"{value:,}" if isinstance(value, int) else f"{value:.4g}")


def thinned(points, most=MOST):
    """At most `most` points: of more, the means of equal runs of them, at their middle step. -> (points, length of the runs)."""
    if len(points) <= most:
        return points, 1
    size = math.ceil(len(points) / most)
    runs = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs], size


def lines(series):
    """A line chart. series: list of {"name": tables.both, "points": [(step, value)], "marked": whether each point gets a dot}.

    Steps are counted from 0. Returns None without any point, else the frame of the drawing, "x" and "y" ticks ({"at", "label"}), "series"
    ({"name", "path", "dots", "size": points a mean is of}) and "bands", which tell what is near a step: {"x", "width", "step", "values":
    [(name, text)]}.
    """
    drawn = []
    for one in series:
        points = [(x, y) for x, y in one["points"] if finite(x) and finite(y)]
        if points:
            points, size = thinned(points)
            drawn.append({**one, "points": points, "size": size})
    if not drawn:
        return None
    last, values = (
        max(1, *(x for one in drawn for x, _ in one["points"])),
        [y for one in drawn for _, y in one["points"]],
    )
    x_ticks, y_ticks = [t for t in ticks(0, last, 5) if t <= last], ticks(min(values), max(values))
    place = Place(0, last, y_ticks[0], y_ticks[-1])
    return {
        **FRAME,
        "x": [{"at": place.x(t), "label": label(t, x_ticks[1] - x_ticks[0])} for t in x_ticks],
        "y": [{"at": place.y(t), "label": label(t, y_ticks[1] - y_ticks[0])} for t in y_ticks],
        "series": [_drawn(one, place) for one in drawn],
        "bands": _bands(drawn, place),
    }


class Place:
    """From values to places in the drawing."""

    def __init__(self, x0, x1, y0, y1):
        self.x0, self.x1, self.y0, self.y1 = x0, x1, y0, y1

    def x(self, value):
        return round(LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value):
        return round(HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM), 1)


def _drawn(one, place):
    at = [(place.x(x), place.y(y)) for x, y in one["points"]]
    return {
        "name": one["name"],
        "marked": one["marked"],
        "size": one["size"],
        "path": " ".join(f"{x:g},{y:g}" for x, y in at),
        "dots": at if one["marked"] or len(at) == 1 else [],
    }


def _bands(drawn, place):
    """At most BANDS stripes over the steps of the longest line, with the nearest value of every line that has one within the stripe."""
    steps = sorted({x for one in drawn for x, _ in one["points"]})
    chosen = steps[:: math.ceil(len(steps) / BANDS)]
    edges = [place.x0, *((a + b) / 2 for a, b in zip(chosen, chosen[1:])), place.x1]
    out = []
    for step, low, high in zip(chosen, edges, edges[1:]):
        values = []
        for one in drawn:
            near = [p for p in one["points"] if low <= p[0] <= high]
            if near:
                values.append((one["name"], number(min(near, key=lambda p: abs(p[0] - step))[1])))
        left, right = place.x(low), place.x(high)
        out.append({"x": left, "width": round(max(right - left, 1), 1), "step": f"{round(step):,}", "values": values})
    return out


def whiskers(columns):
    """Dots with whiskers for the columns of a table. columns: lists of estimates ({"mean", "low", "high"}) or None, one list a column.

    Returns for each column None (nothing to draw) or {"ticks": [{"at", "label", "zero": whether it is 0}], "cells": [None or {"low",
    "mean", "high"}]}, places from 0 to DOT_WIDTH. The columns have one scale if none of them is squeezed much by that.
    """
    spans = [_span(column) for column in columns]
    known = [s for s in spans if s]
    if known:
        low, high = min(s[0] for s in known), max(s[1] for s in known)
        if all((high - low) <= SHARED * (s[1] - s[0]) for s in known):
            spans = [(low, high) if s else None for s in spans]
    return [_whiskers(column, span) if span else None for column, span in zip(columns, spans)]


def _whole(estimate):
    """Whether there is an estimate and all its numbers can be drawn."""
    return estimate is not None and all(finite(estimate[k]) for k in ENDS)


def _span(column):
    ends = [estimate[k] for estimate in column if estimate for k in ENDS if finite(estimate[k])]
    return (min(ends), max(ends)) if ends else None


def _along(value, low, high):
    return round(DOT_MARGIN + (value - low) / (high - low) * (DOT_WIDTH - 2 * DOT_MARGIN), 1)


def _marks(low, high):
    """Ticks of which two or more lie from `low` to `high`."""
    if high - low < 1e-9:  # ticks are rounded
        return [low, high]
    return next(
        found for found in (ticks(low, high, about) for about in (2, 4, 6)) if sum(low <= t <= high for t in found) > 1
    )


def _whiskers(column, span):
    low, high = span if span[1] > span[0] else (span[0] - 1, span[1] + 1)
    marks = _marks(low, high)
    shown = [
        {"at": _along(t, low, high), "label": label(t, marks[1] - marks[0]), "zero": t == 0}
        for t in marks
        if low <= t <= high
    ]
    return {
        "ticks": shown,
        "cells": [{k: _along(e[k], low, high) for k in ENDS} if _whole(e) else None for e in column],
    }


def _interval(value):
    """[low, high] if that is what it is, else None."""
    return value if isinstance(value, list) and len(value) == 2 and all(map(finite, value)) else None


def calibration(bins):
    """A calibration chart: bins of {"predicted", "won", "n"}, shares from 0 to 1, each with its "interval" if it has one.

    Returns None without bins, else the frame of the drawing, "x" and "y" ticks, "line" (ends of the diagonal) and "dots":
    [{"x", "y", "r", "low", "high" (places or None), and "predicted", "won", "n" as texts}].
    """
    bins = [
        b for b in bins if isinstance(b, dict) and finite(b.get("predicted")) and finite(b.get("won")) and b.get("n")
    ]
    if not bins:
        return None
    spans = [_interval(b.get("interval")) for b in bins]
    x0 = 0.5 if min(b["predicted"] for b in bins) >= 0.5 else 0.0
    y0 = 0.5 if min([b["won"] for b in bins] + [s[0] for s in spans if s]) >= 0.5 else 0.0
    place, most = Place(x0, 1, y0, 1), max(b["n"] for b in bins)
    dots = [
        {
            "x": place.x(b["predicted"]),
            "y": place.y(b["won"]),
            "r": round(3 + 5 * math.sqrt(b["n"] / most), 1),
            "low": place.y(s[0]) if s else None,
            "high": place.y(s[1]) if s else None,
            "predicted": f"{b['predicted']:.3f}",
            "won": f"{b['won']:.3f}",
            "n": f"{b['n']:,}",
        }
        for b, s in zip(bins, spans)
    ]
    start, fifths = max(x0, y0), [k / 5 for k in range(6)]
    return {
        **FRAME,
        "x": _ticks(place.x, [x0 + (1 - x0) * k for k in fifths]),
        "y": _ticks(place.y, [y0 + (1 - y0) * k for k in fifths]),
        "line": [place.x(start), place.y(start), place.x(1), place.y(1)],
        "dots": dots,
    }


def _ticks(place, values):
    return [{"at": place(v), "label": f"{v:.1f}"} for v in values]
