"""What becomes an item: files of respond, score, rank and one's own; what is left out; bad files."""

import pytest
from label_harness import write

from korlhf.applications.label import items
from korlhf.core.errors import InputError

TALK = [
    {"role": "user", "content": "안녕"},
    {"role": "assistant", "content": "네."},
    {"role": "user", "content": "심심해."},
]


def read(tmp_path, *rows):
    """(texts of the answers of each item, Counter)"""
    found, left_out = items.read([write(tmp_path / "in.jsonl", rows)])
    return [[a.text for a in item.answers] for item in found], left_out


def test_models_and_scores_of_every_kind_of_row(tmp_path):
    scored = [{"text": "저랑 놀아요.", "model": "sft", "score": 3.5}, {"text": "그래요?", "model": "gpt"}]
    pair = {"chosen": "좋아요.", "rejected": "싫어요.", "chosen_model": "a|b", "rejected_model": "c", "chosen_score": 2}
    rows = [{"messages": TALK, "category": "everyday", "candidates": scored}, {"prompt": "가?", **pair}]
    found, left_out = items.read(
        [write(tmp_path / "in.jsonl", [*rows, {"prompt": "나?", "answers": ["ㄱ", "ㄴ", "ㄷ"]}])]
    )
    told = [[(a.text, a.models, a.score, a.place) for a in item.answers] for item in found]
    assert not left_out and told == [
        [("저랑 놀아요.", ("sft",), 3.5, 0), ("그래요?", ("gpt",), None, 1)],
        [("좋아요.", ("a|b",), 2, 0), ("싫어요.", ("c",), None, 1)],
        [("ㄱ", (), None, 0), ("ㄴ", (), None, 1), ("ㄷ", (), None, 2)],
    ]
    assert found[0].record["messages"] == TALK and found[0].record["category"] == "everyday"


def test_unusable_answers_and_prompts_are_left_out_and_counted(tmp_path):
    texts = [{"text": "좋아요."}, {"text": "좋아요. "}, {"text": "끊긴", "finish_reason": "length"}, {"text": "네."}]
    found, left_out = read(
        tmp_path,
        {"prompt": "하나", "candidates": texts},
        {"prompt": "둘", "candidates": [{"text": "혼자예요."}, {"text": " "}]},
        {"prompt": "셋", "chosen": "같아요.", "rejected": "같아요."},
    )
    assert found == [["좋아요.", "네."]]
    answers = {"answer: equal to another": 1, "answer: cut off": 1, "answer: empty": 1}
    assert left_out == {**answers, "prompt: fewer than two answers": 2}


def test_candidates_of_one_prompt_are_put_together_and_the_order_does_not_change_the_id(tmp_path):
    one = write(tmp_path / "one.jsonl", [{"prompt": "안녕?", "candidates": [{"text": "가"}]}])
    two = write(tmp_path / "two.jsonl", [{"prompt": "안녕", "candidates": [{"text": "나"}]}])
    (both,), _ = items.read([one, two])
    (turned,), _ = items.read([two, one])
    assert [a.text for a in both.answers] == ["가", "나"] and both.id == turned.id


def test_rows_of_pairs_stay_apart_and_the_same_one_twice_is_one_item(tmp_path):
    pair = {"prompt": "안녕?", "chosen": "가", "rejected": "나"}
    found, left_out = read(tmp_path, pair, {**pair, "chosen": "다"}, {**pair, "chosen": "나", "rejected": "가"})
    assert found == [["가", "나"], ["다", "나"]]
    assert left_out == {"prompt: there already with the same answers": 1}


@pytest.mark.parametrize(
    "row, words",
    [
        ({"answers": ["가", "나"]}, "no prompt"),
        ({"prompt": "안녕", "candidates": "가"}, "candidates is str"),
        ({"prompt": "안녕", "candidates": [{"model": "sft"}]}, "candidate 1 is"),
        ({"prompt": "안녕", "answers": "가"}, "answers is the text '가'"),
        ({"prompt": "안녕", "answers": list("가나다라마바사")}, "7 different answers to one prompt; at most 6"),
    ],
)
def test_a_bad_row_is_told_with_file_and_line(tmp_path, row, words):
    with pytest.raises(InputError, match=words) as error:
        read(tmp_path, {"prompt": "좋은 줄", "answers": ["가", "나"]}, row)
    assert str(error.value).startswith(f"{tmp_path / 'in.jsonl'}:2: ") and "\n" not in str(error.value)
