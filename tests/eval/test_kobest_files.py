"""korlhf/eval/kobest_files.py: which files are a split, and one line for what is not of the format."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from korlhf.core.errors import InputError
from korlhf.eval import kobest_files as kobest

ROW = {
    "premise": "비가 왔다.",
    "question": "결과",
    "alternative_1": "길이 젖었다.",
    "alternative_2": "길이 말랐다.",
    "label": 0,
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def rows(*names):
    return [{**ROW, "premise": f"{name} 비가 왔다."} for name in names]


def test_splits_may_be_of_any_type_and_in_shards(tmp_path):
    write(tmp_path / "copa" / "train.json", rows("가", "마"))
    write(tmp_path / "copa" / "test-00001-of-00002.parquet", rows("다"))
    write(tmp_path / "copa" / "test-00000-of-00002.parquet", [{**r, "extra": 1} for r in rows("나")])
    write(tmp_path / "copa" / "test_originated.jsonl", rows("라"))
    splits, files = kobest.read(tmp_path, "copa")
    assert splits == {"train": rows("가", "마"), "test": rows("나", "다")}
    assert [f.name for f in files] == ["train.json", "test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]


def fails(folder, name="copa"):
    with pytest.raises(InputError) as error:
        kobest.read(folder, name)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folders_and_files_that_are_missing(tmp_path):
    write(tmp_path / "copaa" / "train.jsonl", rows("가"))
    assert f"no folder copa in it; did you mean {tmp_path / 'copaa'}?" in fails(tmp_path)
    write(tmp_path / "copa" / "train.jsonl", rows("가"))
    assert "copa has no test split; give test.jsonl (or .json, .parquet" in fails(tmp_path)
    write(tmp_path / "copa" / "test-00001-of-00002.parquet", rows("나"))
    assert "the split test is test-00001-of-00002.parquet; keep one whole file, or all of its shards" in fails(tmp_path)
    write(tmp_path / "copa" / "test.jsonl", rows("나"))
    assert "the split test is test-00001-of-00002.parquet, test.jsonl; keep one whole file" in fails(tmp_path)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"premise": None}, "premise is 'None'; expected text"),
        ({"label": 2}, "label is 2; expected a whole number from 0 to 1"),
        ({"label": "0"}, "label is '0'; expected a whole number"),
        ({"label": True}, "label is True"),
        ({"question": "이유"}, "question is '이유'; expected 원인 or 결과"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path, change, told):
    write(tmp_path / "copa" / "train.jsonl", rows("가"))
    write(tmp_path / "copa" / "test.jsonl", [ROW, {**ROW, **change}])
    assert (line := fails(tmp_path)).startswith(f"{tmp_path / 'copa' / 'test.jsonl'}:2: ") and told in line


def test_half_a_surrogate_pair_is_named(tmp_path):
    write(tmp_path / "copa" / "train.jsonl", rows("가"))
    (tmp_path / "copa" / "test.jsonl").write_text(json.dumps({**ROW, "premise": "비 \ud83d"}) + "\n", encoding="utf-8")
    assert "test.jsonl:1: premise holds half a surrogate pair (\\ud83d), which is not UTF-8" in fails(tmp_path)


def test_a_wrong_column_is_named(tmp_path):
    write(tmp_path / "copa" / "train.jsonl", [{"sentence": "좋아요.", "label": 1}])
    write(tmp_path / "copa" / "test.jsonl", [ROW])
    told = "train.jsonl:1: premise is 'None'; expected text, since copa has premise, question, alternative_1"
    assert told in fails(tmp_path)
