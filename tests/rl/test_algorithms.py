"""Every algorithm of step 3 with tiny models: its gradient against a plain loop, and a task of known optimum."""

import pytest
import torch
from toy_policy import WORDS, collect, flags, make_models, toy_codec, toy_prompts

from korlhf.rl import step
from korlhf.rl.advantages import whiten

PER_WORD = [0.0, 0.3, -0.5, 1.0, 0.5, -1.0, 0.0, 0.2]  # the score of an answer is the sum over its words


def score(prompts, texts):
    return torch.tensor([sum(PER_WORD[WORDS.index(word)] for word in text.split()) for text in texts])


@pytest.fixture(scope="module")
def codec():
    return toy_codec()


def naive_advantages(f, exp, ref_logps):
    """Token by token in Python, from the scores and log-probabilities of each answer."""
    k, rewards = f.num_generations, []
    for i, answer in enumerate(exp.answers):
        each = [0.0] * len(answer)
        if f.kl_in == "reward":
            each = [-0.05 * float(exp.logps[i, t] - ref_logps[i, t]) for t in range(len(answer))]
        each[-1] += float(exp.scores[i])
        rewards.append(each)
    if f.advantage_estimator == "reinforce":
        sums = [[sum(each[t:]) for t in range(len(each))] for each in rewards]
        mean = sum(map(sum, sums)) / sum(map(len, sums))
        return [[x - mean for x in each] for each in sums]
    out = []
    for i, each in enumerate(rewards):
        group = [sum(rewards[j]) for j in range(i // k * k, i // k * k + k)]
        others = [x for j, x in enumerate(group) if j != i % k]
        if f.advantage_estimator == "rloo":
            advantage = sum(each) - sum(others) / len(others)
        else:
            mean = sum(group) / k
            std = (sum((x - mean) ** 2 for x in group) / (k - 1)) ** 0.5
            advantage = (sum(each) - mean) / (std + 1e-4 if f.scale_rewards == "group" else 1)
        out.append([advantage] * len(each))
    return out


def naive_loss(f, exp, advantages, logps, ref_logps):
    """logps: of each answer under the policy that is trained, with graph."""
    losses, kept = [], []
    for i, answer in enumerate(exp.answers):
        group = exp.scores[i // f.num_generations * f.num_generations :][: f.num_generations].tolist()
        if (f.mask_truncated and answer[-1] != 0) or (f.dynamic_sampling and len(set(group)) == 1):
            continue
        kept.append(answer)
        log_ratio = logps[i] - exp.logps[i, : len(answer)]
        if f.ratio == "sequence":
            log_ratio = log_ratio.mean().expand(len(answer))
        ratio, advantage = log_ratio.exp(), torch.tensor(advantages[i])
        each = -torch.min(
            ratio * advantage, ratio.clamp(1 - f.cliprange, 1 + (f.cliprange_high or f.cliprange)) * advantage
        )
        if f.kl_in == "loss":
            away = ref_logps[i, : len(answer)] - logps[i]
            each = each + 0.05 * (away.exp() - 1 - away)
        losses.append(each)
    if f.loss_aggregation == "token":
        return torch.cat(losses).mean()
    if f.loss_aggregation == "sequence":
        return torch.stack([x.mean() for x in losses]).mean()
    return torch.cat(losses).sum() / (len(losses) * f.max_answer_seq_len)


CASES = {
    "rloo": {"advantage_estimator": "rloo"},
    "rloo, several passes": {"advantage_estimator": "rloo", "per_device_training_batch_size": 4},
    "grpo": {"advantage_estimator": "grpo", "loss_aggregation": "sequence", "kl_in": "loss"},
    "dr. grpo": {"advantage_estimator": "grpo", "scale_rewards": "none", "loss_aggregation": "constant"},
    "dapo": {"advantage_estimator": "grpo", "cliprange_high": 0.28, "dynamic_sampling": True, "mask_truncated": True},
    "gspo": {"advantage_estimator": "grpo", "ratio": "sequence", "loss_aggregation": "sequence", "cliprange": 0.01},
    "reinforce": {"advantage_estimator": "reinforce", "no_whitening": True},
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_a_plain_loop(codec, case):
    how = {"per_device_training_batch_size": 16, "num_generations": 4, **CASES[case]}
    several = 16 // how["per_device_training_batch_size"]
    f = flags(16, gradient_accumulation_steps=several, **how)
    models, frozen = make_models(codec, accumulation=several)
    models.reward, models.critic = score, None
    torch.manual_seed(1)
    for p in models.actor.module.parameters():
        p.data += 0.02 * torch.randn_like(p)  # so that actor and reference differ
    prompts = [p for p in toy_prompts(codec)[:4] for _ in range(4)]
    exp, sums, _ = collect(models, prompts, f)
    exp.passes = None  # for the policy that is trained has moved away from the one that sampled
    for p in models.actor.module.parameters():
        p.data += 0.02 * torch.randn_like(p)
    lm = models.actor.module.lm

    def logps_of(model, i):
        ids = torch.tensor([prompts[i].ids + exp.answers[i]])
        at = model(input_ids=ids).logits[0].log_softmax(-1)[len(prompts[i].ids) - 1 : -1]
        return at.gather(1, torch.tensor(exp.answers[i]).unsqueeze(1)).squeeze(1)

    with torch.no_grad():
        ref_logps = torch.nn.utils.rnn.pad_sequence([logps_of(frozen, i) for i in range(16)], batch_first=True)
    advantages = naive_advantages(f, exp, ref_logps)
    for i, expected in enumerate(advantages):
        assert exp.advantages[i, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
    loss = naive_loss(f, exp, advantages, [logps_of(lm, i) for i in range(16)], ref_logps)
    expected = dict(zip([n for n, _ in lm.named_parameters()], torch.autograd.grad(loss, list(lm.parameters()))))
    statistics = step.update(models, exp, f, train_actor=True, kl_coef=0.05)
    assert statistics["policy_loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
    assert statistics["value_loss"] is None
    for name, gradient in expected.items():
        assert torch.allclose(models.actor.gradient["lm." + name], gradient, atol=1e-5), name
    assert sums["equal_groups"] == 4 * sum(len(set(exp.scores[i : i + 4].tolist())) == 1 for i in range(0, 16, 4))


def test_no_answer_that_counts_is_a_step_of_nothing(codec):
    models, _ = make_models(codec)
    models.reward, models.critic = lambda prompts, texts: torch.zeros(len(texts)), None
    f = flags(8, advantage_estimator="grpo", num_generations=4, dynamic_sampling=True)
    exp, sums, _ = collect(models, [p for p in toy_prompts(codec)[:2] for _ in range(4)], f)
    statistics = step.update(models, exp, f, train_actor=True)
    assert sums["kept"] == 0 and sums["equal_groups"] == 8
    assert (statistics["policy_loss"], statistics["clip_fraction"], statistics["ratio_max"]) == (0, 0, 1)
    assert all(not g.any() for g in models.actor.gradient.values())


def test_without_a_penalty_no_reference_is_asked(codec):
    models, _ = make_models(codec)
    models.reward, models.critic, models.reference, models.measures_kl = score, None, None, False
    f = flags(8, advantage_estimator="rloo", num_generations=2, kl_coef=0.0)
    exp, sums, _ = collect(models, [p for p in toy_prompts(codec)[:4] for _ in range(2)], f, kl_coef=0.0)
    assert exp.ref_logps is None and not {"kl", "kl_k3"} & sums.keys()
    assert sums["reward"] == pytest.approx(sums["score"], abs=1e-5)
    step.update(models, exp, f, train_actor=True)


@pytest.mark.parametrize("estimator", ["gae", "rloo", "grpo", "reinforce"])
def test_the_known_optimum_is_reached(codec, estimator):
    """Answers of one word: the best policy is in proportion to reference x exp(score / kl_coef)."""
    torch.manual_seed(0)
    beta, prompt = 0.5, toy_prompts(codec)[0]
    models, frozen = make_models(codec, lr=2e-2, spread=0.1)
    models.reward = score
    if estimator != "gae":
        models.critic = None
    f = flags(128, max_answer_seq_len=1, advantage_estimator=estimator, num_generations=64)

    def probabilities(model):
        with torch.no_grad():
            return model(input_ids=torch.tensor([prompt.ids])).logits[0, -1].softmax(-1)

    best = probabilities(frozen) * (torch.tensor(PER_WORD) / beta).exp()
    best = best / best.sum()
    found = torch.zeros(len(WORDS))
    for at in range(24):
        seeds = range(at * 128, at * 128 + 128)
        exp, *_ = collect(models, [prompt] * 128, f, list(seeds), kl_coef=beta)
        if f.whitens:
            exp.advantages = whiten(exp.advantages, exp.mask)
        step.update(models, exp, f, train_actor=True)
        for group in models.actor.optimizer.param_groups:
            group["lr"] = 2e-2 * (1 - at / 24)
        if at >= 16:
            found += probabilities(models.actor.module.lm) / 8
    away = 0.5 * float((found - best).abs().sum())  # total variation
    start = 0.5 * float((probabilities(frozen) - best).abs().sum())
    assert start > 0.3 and away < 0.03, (start, away)
