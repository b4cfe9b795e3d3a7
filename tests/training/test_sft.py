"""The loss of step 1: by hand, and through packed models against plain transformers."""

import pytest
import torch

from korlhf.models.causal_lm import TokenLogps
from korlhf.training.sft import sft_loss, token_logps


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
