"""korlhf/judges/rubric.py: the project's own rubrics, and what is said about a broken one."""

import hashlib
from pathlib import Path

import pytest
import yaml

from korlhf.core.errors import InputError
from korlhf.judges import rubric as rubrics

FOLDER = Path(__file__).resolve().parents[2] / "korlhf" / "judges" / "rubrics"
EVERYDAY = {
    "friendly": "친근함",
    "harmless": "무해함",
    "intelligible": "이해 가능성",
    "natural": "자연스러움",
    "context": "맥락 유지",
    "overall": "전반적인 품질",
}
SMALL = {
    "category": "chat",
    "language": "ko",
    "scale": [1, 5],
    "system": "채점하세요.",
    "steps": ["읽습니다.", "매깁니다."],
    "criteria": [
        {"key": "kind", "name": "다정함", "question": "다정한가요?", "levels": {1: "아니요", 5: "네"}},
        {"key": "clear", "name": "또렷함", "question": "또렷한가요?", "levels": {1: "아니요", 3: "조금", 5: "네"}},
    ],
}


def write(path, **changes):
    path.write_text(yaml.safe_dump({**SMALL, **changes}, allow_unicode=True), encoding="utf-8")
    return path


def changed(**changes):
    """The criteria of SMALL, the second one changed."""
    return [SMALL["criteria"][0], {k: v for k, v in {**SMALL["criteria"][1], **changes}.items() if v is not None}]


def test_the_rubrics_of_the_project():
    found = rubrics.load_rubrics(FOLDER)
    assert {c: r.category for c, r in found.items()} == {
        "everyday": "everyday",
        "harmless": "everyday",
        "lookalike": "everyday",
        "harmful": "harmful",
        "translated": "translated",
        "evol": "evol",
        "self_instruct": "self_instruct",
        "instruct": "self_instruct",
    }
    for category, rubric in found.items():
        names = {c.key: c.name for c in rubric.criteria}
        truthful = {"truthful": "진실성"} if category in ("translated", "evol", "self_instruct", "instruct") else {}
        assert names == {**EVERYDAY, **truthful} and names.keys() == {c.key for c in rubric.criteria}
        assert (rubric.low, rubric.high) == (1, 5) and len(rubric.steps) >= 3
        assert all(set(c.levels) == {1, 3, 5} for c in rubric.criteria)
        assert rubric.sha256 == hashlib.sha256((FOLDER / rubric.file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"system": None}, "system: Input should be a valid string, not 'None'"),
        ({"prompt": "가"}, "prompt: Unexpected keyword argument"),
        ({"language": "en"}, "language: Input should be 'ko', not 'en'"),
        ({"scale": [1, 10]}, "scale.2: Input should be less than or equal to 9, not '10'"),
        ({"scale": [5, 1]}, "scale: the first number is the lowest score"),
        ({"steps": ["읽습니다.", 3]}, "steps.2: Input should be a valid string, not '3'"),
        ({"criteria": changed(question=None)}, "criteria.2.question: Field required"),
        (
            {"criteria": changed(key="Clear 1")},
            "criteria.2.key: String should match pattern '^[a-z][a-z_]*$', not 'Clear 1'",
        ),
        ({"criteria": changed(name="또렷함: 글")}, "criteria.2.name: String should match pattern"),
        ({"criteria": changed(name="다 정함")}, "criteria: '다정함' is the key or name of two of them"),
        ({"criteria": changed(key="kind")}, "criteria: 'kind' is the key or name of two of them"),
        ({"criteria": changed(levels={1: "아니요", 5: "네", 6: "꼭"})}, "levels of clear: describe 1, 5 and"),
    ],
)
def test_what_is_said_about_a_broken_rubric(tmp_path, changes, message):
    path = write(tmp_path / "r.yaml", **changes)
    with pytest.raises(InputError) as error:
        rubrics.load_rubric(path)
    assert (
        str(error.value).startswith(f"rubric {path}: {message}")
        and str(error.value).endswith("; write it as korlhf/judges/rubric.py describes")
        and "\n" not in str(error.value)
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("category: chat\nscale: [1, 5\n", r"r.yaml: broken YAML: .*line 3"),
        ("- a\n- b\n", r"Input should be a dictionary"),
        ("category: !!python/object/apply:os.getcwd []\n", r"r.yaml: broken YAML"),
    ],
)
def test_files_that_are_no_rubric(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        rubrics.load_rubric(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_bytes("category: 한글\n".encode("cp949"))
    with pytest.raises(InputError, match="cannot be read"):
        rubrics.load_rubric(tmp_path / "r.yaml")
    with pytest.raises(InputError, match="absent.yaml: cannot be read .No such file"):
        rubrics.load_rubric(tmp_path / "absent.yaml")
