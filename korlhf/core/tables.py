"""Tables of results in two languages: what a program prints and what the report shows are the same cells.

A cell is text, a number (one too small for its digits is shown as, e.g., <0.0001), None (shown as a dash), a text in both languages
(`both`), or an estimate with its 95 % interval ({"mean", "low", "high"}). A table is a dict that JSON can hold; `digits` of a column
hold for its numbers and intervals.
"""

import unicodedata


def both(en, ko):
    """A text in English and Korean."""
    return {"en": en, "ko": ko}


def column(en, ko, digits=3):
    """The heading of a column; digits: behind the point, of its fractions."""
    return {"en": en, "ko": ko, "digits": digits}


def estimate(mean, low, high):
    """A cell with a 95 % interval."""
    return {"mean": mean, "low": low, "high": high}


def table(title, columns, rows, notes=()):
    """title: `both`; columns: list of `column`; rows: lists of cells; notes: list of `both`, printed below.

    Raises ValueError if a row has another number of cells than there are columns.
    """
    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title['en']!r}: a row of {len(row)} cells under {len(columns)} columns: {row}")
    return {"title": title, "columns": list(columns), "rows": rows, "notes": list(notes)}


def words(value, language):
    """A text, or the `language` ("en" or "ko") of one in both."""
    return value[language] if isinstance(value, dict) else value


def cell(value, digits, language):
    """A cell as text."""
    if value is None:
        return "–"
    if isinstance(value, dict) and "mean" in value:
        return f"{value['mean']:z.{digits}f} [{value['low']:z.{digits}f}, {value['high']:z.{digits}f}]"
    if isinstance(value, float):
        return f"<{10.0**-digits:.{digits}f}" if 0 < value < 0.5 * 10.0**-digits else f"{value:z.{digits}f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(words(value, language))


def width(text):
    """Columns of a terminal that a text takes: a Hangul syllable takes two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def plain(found, language="en"):
    """A table as lines of text for a terminal: text left, numbers right."""
    head = [words(c, language) for c in found["columns"]]
    body = [[cell(value, c["digits"], language) for value, c in zip(row, found["columns"])] for row in found["rows"]]
    right = [
        all(not isinstance(row[k], str) and not (isinstance(row[k], dict) and "en" in row[k]) for row in found["rows"])
        for k in range(len(head))
    ]
    widths = [max(map(width, column)) for column in zip(head, *body)]
    lines = [words(found["title"], language)]
    for row in [head, *body]:
        cells = [
            " " * (w - width(text)) + text if r else text + " " * (w - width(text))
            for text, w, r in zip(row, widths, right)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join([*lines, *(f"  {words(note, language)}" for note in found["notes"])])
