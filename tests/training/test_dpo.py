"""Preference optimisation: losses by hand, gradients against plain loops, a task of known optimum, the reference."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy_policy import ALONE, toy_codec
from toy_preferences import moved, ranked, split_of, step, training

from korlhf.core.errors import InputError
from korlhf.data import packing
from korlhf.training import reference
from korlhf.training.dpo_flags import PreferenceFlags
from korlhf.training.examples import fingerprint, unpaired
from korlhf.training.preference_losses import answer_scores, kto_losses, pair_losses, pairs_of

RANKED = [
    ranked("나", "가", "나 다"),
    ranked("다 라", "마 마", "가", "라 나 가"),
    ranked("마", "다", "마"),
    ranked("라 마", "나", "다 다"),
]
FLAGS = {
    "dpo": {"beta": 0.5, "label_smoothing": 0.1, "sft_weight": 0.2},
    "ipo": {"beta": 0.5},
    "simpo": {"beta": 2.0, "simpo_gamma": 0.7},
    "orpo": {"beta": 0.3},
    "kto": {"beta": 0.5, "desirable_weight": 2.0, "undesirable_weight": 0.5, "sft_weight": 0.2},
}


@pytest.fixture(scope="module")
def codec():
    return toy_codec()


def pair_loss(margin, nll=0.0, **flags):
    return float(pair_losses(PreferenceFlags(**flags), torch.tensor([margin]), torch.tensor([nll]))[0])


def test_losses_of_a_pair_by_hand():
    # beta x margin = ln 3: -ln sigmoid(ln 3) = ln 4/3, and ln 4 the wrong way round
    margin = math.log(3) / 0.5
    assert pair_loss(margin, beta=0.5) == pytest.approx(math.log(4 / 3))
    assert pair_loss(margin, beta=0.5, label_smoothing=0.25) == pytest.approx(
        0.75 * math.log(4 / 3) + 0.25 * math.log(4), rel=1e-6
    )
    assert pair_loss(margin, 2.0, beta=0.5, sft_weight=0.1) == pytest.approx(math.log(4 / 3) + 0.2, rel=1e-6)
    # beta 0.1: the margin is to be 5
    assert pair_loss(3.0, loss="ipo", beta=0.1) == pytest.approx(4.0)
    # 2 x margin - 1 = ln 3
    assert pair_loss((math.log(3) + 1) / 2, loss="simpo") == pytest.approx(math.log(4 / 3), rel=1e-5)
    # of odds the likelihood is a part: 2 + 0.1 x ln 4/3
    assert pair_loss(math.log(3), 2.0, loss="orpo") == pytest.approx(2 + 0.1 * math.log(4 / 3), rel=1e-6)


def test_scores_of_an_answer_by_hand():
    logps, lengths = torch.tensor([-4 * math.log(2)]), torch.tensor([4])  # 1/2 per token
    score = lambda loss, known=None: float(answer_scores(PreferenceFlags(loss=loss), logps, lengths, known))  # noqa: E731
    assert score("dpo", torch.tensor([-5.0])) == pytest.approx(5 - 4 * math.log(2), rel=1e-6)
    assert score("simpo") == pytest.approx(-math.log(2), rel=1e-6)
    assert score("orpo") == pytest.approx(0.0, abs=1e-6)  # odds of 1/2 are 1
    certain = answer_scores(PreferenceFlags(loss="orpo"), torch.zeros(1), torch.tensor([3]), None)
    assert certain.isfinite().all()


def test_kto_by_hand():
    flags = PreferenceFlags(loss="kto", beta=0.5, desirable_weight=2.0)
    scores, good = torch.tensor([2 + 2 * math.log(3)] * 2), torch.tensor([True, False])
    # 0.5 x (score - 2) = ln 3: sigmoid 3/4
    losses = kto_losses(flags, scores, good, 2.0, torch.zeros(2))
    assert losses.tolist() == pytest.approx([2 * 0.25, 0.75], rel=1e-6)


def test_pairs_of_rankings():
    better, worse, weights = pairs_of([3, 2])
    assert list(zip(better, worse)) == [(0, 1), (0, 2), (1, 2), (3, 4)]
    assert weights == pytest.approx([1 / 6] * 3 + [1 / 2])
    kept = [[True, False, True], [True]]
    assert pairs_of([3, 2], kept) == ([0, 1, 3], [1, 2, 4], pytest.approx([0.25, 0.25, 0.5]))


@pytest.mark.parametrize("smoothing", [0.1, 0.3])
def test_the_optimum_of_smoothed_pairs(smoothing):
    """Where a pair is the wrong way round with a probability, the best margin is that of Bradley and Terry."""
    for loss, best in (
        ("dpo", math.log((1 - smoothing) / smoothing) / 0.5),
        ("ipo", (1 - 2 * smoothing) / (2 * 0.5)),
    ):
        margin = torch.tensor([best], requires_grad=True)
        flags = PreferenceFlags(loss=loss, beta=0.5, label_smoothing=smoothing)
        pair_losses(flags, margin, torch.zeros(1)).sum().backward()
        assert float(margin.grad) == pytest.approx(0.0, abs=1e-6), loss


def logps_of(lm, tokens):
    """Log-probabilities of the answer's tokens, by plain transformers."""
    ids, n = torch.tensor([tokens.ids]), tokens.answer
    at = lm(input_ids=ids).logits[0].log_softmax(-1)[-n - 1 : -1]
    return at.gather(1, ids[0, -n:].unsqueeze(1)).squeeze(1)


def naive_loss(f, t, lm, frozen):
    """Answer by answer, pair by pair, as the papers write it."""
    log, sigmoid = torch.log, torch.sigmoid
    if f.loss == "kto":
        with torch.no_grad():
            pairs = zip(t.train.rows, t.known["train"])
            ratios = [logps_of(lm, other).sum() - known for (_, other), (_, known) in pairs]
        zero, losses = max(float(sum(ratios)) / len(ratios), 0.0), []
        for (own, _), good in zip(t.train.rows, t.train.labels):
            now, before = logps_of(lm, own), logps_of(frozen, own).detach()
            reward = now.sum() - before.sum()
            if good:
                value = 2.0 * sigmoid(0.5 * (reward - zero))
                losses.append(2.0 - value + 0.2 * -now.mean())
            else:
                losses.append(0.5 - 0.5 * sigmoid(0.5 * (zero - reward)))
        return sum(losses) / len(losses)
    prompts = []
    for group in t.train.rows:
        losses = []
        for i in range(len(group)):
            for j in range(i + 1, len(group)):
                a, b = logps_of(lm, group[i]), logps_of(lm, group[j])
                ra, rb = logps_of(frozen, group[i]).sum().detach(), logps_of(frozen, group[j]).sum().detach()
                if f.loss == "dpo":
                    h = 0.5 * ((a.sum() - ra) - (b.sum() - rb))
                    losses.append(-0.9 * log(sigmoid(h)) - 0.1 * log(sigmoid(-h)) - 0.2 * a.mean())
                elif f.loss == "ipo":
                    losses.append(((a.sum() - ra) - (b.sum() - rb) - 1 / (2 * 0.5)) ** 2)
                elif f.loss == "simpo":
                    losses.append(-log(sigmoid(2.0 * a.mean() - 2.0 * b.mean() - 0.7)))
                else:
                    p, q = a.mean().exp(), b.mean().exp()
                    ratio = (p / (1 - p)) / (q / (1 - q))
                    losses.append(-a.mean() - 0.3 * log(sigmoid(log(ratio))))
        prompts.append(sum(losses) / len(losses))
    return sum(prompts) / len(prompts)


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("loss", FLAGS)
def test_the_gradient_is_that_of_a_plain_loop(codec, tmp_path, loss, chunks):
    t, frozen = training(codec, tmp_path, RANKED, chunks=chunks, loss=loss, **FLAGS[loss])
    moved(t.actor)
    if loss == "kto":  # as if the model had moved farther: not to be cut off at 0
        t.known["train"] = [[own, other - 3.0] for own, other in t.known["train"]]
    lm = t.actor.module.lm
    naive = naive_loss(t.flags, t, lm, frozen)
    expected = dict(zip([n for n, _ in lm.named_parameters()], torch.autograd.grad(naive, list(lm.parameters()))))
    metrics = step(t)
    assert metrics["loss"] == pytest.approx(float(naive.detach()), rel=1e-5)
    for name, gradient in expected.items():
        assert torch.allclose(t.actor.gradient["lm." + name], gradient, atol=2e-6), name


def test_the_figures_of_a_step_by_hand(codec, tmp_path):
    t, frozen = training(codec, tmp_path, RANKED[:2], beta=0.5, margin_column="margin", min_margin=0.1)
    t.train = t.train.__class__(t.train.examples, t.train.rows, kept=[[True], [True, False, True]])
    moved(t.actor)
    with torch.no_grad():
        now, before = (
            [[float(logps_of(lm, tokens).sum()) for tokens in group] for group in t.train.rows]
            for lm in (t.actor.module.lm, frozen)
        )
    reward = [[0.5 * (a - b) for a, b in zip(*both)] for both in zip(now, before)]
    better, worse = [reward[0][0], reward[1][0], reward[1][1]], [reward[0][1], reward[1][1], reward[1][2]]
    metrics = step(t)
    assert metrics["reward_chosen"] == pytest.approx(sum(better) / 3, abs=1e-5)
    assert metrics["reward_rejected"] == pytest.approx(sum(worse) / 3, abs=1e-5)
    assert metrics["margin"] == pytest.approx((sum(better) - sum(worse)) / 3, abs=1e-5)
    assert metrics["accuracy"] == sum(a > b for a, b in zip(better, worse)) / 3
    tokens = [t.train.rows[0][0].answer, t.train.rows[1][0].answer, t.train.rows[1][1].answer]
    nats = -(now[0][0] + now[1][0] + now[1][1])
    assert metrics["chosen_nll"] == pytest.approx(nats / sum(tokens), rel=1e-5)
    assert metrics["chosen_fall"] == pytest.approx(-2 * sum(better) / sum(tokens), abs=1e-5)


def test_dpo_reaches_the_known_optimum(codec, tmp_path):
    """Of answers that are preferred as 1 : 2 : 4, in all pairs: in proportion to reference x exp(reward / beta)."""
    words, weights, beta = ("가", "나", "라"), {"가": 1, "나": 2, "라": 4}, 0.5
    rows = []
    for a, b, a_wins, b_wins in (("나", "가", 2, 1), ("라", "가", 4, 1), ("라", "나", 2, 1)):
        rows += [ranked("나", a, b)] * a_wins + [ranked("나", b, a)] * b_wins
    t, frozen = training(codec, tmp_path, rows, beta=beta, lr=1e-2)
    for number in range(120):
        metrics = step(t, number + 1)
    group = [split_of(codec, [ranked("나", word, "마")]).rows[0][0] for word in words]
    with torch.no_grad():
        now, before = (
            torch.tensor([float(logps_of(lm, tokens).sum()) for tokens in group]) for lm in (t.actor.module.lm, frozen)
        )
    optimum = before + torch.tensor([math.log(weights[word]) / beta for word in words])
    assert torch.allclose(now.softmax(0), optimum.softmax(0), atol=0.01)
    # accuracy of the best ordering: 8 of the 11 pairs are the likelier way round
    assert metrics["accuracy"] == pytest.approx(8 / 11)


def test_the_reference_is_kept_and_no_other_is_taken(codec, tmp_path):
    held = [ranked("마 나", "다", "가 가"), ranked("가", "나", "라 라")]
    t, frozen = training(codec, tmp_path, RANKED, held, drift=2)
    with torch.no_grad():
        by_hand = [[float(logps_of(frozen, tokens).sum()) for tokens in group] for group in t.train.rows]
    for ours, theirs in zip(t.known["train"], by_hand):
        assert ours == pytest.approx(theirs, abs=1e-5)
    kept = json.loads((tmp_path / reference.FILE).read_text(encoding="utf-8"))
    assert [len(answer) <= 4 for answer in kept["answers"]] == [True, True]
    (tmp_path / reference.FILE).write_text(json.dumps(kept | {"heldout": [[0.0, 0.0]] * 2}), encoding="utf-8")
    again, _ = training(codec, tmp_path, RANKED, held, drift=2)
    assert again.known["train"] == t.known["train"] and again.known["heldout"] == [[0.0, 0.0]] * 2  # read, not made
    with pytest.raises(InputError, match="reference.json: is of other data or of another model; delete it"):
        training(codec, tmp_path, RANKED[1:], held, drift=2)
    (tmp_path / reference.FILE).write_text("[1", encoding="utf-8")
    with pytest.raises(InputError, match="reference.json: is damaged"):
        training(codec, tmp_path, RANKED, held, drift=2)


def test_of_less_than_an_epoch_the_reference_reads_what_the_steps_take(codec, tmp_path):
    rows = RANKED * 3
    whole, _ = training(codec, tmp_path / "whole", rows)
    for steps, more in ((1, 2), (2, 4)):  # a run that is given more steps computes again
        t, _ = training(codec, tmp_path / "few", rows, batch=2, max_steps=steps)
        read = [i for i, logps in enumerate(t.known["train"]) if logps is not None]
        taken = [i for _, (_, everyone) in packing.steps(len(rows), 2, ALONE, 1, 0, 0, steps) for i in everyone]
        assert read == sorted(taken) and len(read) == more
        assert [t.known["train"][i] for i in read] == [pytest.approx(whole.known["train"][i]) for i in read]


@pytest.mark.parametrize("loss", ["simpo", "orpo"])
def test_without_a_reference_none_is_made(codec, tmp_path, loss):
    t, _ = training(codec, tmp_path, RANKED, [ranked("마 나", "다", "가 가")], drift=2, loss=loss)
    assert t.known is None and not list(tmp_path.iterdir())
    figures = t.evaluate()
    assert "drift" not in figures and set(step(t)).isdisjoint({"chosen_fall"})
    assert [label for label, _ in t.samples()[0].texts] == ["학습 후 · after"]


def test_figures_of_held_out_pairs(codec, tmp_path):
    held = [ranked("마 나", "다", "가 가"), ranked("가", "나", "라 라", "마", category="evol")]
    t, frozen = training(codec, tmp_path, RANKED, held, drift=2, beta=0.5)
    before = t.evaluate()
    assert before["accuracy"] == 0.5 and before["drift"]["kl"] == 0.0 and t.heldout_metrics(before)["heldout_kl"] == 0.0
    moved(t.actor)
    after, lm = t.evaluate(), t.actor.module.lm
    with torch.no_grad():
        reward = lambda tokens: 0.5 * float(logps_of(lm, tokens).sum() - logps_of(frozen, tokens).sum())  # noqa: E731
        rewards = [[reward(tokens) for tokens in group] for group in t.heldout.rows]
        answers = reference.after(t.asked.prompts, t.known["answers"])
        drift = [-reward(tokens) / 0.5 for (tokens,) in answers]
        chosen = [group[0] for group in t.heldout.rows]
        nll = -sum(float(logps_of(lm, c).sum()) for c in chosen) / sum(c.answer for c in chosen)
    for ours, theirs in zip(t.scores, rewards):
        assert ours == pytest.approx(theirs, abs=1e-5)
    right = [rewards[0][0] > rewards[0][1]] + [rewards[1][i] > rewards[1][j] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert after["accuracy"] == sum(right) / 4 and after["by_category"]["evol"]["n"] == 3
    assert after["drift"]["kl"] == pytest.approx(sum(drift) / 2, abs=1e-5)
    assert after["chosen"]["nll"] == pytest.approx(nll, rel=1e-6)
    metrics = t.heldout_metrics(after)
    assert metrics["heldout_chosen_fall"] == pytest.approx(nll - before["chosen"]["nll"], abs=1e-6)
    assert "drift: KL(reference || model)" in t.report(after, "after")


def labelled(prompt, answer, good):
    return ranked(prompt, answer, label=good)


def test_answers_that_are_good_or_bad_each(codec):
    rows = [labelled("나", "가", True), labelled("다 라", "마", False), ranked("마", "다", "라 나", "마 마")]
    split = split_of(codec, rows)
    flat = unpaired(split, 64, 0)
    assert flat.labels == [True, False, True, False]
    texts = [codec.decode(own.ids[-own.answer :]) for own, _ in flat.rows]
    assert texts == ["가", "마", "다", "마 마"]  # of the ranking the best and the worst
    for own, other in flat.rows:
        prompt = own.ids[: len(own) - own.answer]
        assert other.ids[: len(prompt)] == prompt and other.ids[len(prompt) :] != own.ids[len(prompt) :]
        theirs = {tuple(o.ids[-o.answer :]) for o, _ in flat.rows if o.ids[: len(o) - o.answer] != prompt}
        assert tuple(other.ids[len(prompt) :]) in theirs and other.mask[: len(prompt)] == [0] * len(prompt)
    assert fingerprint(rows) != fingerprint([labelled("나", "가", False), *rows[1:]])
    with pytest.raises(InputError, match="two different prompts"):
        unpaired(split_of(codec, rows[2:]), 64, 0)


def test_held_out_answers_that_are_good_or_bad_each(codec, tmp_path):
    held = [labelled("나 마", "가", True), labelled("다 라", "마", False), labelled("라", "가", True)]
    t, _ = training(codec, tmp_path, RANKED, held, loss="kto")
    t.evaluate()
    moved(t.actor)
    figures = t.evaluate()
    assert figures["reward_good"] == pytest.approx((t.scores[0][0] + t.scores[2][0]) / 2)
    assert figures["reward_bad"] == pytest.approx(t.scores[1][0]) and figures["chosen"]["n"] == 2
    assert "reward_good" in t.report(figures, "after") and t.final_figures(figures) == {"trivial_rules": None}
    assert t.on_card({"heldout_before": figures, "heldout_after": figures, "trivial_rules": None})


def test_kto_needs_two_answers_in_a_step(codec, tmp_path):
    rows = [labelled("나", "가", True), labelled("다", "나", True)]
    t, _ = training(codec, tmp_path, rows, loss="kto")
    assert step(t)["reward_rejected"] is None  # there is no bad one
    alone, run = replace(t.order, batch_size=1), SimpleNamespace(dir=tmp_path, settings=t.settings)
    with pytest.raises(InputError, match="--per_device_train_batch_size 1: kto needs 2"):
        type(t)(t.actor, t.flags, codec, (t.train, t.heldout), alone, t.asked, run)
