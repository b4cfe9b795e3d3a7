"""Files of people's labels, as applications/label/export.py --form labels writes them, or of one's own.

A line says of which record it is (id, or its prompt), and chosen and rejected, or verdict (tie, both_bad) and answers,
two texts; annotator: who, if known.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from os import PathLike

from korlhf.core.errors import InputError
from korlhf.data import ranking
from korlhf.data import record as records
from korlhf.data.example import RowError
from korlhf.data.ranking import Label
from korlhf.data.readers import read_rows
from korlhf.data.record import Record

UNDECIDED = {"tie": ranking.Undecided.TIE, "both_bad": ranking.Undecided.BOTH_BAD}


def read_labels(
    paths: Iterable[PathLike], prompts: Mapping[str, tuple[str, Record]], others: Set[str], remedy: str
) -> tuple[dict[str, list[Label]], int]:
    """({id: Labels}, number of those passed over because they are about `others`, a set of ids).

    prompts: {id: (place, record)}, records with `candidates`; remedy: of a label on an unknown record, e.g. "give its
    file too". Raises InputError with file and line for a label that is malformed, or about an unknown prompt or text.
    """
    passed, known = 0, prompts.keys() | others
    found: dict[str, list[Label]] = defaultdict(list)
    for path in paths:
        for place, row in read_rows(path):
            try:
                prompt_id = _record_id(row, known, remedy)
                if prompt_id in prompts:
                    found[prompt_id].append(read_label(row, prompts[prompt_id][1]))
                else:
                    passed += 1
            except RowError as error:
                raise InputError(f"{place}: {error}") from error
    return found, passed


def _record_id(row, known, remedy):
    """The id of the record a label is about, by its id or its prompt."""
    row = {k: v for k, v in row.items() if v is not None}
    if isinstance(row.get("id"), str) and row["id"] in known:
        return row["id"]
    prompt = {c: row[c] for c in (*records.PROMPTS, "input") if c in row}
    if set(prompt) - {"input"}:
        by_prompt = records.from_row(prompt, "")["id"]
        if by_prompt in known:
            return by_prompt
    elif "id" not in row:
        found = ", ".join(row) or "no columns"
        raise RowError(f"neither id nor prompt; found {found}; say which record the label is about")
    what = f"id {row['id']!r}" if "id" in row else f"prompt {str(next(iter(prompt.values())))[:40]!r}"
    raise RowError(f"no record has the {what}; correct it, {remedy}")


def read_label(row: dict, record: Record) -> Label:
    """A row of a label file -> Label; its texts must be answers of the record, but the chosen one may be edited.

    Raises RowError.
    """
    texts, undecided = [row.get("chosen"), row.get("rejected")], None
    if row.get("verdict") is not None:
        texts, undecided = row.get("answers"), UNDECIDED.get(str(row["verdict"]))
        if undecided is None:
            raise RowError(
                f"the verdict is {row['verdict']!r}; expected tie or both_bad, or chosen and rejected instead"
            )
        if not isinstance(texts, list) or len(texts) != 2:
            raise RowError(
                f"verdict {row['verdict']} needs answers, a list of the two texts; found {str(texts)[:40]!r}"
            )
    if not all(isinstance(text, str) for text in texts):
        raise RowError(
            "a label needs chosen and rejected, two texts, or verdict (tie, both_bad) and answers, two texts"
        )
    must = texts if undecided else texts[1:]
    answers = {ranking.key(c["text"]) for c in record["candidates"]}
    strange = next((text for text in must if answers and ranking.key(text) not in answers), None)
    if strange is not None:
        raise RowError(
            f"{strange[:40]!r} is none of the {len(record['candidates'])} answers to this prompt; only a chosen text "
            "may be edited; correct the label or delete it"
        )
    annotator = row.get("annotator")
    first, second = map(str, texts)
    return Label((first, second), undecided or first, "" if annotator is None else str(annotator))
