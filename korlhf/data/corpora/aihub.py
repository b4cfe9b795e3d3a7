"""AIHub 558, text ethics (텍스트 윤리검증): conversations whose sentences are labelled."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.corpora.archive import REMEDY, identifier, walk
from korlhf.data.corpora.turns import Turn, earlier, joined
from korlhf.data.example import Message
from korlhf.data.readers import elements

FILES = "talksets*.json"
LICENSE = (
    "AIHub 이용 약관: ask for it at aihub.or.kr, data set 558; the corpus and texts taken from it must not be passed on"
)
TYPES = ("CENSURE", "HATE", "DISCRIMINATION", "SEXUAL", "ABUSE", "VIOLENCE", "CRIME", "IMMORAL_NONE")


@dataclass(frozen=True)
class Sentence(Turn):
    """One utterance. types: of TYPES; intensity: 0 to 3, or None if it is not told."""

    conversation: str = ""
    types: tuple[str, ...] = ()
    intensity: float | None = None


def conversations(path: str | PathLike) -> Iterator[list[Sentence]]:
    """Yield the conversations of a folder, zip or file, each a list of Sentences. Raises InputError."""
    for place, text in walk(path, FILES, "AIHub 558, labelled files talksets-train-N*.json"):
        for n, (line, talk) in enumerate(elements(text, "talksets", place, REMEDY), 1):
            where = f"{place}:{line}: conversation {n}"
            if not isinstance(talk, dict) or not isinstance(talk.get("sentences"), list):
                expected = "{id, sentences: [{id, speaker, text, types, is_immoral}]}"
                raise InputError(f"{where} has no list `sentences`; expected {expected}")
            name = identifier(talk.get("id")) or f"{Path(place).stem}-{n}"
            sentences = enumerate(talk["sentences"], 1)
            yield [_sentence(s, f"{name}-{k}", name, f"{where}, sentence {k}") for k, s in sentences]


def _sentence(sentence: object, name: str, conversation: str, where: str) -> Sentence:
    text = (sentence.get("text") or sentence.get("origin_text")) if isinstance(sentence, dict) else None
    if not isinstance(sentence, dict) or not isinstance(text, str):
        raise InputError(f"{where} is {str(sentence)[:60]!r}; expected an object with text or origin_text")
    types = sentence.get("types") or []
    types = [types] if isinstance(types, str) else types
    if not isinstance(types, list) or any(t not in TYPES for t in types):
        raise InputError(f"{where}: types is {str(types)[:60]!r}; expected a list of {', '.join(TYPES)}")
    immoral, intensity, speaker = (sentence.get(k) for k in ("is_immoral", "intensity", "speaker"))
    if immoral is None and types:
        immoral = types != ["IMMORAL_NONE"]
    if not isinstance(immoral, bool | int):
        raise InputError(f"{where}: is_immoral is {immoral!r}; expected true or false")
    if intensity is not None and (not isinstance(intensity, int | float) or not math.isfinite(intensity)):
        raise InputError(f"{where}: intensity is {intensity!r}; expected a number from 0 to 3")
    if speaker is not None and not isinstance(speaker, str | int | float):
        raise InputError(f"{where}: speaker is {str(speaker)[:60]!r}; expected a number or a name")
    own = identifier(sentence.get("id")) or name
    return Sentence(own, identifier(speaker), text, "", bool(immoral), conversation, tuple(types), intensity)


def messages(sentences: Sequence[Sentence], i: int, history: int = 0) -> list[Message]:
    """The i-th Sentence of a conversation as messages; with `history` its speaker's words just before, and at most so
    many earlier turns.

    An assistant never says what is labelled immoral: the history begins after it.
    """
    if not history or not sentences[i].speaker:
        return [{"role": "user", "content": sentences[i].text}]
    turns = joined(sentences[: i + 1])
    return [*earlier(turns, len(turns) - 1, history), {"role": "user", "content": turns[-1].text}]
