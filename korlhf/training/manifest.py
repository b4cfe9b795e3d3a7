"""What a checkpoint must hold: manifest.json, written last, with the size and sha256 of every file next to it.

The processes share the files among them, as the folder is on a disk that all of them see.
"""

import hashlib
import json
from pathlib import Path

from korlhf.core.files import fingerprint, sync, write_json
from korlhf.training.world import World

NAME = "manifest.json"
INTERRUPTED = "it was only half written"


def write(folder: Path, world: World) -> None:
    """Bring the files of `folder` to the disk and list them in its manifest. All processes call it."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    mine = {}
    for name in names[world.rank :: world.size]:
        sync(folder / name)
        mine[name] = [(folder / name).stat().st_size, fingerprint(folder / name)]
    files = {name: entry for part in world.gather(mine) for name, entry in part.items()}
    if world.first:
        for inside in [p for p in folder.rglob("*") if p.is_dir()]:
            sync(inside)
        write_json(folder / NAME, {"files": files, "sha256": _sha256(files)})
        sync(folder.parent)


def written(folder: Path) -> bool:
    """Whether the writing of a checkpoint came to its end. (Earlier versions ended with state.json.)"""
    if (folder / NAME).exists():
        return True
    try:
        return "manifest" not in json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def damage(folder: Path, world: World) -> str:
    """What is wrong with the checkpoint in `folder`, "" if nothing is; the same for all processes, which call it.

    A checkpoint of an earlier version, which wrote no manifests, passes as it is.
    """
    return next(filter(None, world.gather(_damage(folder, world.rank, world.size))), "")


def _damage(folder, rank, size):
    try:
        if not (folder / NAME).exists():
            return "" if written(folder) else INTERRUPTED
        listed = json.loads((folder / NAME).read_text(encoding="utf-8"))
        files = listed["files"]
        if listed["sha256"] != _sha256(files):
            return f"{NAME} was changed"
        for name in sorted(files)[rank::size]:
            bytes_, sha256 = files[name]
            if not (folder / name).is_file():
                return f"{name} is missing"
            if (found := (folder / name).stat().st_size) != bytes_:
                return f"{name} has {found} bytes of {bytes_}"
            if fingerprint(folder / name) != sha256:
                return f"{name} was changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its files cannot be read ({type(error).__name__}: {error})"
    return ""


def _sha256(files):
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
