"""NIKL's everyday conversations (모두의 말뭉치 일상 대화 2020, 2021), one JSON file a session."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data.corpora.archive import REMEDY, identifier, walk
from korlhf.data.corpora.turns import Turn, earlier, joined
from korlhf.data.example import Message
from korlhf.data.readers import parsed
from korlhf.korean import transcription

FILES = "SDRW*.json"
LICENSE = (
    "모두의 말뭉치 이용 약관: ask for it at kli.korean.go.kr; the corpus and texts taken from it must not be passed on"
)
_NODS = re.compile(
    "(?:네|예|넵|넹|응|엉|어|아|으?음|오|우?와|헐|[하히호흐]{2,}|ㅎ+|ㅋ+|그래요?|그[렇쵸죠치지]|그렇[죠지]요?|그렇구나"
    "|그렇군요?|그렇네요?|그러네요?|그러게요?|그러니까요?|그니까요?|그럼요?|맞[아죠]요?|맞다|맞습니다|진짜요?|정말요?|아이고"
    "|어머나?|오케이|알겠습니다|알겠어요?|대박|세상에)+"
)


@dataclass(frozen=True)
class Utterance:
    """bare: the text is NIKL's `form`, whose marks have lost their signs; overlap: said while the other one speaks."""

    id: str
    speaker: str
    text: str
    bare: bool = False
    overlap: bool = False


@dataclass(frozen=True)
class Dialogue:
    """speakers: {speaker id: {"age", "sex"}} as far as known. unread: parts of the metadata of another kind."""

    id: str
    topic: str
    speakers: dict[str, dict]
    relation: str
    utterances: tuple[Utterance, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """A conversation that ends with a user's message, and its answer. flaw: why it cannot be used, "" if it can."""

    messages: tuple[Message, ...]
    prompt: Turn
    answer: Turn
    flaw: str = ""


def dialogues(path: str | PathLike) -> Iterator[Dialogue]:
    """Yield the Dialogues of a folder, zip or file. Raises InputError."""
    for place, text in walk(path, FILES, "NIKL's everyday conversations, one file SDRW20########.json a session"):
        whole = parsed(text, place, remedy=REMEDY)
        documents = whole.get("document") if isinstance(whole, dict) else None
        if not isinstance(documents, list):
            found = ", ".join(whole) if isinstance(whole, dict) else type(whole).__name__
            raise InputError(
                f"{place}: not a NIKL conversation: expected {{id, metadata, document: [...]}}; found {found[:80]}"
            )
        for document in documents:
            yield _dialogue(document, place)


def _dialogue(document: object, place: str) -> Dialogue:
    if not isinstance(document, dict) or not isinstance(document.get("utterance"), list):
        expected = "{id, metadata, utterance: [{id, form, original_form, speaker_id}]}"
        raise InputError(f"{place}: a document has no list `utterance`; expected {expected}")
    unread = []
    about = _part(document, "metadata", dict, unread)
    setting = _part(about, "setting", dict, unread)
    topic, relation = _part(about, "topic", str, unread), _part(setting, "relation", str, unread)
    speakers = {}
    one = isinstance(about.get("speaker"), dict)
    for speaker in [about["speaker"]] if one else _part(about, "speaker", list, unread):
        name = identifier(speaker.get("id")) if isinstance(speaker, dict) else ""
        if name:
            speakers[name] = {k: v for k in ("age", "sex") if (v := identifier(speaker.get(k)))}
        elif "speaker" not in unread:
            unread.append("speaker")
    return Dialogue(
        identifier(document.get("id")) or Path(place).stem,
        topic.split(" > ")[0].strip(),
        speakers,
        relation,
        tuple(_utterance(u, n, place) for n, u in enumerate(document["utterance"], 1)),
        tuple(unread),
    )


def _part(whole: dict, key: str, kind: type, unread: list[str]):
    """whole[key]; an empty one if it is absent, or of another kind, which `unread` then tells."""
    value = whole.get(key)
    if value is not None and not isinstance(value, kind):
        unread.append(key)
    return value if isinstance(value, kind) else kind()


def _utterance(utterance: object, n: int, place: str) -> Utterance:
    if isinstance(utterance, dict):
        bare = utterance.get("original_form") is None
        text, speaker = utterance.get("form" if bare else "original_form"), identifier(utterance.get("speaker_id"))
        if isinstance(text, str) and speaker:
            overlap = "발화겹침" in str(utterance.get("note"))
            return Utterance(identifier(utterance.get("id")) or str(n), speaker, text, bare, overlap)
    expected = "an object with original_form or form, and speaker_id"
    raise InputError(f"{place}: utterance {n} is {str(utterance)[:60]!r}; expected {expected}; {REMEDY}")


def turns(dialogue: Dialogue, invent: bool = True) -> list[Turn]:
    """The Turns of a dialogue, without marks. invent: give persons names; else they stay name1, name2.

    A mere "네" that is said while the other one speaks does not end that one's turn.
    """
    said = [(u.text, u.bare) for u in dialogue.utterances]
    names = transcription.invent_names(dialogue.id, said) if invent else {}
    found = []
    for u in dialogue.utterances:
        text, flaw = u.text, ""
        try:
            text = transcription.clean(u.text, names, u.bare).strip()
        except transcription.Unusable as error:
            flaw = error.kind
        if flaw or text and not (u.overlap and is_nod(text)):
            found.append(Turn(u.id, u.speaker, text, flaw))
    return joined(found)


def is_nod(text: str) -> bool:
    """Whether a turn only shows that somebody listens: 네, 응, 아 그래요, 맞아요, ..."""
    return all(_NODS.fullmatch(word) for word in re.findall(r"\w+", text))


def exchanges(turns: Sequence[Turn], every: bool = True, history: int = 0) -> Iterator[Exchange]:
    """Yield an Exchange for every turn and the one after it, or (every=False) only for the first two.

    history: at most so many turns before the prompt become messages, two by two, so that a user begins.
    """
    for i, (prompt, answer) in enumerate(zip(turns, turns[1:] if every else turns[1:2])):
        flaw = prompt.flaw or answer.flaw
        if not flaw and (is_nod(prompt.text) or is_nod(answer.text)):
            flaw = f"the {'prompt' if is_nod(prompt.text) else 'answer'} is a mere 네"
        before = earlier(turns, i, history) if i and turns[i - 1].speaker == answer.speaker else []
        yield Exchange((*before, {"role": "user", "content": prompt.text}), prompt, answer, flaw)
