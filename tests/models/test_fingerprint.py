"""Which model a folder holds: every byte, or samples of large files."""

import random

import pytest

from korlhf.models import fingerprint as prints
from korlhf.models.fingerprint import fingerprint


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model folder whose weights count as large: 40 blocks of 16 bytes, of which 8 are read."""
    monkeypatch.setattr(prints, "BLOCK", 16)
    monkeypatch.setattr(prints, "BLOCKS", 8)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(random.Random(0).randbytes(640))
    return tmp_path


@pytest.mark.parametrize("whole", [True, False])
def test_files_that_make_the_answers_count_and_others_do_not(folder, whole):
    first = fingerprint(folder, whole)
    for name in ("README.md", "metrics.jsonl", "settings.json"):
        (folder / name).write_text("x", encoding="utf-8")
    assert fingerprint(folder, whole) == first
    seen = {first}
    for name in ("config.json", "chat_template.jinja", "tokenizer.json"):
        (folder / name).write_text("x", encoding="utf-8")
        seen.add(fingerprint(folder, whole))
    assert len(seen) == 4
    moved = folder.rename(folder.with_name(f"elsewhere_{whole}"))
    assert fingerprint(moved, whole) in seen


def test_large_files_are_told_by_their_size_and_blocks_from_begin_to_end(folder):
    file, whole = folder / "model.safetensors", fingerprint(folder)
    first, data = fingerprint(folder, whole=False), file.read_bytes()
    for at in (0, 639, 100, 450):  # blocks begin at 0, 89, 178, 267, 356, 445, 534, 624
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert fingerprint(folder, whole=False) != first and fingerprint(folder) != whole
    file.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])  # between two of them
    assert fingerprint(folder, whole=False) == first and fingerprint(folder) != whole
    file.write_bytes(data + b"x")
    assert fingerprint(folder, whole=False) != first


def test_a_training_changes_the_fingerprint_of_every_matrix_larger_than_the_gaps(folder):
    file, data = folder / "model.safetensors", (folder / "model.safetensors").read_bytes()
    first = fingerprint(folder, whole=False)
    for at in range(0, 640 - 90):
        file.write_bytes(data[:at] + bytes(b ^ 1 for b in data[at : at + 90]) + data[at + 90 :])
        assert fingerprint(folder, whole=False) != first
