"""The raw corpora as they come from their publishers: NIKL's everyday conversations and AIHub 558, in folders or zips.

Zips are read in place, also zips within zips. A file that belongs to the corpus and is broken is an error, never skipped silently.
Left out: recordings, AIHub's plain-text copies, and what single annotators voted.
"""

import codecs
import fnmatch
import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from korlhf.core.errors import InputError
from korlhf.core.files import close_names
from korlhf.korean import transcription as marks

LICENSES = {
    "nikl": "모두의 말뭉치 이용 약관: ask for it at kli.korean.go.kr; the corpus and texts taken from it must not be passed on",
    "aihub": "AIHub 이용 약관: ask for it at aihub.or.kr, data set 558; the corpus and texts taken from it must not be passed on",
}
TYPES = ("CENSURE", "HATE", "DISCRIMINATION", "SEXUAL", "ABUSE", "VIOLENCE", "CRIME", "IMMORAL_NONE")
NIKL_FILES, AIHUB_FILES = "SDRW*.json", "talksets*.json"

_IN_MEMORY = 1 << 25  # zips within zips up to this size are unpacked in memory, larger ones on disk
_NODS = re.compile(
    "(?:네|예|넵|넹|응|엉|어|아|으?음|오|우?와|헐|[하히호흐]{2,}|ㅎ+|ㅋ+|그래요?|그[렇쵸죠치지]|그렇[죠지]요?|그렇구나|그렇군요?|그렇네요?|그러네요?"
    "|그러게요?|그러니까요?|그니까요?|그럼요?|맞[아죠]요?|맞다|맞습니다|진짜요?|정말요?|아이고|어머나?|오케이|알겠습니다|알겠어요?|대박|세상에)+"
)
_HALF_PAIR = re.compile(
    r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F].."
)  # as JSON escapes
_SPACE = re.compile(r"\s*")


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
    """speakers: {speaker id: {"age", "sex"}} as far as known."""

    id: str
    topic: str
    speakers: dict
    relation: str
    utterances: tuple[Utterance, ...]


@dataclass(frozen=True)
class Turn:
    """What one speaker says until the next one does. flaw: why it cannot be used, "" if it can; immoral: no answer for an assistant."""

    id: str
    speaker: str
    text: str
    flaw: str = ""
    immoral: bool = False


@dataclass(frozen=True)
class Exchange:
    """A conversation that ends with a user's message, and the answer to it. flaw: why it cannot be used, "" if it can."""

    messages: tuple[dict, ...]
    prompt: Turn
    answer: Turn
    flaw: str = ""


@dataclass(frozen=True)
class Sentence:
    """One utterance of AIHub 558. intensity: 0 to 3, or None if it is not told."""

    id: str
    conversation: str
    speaker: str
    text: str
    types: tuple[str, ...]
    immoral: bool
    intensity: float | None


def walk(path, pattern, expected):
    """Yield (place, bytes) of the files called `pattern` in a folder, in its subfolders and zips, in a zip; or of one file of any name.

    place: "FOLDER/FILE" or "ZIP!MEMBER". expected: what the files are, for the error.
    Raises InputError if there are none, with what was found instead, or if a zip cannot be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"--input {path}: no such file or folder{close_names(path)}")
    if path.is_file() and path.suffix.lower() != ".zip":
        yield str(path), path.read_bytes()
        return
    others, found = Counter(), False
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if file.suffix.lower() == ".zip":
            with open(file, "rb") as stream:
                for place, data in _zip(stream, str(file), pattern, others):
                    found = True
                    yield place, data
        elif _is_called(file.name, pattern):
            found = True
            yield str(file), file.read_bytes()
        else:
            others[file.suffix or "files without a suffix"] += 1
    if not found:
        seen = ", ".join(f"{n} {kind}" for kind, n in others.most_common(5)) or "nothing"
        raise InputError(
            f"--input {path}: no files {pattern} in it; expected {expected}; found {seen}; give the corpus's folder or zip"
        )


def _is_called(name, pattern):
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _zip(stream, place, pattern, others):
    try:
        with zipfile.ZipFile(stream) as archive:
            for info in sorted(archive.infolist(), key=_member_name):
                name = PurePosixPath(_member_name(info))
                if info.is_dir() or "__MACOSX" in name.parts:
                    continue
                if name.suffix.lower() == ".zip":
                    with archive.open(info) as member, tempfile.SpooledTemporaryFile(_IN_MEMORY) as inner:
                        shutil.copyfileobj(member, inner)
                        yield from _zip(inner, f"{place}!{name}", pattern, others)
                elif _is_called(name.name, pattern):
                    yield f"{place}!{name}", archive.read(info)
                else:
                    others[name.suffix or "files without a suffix"] += 1
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise InputError(
            f"{place}: not a readable zip: {error}; download it again, or unpack it and give the folder"
        ) from error
    except RuntimeError as error:  # that is how zipfile says that it is encrypted
        raise InputError(f"{place}: {error}; unpack it and give the folder") from error


def _member_name(info):
    """A member's name; old Korean zips have it in CP949, others in UTF-8 without saying so."""
    if info.flag_bits & 0x800:
        return info.filename
    raw = info.filename.encode("cp437")
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


def nikl(path):
    """Yield the Dialogues of NIKL's everyday conversations (SDRW*.json). Raises InputError."""
    for place, data in walk(path, NIKL_FILES, "NIKL's everyday conversations, one file SDRW20########.json a session"):
        text = _decoded(data, place)
        try:
            whole = json.loads(text)
        except json.JSONDecodeError as error:
            raise _broken(place, text, error.pos, error.msg) from error
        documents = whole.get("document") if isinstance(whole, dict) else None
        if not isinstance(documents, list):
            found = ", ".join(whole) if isinstance(whole, dict) else type(whole).__name__
            raise InputError(
                f"{place}: not a NIKL conversation: expected {{id, metadata, document: [...]}}; found {found[:80]}"
            )
        for document in documents:
            yield _dialogue(document, place)


def _dialogue(document, place):
    if not isinstance(document, dict) or not isinstance(document.get("utterance"), list):
        raise InputError(
            f"{place}: a document has no list `utterance`; expected {{id, metadata, utterance: [{{id, form, original_form, "
            "speaker_id}}]}"
        )
    about = document.get("metadata") or {}
    speakers = {str(s.get("id")): {k: s[k] for k in ("age", "sex") if s.get(k)} for s in about.get("speaker") or []}
    utterances = tuple(_utterance(u, n, place) for n, u in enumerate(document["utterance"], 1))
    topic = str(about.get("topic") or "").split(" > ")[0].strip()
    relation = str((about.get("setting") or {}).get("relation") or "")
    return Dialogue(str(document.get("id") or Path(place).stem), topic, speakers, relation, utterances)


def _utterance(said, n, place):
    text = said.get("original_form") if isinstance(said, dict) else None
    bare = text is None
    text = said.get("form") if isinstance(said, dict) and bare else text
    if not isinstance(text, str) or not said.get("speaker_id"):
        raise InputError(
            f"{place}: utterance {n} is {str(said)[:60]!r}; expected an object with original_form or form, and speaker_id"
        )
    return Utterance(
        str(said.get("id") or n), str(said["speaker_id"]), text, bare, "발화겹침" in str(said.get("note") or "")
    )


def turns(dialogue, invent=True):
    """The Turns of a dialogue, without marks. invent: give persons names; else they stay name1, name2.

    A mere "네" that is said while the other one speaks does not end that one's turn.
    """
    names = marks.invent_names(dialogue.id, [(u.text, u.bare) for u in dialogue.utterances]) if invent else {}
    found = []
    for u in dialogue.utterances:
        text, flaw = u.text, ""
        try:
            text = marks.clean(u.text, names, u.bare).strip()
        except marks.Unusable as error:
            flaw = error.kind
        if not flaw and (not text or u.overlap and is_nod(text)):
            continue
        if found and found[-1].speaker == u.speaker:
            last = found[-1]
            found[-1] = Turn(last.id, last.speaker, f"{last.text} {text}", last.flaw or flaw)
        else:
            found.append(Turn(u.id, u.speaker, text, flaw))
    return found


def is_nod(text):
    """Whether a turn only shows that somebody listens: 네, 응, 아 그래요, 맞아요, ..."""
    return all(_NODS.fullmatch(word) for word in re.findall(r"\w+", text))


def exchanges(found, every=True, history=0):
    """Yield an Exchange for every turn and the one after it, or (every=False) only for the first two.

    found: Turns. history: at most so many turns before the prompt become messages, two by two, so that a user begins.
    """
    for i in range(len(found) - 1 if every else min(1, len(found) - 1)):
        prompt, answer = found[i], found[i + 1]
        nod = next(
            (
                f"{what} is a mere 네"
                for what, turn in (("the prompt", prompt), ("the answer", answer))
                if is_nod(turn.text)
            ),
            "",
        )
        earlier = _earlier(found, i, history) if i and found[i - 1].speaker == answer.speaker else []
        yield Exchange(
            (*earlier, {"role": "user", "content": prompt.text}), prompt, answer, prompt.flaw or answer.flaw or nod
        )


def _earlier(found, i, history):
    """At most `history` turns before the i-th as messages; none before one that cannot be used or is somebody else's."""
    asks, answers, back = found[i].speaker, found[i - 1].speaker if i else "", []
    for turn in reversed(found[max(0, i - history) : i]):
        role, speaker = ("assistant", answers) if len(back) % 2 == 0 else ("user", asks)
        if turn.flaw or turn.speaker != speaker or (turn.immoral and role == "assistant"):
            break
        back.append({"role": role, "content": turn.text})
    return back[: len(back) // 2 * 2][::-1]


def aihub(path):
    """Yield the conversations of AIHub 558 (talksets*.json), each a list of Sentences. Raises InputError."""
    for place, data in walk(path, AIHUB_FILES, "AIHub 558, labelled files talksets-train-N*.json"):
        for n, talk in enumerate(_elements(_decoded(data, place), "talksets", place), 1):
            where = f"{place}: conversation {n}"
            if not isinstance(talk, dict) or not isinstance(talk.get("sentences"), list):
                raise InputError(
                    f"{where} has no list `sentences`; expected {{id, sentences: [{{id, speaker, text, types, is_immoral}}]}}"
                )
            name = str(talk.get("id") or f"{Path(place).stem}-{n}")
            yield [
                _sentence(s, f"{name}-{k}", name, f"{where}, sentence {k}") for k, s in enumerate(talk["sentences"], 1)
            ]


def _sentence(said, name, conversation, where):
    text = (said.get("text") or said.get("origin_text")) if isinstance(said, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{where} is {str(said)[:60]!r}; expected an object with text or origin_text")
    types = said.get("types")
    types = tuple([types] if isinstance(types, str) else types or ())
    immoral = said.get("is_immoral")
    if unknown := set(types) - set(TYPES):
        raise InputError(f"{where}: types {', '.join(map(str, unknown))}; expected {', '.join(TYPES)}")
    if immoral is None and types:
        immoral = types != ("IMMORAL_NONE",)
    if not isinstance(immoral, (bool, int)):
        raise InputError(f"{where}: is_immoral is {immoral!r}; expected true or false")
    intensity = said.get("intensity")
    if intensity is not None and not isinstance(intensity, (int, float)):
        raise InputError(f"{where}: intensity is {intensity!r}; expected a number from 0 to 3")
    return Sentence(
        str(said.get("id") or name), conversation, str(said.get("speaker") or ""), text, types, bool(immoral), intensity
    )


def sentence_messages(talk, i, history=0):
    """The i-th Sentence of a conversation as messages; with `history` its speaker's words just before, and at most so many earlier turns.

    An assistant never says what is labelled immoral: the history begins after it.
    """
    if not history or not talk[i].speaker:
        return [{"role": "user", "content": talk[i].text}]
    found = []
    for s in talk[: i + 1]:
        if found and found[-1].speaker == s.speaker:
            found[-1] = Turn(found[-1].id, s.speaker, f"{found[-1].text} {s.text}", "", found[-1].immoral or s.immoral)
        else:
            found.append(Turn(s.id, s.speaker, s.text, "", s.immoral))
    return [*_earlier(found, len(found) - 1, history), {"role": "user", "content": found[-1].text}]


def _decoded(data, place):
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{place}:{line}: not UTF-8; download the corpus again, or convert the file") from error
    if half := _HALF_PAIR.search(text):
        raise _broken(place, text, half.start(), f"{half.group()} is half a surrogate pair, no character")
    return text


def _broken(place, text, at, why):
    return InputError(
        f"{place}:{text[:at].count(chr(10)) + 1}: broken JSON: {why}; download the corpus again, or take the file out"
    )


def _elements(text, key, place):
    """Yield the elements of a JSON text [...] one after the other, so that only one is in memory; {key: [...]} is read at once."""
    decoder = json.JSONDecoder()
    at = _SPACE.match(text).end()
    try:
        if text.startswith("{", at):
            whole = json.loads(text)
            if isinstance(whole.get(key), list):
                yield from whole[key]
                return
        if not text.startswith("[", at):
            raise InputError(
                f'{place}: expected a list of conversations or {{"{key}": [...]}}; found {text[at : at + 40]!r}'
            )
        at = _SPACE.match(text, at + 1).end()
        while not text.startswith("]", at):
            element, at = decoder.raw_decode(text, at)
            yield element
            at = _SPACE.match(text, at).end()
            if not text.startswith((",", "]"), at):
                raise _broken(place, text, at, "expected a comma or the end of the list")
            at = _SPACE.match(text, at + 1).end() if text[at] == "," else at
    except json.JSONDecodeError as error:
        raise _broken(place, text, error.pos, error.msg) from error
