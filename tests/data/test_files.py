"""korlhf/data/files.py: what reading rows does not show in test_load.py."""

import pytest

from korlhf.data import files


def test_write_json_keeps_hangul_and_leaves_no_half_file(tmp_path):
    files.write_json(tmp_path / "a.json", {"이름": "값"})
    assert "이름" in (tmp_path / "a.json").read_text(encoding="utf-8") and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"b": object()})
    assert "이름" in (tmp_path / "a.json").read_text(encoding="utf-8")
