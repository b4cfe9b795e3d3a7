"""Figures as tables: the cell of an interval, and a table whose title and note are texts of this package."""

from korlhf.core.tables import estimate
from korlhf.eval.texts import columns, say


def cell(of):
    """A stats.Estimate as a table's cell; None stays."""
    return of and estimate(of.mean, of.low, of.high)


def table(result, key, head, rows, notes=None, **values):
    """Add a table to a Result, unless it has no rows. key: of its texts "title" and "note"; head: names of
    texts.columns, or headings; notes: in place of that note; values: for the texts."""
    head = columns(head, **values) if isinstance(head, str) else head
    if rows := list(rows):
        notes = [say(f"{key}.note", **values)] if notes is None else notes
        result.table(say(f"{key}.title", **values), head, rows, notes)
