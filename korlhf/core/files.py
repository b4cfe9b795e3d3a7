"""Files: JSON that is written whole, fingerprints, hints at names."""

import difflib
import json
from pathlib import Path


def close_names(path):
    """A hint at what may have been meant by a path that does not exist."""
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder} either (the current folder is {Path.cwd()})"
    close = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], n=3)
    return f"; did you mean {' or '.join(str(folder / c) for c in close)}?" if close else f"; look with: ls {folder}"


def write_json(path, value):
    """Write `value` whole or not at all: UTF-8 JSON with Hangul as Hangul."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


# === from stage
import hashlib


def fingerprint(path):
    """sha256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
