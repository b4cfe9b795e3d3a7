"""Sampling: greedy against transformers' generate, independence of the batch, and the distribution."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma3TextConfig,
    MistralConfig,
    MptConfig,
    OPTConfig,
)

from korlhf.core import progress
from korlhf.models import kv_cache
from korlhf.rl import rollout

RARE = 1  # a stop token that these models hardly ever choose
PROMPTS = [[10, 11, 12], [20], [30, 31, 32, 33, 34, 35, 36, 37, 38], [40, 41, 42, 43, 44], [50, 51]]


def greedy(lm, prompts, eos_token_id, n=10, **kwargs):
    return rollout.sample(lm, prompts, [0] * len(prompts), eos_token_id, rollout.Limits(n, temperature=0), **kwargs)


def a_stop(answers):
    """The token at which these answers would end after the most different lengths."""
    return max({t for a in answers for t in a}, key=lambda t: len({a.index(t) for a in answers if t in a}))


def generate(lm, eos_token_id, n):
    how = {"do_sample": False, "max_new_tokens": n, "eos_token_id": eos_token_id, "pad_token_id": 0}
    ids = [torch.tensor([p]) for p in PROMPTS]
    return [lm.generate(i, attention_mask=torch.ones_like(i), **how)[0, i.size(1) :].tolist() for i in ids]


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "qwen2", "gemma2", "gpt2"])
def test_greedy_is_generate_of_each_prompt_alone(load_lm, name):
    lm = load_lm(name)
    stop = a_stop(greedy(lm, PROMPTS, RARE))
    expected = generate(lm, stop, 10)
    assert len({len(a) for a in expected}) > 1 and any(a[-1] == stop for a in expected)
    assert greedy(lm, PROMPTS, stop) == expected
    assert greedy(lm, PROMPTS, stop, batch_size=2) == expected


def test_a_long_sampling_says_how_far_it_is(load_lm, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.delenv("KORLHF_TERMINAL", raising=False)
    lm = load_lm("llama")
    stop = a_stop(greedy(lm, PROMPTS, RARE))
    silent = greedy(lm, PROMPTS, stop)
    assert capsys.readouterr().err == "" and greedy(lm, PROMPTS, stop, batch_size=2, desc="held-out") == silent
    lines = capsys.readouterr().err.splitlines()
    done = [int(line.removeprefix("held-out: answers ").partition("/")[0]) for line in lines]
    assert done == sorted(done) and done[-1] == len(PROMPTS) and len(set(done)) > 2


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2", "gpt2"])
def test_an_answer_does_not_depend_on_its_batch(load_lm, name):
    lm, prompts, seeds = load_lm(name), PROMPTS * 4, list(range(7, 27))
    how = {"limits": rollout.Limits(8, 0.7)}
    how["eos_token_id"] = a_stop(rollout.sample(lm, prompts, seeds, RARE, **how))
    together = rollout.sample(lm, prompts, seeds=seeds, **how)
    alone = [rollout.sample(lm, [p], seeds=[s], **how)[0] for p, s in zip(prompts, seeds)]
    assert len({len(a) for a in alone}) > 2  # rows leave the batch one after another
    assert together == alone
    assert rollout.sample(lm, prompts, seeds=seeds, batch_size=3, **how) == alone
    assert rollout.sample(lm, prompts[::-1], seeds=seeds[::-1], **how)[::-1] == alone
    assert rollout.sample(lm, prompts, seeds=[s + 100 for s in seeds], **how) != alone


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("look", [1, 5])
def test_rows_enter_where_others_have_left(load_lm, monkeypatch, name, look):
    """Small blocks, columns dropped at once, and looks (as on a GPU) at every token or at every fifth."""
    monkeypatch.setattr(rollout, "SLACK", 0)
    monkeypatch.setattr(kv_cache, "BLOCK", 3)
    monkeypatch.setitem(rollout.LOOK_EVERY, "cpu", look)
    lm, prompts, seeds = load_lm(name), PROMPTS * 5, list(range(50, 75))
    how = {"limits": rollout.Limits(17, 0.7)}
    how["eos_token_id"] = a_stop(rollout.sample(lm, prompts, seeds, RARE, **how))
    seen, forward = [], lm.base_model.forward

    def counted(*args, **kwargs):
        seen.append(kwargs["attention_mask"].shape)
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.base_model, "forward", counted)
    answers = rollout.sample(lm, prompts, seeds=seeds, batch_size=4, **how)
    passes = len(seen)
    assert max(rows for rows, _ in seen) == 4 and max(columns for _, columns in seen) <= 9 + 17 + 3
    assert answers == [rollout.sample(lm, [p], seeds=[s], **how)[0] for p, s in zip(prompts, seeds)]
    assert len({len(a) for a in answers}) > 3 and passes < sum(map(len, answers)) / 2


@pytest.mark.parametrize(
    "config",
    [
        BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=4),
        FalconConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True),
        MptConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=4, max_seq_len=32),
        OPTConfig(
            vocab_size=300,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=32,
        ),
        MistralConfig(
            **{"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
            **{"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 6},
        ),
        Gemma3TextConfig(
            **{"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8},
            **{"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 6},
            layer_types=["sliding_attention", "full_attention"],
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_architectures_of_other_positions_and_windows(monkeypatch, config):
    """ALiBi, learned positions, sliding windows shorter than the answers: greedy answers are those of generate."""
    monkeypatch.setattr(rollout, "SLACK", 0)
    monkeypatch.setattr(kv_cache, "BLOCK", 3)
    torch.manual_seed(1)
    lm = AutoModelForCausalLM.from_config(config).eval()
    for p in lm.parameters():
        p.data.mul_(8) if p.ndim > 1 else None  # clear favourites
    stop = a_stop(greedy(lm, PROMPTS, RARE, 14))
    assert greedy(lm, PROMPTS, stop, 14, batch_size=2) == generate(lm, stop, 14)
    assert greedy(lm, PROMPTS, stop, 14) == generate(lm, stop, 14)


def test_an_answer_ends_with_the_stop_token_or_at_the_limit(load_lm):
    lm = load_lm("llama")
    answers = rollout.sample(lm, PROMPTS * 8, list(range(40)), 5, rollout.Limits(6, 3.0))
    assert all(5 not in a[:-1] and (a[-1] == 5 or len(a) == 6) for a in answers)


def test_the_mode_of_the_model_is_kept(load_lm):
    lm = load_lm("llama").train()
    rollout.sample(lm, PROMPTS[:1], [0], 5, rollout.Limits(2))
    assert lm.training
    lm.eval()
    rollout.sample(lm, PROMPTS[:1], [0], 5, rollout.Limits(2))
    assert not lm.training


def test_left_pad_by_hand():
    ids, mask = rollout.left_pad([[1, 2], [3], [4, 5, 6]], 9, torch.device("cpu"))
    assert ids.tolist() == [[9, 1, 2], [9, 9, 3], [4, 5, 6]]
    assert mask.tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 1]]


def frequencies(probs, temperature=1.0, top_p=1.0, n=20_000):
    """Share of each token over evenly spread noise: exact to about 1/n."""
    noise = (torch.arange(n) + 0.5) / n
    tokens = rollout.choose(torch.tensor(probs).log().expand(n, -1), noise, temperature, top_p)
    return (torch.bincount(tokens, minlength=len(probs)) / n).tolist()


def test_choose_follows_the_softmax():
    assert frequencies([0.15, 0.5, 0.05, 0.3]) == pytest.approx([0.15, 0.5, 0.05, 0.3], abs=3e-4)


def test_choose_temperature():
    # at temperature 2 probabilities go with their square roots: sqrt(.64) : sqrt(.04) : sqrt(.32) = .8 : .2 : .56569,
    # sum 1.56569
    assert frequencies([0.64, 0.04, 0.32], temperature=2.0) == pytest.approx([0.51096, 0.12774, 0.36130], abs=3e-4)
    logits = torch.tensor([[0.1, 0.3, 0.2], [5.0, -1.0, 4.9]])
    assert rollout.choose(logits, torch.tensor([0.0, 0.999]), 0, 1.0).tolist() == [1, 0]


@pytest.mark.parametrize("spread", [6.0, 0.01])  # a few likely tokens; so many that all have to be sorted
def test_the_tokens_that_top_p_leaves_are_those_of_a_sorted_list(spread):
    vocab, top_p = 4 * rollout.CANDIDATES, 0.9
    logits = torch.randn(3, vocab, generator=torch.Generator().manual_seed(1)) * spread
    drawn = {k: set() for k in range(3)}
    for at in torch.linspace(0, 0.999, 400):
        for k, token in enumerate(rollout.choose(logits, at.expand(3), 1.0, top_p).tolist()):
            drawn[k].add(token)
    for k, probs in enumerate(logits.softmax(-1).tolist()):
        mass, kept = 0.0, []
        for token in sorted(range(vocab), key=lambda i: -probs[i]):
            if mass >= top_p:
                break
            mass, kept = mass + probs[token], [*kept, token]
        assert drawn[k] <= set(kept) and kept[0] in drawn[k]
        assert (len(kept) > rollout.CANDIDATES) == (spread < 1)


@pytest.mark.parametrize(
    "top_p, expected",
    [
        (0.7, [0, 0.625, 0, 0.375]),  # .5 alone does not reach .7; with .3 it does: .5/.8 and .3/.8
        (0.45, [0, 1, 0, 0]),
        (0.001, [0, 1, 0, 0]),  # always at least one
        (0.9, [0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95]),
    ],
)
def test_choose_top_p(top_p, expected):
    assert frequencies([0.15, 0.5, 0.05, 0.3], top_p=top_p) == pytest.approx(expected, abs=3e-4)


def test_choose_never_takes_an_impossible_token():
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]]).expand(3, -1)
    noise = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert rollout.choose(logits, noise, 1.0, 1.0).tolist() == [1, 2, 2]
    assert set(rollout.choose(logits, noise, 1.0, 0.9).tolist()) <= {1, 2}


def test_sampled_tokens_follow_the_model(load_lm):
    """First and second tokens of 3,000 answers, seeds counted up as in training, within 4.5 standard errors of the
    model's own probabilities.
    """
    lm, n = load_lm("gpt_neox"), 3000
    answers = rollout.sample(lm, [PROMPTS[0]] * n, [1234 * 1_000_003 + i for i in range(n)], RARE, rollout.Limits(2), n)
    with torch.no_grad():
        first = lm(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
        likely = [i for i in range(len(first)) if float(first[i]) > 0.01]
        firsts = torch.bincount(torch.tensor([a[0] for a in answers]), minlength=len(first))
        every = lm(input_ids=torch.tensor([[*PROMPTS[0], t] for t in range(len(first))])).logits[:, -1].softmax(-1)
    every[RARE] = 0  # after which nothing follows
    seconds = torch.bincount(torch.tensor([a[1] for a in answers if len(a) > 1]), minlength=len(first))
    marginal = (firsts.float() / n) @ every
    assert len(likely) >= 5
    for expected, seen in ((first, firsts), (marginal, seconds)):
        for i in (j for j in range(len(first)) if float(expected[j]) > 0.01):
            p = float(expected[i])
            assert abs(float(seen[i]) / n - p) < 4.5 * (p * (1 - p) / n) ** 0.5
