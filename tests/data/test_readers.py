"""korlhf/data/readers.py: what reading rows does not show in test_load.py."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data import readers as files


def test_write_json_keeps_hangul_and_leaves_no_half_file(tmp_path):
    write_json(tmp_path / "a.json", {"이름": "값"})
    assert "이름" in (tmp_path / "a.json").read_text(encoding="utf-8") and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"b": object()})
    assert "이름" in (tmp_path / "a.json").read_text(encoding="utf-8")


def fails(path):
    with pytest.raises(InputError) as error:
        list(files.read_rows(path))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "value, told",
    [
        ("[" * 100_000 + "]" * 100_000, "JSON that is nested too deep; correct or delete it"),
        ("9" * 5000, "JSON that cannot be read: Exceeds the limit (4300 digits)"),
    ],
)
def test_json_that_python_does_not_read(tmp_path, value, told):
    lines, whole = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text(f'{{"prompt": "가"}}\n{{"prompt": "나", "n": {value}}}\n', encoding="utf-8")
    whole.write_text(f'[{{"prompt": "나", "n": {value}}}]', encoding="utf-8")
    assert f"{lines}:2: {told}" in fails(lines) and f"{whole}:1: {told}" in fails(whole)


def test_a_parquet_file_with_text_that_is_not_utf8(tmp_path):
    parts = [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pyarrow.py_buffer(b"ok\xff\xfe")]
    text = pyarrow.Array.from_buffers(pyarrow.string(), 2, parts)
    pyarrow.parquet.write_table(pyarrow.table({"prompt": text}), tmp_path / "a.parquet")
    assert "a.parquet: row 1 or one behind it: not UTF-8; write the file again" in fails(tmp_path / "a.parquet")


def test_a_folder_and_utf16_are_called_what_they_are(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    assert fails(tmp_path / "a.jsonl") == f"{tmp_path / 'a.jsonl'}: is a folder; give a file in it"
    (tmp_path / "b.jsonl").write_text('{"prompt": "가"}', encoding="utf-16")
    assert "b.jsonl:1: not UTF-8 (byte 1 of the line); convert it: iconv -f utf-16 -t utf-8 b.jsonl > " in fails(
        tmp_path / "b.jsonl"
    )


@pytest.mark.parametrize("row", [{"a": 1, "output": "네 \ud83d"}, {"output": [{"text": "\ude00"}]}, {"out\ud83d": 1}])
def test_half_a_surrogate_pair_is_found_wherever_it_is(row):
    files.check_characters(
        "a.jsonl:3", {"output": "네 \U0001f600", "more": [json.loads('"\\ud83d\\ude00"'), None, 2.5]}
    )
    with pytest.raises(
        InputError,
        match=r"^a.jsonl:3: (output|out\?) holds half a surrogate pair \(\\ud(83d|e00)\), which is not UTF-8",
    ):
        files.check_characters("a.jsonl:3", row)
