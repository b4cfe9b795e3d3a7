"""Tables of results (korlhf/core/tables.py) made ready for the page: cells as texts in both languages, with dots and whiskers for estimates."""

import re

from korlhf.core import tables
from korlhf.eval.report import charts

DASH = "–"
NUMBER = re.compile(r"[<>≤≥]? ?[-−+]?[\d,]*\.?\d+ ?%?")  # a text that is a number, e.g. <0.0001


def ready(table):
    """A table -> {"title", "columns": [{"name", "right", "plot": see charts.whiskers}], "rows": [[cell]], "notes"}.

    A cell is {"text": tables.both, "right": whether it is a number, "interval": "[low, high]" or "", "dot": places or None}.
    """
    estimates = [
        [row[k] if is_estimate(row[k]) else None for row in table["rows"]] for k in range(len(table["columns"]))
    ]
    plots = charts.whiskers(estimates)
    columns = []
    for k, column in enumerate(table["columns"]):
        right = bool(table["rows"]) and all(not is_text(row[k]) for row in table["rows"])
        columns.append(
            {
                "name": tables.both(tables.words(column, "en"), tables.words(column, "ko")),
                "right": right,
                "plot": plots[k],
            }
        )
    rows = [
        [
            _cell(value, column["digits"], plots[k]["cells"][i] if plots[k] else None)
            for k, (value, column) in enumerate(zip(row, table["columns"]))
        ]
        for i, row in enumerate(table["rows"])
    ]
    return {"title": table["title"], "columns": columns, "rows": rows, "notes": table["notes"]}


def is_estimate(value):
    """Whether a cell is an estimate with an interval."""
    return isinstance(value, dict) and "mean" in value


def is_text(value):
    """Whether a cell is words, which stand left."""
    return (
        (isinstance(value, str) and not NUMBER.fullmatch(value))
        or isinstance(value, bool)
        or (isinstance(value, dict) and not is_estimate(value))
    )


def _cell(value, digits, dot):
    if is_estimate(value):
        low, mean, high = (
            charts.minus(f"{value[k]:z.{digits}f}") if charts.finite(value[k]) else DASH
            for k in ("low", "mean", "high")
        )
        return {"text": tables.both(mean, mean), "right": True, "interval": f"[{low}, {high}]", "dot": dot}
    if is_text(value):
        return {
            "text": tables.both(*(tables.cell(value, digits, language) for language in ("en", "ko"))),
            "right": False,
            "interval": "",
            "dot": None,
        }
    text = (
        value
        if isinstance(value, str)
        else charts.minus(tables.cell(value, digits, "en"))
        if charts.finite(value)
        else DASH
    )
    return {"text": tables.both(text, text), "right": True, "interval": "", "dot": None}
