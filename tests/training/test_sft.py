"""The loss of step 1: by hand, and through packed models against plain transformers."""

import contextlib
import math

import numpy as np
import pytest
import torch

from korlhf.data.example import Example
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps
from korlhf.rl import rollout
from korlhf.training.examples import Split
from korlhf.training.loop import Order
from korlhf.training.sft import SftTraining, sft_loss, token_logps
from korlhf.training.world import World


def test_sft_loss_by_hand():
    assert float(sft_loss(torch.tensor([-1.0, -0.5, -2.5]), 2)) == 2.0  # (1 + .5 + 2.5) / 2


@pytest.fixture
def rows(codec):
    """Three SFT sequences of different lengths, the last of two turns."""
    user, assistant = [{"role": r, "content": c} for r, c in (("user", "가요"), ("assistant", "네."))]
    return [codec.with_answer([user], a) for a in ("좋아요.", "")] + [
        codec.with_answer([user, assistant, user], "산책하러 갈까요?")
    ]


def logps_of(lm, rows):
    return token_logps(TokenLogps(lm), rows, torch.device("cpu"))


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "qwen2", "gemma2", "gpt2"])
def test_packing_changes_neither_sft_loss_nor_gradient(load_lm, rows, name):
    lm = load_lm(name)
    together = sft_loss(logps_of(lm, rows), 10)
    alone = sum(sft_loss(logps_of(lm, [r]), 10) for r in rows)
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-5)
    a, b = gradients(lm, together), gradients(lm, alone)
    assert float((a - b).abs().max()) <= 1e-5 * max(1, float(b.abs().max()))


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_the_end_of_an_answer_is_trained(load_lm, codec, rows, name):
    lm, seen = load_lm(name), []

    def keep(module, args, logits):
        logits.retain_grad()
        seen.append(logits)

    lm.get_output_embeddings().register_forward_hook(keep)
    loss = sft_loss(logps_of(lm, rows), 1)
    loss.backward()
    logits, gradient = seen[0], seen[0].grad
    ends = [
        i
        for i, token in enumerate(sum(([t for t, m in zip(r.ids, r.mask) if m] for r in rows), []))
        if token == codec.eos_token_id
    ]
    assert len(ends) == 4  # one answer, an empty one, and two turns
    expected = logits.detach()[ends].softmax(-1)[:, codec.eos_token_id] - 1  # d(-log softmax) / d(its own logit)
    assert torch.allclose(gradient[ends, codec.eos_token_id], expected, atol=1e-5) and float(expected.max()) < 0
    assert len(gradient) == sum(sum(r.mask) for r in rows)  # and nothing but answers is


def test_step_loss_does_not_depend_on_the_split_into_passes(load_lm, rows):
    """normalizer = trained tokens x 1 / (ranks x accumulation): the mean of the passes' losses is the mean over all
    tokens.
    """
    lm, trained = load_lm("llama"), sum(sum(r.mask[1:]) for r in rows)
    passes = [sft_loss(logps_of(lm, chunk), trained / 2) for chunk in (rows[:1], rows[1:])]
    assert float(sum(passes).detach()) / 2 == pytest.approx(-float(logps_of(lm, rows).mean().detach()), abs=1e-5)


def test_held_out_figures_have_intervals_over_examples_and_the_card_has_answers(load_lm, codec, capsys):
    """Against one pass over each text, and the error of a ratio by hand."""
    talks = [("가요", "좋아요."), ("네", "같이 가요."), ("뭐", "산책하러 갈까요?"), ("왜", "네."), ("응", "")]
    examples = [Example(({"role": "user", "content": q},), (a,), "ab"[i % 2]) for i, (q, a) in enumerate(talks)]
    examples.append(Example(text="문서"))
    held = [codec.with_answer(e.messages, e.answers[0]) if e.messages else Tokens([5, 6], [1, 1]) for e in examples]
    lm = load_lm("llama")
    training = SftTraining(Alone(TokenLogps(lm)), "x", codec, (Split([], []), Split(examples, held)), ORDER, 2)
    found = training.evaluate()
    losses = [-logps_of(lm, [row]).detach().double() for row in held]
    tokens = [len(part) for part in losses]
    assert found["loss"] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)
    assert (found["n"], found["tokens"], found["perplexity"]) == (
        6,
        sum(tokens),
        pytest.approx(math.exp(found["loss"])),
    )
    assert found["by_category"]["a"]["n"] == 3 and found["by_category"]["all"]["tokens"] == 1
    low, high = found["ci95"]["loss"]
    assert low < found["loss"] < high
    sums = np.array([float(part.sum()) for part in losses])
    error = np.sqrt(((sums - found["loss"] * np.array(tokens)) ** 2).sum() / 5 / 6) / np.mean(tokens)
    # t of 5 degrees of freedom; the side of the long tail reaches farther
    assert min(high - found["loss"], found["loss"] - low) == pytest.approx(2.5706 * error, rel=1e-3)
    samples = training.samples()
    assert [s.prompt for s in samples] == ["가요", "네", "왜"] and all(len(s.texts) == 1 for s in samples)
    prompt = codec.prompt(examples[0].messages).ids  # the model has 128 positions
    limits = rollout.Limits(min(96, 128 - len(prompt)), temperature=0)
    expected = rollout.sample(lm, [prompt], [0], codec.eos_token_id, limits)
    assert samples[0].texts[0][1] == codec.decode(expected[0])
    lm.generate = lambda *_, **__: 1 / 0
    assert training.samples() == [] and "note: no answers on the card: ZeroDivisionError" in capsys.readouterr().out


ORDER = Order(4, 2, 1, 1, 1, 1, World(0, 1, torch.device("cpu")))


class Alone:
    """What an Engine is to an evaluation."""

    def __init__(self, module):
        self.module, self.gathered_weights = module, contextlib.nullcontext
        self.eval, self.train = module.eval, module.train

    def __call__(self, *args):
        return self.module(*args)
