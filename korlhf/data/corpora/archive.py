"""The files of a corpus, in folders and zips.

Zips are read in place, also zips within zips. A file that belongs to the corpus and is broken is an error, never
skipped silently.
"""

import codecs
import fnmatch
import re
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO

from korlhf.core.errors import InputError
from korlhf.core.files import close_names

REMEDY = "download the corpus again, or take the file out"
_IN_MEMORY = 1 << 25  # zips within zips up to this size are unpacked in memory, larger ones on disk
_HALF_PAIR = re.compile(  # as JSON escapes
    r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F].."
)


def walk(path: str | PathLike, pattern: str, expected: str) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of the files called `pattern` in a folder, in its subfolders and zips, in a zip; or of one
    file of any name.

    place: "FOLDER/FILE" or "ZIP!MEMBER". expected: what the files are, for the error.
    Raises InputError if there are none, with what was found instead, if a zip cannot be read, or if a file is not
    UTF-8.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"--input {path}: no such file or folder{close_names(path)}")
    if path.is_file() and path.suffix.lower() != ".zip":
        yield str(path), _decoded(path.read_bytes(), str(path))
        return
    others, found = Counter(), False
    for place, data in _files(path, pattern, others):
        found = True
        yield place, _decoded(data, place)
    if not found:
        seen = ", ".join(f"{n} {kind}" for kind, n in others.most_common(5)) or "nothing"
        what = f"no files {pattern} in it; expected {expected}; found {seen}"
        raise InputError(f"--input {path}: {what}; give the corpus's folder or zip")


def _files(path: Path, pattern: str, others: Counter) -> Iterator[tuple[str, bytes]]:
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if file.suffix.lower() == ".zip":
            with open(file, "rb") as stream:
                yield from _zip(stream, str(file), pattern, others)
        elif fnmatch.fnmatchcase(file.name.lower(), pattern.lower()):
            yield str(file), file.read_bytes()
        else:
            others[file.suffix or "files without a suffix"] += 1


def _zip(stream: IO[bytes], place: str, pattern: str, others: Counter) -> Iterator[tuple[str, bytes]]:
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
                elif fnmatch.fnmatchcase(name.name.lower(), pattern.lower()):
                    yield f"{place}!{name}", archive.read(info)
                else:
                    others[name.suffix or "files without a suffix"] += 1
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        remedy = "download it again, or unpack it and give the folder"
        raise InputError(f"{place}: not a readable zip: {error}; {remedy}") from error
    except RuntimeError as error:  # that is how zipfile says that it is encrypted
        raise InputError(f"{place}: {error}; unpack it and give the folder") from error


def _member_name(info: zipfile.ZipInfo) -> str:
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


def _decoded(data: bytes, place: str) -> str:
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{place}:{line}: not UTF-8; download the corpus again, or convert the file") from error
    if half := _HALF_PAIR.search(text):
        line = text.count("\n", 0, half.start()) + 1
        raise InputError(f"{place}:{line}: {half.group()} is half a surrogate pair, no character; {REMEDY}")
    return text


def identifier(value: object) -> str:
    """An id as text, the number 0 included; "" for what is neither text nor a number."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
