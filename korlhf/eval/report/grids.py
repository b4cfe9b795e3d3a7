"""Tables of results (korlhf/core/tables.py) made ready for the page: cells as texts in both languages, with dots and
whiskers for estimates."""

import re

from korlhf.core import tables
from korlhf.eval.report import charts

DASH = "–"
NUMBER = re.compile(r"[<>≤≥]? ?[-−+]?[\d,]*\.?\d+ ?%?")  # a text that is a number, e.g. <0.0001
ENDS = ("mean", "low", "high")


def ready(table, salt):
    """A table -> {"title", "columns": [{"name", "right", "plot": {"id", "svg"} or None}], "rows": [[cell]], "notes"}.

    A cell is {"text": tables.both, "interval": "[low, high]" or ""}. salt: a text that no other table has.
    """
    columns, rows = table["columns"], table["rows"]
    estimates = [[row[k] if _is_estimate(row[k]) else None for row in rows] for k in range(len(columns))]
    heads = [
        {
            "name": tables.both(tables.words(column, "en"), tables.words(column, "ko")),
            "right": bool(rows) and not any(_is_text(row[k]) for row in rows),
            "plot": {"id": f"{salt}-{k}", "svg": plot} if plot else None,
        }
        for k, (column, plot) in enumerate(zip(columns, charts.whiskers(estimates, salt)))
    ]
    cells = [[_cell(value, column["digits"]) for value, column in zip(row, columns)] for row in rows]
    return {"title": table["title"], "columns": heads, "rows": cells, "notes": table["notes"]}


def _is_estimate(value):
    return isinstance(value, dict) and "mean" in value


def _is_text(value):
    """Whether a cell is words, which stand left."""
    if isinstance(value, str):
        return not NUMBER.fullmatch(value)
    return isinstance(value, bool) or (isinstance(value, dict) and not _is_estimate(value))


def _cell(value, digits):
    if _is_estimate(value):
        mean, low, high = (charts.minus(f"{value[k]:z.{digits}f}") if charts.finite(value[k]) else DASH for k in ENDS)
        return {"text": tables.both(mean, mean), "interval": "" if low == high == DASH else f"[{low}, {high}]"}
    if isinstance(value, str) or _is_text(value):
        texts = (tables.cell(value, digits, language) for language in ("en", "ko"))
    else:
        texts = [charts.minus(tables.cell(value, digits, "en")) if charts.finite(value) else DASH] * 2
    return {"text": tables.both(*texts), "interval": ""}
