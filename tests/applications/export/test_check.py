"""Greedy answers compared token by token."""

import pytest
import torch

from korlhf.applications.export.check import compare, greedy, plain_greedy


def test_both_ways_to_answer_agree_and_a_changed_weight_does_not(load_lm, codec):
    lm = load_lm("llama")
    prompts = [codec.prompt([{"role": "user", "content": text}]).ids for text in ("안녕", "오늘 뭐 해요?", "같이 가요")]
    lm.generation_config.update(
        eos_token_id=codec.eos_token_id, pad_token_id=codec.eos_token_id, do_sample=True, temperature=1.0
    )
    ours = greedy(lm, prompts, codec.eos_token_id, 8, "ours")
    plain = plain_greedy(lm, prompts, 8, "plain")
    assert ours == plain and all(1 <= len(a) <= 8 for a in ours)
    assert compare(ours, plain, codec) == {"same": 3, "n": 3, "first": None}
    with torch.no_grad():
        lm.get_output_embeddings().weight[ours[1][0]] = 0
    assert compare(ours, greedy(lm, prompts, codec.eos_token_id, 8, "changed"), codec)["same"] < 3


def test_the_first_difference_is_told(codec):
    a, b, c = codec.tokenizer("가나다", add_special_tokens=False).input_ids[:3]
    texts = {ids: codec.tokenizer.decode([ids]) for ids in (b, c)} | {None: "(the end)"}
    for expected, found, at, one, two in (
        ([a, b], [a, c], 2, b, c),
        ([a, b], [a], 2, b, None),
        ([a], [a, b], 2, None, b),
    ):
        first = compare([[a], expected], [[a], found], codec)["first"]
        assert first == {"prompt": 2, "at": at, "expected": texts[one], "found": texts[two]}
    with pytest.raises(ValueError):
        compare([[a]], [], codec)
