"""The folder that an export goes to: whether it may be written, and that it has its name only when it is whole."""

import contextlib
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError

from korlhf.core.errors import InputError, told
from korlhf.core.files import read_json

MARK = "export.json"


def source_of(path):
    """The folder whose weights are exported: of a step's folder that holds nothing but its adapter, that adapter's."""
    folder = Path(path).expanduser()
    if not (folder / "config.json").exists() and (folder / "adapter" / "adapter_config.json").exists():
        return str(folder / "adapter")
    return str(folder) if path.startswith("~") else path


def claim(folder, source, settings, overwrite):
    """Whether the folder has to be written: not if it is a whole export of these settings. Raises InputError if it is
    something else."""
    if Path(source).resolve().is_relative_to(folder.resolve()):
        raise InputError(f"--output_dir {folder}: is the model itself, or holds it; give another folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return True
    if not (folder / MARK).is_file():
        raise InputError(f"--output_dir {folder}: is not empty, and no earlier export; give another folder")
    if overwrite:
        return True
    if read_json(folder / MARK)["settings"] != settings:
        raise InputError(
            f"--output_dir {folder}: holds an export of another model or with other settings; give another folder, "
            "or --overwrite"
        )
    print(f"{folder} is exported already, with these settings and this model", flush=True)
    return False


@contextlib.contextmanager
def part_of(folder):
    """An empty FOLDER.partial next to the one that is to be. Want of room is an InputError, and leaves no half-written
    folder that takes up more of it."""
    part = folder.with_name(folder.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    with told(f"--output_dir {folder}: cannot be written", "give another"):
        part.mkdir(parents=True)
    try:
        yield part
    except (OSError, SafetensorError) as error:
        if "No space left" not in str(error) and "quota" not in str(error):
            raise
        shutil.rmtree(part, ignore_errors=True)
        raise InputError(
            f"--output_dir {part.parent}: no room left on that disk; make some, or give another folder"
        ) from error


def finish(part, folder):
    """Give the whole export its name."""
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(part, folder)
