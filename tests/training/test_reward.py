"""The loss of step 2: by hand, and through packed models against plain transformers."""

import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from korlhf.models.reward_model import TokenValues
from korlhf.training import pairs
from korlhf.training.reward import Terms, ranked_loss, ranked_right


def test_ranked_loss_of_one_pair_by_hand():
    # margin ln 3: -ln sigmoid(ln 3) = -ln(3/4)
    assert float(ranked_loss(torch.tensor([math.log(3) + 1, 1.0]), [2])) == pytest.approx(math.log(4 / 3), abs=1e-6)


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
    assert float(ranked_loss(scores, sizes)) == pytest.approx(sum(means) / 3, abs=1e-6)


def test_ranked_right_by_hand():
    # 3 > 1 right, 3 = 3 half, 1 < 3 wrong; second prompt 0 < 2 wrong
    assert ranked_right(torch.tensor([3.0, 1.0, 3.0, 0.0, 2.0]), [3, 2]) == (1.5, 4)


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
def test_packing_changes_neither_reward_loss_nor_gradient(folders, codec, name):
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(folders[name], num_labels=1).eval()
    group = [
        codec.with_answer([{"role": "user", "content": "가요"}], a)
        for a in ("네, 좋아요. 같이 가요.", "네.", "", "싫어요!")
    ]
    together = ranked_loss(pairs.forward(TokenValues(model), group, torch.device("cpu")), [4])
    hidden = [
        model.base_model(input_ids=torch.tensor([t.ids]), use_cache=False).last_hidden_state[0, -1] for t in group
    ]
    alone = ranked_loss(model.score(torch.stack(hidden)).flatten(), [4])
    assert float(together.detach()) == pytest.approx(float(alone.detach()), rel=1e-5)
    gradients = []
    for loss in (together, alone):
        model.zero_grad()
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    a, b = gradients
    assert float((a - b).abs().max()) <= 1e-5 * max(1, float(b.abs().max()))


def test_pairs_that_are_not_kept_are_in_no_loss():
    scores, sizes = torch.tensor([3.0, 1.0, 2.0, 0.0, 2.0]), [3, 2]
    kept = [[False, True, False], [True]]  # 3 against 2; 0 against 2
    by_hand = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert float(ranked_loss(scores, sizes, kept)) == pytest.approx(by_hand, abs=1e-6)
    assert ranked_right(scores, sizes, kept) == (1, 2)
    every = [[True] * 3, [True]]
    assert float(ranked_loss(scores, sizes, every)) == float(ranked_loss(scores, sizes))


def test_a_gap_is_to_be_reached_before_the_loss_falls():
    # better - worse - gap: 3 - 1 - 2 = 0, 3 - 2 - 0 = 1, 1 - 2 - 1 = -2; 0 - 2 - 0.5 = -2.5
    scores, sizes, gaps = torch.tensor([3.0, 1.0, 2.0, 0.0, 2.0]), [3, 2], [[2.0, 0.0, 1.0], [0.5]]
    first = (math.log(2) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 3
    second = math.log(1 + math.exp(2.5))
    assert float(ranked_loss(scores, sizes, gaps=gaps)) == pytest.approx((first + second) / 2, abs=1e-6)
    kept = [[False, False, True], [True]]
    by_hand = (math.log(1 + math.exp(2)) + second) / 2
    assert float(ranked_loss(scores, sizes, kept, gaps)) == pytest.approx(by_hand, abs=1e-6)
    assert ranked_right(scores, sizes) == (2, 4)  # being right needs no gap


def test_centred_and_smoothed_losses_against_a_double_loop():
    torch.manual_seed(1)
    scores, sizes, at, means = torch.randn(3 + 2), [3, 2], 0, []
    for k in sizes:
        group, terms = scores[at : at + k].tolist(), []
        for i in range(k):
            for j in range(i + 1, k):
                right, wrong = (math.log(1 + math.exp(d)) for d in (group[j] - group[i], group[i] - group[j]))
                terms.append(0.9 * right + 0.1 * wrong + 0.01 * (group[i] + group[j]) ** 2)
        means.append(sum(terms) / len(terms))
        at += k
    loss = ranked_loss(scores, sizes, terms=Terms(center=0.01, smoothing=0.1))
    assert float(loss) == pytest.approx(sum(means) / 2, abs=1e-6)


def test_centring_by_hand_leaves_the_margin_and_what_is_not_kept():
    # margin 0: ln 2; (3 + 3)^2 = 36 at 0.5; the third answer's pairs are not kept
    scores, kept = torch.tensor([3.0, 3.0, 9.0]), [[True, False, False]]
    loss = ranked_loss(scores, [3], kept, terms=Terms(center=0.5))
    assert float(loss) == pytest.approx(math.log(2) + 18, abs=1e-6)
