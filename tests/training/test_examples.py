"""Held-out examples are drawn after the length filter; fingerprints follow the content."""

import json
from dataclasses import replace
from functools import partial

from korlhf.data.example import Example
from korlhf.data.load import load_step
from korlhf.data.tokenize import sft_tokens
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
