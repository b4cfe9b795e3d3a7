"""What becomes an item: files of respond, score, rank and one's own; what is left out; bad files."""

import pytest
from label_harness import write

from korlhf.applications.label import items
from korlhf.core.errors import InputError

TALK = [
    {"role": "user", "content": "안녕"},
    {"role": "assistant", "content": "네, 안녕하세요."},
    {"role": "user", "content": "심심해."},
]


def read(tmp_path, *rows):
    return items.read([write(tmp_path / "in.jsonl", rows)])


def test_candidates_with_models_and_scores(tmp_path):
    found, left_out = read(
        tmp_path,
        {
            "messages": TALK,
            "category": "everyday",
            "source": "nikl/1",
            "candidates": [{"text": "저랑 놀아요.", "model": "sft", "score": 3.5}, {"text": "그래요?", "model": "gpt"}],
        },
    )
    assert not left_out
    assert [(a.text, a.models, a.score, a.place) for a in found[0].answers] == [
        ("저랑 놀아요.", ("sft",), 3.5, 0),
        ("그래요?", ("gpt",), None, 1),
    ]
    assert found[0].record["messages"] == TALK and found[0].record["source"] == "nikl/1"


def test_ranked_pairs_and_lists_of_answers(tmp_path):
    found, _ = read(
        tmp_path,
        {
            "prompt": "하나",
            "chosen": "좋아요.",
            "rejected": "싫어요.",
            "chosen_model": "a|b",
            "rejected_model": "c",
            "chosen_score": 2,
        },
        {"prompt": "둘", "answers": ["ㄱ", "ㄴ", "ㄷ"]},
    )
    assert [(a.text, a.models) for a in found[0].answers] == [("좋아요.", ("a|b",)), ("싫어요.", ("c",))]
    assert [a.text for a in found[1].answers] == ["ㄱ", "ㄴ", "ㄷ"]


def test_unusable_answers_and_prompts_are_left_out_and_counted(tmp_path):
    found, left_out = read(
        tmp_path,
        {
            "prompt": "하나",
            "candidates": [
                {"text": "좋아요."},
                {"text": "좋아요. "},
                {"text": "끊긴", "finish_reason": "length"},
                {"text": "네."},
            ],
        },
        {"prompt": "둘", "candidates": [{"text": "혼자예요."}, {"text": " "}]},
        {"prompt": "셋", "chosen": "같아요.", "rejected": "같아요."},
    )
    assert [[a.text for a in i.answers] for i in found] == [["좋아요.", "네."]]
    assert left_out == {
        "answer: equal to another": 1,
        "answer: cut off": 1,
        "answer: empty": 1,
        "prompt: fewer than two answers": 2,
    }


def test_candidates_of_one_prompt_are_put_together_and_the_order_does_not_change_the_id(tmp_path):
    one = write(tmp_path / "one.jsonl", [{"prompt": "안녕?", "candidates": [{"text": "가"}]}])
    two = write(tmp_path / "two.jsonl", [{"prompt": "안녕", "candidates": [{"text": "나"}]}])
    (both,), _ = items.read([one, two])
    (turned,), _ = items.read([two, one])
    assert [a.text for a in both.answers] == ["가", "나"] and both.id == turned.id
    (other,), _ = read(tmp_path, {"prompt": "안녕?", "candidates": [{"text": "가"}, {"text": "다"}]})
    assert other.id != both.id and other.record["id"] == both.record["id"]


def test_rows_of_pairs_stay_apart_and_the_same_one_twice_is_one_item(tmp_path):
    pair = {"prompt": "안녕?", "chosen": "가", "rejected": "나"}
    found, left_out = read(tmp_path, pair, {**pair, "chosen": "다"}, {**pair, "chosen": "나", "rejected": "가"})
    assert [[a.text for a in i.answers] for i in found] == [["가", "나"], ["다", "나"]]
    assert left_out == {"prompt: there already with the same answers": 1}


@pytest.mark.parametrize(
    "row, words",
    [
        ({"prompt": "", "answers": ["가", "나"]}, "prompt is empty"),
        ({"answers": ["가", "나"]}, "no prompt"),
        ({"prompt": "안녕", "candidates": "가"}, "candidates is str"),
        ({"prompt": "안녕", "candidates": [{"model": "sft"}]}, "candidate 1 is"),
        ({"prompt": "안녕", "answers": "가"}, "answers is the text '가'"),
        (
            {"prompt": "안녕", "candidates": [{"text": f"{i}번"} for i in range(7)]},
            "7 different answers to one prompt; at most 6",
        ),
    ],
)
def test_a_bad_row_is_told_with_file_and_line(tmp_path, row, words):
    with pytest.raises(InputError, match=words) as error:
        read(tmp_path, {"prompt": "좋은 줄", "answers": ["가", "나"]}, row)
    assert str(error.value).startswith(f"{tmp_path / 'in.jsonl'}:2: ") and "\n" not in str(error.value)
