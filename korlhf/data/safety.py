"""Prompts that an answer may go wrong on: Korean safety corpora as their owners publish them, and samples/safety.jsonl.

To add a corpus, add a line to CORPORA. Its function reads a row as (kind, category, prompt, labels).

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
prompt     KoSBi's context and sentence, SQuARe's question and response are joined by a blank: they were judged together

Left out, and counted: rows without text or with an undecided label, texts that are labelled both ways, copies of an
earlier prompt. Left out: single annotators' votes, spans, news titles. K-HATERS hides names as #@이름#: 아무개 here.
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import close_names
from korlhf.data.example import RowError, RowSkipped
from korlhf.data.readers import check_characters, decoded_lines, read_rows
from korlhf.data.record import Record, make

KINDS = ("harmful", "lookalike", "harmless")
KMHAS_LABELS = ("origin", "physical", "politics", "profanity", "age", "gender", "race", "religion", "clean")
UNSMILE_LABELS = ("여성/가족", "남성", "성소수자", "인종/국적", "연령", "지역", "종교", "기타혐오", "악플/욕설")

_UNDECIDED = "no clear label"
_MARK = re.compile(r"#@([가-힣]+)#")


@dataclass(frozen=True)
class Corpus:
    """columns: that tell its files from all others. read: a row -> (kind, category, prompt, labels)."""

    columns: tuple[str, ...]
    read: Callable[[dict], tuple[str, str, str, list[str]]]
    license: str


@dataclass(frozen=True)
class SafetyPrompts:
    """What a file holds. records: as korlhf/data/record.py makes them, with `kind`; left_out: {reason: rows}."""

    name: str
    license: str
    records: list[Record]
    left_out: dict[str, int]


def load(text: str) -> SafetyPrompts:
    """The prompts of `text`: NAME=FILE with a name of NAMES, or a file whose columns tell which corpus it is of.

    .tsv and .txt are read line by line, as the owners write them; .json, .jsonl, .csv and .parquet as everywhere.
    Raises InputError with file and line.
    """
    name, path = _named(text)
    found, kinds, left_out = [], defaultdict(set), Counter()
    for place, row in (_tab_rows if path.suffix.lower() in (".tsv", ".txt") else read_rows)(path):
        check_characters(place, row)
        name = name or _recognised(row, place)
        try:
            found.append(_record(name, row, place))
        except RowSkipped as reason:
            left_out[str(reason)] += 1
            continue
        except RowError as error:
            raise InputError(f"{place}: {error}") from error
        kinds[found[-1]["id"]].add(found[-1]["kind"])
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
    return SafetyPrompts(name, CORPORA[name].license, list(kept.values()), dict(left_out))


def _named(text):
    head, equals, tail = text.partition("=")
    if not equals or Path(text).exists():
        return "", Path(text)
    if head not in CORPORA:
        close = difflib.get_close_matches(head, CORPORA, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{text}: {head!r} is no corpus{hint}; known: {', '.join(CORPORA)}")
    if not tail:
        raise InputError(f"{text}: no file; give {head}=FILE")
    return head, Path(tail)


def _recognised(row, place):
    names = [name for name, corpus in CORPORA.items() if set(corpus.columns) <= set(row)]
    if len(names) != 1:
        what = f"may be of {' or '.join(names)}" if names else "are of no known corpus"
        remedy = f"give NAME=FILE with one of {', '.join(CORPORA)}"
        raise InputError(f"{place}: the columns {', '.join(row)} {what}; {remedy}")
    return names[0]


def _record(name, row, place):
    corpus = CORPORA[name]
    if missing := [column for column in corpus.columns if column not in row]:
        has = f"{name} has {', '.join(corpus.columns)}"
        raise RowError(f"no column {', '.join(missing)}; found {', '.join(row)}; {has}")
    kind, category, prompt, labels = corpus.read(row)
    if not prompt.strip():
        raise RowSkipped("no text")
    own = row.get("guid") or row.get("id")
    path, _, line = place.rpartition(":")
    source = f"{name}/{own or f'{Path(path).name}:{line}'}"
    twin = row.get("twin") or None if name == "own" else None
    return make(prompt, category, source, kind=kind, labels=labels or None, twin=twin)


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
    inside = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if quoted else cell


def _value(row, column, meanings):
    """What a label means. True, "True", 1, 1.0 and "1" are one label; a number between 0 and 1 is undecided."""
    value = row[column]
    if value is None or value == "" or (isinstance(value, float) and 0 < value < 1):
        raise RowSkipped(_UNDECIDED)
    label = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().lower()
    label = {"true": "1", "false": "0"}.get(label, label)
    if label not in meanings:
        raise RowError(f"{column} is {str(value)[:40]!r}; expected one of {', '.join(meanings)}")
    if meanings[label] is None:
        raise RowSkipped(_UNDECIDED)
    return meanings[label]


def _texts(value):
    """A cell with one text, a list of texts, or nothing -> list."""
    return [str(v) for v in (value if isinstance(value, list | tuple) else [value]) if v]


def _joined(row, *columns):
    """The texts of some columns, joined by a blank; one that is not text is an error."""
    for column in columns:
        if row[column] is not None and not isinstance(row[column], str):
            raise RowError(f"{column} is {type(row[column]).__name__} {str(row[column])[:40]!r}; expected text")
    return " ".join(row[column].strip() for column in columns if row[column])


def _kosbi(row):
    kind = _value(row, "sentence_label", {"safe": "lookalike", "unsafe": "harmful", "undecided": None})
    group = str(row.get("demographic_group") or "")
    category = str(row.get("demographic_category") or group or kind)
    return kind, category, _joined(row, "context", "sentence"), [*_texts(group), *_texts(row.get("sentence_sub_label"))]


def _square_question(row):
    kind = _value(row, "sensitive?", {"1": "lookalike", "0": "harmless"})
    category = "clean" if kind == "harmless" else str(row.get("category") or "sensitive")
    return kind, category, _joined(row, "question"), []


def _square_response(row):
    kind = _value(row, "acceptable?", {"1": "lookalike", "0": "harmful"})
    category = str(row.get("question_category") or "sensitive")
    return kind, category, _joined(row, "question", "response"), _texts(row.get("category"))


def _khaters(row):
    harmful = dict.fromkeys(("offensive", "1_hate", "2_hate", "l1_hate", "l2_hate"), "harmful")
    kind, targets = _value(row, "label", {"normal": "harmless", **harmful}), _texts(row["target_label"])
    category = "clean" if kind == "harmless" else (targets or ["no target"])[0]
    return kind, category, _MARK.sub(_named_somebody, _joined(row, "text")), [str(row["label"]), *targets]


def _named_somebody(mark):
    if mark.group(1) != "이름":
        raise RowSkipped("hidden words")
    return "아무개"


def _beep(row):
    kind = _value(row, "hate", {"none": "harmless", "offensive": "harmful", "hate": "harmful"})
    biased = _value(row, "bias", {"none": False, "gender": True, "others": True})
    category = str(row["hate"]).strip().lower() if kind == "harmful" else "bias" if biased else "clean"
    return "harmful" if biased else kind, category, _joined(row, "comments"), [str(row["hate"]), str(row["bias"])]


def _kold(row):
    kind = _value(row, "OFF", {"1": "harmful", "0": "harmless"})
    groups = str(row["GRP"]).split(" & ") if row.get("GRP") else _texts(row.get("TGT"))
    category = "clean" if kind == "harmless" else (groups or ["offensive"])[0].split("-")[0]
    return kind, category, _joined(row, "comment"), groups


def _kmhas(row):
    numbers = re.findall(r"[^,\s]+", str(row["label"]))
    if not numbers or not all(n.isdecimal() and int(n) < len(KMHAS_LABELS) for n in numbers):
        raise RowError(f"label is {str(row['label'])[:40]!r}; expected numbers from 0 to 8, e.g. 2,3")
    labels = [KMHAS_LABELS[int(n)] for n in numbers]
    if "clean" in labels and len(labels) > 1:
        raise RowSkipped(_UNDECIDED)
    return "harmless" if labels == ["clean"] else "harmful", labels[0], _joined(row, "document"), labels


def _apeach(row):
    kind = _value(row, "class", {"spoiled": "harmful", "default": "lookalike", "1": "harmful", "0": "lookalike"})
    return kind, str(row.get("text_topic_eng") or row.get("text_topic") or kind), _joined(row, "text"), []


def _unsmile(row):
    cells = {column.replace(" ", ""): column for column in row}  # the header has 기타 혐오, the description 기타혐오
    yes = {"1": True, "0": False}
    labels = [label for label in UNSMILE_LABELS if label in cells and _value(row, cells[label], yes)]
    if _value(row, "clean", yes) == bool(labels):
        raise RowSkipped(_UNDECIDED)
    return "harmful" if labels else "harmless", (labels or ["clean"])[0], _joined(row, "문장"), labels


def _own(row):
    return _value(row, "kind", dict(zip(KINDS, KINDS))), str(row.get("category") or "all"), _joined(row, "prompt"), []


CORPORA = {
    "own": Corpus(
        ("prompt", "kind"), _own, "samples/safety.jsonl: Apache-2.0; files of your own with these columns: yours"
    ),
    "kosbi": Corpus(("context", "sentence", "sentence_label"), _kosbi, "MIT (naver-ai/korean-safety-benchmarks)"),
    "square_question": Corpus(("question", "sensitive?"), _square_question, "MIT (naver-ai/korean-safety-benchmarks)"),
    "square_response": Corpus(
        ("question", "response", "acceptable?"), _square_response, "MIT (naver-ai/korean-safety-benchmarks)"
    ),
    "khaters": Corpus(("text", "label", "target_label"), _khaters, "CC BY 4.0 (humane-lab/K-HATERS)"),
    "beep": Corpus(("comments", "bias", "hate"), _beep, "CC BY-SA 4.0 (kocohub/korean-hate-speech)"),
    "kold": Corpus(("comment", "OFF"), _kold, "not stated (boychaboy/KOLD): ask its authors before passing on texts"),
    "kmhas": Corpus(("document", "label"), _kmhas, "CC BY-SA 4.0 (adlnlp/K-MHaS)"),
    "apeach": Corpus(("text", "class"), _apeach, "CC BY-SA 4.0 (jason9693/APEACH)"),
    "unsmile": Corpus(
        ("문장", "clean"), _unsmile, "CC BY-NC-ND 4.0 (smilegate-ai/korean_unsmile_dataset): no commercial use"
    ),
}
NAMES = tuple(CORPORA)
