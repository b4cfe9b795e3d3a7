"""The losses of steps 1 and 2: by hand, and through packed models against plain transformers."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification

from korlhf.data import packing
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps
from korlhf.models.reward_model import TokenValues
from korlhf.training import losses
from korlhf.training import reward as pairs


def test_sft_loss_by_hand():
    assert float(losses.sft_loss(torch.tensor([-1.0, -0.5, -2.5]), 2)) == 2.0  # (1 + .5 + 2.5) / 2


def test_ranked_loss_of_one_pair_by_hand():
    # margin ln 3: -ln sigmoid(ln 3) = -ln(3/4)
    assert float(losses.ranked_loss(torch.tensor([math.log(3) + 1, 1.0]), [2])) == pytest.approx(
        math.log(4 / 3), abs=1e-6
    )


def test_ranked_loss_of_four_against_a_double_loop():
    torch.manual_seed(0)
    scores, sizes, at, means = torch.randn(4 + 2 + 3), [4, 2, 3], 0, []
    for k in sizes:
        group, terms = scores[at : at + k].tolist(), []
        for i in range(k):
            for j in range(i + 1, k):
                terms.append(math.log(1 + math.exp(group[j] - group[i])))
        assert len(terms) == k * (k - 1) // 2
        means.append(sum(terms) / len(terms))
        at += k
    assert float(losses.ranked_loss(scores, sizes)) == pytest.approx(sum(means) / 3, abs=1e-6)


def test_ranked_right_by_hand():
    # 3 > 1 right, 3 = 3 half, 1 < 3 wrong; second prompt 0 < 2 wrong
    assert losses.ranked_right(torch.tensor([3.0, 1.0, 3.0, 0.0, 2.0]), [3, 2]) == (1.5, 4)


@pytest.fixture
def rows(codec):
    """Three SFT sequences of different lengths, the last of two turns."""
    user, assistant = [{"role": r, "content": c} for r, c in (("user", "가요"), ("assistant", "네."))]
    return [codec.with_answer([user], a) for a in ("좋아요.", "")] + [
        codec.with_answer([user, assistant, user], "산책하러 갈까요?")
    ]


def logps_of(lm, rows):
    packed = packing.pack([r.ids for r in rows])
    return TokenLogps(lm)(packed.ids, packed.position_ids, *packing.targets(packed, [r.mask for r in rows]))


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "qwen2", "gemma2", "gpt2"])
def test_packing_changes_neither_sft_loss_nor_gradient(load_lm, rows, name):
    lm = load_lm(name)
    short = [Tokens(rows[0].ids[-6:], rows[0].mask[-6:])]  # shares a row with another
    rows = rows + short * 2
    assert packing.pack([r.ids for r in rows]).ids.size(0) < len(rows)
    together = losses.sft_loss(logps_of(lm, rows), 10)
    alone = sum(losses.sft_loss(logps_of(lm, [r]), 10) for r in rows)
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
    loss = losses.sft_loss(logps_of(lm, rows), 1)
    loss.backward()
    logits, gradient = seen[0], seen[0].grad
    ends = [
        i
        for i, token in enumerate(sum(([t for t, m in zip(r.ids, r.mask) if m] for r in rows), []))
        if token == codec.stop_id
    ]
    assert len(ends) == 4  # one answer, an empty one, and two turns
    expected = logits.detach()[ends].softmax(-1)[:, codec.stop_id] - 1  # d(-log softmax) / d(its own logit)
    assert torch.allclose(gradient[ends, codec.stop_id], expected, atol=1e-5) and float(expected.max()) < 0
    assert len(gradient) == sum(sum(r.mask) for r in rows)  # and nothing but answers is


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_packing_changes_neither_reward_loss_nor_gradient(folders, codec, name):
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(folders[name], num_labels=1).eval()
    group = [
        codec.with_answer([{"role": "user", "content": "가요"}], a)
        for a in ("네, 좋아요. 같이 가요.", "네.", "", "싫어요!")
    ]
    together = losses.ranked_loss(pairs.forward(TokenValues(model), group, torch.device("cpu")), [4])
    hidden = [
        model.base_model(input_ids=torch.tensor([t.ids]), use_cache=False).last_hidden_state[0, -1] for t in group
    ]
    alone = losses.ranked_loss(model.score(torch.stack(hidden)).flatten(), [4])
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-5)
    a, b = gradients(model, together), gradients(model, alone)
    assert float((a - b).abs().max()) <= 1e-5 * max(1, float(b.abs().max()))


def test_step_loss_does_not_depend_on_the_split_into_passes(load_lm, rows):
    """normalizer = trained tokens x 1 / (ranks x accumulation): the mean of the passes' losses is the mean over all tokens."""
    lm, trained = load_lm("llama"), sum(sum(r.mask[1:]) for r in rows)
    passes = [losses.sft_loss(logps_of(lm, chunk), trained / 2) for chunk in (rows[:1], rows[1:])]
    one = F.mse_loss(sum(passes) / 2, -logps_of(lm, rows).mean())
    assert float(one.detach()) < 1e-10
