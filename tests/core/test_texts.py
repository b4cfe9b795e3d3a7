"""Two languages from two files."""

import sys

import pytest

from korlhf.core import texts


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "words_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "texts.en.yaml").write_text(
        "warn:\n  cut: '{model}: {n} answers are cut'\nname: pairs\n", encoding="utf-8"
    )
    (folder / "texts.ko.yaml").write_text("warn:\n  cut: '{model}: 답변 {n}개가 잘림'\nname: 쌍\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder.name
    sys.modules.pop(folder.name, None)


def test_holes_are_filled_in_both_languages(package):
    name = texts.text(package, "name")
    assert name == {"en": "pairs", "ko": "쌍"}
    assert texts.text(package, "warn.cut", model=name, n=3) == {
        "en": "pairs: 3 answers are cut",
        "ko": "쌍: 답변 3개가 잘림",
    }


def test_a_key_that_is_not_there(package):
    with pytest.raises(KeyError):
        texts.text(package, "warn.empty")
