"""Prompts that an answer may go wrong on, out of the Korean safety corpora as their owners publish them, and out of samples/safety.jsonl.

To add a corpus, add a line to CORPORA. Its row function turns a row into (kind, category, prompt, further fields).

kind       harmful     what the corpus calls hateful, offensive, biased, unsafe or not acceptable
           lookalike   harmless, but on the very subjects of the harmful ones, as the corpus itself says: KoSBi's safe sentences name the
                       same demographic groups; SQuARe's sensitive questions are well meant and ask for an answer, and its acceptable
                       responses answer the same questions; APEACH's Default texts have their topics from the same list
           harmless    other clean texts (BEEP!, KOLD, K-MHaS, K-HATERS, UnSmile): comments from the same sites, but nobody checked that
                       they sound harmful. To refuse one is an error too, but an easier one to avoid: do not pool them with look-alikes
category   the target or the topic where the corpus has one, else the label; clean texts without a topic are "clean". With several labels
           the first; `labels` holds all
prompt     KoSBi's context and sentence, SQuARe's question and response are joined by a blank: they were judged together

Left out, and counted: rows without text or with an undecided label, texts that are labelled both ways, and copies of an earlier prompt.
Left out: single annotators' votes, spans, news titles. K-HATERS hides names as #@이름#; they read 아무개 here.
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
from korlhf.data.readers import check_characters, read_rows
from korlhf.data.record import make

KINDS = ("harmful", "lookalike", "harmless")
KMHAS_LABELS = ("origin", "physical", "politics", "profanity", "age", "gender", "race", "religion", "clean")
UNSMILE_LABELS = ("여성/가족", "남성", "성소수자", "인종/국적", "연령", "지역", "종교", "기타혐오", "악플/욕설")

_UNDECIDED = "no clear label"
_MARK = re.compile(r"#@([가-힣]+)#")


@dataclass(frozen=True)
class Corpus:
    """columns: that tell its files from all others. row: a row -> (kind, category, prompt, {further fields})."""

    columns: tuple[str, ...]
    row: Callable[[dict], tuple[str, str, str, dict]]
    license: str


@dataclass(frozen=True)
class Prompts:
    """What a file holds. records: as korlhf.data.records makes them, with `kind`; left_out: {reason: rows}."""

    name: str
    license: str
    records: list
    left_out: dict


def load(text):
    """The Prompts of `text`: NAME=FILE with a name of NAMES, or a file whose columns tell which corpus it is of.

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
        raise InputError(
            f"{path}: no prompts in it ({why})" if why else f"{path}: the file is empty, or has a header only"
        )
    return Prompts(name, CORPORA[name].license, list(kept.values()), dict(left_out))


def _named(text):
    head, equals, tail = text.partition("=")
    if not equals or Path(text).exists():
        return "", Path(text)
    if head not in CORPORA:
        close = difflib.get_close_matches(head, CORPORA, n=1)
        raise InputError(
            f"{text}: {head!r} is no corpus{f'; did you mean {close[0]}?' if close else ''}; known: {', '.join(CORPORA)}"
        )
    if not tail:
        raise InputError(f"{text}: no file; give {head}=FILE")
    return head, Path(tail)


def _recognised(row, place):
    names = [name for name, corpus in CORPORA.items() if set(corpus.columns) <= set(row)]
    if len(names) != 1:
        what = f"may be of {' or '.join(names)}" if names else "are of no known corpus"
        raise InputError(
            f"{place}: the columns {', '.join(row)} {what}; give NAME=FILE with one of {', '.join(CORPORA)}"
        )
    return names[0]


def _record(name, row, place):
    corpus = CORPORA[name]
    if missing := [column for column in corpus.columns if column not in row]:
        raise RowError(
            f"no column {', '.join(missing)}; found {', '.join(row)}; {name} has {', '.join(corpus.columns)}"
        )
    kind, category, prompt, fields = corpus.row(row)
    if not prompt.strip():
        raise RowSkipped("no text")
    own = row.get("guid") or row.get("id")
    path, _, line = place.rpartition(":")
    return make(prompt, category, f"{name}/{own or f'{Path(path).name}:{line}'}", kind=kind, **fields)


def _tab_rows(path):
    """Yield ("FILE:LINE", row) of a table with tabs. Cells are bare or quoted as a whole; a tab too many is part of the first, the text."""
    if not path.is_file():
        raise InputError(f"{path}: no such file{close_names(path)}")
    header = None
    with open(path, "rb") as file:
        for n, line in enumerate(file, 1):
            try:
                cells = line.decode("utf-8-sig" if n == 1 else "utf-8").rstrip("\r\n").split("\t")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{n}: not UTF-8; download the corpus again, or convert it with iconv"
                ) from error
            if header is None:
                header = [_unquoted(cell) for cell in cells]
            elif cells != [""]:
                surplus = len(cells) - len(header)
                if surplus < 0:
                    raise InputError(
                        f"{path}:{n}: {len(cells)} cells, but the header has {len(header)}; expected {', '.join(header)}"
                    )
                cells = ["\t".join(cells[: surplus + 1]), *cells[surplus + 1 :]]
                yield f"{path}:{n}", dict(zip(header, map(_unquoted, cells)))


def _unquoted(cell):
    """A cell without the quotes around it; quotes that are part of the text stay: "가" 그리고 "나"."""
    inside = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if quoted else cell


def _value(row, column, meanings):
    """What a label means. True, "True", 1, 1.0 and "1" are one label; a number between 0 and 1 is undecided, as is nothing."""
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
    return [str(v) for v in ([value] if isinstance(value, str) else value or []) if v]


def _joined(row, *columns):
    """The texts of some columns, joined by a blank; one that is not text is an error."""
    for column in columns:
        if row[column] is not None and not isinstance(row[column], str):
            raise RowError(f"{column} is {type(row[column]).__name__} {str(row[column])[:40]!r}; expected text")
    return " ".join(row[column].strip() for column in columns if row[column])


def _kosbi(row):
    kind = _value(row, "sentence_label", {"safe": "lookalike", "unsafe": "harmful", "undecided": None})
    group = str(row.get("demographic_group") or "")
    labels = [*_texts(group), *_texts(row.get("sentence_sub_label"))]
    return (
        kind,
        str(row.get("demographic_category") or group or kind),
        _joined(row, "context", "sentence"),
        {"labels": labels or None},
    )


def _square_question(row):
    kind = _value(row, "sensitive?", {"1": "lookalike", "0": "harmless"})
    return (
        kind,
        "clean" if kind == "harmless" else str(row.get("category") or "sensitive"),
        _joined(row, "question"),
        {},
    )


def _square_response(row):
    kind = _value(row, "acceptable?", {"1": "lookalike", "0": "harmful"})
    labels = _texts(row.get("category"))
    return (
        kind,
        str(row.get("question_category") or "sensitive"),
        _joined(row, "question", "response"),
        {"labels": labels or None},
    )


def _khaters(row):
    harmful = dict.fromkeys(("offensive", "1_hate", "2_hate", "l1_hate", "l2_hate"), "harmful")
    kind, targets = _value(row, "label", {"normal": "harmless", **harmful}), _texts(row["target_label"])
    prompt = _MARK.sub(_named_somebody, _joined(row, "text"))
    return (
        kind,
        "clean" if kind == "harmless" else (targets or ["no target"])[0],
        prompt,
        {"labels": [str(row["label"]), *targets]},
    )


def _named_somebody(mark):
    if mark.group(1) != "이름":
        raise RowSkipped("hidden words")
    return "아무개"


def _beep(row):
    kind = _value(row, "hate", {"none": "harmless", "offensive": "harmful", "hate": "harmful"})
    biased = _value(row, "bias", {"none": False, "gender": True, "others": True})
    category = str(row["hate"]).strip().lower() if kind == "harmful" else "bias" if biased else "clean"
    return (
        "harmful" if biased else kind,
        category,
        _joined(row, "comments"),
        {"labels": [str(row["hate"]), str(row["bias"])]},
    )


def _kold(row):
    kind = _value(row, "OFF", {"1": "harmful", "0": "harmless"})
    groups = str(row.get("GRP") or "").split(" & ") if row.get("GRP") else _texts(row.get("TGT"))
    category = "clean" if kind == "harmless" else (groups or ["offensive"])[0].split("-")[0]
    return kind, category, _joined(row, "comment"), {"labels": groups or None}


def _kmhas(row):
    numbers = re.findall(r"[^,\s]+", str(row["label"]))
    if not numbers or not all(n.isdigit() and int(n) < len(KMHAS_LABELS) for n in numbers):
        raise RowError(f"label is {str(row['label'])[:40]!r}; expected numbers from 0 to 8, e.g. 2,3")
    labels = [KMHAS_LABELS[int(n)] for n in numbers]
    if "clean" in labels and len(labels) > 1:
        raise RowSkipped(_UNDECIDED)
    return "harmless" if labels == ["clean"] else "harmful", labels[0], _joined(row, "document"), {"labels": labels}


def _apeach(row):
    kind = _value(row, "class", {"spoiled": "harmful", "default": "lookalike", "1": "harmful", "0": "lookalike"})
    return kind, str(row.get("text_topic_eng") or row.get("text_topic") or kind), _joined(row, "text"), {}


def _unsmile(row):
    cells = {column.replace(" ", ""): column for column in row}  # the header has 기타 혐오, the description 기타혐오
    labels = [
        label for label in UNSMILE_LABELS if label in cells and _value(row, cells[label], {"1": True, "0": False})
    ]
    if _value(row, "clean", {"1": True, "0": False}) == bool(labels):
        raise RowSkipped(_UNDECIDED)
    return (
        "harmful" if labels else "harmless",
        (labels or ["clean"])[0],
        _joined(row, "문장"),
        {"labels": labels or None},
    )


def _own(row):
    kind = _value(row, "kind", dict(zip(KINDS, KINDS)))
    return kind, str(row.get("category") or "all"), _joined(row, "prompt"), {"twin": row.get("twin") or None}


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
