"""korlhf/data/terms.py: every way to name a set that is there for measuring only."""

import re

import pytest

from korlhf.core.errors import InputError
from korlhf.data.terms import check_training, licence_of

TESTS = (
    ("nayohan/reward-bench-ko", "ODC-BY"),
    ("TTA01/AssurAI", "CC BY-NC 4.0 (TTA01/AssurAI): no commercial use"),
    ("datumo/KorSET", "CC BY-NC 4.0 (datumo/KorSET): no commercial use"),
)


@pytest.mark.parametrize("name, licence", TESTS)
def test_a_test_set_is_not_trained_on_however_it_is_spelt(name, licence, tmp_path, monkeypatch):
    (tmp_path / name / "data").mkdir(parents=True)
    for file in ("all.jsonl", "data/train.jsonl"):
        (tmp_path / name / file).write_text("{}", encoding="utf-8")
    copies = [tmp_path / name, tmp_path / name / "all.jsonl", tmp_path / name / "data" / "train.jsonl"]
    spelt = [name, f"{name}@main", f"{name}:kor_Hang", f"{name}:kor_Hang@abc", *map(str, copies)]
    told = f"a test set, for measuring only ({licence}); train on another"
    for one in spelt:
        with pytest.raises(InputError, match=re.escape(f"dataset {one}: {told}")):
            check_training(["sample/sft", one])
        assert licence_of(one) == f"{licence}; for measuring only"
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(InputError, match="dataset .: a test set"):
        check_training(["."])


def test_other_sets_are(tmp_path):
    own = tmp_path / "nayohan" / "reward-bench-ko" / "mine" / "own.jsonl"
    check_training(["nvidia/HelpSteer3:preference@main", "no such/set", "a/file.jsonl", str(own), "other/AssurAI"])
    assert licence_of("heegyu/hh-rlhf-ko:default@main") == "MIT" and licence_of("my/file.jsonl") == ""
