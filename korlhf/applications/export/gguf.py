"""The files of a GGUF import: whether they are there, and are GGUF; pieces joined to one file."""

import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import close_names

MAGIC = b"GGUF"


def check_files(names: Sequence[str]) -> list[Path]:
    """The paths of --gguf. Raises InputError if one is not there, the first is no GGUF, or a later one is a GGUF of
    its own.
    """
    paths = [Path(name).expanduser() for name in names]
    for path in paths:
        if not path.is_file():
            what = "is a folder; give the file in it" if path.is_dir() else f"no such file{close_names(path)}"
            raise InputError(f"--gguf {path}: {what}")
    heads = [_head(path) for path in paths]
    if heads[0] != MAGIC:
        of = ", or pieces of one in their order (the first begins with GGUF)" if len(paths) > 1 else ""
        raise InputError(f"--gguf {paths[0]}: is no GGUF file (it begins with {heads[0]!r}); give one{of}")
    for path, head in zip(paths[1:], heads[1:]):
        if head == MAGIC:
            raise InputError(
                f"--gguf {path}: is a GGUF file itself, not the next piece of {paths[0].name}; merge what "
                "llama-gguf-split cut with llama-gguf-split --merge, and give the result"
            )
    return paths


def _head(path):
    with path.open("rb") as file:
        return file.read(len(MAGIC))


def check_target(name: str) -> Path:
    """The path of --output_dir. Raises InputError if there is something in it."""
    folder = Path(name).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--output_dir {folder}: is not empty; give a new folder")
    return folder


@contextmanager
def joined(paths: Sequence[Path], beside: Path) -> Generator[Path]:
    """One file of all the pieces, which lies next to the folder `beside` for as long as the block runs."""
    if len(paths) == 1:
        yield paths[0]
        return
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside.parent, prefix=".gguf-") as folder:
        whole = Path(folder, "joined.gguf")
        with whole.open("wb") as out:
            for path in paths:
                with path.open("rb") as piece:
                    shutil.copyfileobj(piece, out, 2**24)
        yield whole
