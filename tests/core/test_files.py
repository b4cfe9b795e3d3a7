"""korlhf/core/files.py: a file is there whole or not at all, whoever is killed."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from korlhf.core import files
from korlhf.core.errors import InputError
from korlhf.core.files import AtomicFile, close_names, whole_files, whole_folder, write_json

WRITER = """
import sys, time
from korlhf.core.files import AtomicFile
with AtomicFile(sys.argv[1]) as file:
    print("half", file=file, flush=True)
    print("writing", flush=True)
    time.sleep(60)
"""


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "새 폴더" / "out.jsonl"
    with AtomicFile(path) as file:
        print("하나", file=file)
        assert not path.exists()
    with pytest.raises(KeyError), AtomicFile(path) as file:
        print("둘", file=file)
        raise KeyError
    assert path.read_text(encoding="utf-8") == "하나\n" and os.listdir(path.parent) == ["out.jsonl"]


@pytest.mark.parametrize("umask, mode, expected", [(0o027, 0o666, 0o640), (0o022, 0o600, 0o600)])
def test_permissions(tmp_path, umask, mode, expected):
    before = os.umask(umask)
    try:
        with AtomicFile(tmp_path / "x", mode=mode):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == expected


def test_one_writer_at_a_time_and_a_killed_one_is_none(tmp_path):
    path = tmp_path / "x"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "writing\n"
        with pytest.raises(InputError, match=f"^--output {path}: another process is writing it; wait for it, or"):
            AtomicFile(path, "--output").open()
        assert (tmp_path / "x.part").read_text() == "half\n"
        other.send_signal(signal.SIGKILL)
    write_json(path, {"가": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "가": [\n    1\n  ]\n}\n' and os.listdir(tmp_path) == ["x"]


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, said in (("folder", "is a folder"), ("file/x", "Not a directory|File exists")):
        with pytest.raises(
            InputError, match=f"--output .*{path}: cannot be written: ({said}); make room there, or give"
        ):
            AtomicFile(tmp_path / path, "--output").open()
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_close_names(tmp_path):
    (tmp_path / "chat.jsonl").touch()
    assert close_names(tmp_path / "chta.jsonl") == f"; did you mean {tmp_path}/chat.jsonl?"
    assert close_names(tmp_path / "x") == f"; look with: ls {tmp_path}"
    assert f"there is no folder {tmp_path}/no either" in close_names(tmp_path / "no" / "x")


def test_a_folder_is_whole_or_the_one_before(tmp_path):
    folder = tmp_path / "best"
    for text in ("하나", "둘"):
        with whole_folder(folder) as part:
            (part / "안").mkdir()
            (part / "안" / "a.txt").write_text(text, encoding="utf-8")
            assert not folder.exists() or (folder / "안" / "a.txt").read_text(encoding="utf-8") == "하나"
    (folder.with_name("best.part")).mkdir()  # of a kill
    with pytest.raises(RuntimeError), whole_folder(folder) as part:
        (part / "half.txt").write_text("셋", encoding="utf-8")
        raise RuntimeError
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.txt")] == ["best/안/a.txt"]
    assert (folder / "안" / "a.txt").read_text(encoding="utf-8") == "둘"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]


def test_many_files_are_whole_at_once(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = {i: tmp_path / f"{i}.jsonl" for i in range(200)}
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        with whole_files(paths) as opened:
            for i, file in opened.items():
                print(i, file=file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [path.read_text() for path in paths.values()] == [f"{i}\n" for i in paths]


def test_a_file_that_cannot_be_opened_leaves_nothing(tmp_path, monkeypatch):
    def fails(*_args, **_how):
        raise OSError(errno.EMFILE, "Too many open files")

    file = AtomicFile(tmp_path / "a.jsonl", "--output")
    monkeypatch.setattr(files, "open", fails, raising=False)
    with pytest.raises(InputError, match="Too many open files"):
        file.open()
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    with file:
        pass
