"""Held-out examples are drawn after the length filter; fingerprints follow the content."""

import json
from dataclasses import replace
from functools import partial

import pytest

from korlhf.core.errors import InputError
from korlhf.data.example import Example
from korlhf.data.load import load_step
from korlhf.data.tokenize import reward_tokens, sft_tokens
from korlhf.training import examples
from korlhf.training.flags import DataFlags

ROWS = [{"prompt": f"질문 {i}", "output": "네, 좋아요. " * (30 if i % 2 else 1)} for i in range(400)]


def flags(path, **more):
    return DataFlags(data_path=[str(path)], data_split="1,0,0", eval_share=0.5, **more)


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def test_as_many_are_evaluated_as_are_asked_for(codec, tmp_path):
    """Half of the held-out examples are too long: 6 of the others are drawn, not 6 of all."""
    path, tokenise = write(tmp_path / "a.jsonl", ROWS), partial(sft_tokens, codec, max_seq_len=150)
    _, every, _ = examples.load(1, flags(path), tokenise)
    assert 60 < len(every) < 140  # about half of about 200: the draw is seeded by the file's path
    _, heldout, _ = examples.load(1, flags(path, max_eval_examples=6), tokenise)
    assert len(heldout.examples) == len(heldout.rows) == 6
    assert [e for e in every.examples if e in heldout.examples] == heldout.examples
    assert [codec.with_answer(e.messages, e.answers[0]) for e in heldout.examples] == heldout.rows


def test_a_draw_is_seeded_in_order_and_the_one_of_earlier_versions():
    assert examples.draw(5, 0, 1) == examples.draw(5, 5, 1) == examples.draw(5, 9, 1) == [0, 1, 2, 3, 4]
    drawn = examples.draw(100, 6, 1234)
    assert drawn == sorted(set(drawn)) == examples.draw(100, 6, 1234) != examples.draw(100, 6, 1235)
    assert drawn == [9, 16, 44, 56, 61, 94]  # random.Random("1234:held-out").sample(range(100), 6)


def test_fingerprints_follow_the_content(codec, tmp_path):
    tokenise = partial(sft_tokens, codec, max_seq_len=2000)

    def inputs(name, rows):
        return examples.load(1, flags(write(tmp_path / name, rows)), tokenise)[2]

    first = inputs("a.jsonl", ROWS)
    assert set(first) == {"training examples", "held-out examples"} and len(set(first.values())) == 2
    train, _ = load_step(1, [str(tmp_path / "a.jsonl")], "1,0,0", eval_share=0.5)
    assert first["training examples"] == examples.fingerprint(train)
    assert examples.fingerprint(train[::-1]) != first["training examples"]
    assert inputs("a.jsonl", [{**ROWS[0], "output": "다른 답이에요."}, *ROWS[1:]]) != first


def test_a_fingerprint_sees_every_field():
    example = Example(({"role": "user", "content": "가"},), ("나",), "all")
    others = [
        example,
        replace(example, messages=({"role": "user", "content": "다"},)),
        replace(example, answers=("다",)),
        replace(example, answers=("나", "다")),
        replace(example, category="b"),
        Example(text="가"),
    ]
    assert len({examples.fingerprint([e]) for e in others}) == len(others)
    assert examples.fingerprint([]) != examples.fingerprint([example]) != examples.fingerprint([example, example])


PAIRS = [
    {
        "prompt": f"질문 {i}",
        "chosen": "네, 좋아요.",
        "rejected": "싫어요.",
        "margin": i % 4 / 10,
        "category": "ab"[i % 2],
    }
    for i in range(40)
]


def test_pairs_with_a_small_margin_are_left_out_of_training(codec, tmp_path, capsys):
    path, tokenise = write(tmp_path / "a.jsonl", PAIRS), partial(reward_tokens, codec, max_seq_len=200)
    flags = DataFlags(data_path=[str(path)], data_split="0,1,0", eval_share=0.25)
    train, heldout, _ = examples.load(2, flags, tokenise, margin_column="margin")
    far = examples.far_apart(train, 0.2)
    assert {e.scores[0] for e in far.examples} == {0.2, 0.3} and set(map(tuple, far.kept)) == {(True,)}
    assert far.rows == [r for r, e in zip(train.rows, train.examples) if e.scores[0] >= 0.2]
    gone = len(train) - len(far)
    assert f"--min_margin 0.2: {gone} of {len(train)} training pairs have a smaller margin" in capsys.readouterr().out
    assert min(e.scores[0] for e in heldout.examples) < 0.2  # the held-out ones stay
    with pytest.raises(InputError, match="--min_margin 9: all 30 training pairs have a smaller margin; lower it"):
        examples.far_apart(train, 9)
    ranked = Example(({"role": "user", "content": "가"},), ("가", "나", "다"), scores=(3.0, 2.9, 1.0))
    assert examples.far_apart(examples.Split([ranked], [[]]), 1.0).kept == [[False, True, True]]


def test_gaps_are_margins_times_their_weight():
    user = ({"role": "user", "content": "가"},)
    ranked = Example(user, ("가", "나", "다"), scores=(3.0, 2.5, 1.0))
    split = examples.Split([ranked, Example(user, ("가", "나"))], [[], []], kept=[[True] * 3, [True]])
    found = examples.with_gaps(split, 0.5)
    assert found.gaps == [[0.25, 1.0, 0.75], [0.0]] and found.kept == split.kept  # of people's pair: none


def test_what_is_too_long_is_named_by_category_and_kept_for_the_rules(codec, tmp_path, capsys):
    rows = [
        {**p, "rejected": "싫어요. " * 40} if p["category"] == "b" and i % 3 == 0 else p for i, p in enumerate(PAIRS)
    ]
    path, tokenise = write(tmp_path / "a.jsonl", rows), partial(reward_tokens, codec, max_seq_len=100)
    flags = DataFlags(data_path=[str(path)], data_split="0,1,0", eval_data_path=[str(path)])
    held = write(tmp_path / "b.jsonl", [{**r, "prompt": f"다른 {r['prompt']}"} for r in rows])
    _, heldout, _ = examples.load(2, replace(flags, eval_data_path=[str(held)]), tokenise)
    too_long = [e for e in heldout.left_out if e.category == "b"]
    assert len(too_long) == len(heldout.left_out) == 7 and len(heldout) == 33
    assert capsys.readouterr().out.count("  by category: b 7 of 20") == 2  # of the training pairs and of these
