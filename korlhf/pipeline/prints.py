"""Fingerprints of files and folders: sha256 of the content, taken again only when size or time of change differ.

Paths are noted relative to the run's folder and the project, so that both can be moved.
"""

import time
from pathlib import Path

from korlhf.core.files import fingerprint

# What tells of a training rather than being its result: it differs from run to run.
TALE = {"training.log", "metrics.jsonl", "README.md", "curves.png", "settings.json", "finished.json"}
TALE_FOLDERS = {"checkpoints", "tensorboard"}
UNSURE = 50_000_000  # ns: a file changed so shortly before it was looked at may change again within the same tick of the clock


class Prints:
    """sha256 of files, remembered in `notes`: {short path: {"size", "mtime_ns", "sha256", "noted_ns"}}."""

    def __init__(self, run, root, notes=None):
        self.run, self.root, self.notes = Path(run), Path(root), {} if notes is None else notes
        self.read = 0  # bytes that had to be read

    def short(self, path):
        """RUN/... or KORLHF/..., else the path itself."""
        path = Path(path)
        for name, folder in (("RUN", self.run), ("KORLHF", self.root)):
            if path == folder or folder in path.parents:
                return (Path(name) / path.relative_to(folder)).as_posix()
        return path.as_posix()

    def portable(self, text):
        """A command or a value with both folders replaced by their names."""
        return text.replace(str(self.run), "RUN").replace(str(self.root), "KORLHF")

    def file(self, path):
        """sha256 of a file."""
        stat = Path(path).stat()
        note = self.notes.get(self.short(path))
        known = note and (note["size"], note["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
        if not known or stat.st_mtime_ns > note["noted_ns"] - UNSURE:
            noted = time.time_ns()
            self.read += stat.st_size
            note = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": fingerprint(path), "noted_ns": noted}
            self.notes[self.short(path)] = note
        return note["sha256"]

    def of(self, paths):
        """{short path: sha256} of files, and of all in folders but for what tells of a training; None for a path that is not there."""
        out = {}
        for path in map(Path, paths):
            if path.is_dir():
                out |= {self.short(p): self.file(p) for p in result_files(path)}
                out.setdefault(self.short(path) + "/", "folder")
            else:
                out[self.short(path)] = self.file(path) if path.is_file() else None
        return out


def result_files(folder):
    """The files of a folder, sorted, without what tells of a training and what is half written."""
    found = (
        p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in TALE and p.suffix not in (".part", ".partial")
    )
    return [p for p in found if not TALE_FOLDERS & set(p.relative_to(folder).parts)]


def size(path):
    """Bytes of a file or folder; 0 if it is not there."""
    path = Path(path)
    if path.is_dir():
        return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.is_file() else 0
