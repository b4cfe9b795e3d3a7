"""Files: written whole under a lock, JSON, fingerprints, hints at names."""

import contextlib
import difflib
import errno
import hashlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Generator, Hashable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypeVar

from filelock import FileLock, Timeout

from korlhf.core.errors import InputError

PathLike = str | os.PathLike[str]
K = TypeVar("K", bound=Hashable)

# Of what a user mends: the rest of OSError is a defect of ours or of the machine.
UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}


class AtomicFile:
    """A UTF-8 file that has its name only when it is whole: until then it is NAME.part, of one writer alone.

        with AtomicFile(path, "--output") as file:  # an error in the block removes NAME.part and leaves PATH as it was
            print(line, file=file)

    what: the flag that names the file, for errors; wait: seconds to wait for another writer; mode: permissions of a new
    file. Raises InputError if the file cannot be written or another process is writing it; the lock of a process that
    was killed is free.
    """

    def __init__(self, path: PathLike, what: str = "", wait: float = 0.0, mode: int = 0o666):
        self.path = Path(path).expanduser()
        self.part = self.path.with_name(self.path.name + ".part")
        self._named, self._wait, self._mode = f"{what} {self.path}".strip(), wait, mode
        self._lock = FileLock(self.part, thread_local=False, fallback_to_soft=False)

    def open(self) -> TextIO:
        """Lock and empty NAME.part; its folder is made."""
        try:
            if self.path.is_dir():
                raise IsADirectoryError(0, "is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.part.touch(self._mode)  # a file that the lock creates would not heed the umask
            self._lock.acquire(timeout=self._wait)
            self._file = open(self.part, "w", encoding="utf-8")  # noqa: SIM115 (closed by commit or discard)
        except Timeout as error:
            raise InputError(
                f"{self._named}: another process is writing it; wait for it, or give another name"
            ) from error
        except OSError as error:
            if self._lock.is_locked:
                self.part.unlink(missing_ok=True)
                self._lock.release()
            raise self.unwritable(error) from error
        return self._file

    def commit(self) -> None:
        """Give the file its name; it is on the disk when this returns."""
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
            self.part.replace(self.path)
            sync(self.path.parent)
        except OSError as error:
            raise self.unwritable(error) from error
        finally:
            self._lock.release()

    def discard(self) -> None:
        """Remove NAME.part."""
        with contextlib.suppress(OSError):  # e.g. of what a full disk has not taken
            self._file.close()
        self.part.unlink(missing_ok=True)
        self._lock.release()

    def unwritable(self, error: OSError) -> InputError:
        """What to raise where the file cannot be written."""
        return InputError(
            f"{self._named}: cannot be written: {error.strerror or error}; make room there, or give another name"
        )

    def __enter__(self) -> TextIO:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if kind is None:
            self.commit()
        else:
            self.discard()


@contextlib.contextmanager
def whole_files(paths: Mapping[K, PathLike], what: str = "--output") -> Generator[dict[K, TextIO]]:
    """An AtomicFile for each of `paths`, as {name: open file}: if the block raises, none of them gets its name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < (need := 2 * len(paths) + 256):  # a file and its lock each, and what the program has open
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(need, hard), hard))
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context(AtomicFile(path, what)) for name, path in paths.items()}
        yield files
        for file in files.values():  # all are on the disk before the first gets its name
            file.flush()
            os.fsync(file.fileno())


def check_output(path: PathLike, what: str, folder: bool) -> None:
    """Raises InputError if a file (or folder) of this name cannot be made or written; leaves nothing there.

    what: the flag that names it.
    """
    path = Path(path).expanduser()
    try:
        there = next(p for p in (path, *path.parents) if p.exists())
        if not there.is_dir() and (folder or there != path):
            raise NotADirectoryError(0, "is a file" if there == path else f"{there} is a file")
        with tempfile.TemporaryFile(dir=there if there.is_dir() else there.parent):
            return
    except OSError as error:
        kind = "folder" if folder else "file"
        raise InputError(f"{what} {path}: cannot be written: {error.strerror}; give another {kind}") from error


def write_json(path: PathLike, value: Any) -> None:
    """Write `value` whole or not at all: UTF-8 JSON with Hangul as Hangul."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    with AtomicFile(path, wait=10.0) as file:
        print(text, file=file)


def read_json(path: PathLike) -> Any:
    """The value in a JSON file. Raises OSError or ValueError."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


@contextlib.contextmanager
def whole_folder(folder: Path) -> Generator[Path]:
    """FOLDER.part to write into, which takes the place of `folder` at the end of the block, if that ends well."""
    part, old = (folder.with_name(folder.name + end) for end in (".part", ".old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    for path in part.rglob("*"):
        sync(path)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: PathLike) -> None:
    """What a file holds, or which names a folder holds, is on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint(path: PathLike) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def close_names(path: Path) -> str:
    """A hint at what may have been meant by a path that does not exist."""
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder} either (the current folder is {Path.cwd()})"
    close = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], n=3)
    return f"; did you mean {' or '.join(str(folder / c) for c in close)}?" if close else f"; look with: ls {folder}"
