"""The texts of this package in English and Korean, texts.en.yaml and texts.ko.yaml, and tables whose words they are."""

from korlhf.core.tables import both, column, estimate
from korlhf.core.texts import load, text
from korlhf.korean import ngram_classifier

RULE_STARTS = ("more", "fewer", "no word", "word", "no last syllable", "last syllable")  # of rules fitted to pairs


def say(key: str, /, **values) -> dict[str, str]:
    """The text under `key` in both languages; see korlhf.core.texts.text."""
    return text("korlhf.eval", key, **values)


def columns(names: str, **values) -> list[dict]:
    """Headings of a table. names: keys below `columns`, each with its digits behind the point if they are not three:
    "model p:4"."""
    out = []
    for name in names.split():
        key, _, digits = name.partition(":")
        out.append(column(**say(f"columns.{key}", **values), digits=int(digits or 3)))
    return out


def named(names, digits: int = 3) -> list[dict]:
    """Headings that are names of models, the same in both languages."""
    return [column(name, name, digits) for name in names]


def rule_name(name: str) -> dict[str, str]:
    """A rule of korlhf/korean/trivial_rules.py, or the classifier ("" or its name), in both languages; an unknown one
    stands for itself."""
    key = "classifier" if name in ("", ngram_classifier.NAME) else name.replace(" ", "_")
    if key in load("korlhf.eval")["en"]["reward"]["rules"]:
        return say(f"reward.rules.{key}")
    for start in RULE_STARTS:
        if name.startswith(f"{start} "):
            return say(f"reward.rule_starts.{start.replace(' ', '_')}", thing=name.removeprefix(f"{start} "))
    return both(name, name)


def cell(of):
    """A stats.Estimate as a table's cell; None stays."""
    return of and estimate(of.mean, of.low, of.high)


def table(result, key, head, rows, notes=None, **values):
    """Add a table to a Result, unless it has no rows. key: of its texts "title" and "note"; head: names of
    `columns`, or headings; notes: in place of that note; values: for the texts."""
    head = columns(head, **values) if isinstance(head, str) else head
    if rows := list(rows):
        notes = [say(f"{key}.note", **values)] if notes is None else notes
        result.table(say(f"{key}.title", **values), head, rows, notes)
