"""Tables of results (korlhf/tables.py) made ready for the page: cells as texts in both languages, with dots and whiskers for estimates."""

from korlhf import tables
from korlhf.report import charts

DASH = "–"


def ready(table):
    """A table -> {"title", "columns": [{"name", "right", "plot": see charts.whiskers}], "rows": [[cell]], "notes"}.

    A cell is {"text": tables.both, "right": whether it is a number, "interval": "[low, high]" or "", "dot": places or None}.
    """
    estimates = [[row[k] if is_estimate(row[k]) else None for row in table["rows"]] for k in range(len(table["columns"]))]
    plots = charts.whiskers(estimates)
    columns = []
    for k, column in enumerate(table["columns"]):
        right = bool(table["rows"]) and all(not is_text(row[k]) for row in table["rows"])
        columns.append({"name": tables.both(tables.words(column, "en"), tables.words(column, "ko")), "right": right, "plot": plots[k]})
    rows = [[_cell(value, column["digits"], plots[k]["cells"][i] if plots[k] else None)
             for k, (value, column) in enumerate(zip(row, table["columns"]))] for i, row in enumerate(table["rows"])]
    return {"title": table["title"], "columns": columns, "rows": rows, "notes": table["notes"]}


def is_estimate(value):
    """Whether a cell is an estimate with an interval."""
    return isinstance(value, dict) and "mean" in value


def is_text(value):
    """Whether a cell is words, which stand left."""
    return isinstance(value, str) or (isinstance(value, dict) and not is_estimate(value))


def _cell(value, digits, dot):
    if is_estimate(value):
        ends = [_number(value[k], digits) for k in ("low", "high")]
        mean = _number(value["mean"], digits)
        return {"text": tables.both(mean, mean), "right": True, "interval": f"[{ends[0]}, {ends[1]}]", "dot": dot}
    if is_text(value) or isinstance(value, bool):
        return {"text": tables.both(*(tables.cell(value, digits, language) for language in ("en", "ko"))), "right": False, "interval": "", "dot": None}
    text = _number(value, digits)
    return {"text": tables.both(text, text), "right": True, "interval": "", "dot": None}


def _number(value, digits):
    if not charts.finite(value):
        return DASH
    if 0 < value < 0.5 * 10.0 ** -digits:  # a small p is not 0
        return f"<{10.0 ** -digits:.{digits}f}"
    return charts.minus(tables.cell(value, digits, "en"))
