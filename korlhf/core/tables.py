"""Tables of results in two languages: what a program prints and what the report shows are the same cells.

A cell is text, a number (one too small for its digits is shown as, e.g., <0.0001), None (shown as a dash), a text in
both languages (`both`), or an estimate with its 95 % interval ({"mean", "low", "high"}; low and high None: there is
none). A table is a dict that JSON can hold; `digits` of a column hold for its numbers and intervals.
"""

import io
import math
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000  # columns of a terminal: nothing is cut or wrapped, neither there nor in a log


def both(en: str, ko: str) -> dict[str, str]:
    """A text in English and Korean."""
    return {"en": en, "ko": ko}


def column(en: str, ko: str, digits: int = 3) -> dict[str, Any]:
    """The heading of a column; digits: behind the point, of its fractions."""
    return {"en": en, "ko": ko, "digits": digits}


def estimate(mean: float, low: float, high: float) -> dict[str, float | None]:
    """A cell with a 95 % interval; with none if an end is infinite."""
    known = math.isfinite(low) and math.isfinite(high)
    return {"mean": mean, "low": low if known else None, "high": high if known else None}


def table(title: dict[str, str], columns: Iterable[dict], rows: Iterable[Iterable], notes: Iterable[dict] = ()) -> dict:
    """title: `both`; columns: list of `column`; rows: lists of cells; notes: list of `both`, printed below.

    Raises ValueError if a row has another number of cells than there are columns.
    """
    columns, rows = list(columns), [list(row) for row in rows]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title['en']!r}: a row of {len(row)} cells under {len(columns)} columns: {row}")
    return {"title": title, "columns": columns, "rows": rows, "notes": list(notes)}


def words(value: Any, language: str) -> Any:
    """A text, or the `language` ("en" or "ko") of one in both."""
    return value[language] if isinstance(value, dict) else value


def joined(texts: Iterable[Any], by: str = ", ") -> dict[str, str]:
    """Texts, each of one language or in both, on one line in both."""
    texts = list(texts)
    return both(*(by.join(words(text, language) for text in texts) for language in ("en", "ko")))


def cell(value: Any, digits: int, language: str) -> str:
    """A cell as text."""
    if value is None:
        return "–"
    if isinstance(value, dict) and "mean" in value:
        if value["low"] is None:
            return cell(value["mean"], digits, language)
        return f"{value['mean']:z.{digits}f} [{value['low']:z.{digits}f}, {value['high']:z.{digits}f}]"
    if isinstance(value, float):
        return f"<{10.0**-digits:.{digits}f}" if 0 < value < 0.5 * 10.0**-digits else f"{value:z.{digits}f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(words(value, language))


def plain(table: dict, language: str = "en") -> str:
    """A table as lines of text for a terminal or a log: text left, numbers right, without colours."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for k, head in enumerate(table["columns"]):
        holds_text = any(_is_text(row[k]) for row in table["rows"])
        grid.add_column(Text(words(head, language)), justify="left" if holds_text else "right")
    for row in table["rows"]:
        grid.add_row(*(Text(cell(value, c["digits"], language)) for value, c in zip(row, table["columns"])))
    console = Console(file=io.StringIO(), width=UNLIMITED, color_system=None)
    with console.capture() as capture:
        console.print(grid)
    lines = [f"  {line.rstrip()}" for line in capture.get().splitlines()]
    return "\n".join([words(table["title"], language), *lines, *(f"  {words(n, language)}" for n in table["notes"])])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and "en" in value)
