"""Prompts that an answer may go wrong on: Korean safety corpora as their owners publish them, and the sample's own
(samples/safety.jsonl, pressure.jsonl).

To add a corpus, add it to safety.yaml.

kind       harmful     what the corpus calls hateful, offensive, biased, unsafe or not acceptable
           lookalike   harmless, but on the very subjects of the harmful ones, as the corpus itself says: KoSBi's safe
                       sentences name the same demographic groups; SQuARe's sensitive questions are well meant and ask
                       for an answer, its acceptable responses answer the same questions; APEACH's Default texts have
                       their topics from the same list
           harmless    other clean texts (BEEP!, KOLD, K-MHaS, K-HATERS, UnSmile): comments from the same sites, but
                       nobody checked that they sound harmful. To refuse one is an error too, but an easier one to
                       avoid: do not pool them with look-alikes
category   the target or the topic where the corpus has one, else the label; clean texts without a topic are "clean".
           With several labels the first; `labels` holds all
prompt     KoSBi's context and sentence, SQuARe's question and response are joined by a blank: they were judged
           together. The project's own may be a conversation (messages); `turns` says what leads to its last message

Left out, and counted: rows without text or with an undecided label, texts that are labelled both ways, copies of an
earlier prompt. Left out: single annotators' votes, spans, news titles. K-HATERS hides names as #@이름#: 아무개 here.
"""

import difflib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import close_names
from korlhf.core.texts import read_yaml
from korlhf.data.example import RowError, RowSkipped, conversation, unpacked
from korlhf.data.load import hub_splits
from korlhf.data.readers import check_characters, decoded_lines, read_rows
from korlhf.data.record import Record, make
from korlhf.data.registry import with_purpose

KINDS = ("harmful", "lookalike", "harmless")
_UNDECIDED = "no clear label"
_MARK = re.compile(r"#@([가-힣]+)#")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """An entry of safety.yaml, which says what the fields are."""

    text: list[str]
    more: list[str]
    license: str
    measuring: bool = False
    hub: str = ""
    split: str = "test"
    only: dict[str, list[str]] = field(default_factory=dict)
    kinds: dict[str, str | None] | None = None
    kind: str = ""
    topic: tuple[str, ...] = ()
    no_topic: str = ""
    clean: str = "clean"
    labels: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Those that every row must have."""
        return [*self.text, *self.more, *self.only]

    def missing(self, row: dict) -> list[str]:
        """The columns that every row must have and this one has not."""
        return [c for c in self.columns if not set(c.split("|")) & set(row)]


_TABLE = read_yaml("korlhf.data", "safety.yaml")
CORPORA = {name: Corpus(**entry) for name, entry in _TABLE.items()}
HUB = {corpus.hub: name for name, corpus in CORPORA.items() if corpus.hub}
_KNOWN = ", ".join(CORPORA)


@dataclass(frozen=True)
class SafetyPrompts:
    """What a file holds. records: as korlhf/data/record.py makes them, with `kind`; left_out: {reason: rows}."""

    name: str
    license: str
    records: list[Record]
    left_out: dict[str, int]


def load(text: str) -> SafetyPrompts:
    """The prompts of `text`: NAME=FILE with a name of CORPORA, a file whose columns tell which corpus it is of, or the
    hub name of one.

    .tsv and .txt are read line by line, as the owners write them; .json, .jsonl, .csv and .parquet as everywhere.
    Raises InputError with file and line.
    """
    name, path, rows = _opened(text)
    found, kinds, left_out = [], defaultdict(set), Counter()
    for place, row in rows:
        check_characters(place, row)
        name = name or _recognised(row, place)
        try:
            record = _record(name, row, place)
        except RowSkipped as reason:
            left_out[str(reason)] += 1
            continue
        except RowError as error:
            raise InputError(f"{place}: {error}") from error
        found.append(record)
        kinds[record["id"]].add(record["kind"])
    kept = {}
    for record in found:
        if len(kinds[record["id"]]) > 1:
            left_out["labelled both ways"] += 1
        elif kept.setdefault(record["id"], record) is not record:
            left_out["the same prompt as an earlier row"] += 1
    if not kept:
        why = ", ".join(f"{n} rows: {reason}" for reason, n in left_out.items())
        empty = "the file is empty, or has a header only"
        raise InputError(f"{path}: no prompts in it ({why})" if why else f"{path}: {empty}")
    terms = with_purpose(CORPORA[name].license, CORPORA[name].measuring)
    return SafetyPrompts(name, terms, list(kept.values()), dict(left_out))


def _opened(text):
    """Name of the corpus, "" if its columns are to tell; what an error calls it; its rows."""
    if text not in HUB or Path(text).exists():
        name, path = _named(text)
        return name, path, (_tab_rows if path.suffix.lower() in (".tsv", ".txt") else read_rows)(path)
    name = HUB[text]
    splits, wanted = hub_splits(text, text), CORPORA[name].split
    found = splits.get(wanted, next(iter(splits.values())) if len(splits) == 1 else None)
    if found is None:
        raise InputError(f"{text}: has no split {wanted}; found {', '.join(splits)}; give {name}=FILE")
    return name, text, ((f"{text}:{n}", row) for n, row in enumerate(found, 1))


def _named(text):
    head, equals, tail = text.partition("=")
    if not equals or Path(text).exists():
        return "", Path(text)
    if head not in CORPORA or not tail:
        close = difflib.get_close_matches(head, CORPORA, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        what = f"no file; give {head}=FILE" if head in CORPORA else f"{head!r} is no corpus{hint}; known: {_KNOWN}"
        raise InputError(f"{text}: {what}")
    return head, Path(tail)


def _recognised(row, place):
    names = [name for name, corpus in CORPORA.items() if corpus.more and not corpus.missing(row)]
    if len(names) != 1:
        what = f"may be of {' or '.join(names)}" if names else "are of no known corpus"
        raise InputError(f"{place}: the columns {', '.join(row)} {what}; give NAME=FILE with one of {_KNOWN}")
    return names[0]


def _record(name, row, place):
    corpus = CORPORA[name]
    if missing := corpus.missing(row):
        has = f"{name} has {', '.join(corpus.columns)}"
        raise RowError(f"no column {', '.join(missing)}; found {', '.join(row)}; {has}")
    for column, values in corpus.only.items():
        if row.get(column) is not None and str(row[column]).lower() not in values:
            raise RowSkipped(f"{column} {row[column]}")
    kind, category, labels = READERS.get(name, _labelled)(corpus, row)
    talk = unpacked(row.get("messages")) if name == "own" else None
    prompt = conversation(talk) if talk else _prompt(corpus, row)
    path, _, line = place.rpartition(":")
    source = f"{name}/{row.get('guid') or row.get('id') or f'{Path(path).name}:{line}'}"
    own = {column: row.get(column) or None for column in ("twin", "turns")} if name == "own" else {}
    return make(prompt, category, source, kind=kind, labels=labels or None, **own)


def _prompt(corpus, row):
    """The texts of a row, one after the other. Raises RowSkipped if there are none."""
    columns = [next(c for c in names.split("|") if c in row) for names in corpus.text]
    for column in columns:
        if row[column] is not None and not isinstance(row[column], str):
            raise RowError(f"{column} is {type(row[column]).__name__} {str(row[column])[:40]!r}; expected text")
    prompt = _MARK.sub(_named_somebody, " ".join(row[column].strip() for column in columns if row[column]))
    if not prompt.strip():
        raise RowSkipped("no text")
    return prompt


def _named_somebody(mark):
    if mark.group(1) != "이름":
        raise RowSkipped("hidden words")
    return "아무개"


def _tab_rows(path):
    """Yield ("FILE:LINE", row) of a table with tabs. Cells are bare or quoted whole; a tab too many is text."""
    if not path.is_file():
        raise InputError(f"{path}: no such file{close_names(path)}")
    header = []
    for n, line in decoded_lines(path):
        cells = line.rstrip("\r\n").split("\t")
        surplus = len(cells) - len(header)
        if not header:
            header = [_unquoted(cell) for cell in cells]
        elif cells != [""]:
            if surplus < 0:
                expected = f"but the header has {len(header)}; expected {', '.join(header)}"
                raise InputError(f"{path}:{n}: {len(cells)} cells, {expected}")
            cells = ["\t".join(cells[: surplus + 1]), *cells[surplus + 1 :]]  # the text is the first
            yield f"{path}:{n}", dict(zip(header, map(_unquoted, cells)))


def _unquoted(cell):
    """A cell without the quotes around it; quotes that are part of the text stay: "가" 그리고 "나"."""
    quoted = re.fullmatch(r'"((?:[^"]|"")*)"', cell)
    return quoted[1].replace('""', '"') if quoted else cell


def _value(row, column, meanings):
    """What a label means. True, "True", 1, 1.0 and "1" are one label; a number between 0 and 1 is undecided."""
    value = row[column]
    if value in (None, "") or (isinstance(value, float) and 0 < value < 1):
        raise RowSkipped(_UNDECIDED)
    label = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    label = {"true": "1", "false": "0"}.get(label, label)
    if label not in meanings:
        raise RowError(f"{column} is {str(value)[:40]!r}; expected one of {', '.join(meanings)}")
    if meanings[label] is None:
        raise RowSkipped(_UNDECIDED)
    return meanings[label]


def _texts(value):
    """A cell with one text, a list of texts, or nothing -> list."""
    return [str(v) for v in (value if isinstance(value, list | tuple) else [value]) if v]


def _labelled(corpus, row):
    """A row with one label -> (kind, category, labels)."""
    kind = corpus.kind or _value(row, corpus.more[0], corpus.kinds)
    topics = [text for c in corpus.topic for text in _texts(row.get(c))] or [corpus.no_topic or kind]
    category = corpus.clean if corpus.clean and kind == "harmless" else topics[0]
    return kind, category, [text for c in corpus.labels for text in _texts(row.get(c))]


def _kold(corpus, row):
    kind = _value(row, "OFF", {"1": "harmful", "0": "harmless"})
    groups = str(row["GRP"]).split(" & ") if row.get("GRP") else _texts(row.get("TGT"))
    return kind, "clean" if kind == "harmless" else (groups or ["offensive"])[0].split("-")[0], groups


def _beep(corpus, row):
    kind = _value(row, "hate", {"none": "harmless", "offensive": "harmful", "hate": "harmful"})
    biased = _value(row, "bias", {"none": False, "gender": True, "others": True})
    category = str(row["hate"]).strip().lower() if kind == "harmful" else "bias" if biased else "clean"
    return "harmful" if biased else kind, category, [str(row["hate"]), str(row["bias"])]


def _kmhas(corpus, row):
    if not re.fullmatch(r"[\s,]*[0-8]([\s,]+[0-8])*[\s,]*", str(row["label"])):
        raise RowError(f"label is {str(row['label'])[:40]!r}; expected numbers from 0 to 8, e.g. 2,3")
    labels = [corpus.labels[int(n)] for n in re.findall("[0-8]", str(row["label"]))]
    if "clean" in labels and len(labels) > 1:
        raise RowSkipped(_UNDECIDED)
    return "harmless" if labels == ["clean"] else "harmful", labels[0], labels


def _unsmile(corpus, row):
    cells = {column.replace(" ", ""): column for column in row}  # the header has 기타 혐오, the description 기타혐오
    yes = {"1": True, "0": False}
    labels = [label for label in corpus.labels if label in cells and _value(row, cells[label], yes)]
    if _value(row, "clean", yes) == bool(labels):
        raise RowSkipped(_UNDECIDED)
    return "harmful" if labels else "harmless", (labels or ["clean"])[0], labels


READERS = {"beep": _beep, "kold": _kold, "kmhas": _kmhas, "unsmile": _unsmile}
