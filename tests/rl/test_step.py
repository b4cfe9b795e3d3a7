"""PPO with real tiny models on one process: every figure against plain transformers, and a task that must be learnt."""

import copy
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_policy import ALONE, GOOD, WORDS, collect, flags, make_models, toy_codec, toy_prompts

from korlhf.core.errors import InputError
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps
from korlhf.rl import rollout
from korlhf.rl import step as ppo_step
from korlhf.rl import training as rl_training
from korlhf.rl.advantages import whiten
from korlhf.rl.evaluate import evaluate
from korlhf.rl.rewards import Prompt, RewardModel, RunningMoments, finite_scores, shaped_scores
from korlhf.rl.training import PpoTraining
from korlhf.training.engine import Frozen
from korlhf.training.ppo_flags import PpoFlags
from korlhf.training.reward_flags import RewardFlags


@pytest.fixture
def codec():
    return toy_codec()


@pytest.fixture
def prompts(codec):
    return toy_prompts(codec)


def plain_logps(lm, prompt, answer, temperature=1.0):
    """Log-probabilities of `answer` by transformers, one sequence, no packing."""
    with torch.no_grad():
        logps = (lm(input_ids=torch.tensor([prompt + answer])).logits[0] / temperature).log_softmax(-1)
    return torch.stack([logps[len(prompt) + j - 1, token] for j, token in enumerate(answer)])


@pytest.mark.parametrize("size", [8, 3])
def test_experience_is_what_transformers_says_of_each_answer(codec, prompts, size):
    models, frozen = make_models(codec)
    for p in models.actor.module.parameters():
        p.data += 0.02 * torch.randn_like(p)  # so that actor and reference differ
    exp, sums, _ = collect(models, prompts, flags(8, per_device_training_batch_size=size))
    critic = models.critic.module.model
    assert len({len(a) for a in exp.answers}) > 1
    for i, (p, a) in enumerate(zip(prompts, exp.answers)):
        n = len(a)
        assert exp.mask[i].tolist() == [1] * n + [0] * (exp.mask.size(1) - n)
        assert torch.allclose(exp.logps[i, :n], plain_logps(models.actor.module.lm, p.ids, a), atol=1e-5)
        assert torch.allclose(exp.ref_logps[i, :n], plain_logps(frozen, p.ids, a), atol=1e-5)
        with torch.no_grad():
            hidden = critic.base_model(input_ids=torch.tensor([p.ids + a]), use_cache=False).last_hidden_state[0]
            values = critic.score(hidden).flatten()[
                len(p.ids) - 1 : -1
            ]  # before each answer token: the last prompt token's is the first
        assert torch.allclose(exp.values[i, :n], values, atol=1e-5)
        assert float(exp.scores[i]) == a.count(GOOD) and exp.texts[i] == " ".join(WORDS[t] for t in a if t)
        rewards = [
            -0.05 * float(exp.logps[i, t] - exp.ref_logps[i, t]) + (a.count(GOOD) if t == n - 1 else 0)
            for t in range(n)
        ]
        assert float(exp.returns[i, n - 1]) == pytest.approx(rewards[-1], abs=1e-5)  # the value behind the end is 0
        assert float(exp.advantages[i, n - 1]) == pytest.approx(rewards[-1] - float(values[-1]), abs=1e-5)
    kl = sum(float((exp.logps[i] - exp.ref_logps[i])[: len(a)].sum()) for i, a in enumerate(exp.answers))
    assert sums["kl"] == pytest.approx(kl, abs=1e-4) and sums["score"] == sum(a.count(GOOD) for a in exp.answers)
    assert sums["tokens"] == sum(map(len, exp.answers)) and sums["eos_rate"] == sum(a[-1] == 0 for a in exp.answers)
    entropies = []
    for p, a in zip(prompts, exp.answers):
        with torch.no_grad():
            probs = (
                models.actor.module.lm(input_ids=torch.tensor([p.ids + a])).logits[0, len(p.ids) - 1 : -1].softmax(-1)
            )
        entropies += torch.special.entr(probs).sum(-1).tolist()
    assert sums["entropy"] == pytest.approx(sum(entropies), abs=1e-3)


@pytest.mark.parametrize("architecture, lora", [("gpt_neox", 0), ("llama", 0), ("gpt_neox", 2), ("llama", 2)])
def test_the_first_update_is_on_policy(codec, prompts, architecture, lora):
    models, _ = make_models(codec, lora=lora, architecture=architecture)
    f = flags(8)
    exp, sums, *_ = collect(models, prompts, f)
    assert sums["kl"] == pytest.approx(0, abs=1e-4)  # the actor is still the reference
    stats = ppo_step.update(models, exp, f, train_actor=True)
    assert stats["ratio_max"] == pytest.approx(1, abs=1e-5) and stats["ratio_min"] == pytest.approx(1, abs=1e-5)
    assert stats["clip_fraction"] == 0 and stats["approx_kl"] == pytest.approx(0, abs=1e-6)
    # at ratio 1 the loss is minus the mean advantage over tokens; the value loss half the mean squared error
    assert stats["policy_loss"] == pytest.approx(-float((exp.advantages * exp.mask).sum() / exp.mask.sum()), abs=1e-5)
    assert stats["value_loss"] == pytest.approx(
        float((0.5 * (exp.values - exp.returns) ** 2 * exp.mask).sum() / exp.mask.sum()), rel=1e-4
    )
    again = ppo_step.update(models, exp, f, train_actor=True)
    assert again["ratio_max"] > 1 + 1e-4  # and it has moved


def test_an_update_in_several_passes_has_the_gradient_of_one(codec, prompts):
    gradients = []
    for size, accumulation in ((8, 1), (2, 4)):
        models, _ = make_models(codec, accumulation=accumulation)
        f = flags(8, per_device_training_batch_size=size, gradient_accumulation_steps=accumulation)
        exp, *_ = collect(models, prompts, f)
        ppo_step.update(models, exp, f, train_actor=True)
        gradients.append((models.actor.gradient, models.critic.gradient))
    for one, several in zip(*gradients):
        assert one and all(torch.allclose(one[n], several[n], atol=1e-5) for n in one)


def test_update_gradient_is_that_of_transformers(codec, prompts):
    """At ratio 1: minus the gradient of sum(advantage x log-probability) / tokens, EOS included."""
    models, frozen = make_models(codec)
    f = flags(8)
    exp, *_ = collect(models, prompts, f)
    ppo_step.update(models, exp, f, train_actor=True)
    loss = 0.0
    for i, (p, a) in enumerate(zip(prompts, exp.answers)):
        logps = frozen(input_ids=torch.tensor([p.ids + a])).logits[0].log_softmax(-1)[len(p.ids) - 1 : -1]
        loss = loss - (logps.gather(1, torch.tensor(a).unsqueeze(1)).squeeze(1) * exp.advantages[i, : len(a)]).sum()
    (loss / sum(map(len, exp.answers))).backward()
    expected = {n: p.grad for n, p in frozen.named_parameters()}
    assert all(torch.allclose(models.actor.gradient["lm." + n], g, atol=1e-5) for n, g in expected.items())


@pytest.mark.parametrize("train_actor, lora", [(True, 0), (True, 2), (False, 0)])
def test_one_pass_that_scores_and_trains_has_the_gradient_of_two(codec, prompts, train_actor, lora):
    gradients, passes = [], []
    for one in (True, False):
        models, _ = make_models(codec, lora=lora)
        runs = []
        for engine in (models.actor, models.critic):
            engine.module.register_forward_hook(lambda module, *_, runs=runs: runs.append(module))
        exp, *_ = collect(models, prompts, flags(8), score_shaping=lambda raw, ended: raw - 1)
        assert exp.passes is not None
        if not one:
            exp.passes = None
        exp.advantages = whiten(exp.advantages, exp.mask)
        stats = ppo_step.update(models, exp, flags(8), train_actor)
        gradients.append({**models.actor.gradient, **models.critic.gradient})
        passes.append(len(runs))
        if one:
            assert (stats["ratio_max"], stats["ratio_min"], stats["clip_fraction"], stats["approx_kl"]) == (1, 1, 0, 0)
    assert passes[0] == passes[1] - (2 if train_actor else 1) == (3 if lora else 2)  # with LoRA one is the reference's
    one, two = gradients
    assert one.keys() == two.keys() and any(n.startswith("lm.") for n in one) == train_actor
    assert all(torch.allclose(one[n], two[n], atol=1e-6) for n in two) and any(
        g.abs().max() > 0.01 for g in one.values()
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"ppo_epochs": 2},
        {"per_device_training_batch_size": 4},
        {"per_device_training_batch_size": 4, "gradient_accumulation_steps": 2},
        {"unsupervised_dataset_name": "texts"},
    ],
)
def test_several_passes_score_first(codec, prompts, changed):
    models, _ = make_models(codec)
    exp, *_ = collect(models, prompts, flags(8, **changed))
    assert exp.passes is None and not exp.logps.requires_grad and not exp.values.requires_grad


@pytest.mark.parametrize("size", [8, 4])
def test_a_temperature_is_part_of_the_policy(codec, prompts, size):
    """At temperature .5 the sampler's probabilities are those of twice the logits: rewards, ratios and gradient too."""
    models, frozen = make_models(codec)
    f = flags(8, temperature=0.5, per_device_training_batch_size=size)
    exp, sums, _ = collect(models, prompts, f)
    entropy, loss = 0.0, 0.0
    for i, (p, a) in enumerate(zip(prompts, exp.answers)):
        n = len(a)
        assert torch.allclose(exp.logps[i, :n], plain_logps(frozen, p.ids, a, 0.5), atol=1e-5)
        assert torch.allclose(exp.ref_logps[i, :n], plain_logps(frozen, p.ids, a, 0.5), atol=1e-5)
        logps = (2 * frozen(input_ids=torch.tensor([p.ids + a])).logits[0, len(p.ids) - 1 : -1]).log_softmax(-1)
        entropy -= float((logps.exp() * logps).detach().sum())
        loss = loss - (logps.gather(1, torch.tensor(a).unsqueeze(1)).squeeze(1) * exp.advantages[i, :n]).sum()
    assert sums["entropy"] == pytest.approx(entropy, abs=1e-3)
    if size == 8:
        exp.passes = None  # the update's own pass has it, too
        stats = ppo_step.update(models, exp, f, train_actor=True)
        assert stats["ratio_max"] == pytest.approx(1, abs=1e-5) and stats["ratio_min"] == pytest.approx(1, abs=1e-5)
        (loss / sums["tokens"]).backward()
        expected = {n: p.grad for n, p in frozen.named_parameters()}
        assert all(torch.allclose(models.actor.gradient["lm." + n], g, atol=1e-5) for n, g in expected.items())
    figures, rows = evaluate(models, prompts, f, seed=3)
    assert size == 8 or figures["kl"] == pytest.approx(0, abs=1e-5)
    assert size == 4 or figures["kl"] > 1e-5


def test_the_end_of_an_answer_is_an_action(codec, prompts, monkeypatch):
    models, _ = make_models(codec)
    monkeypatch.setattr(rollout, "sample", lambda *args: [[4, 0]] * 8)
    seen = []

    def keep(module, args, logits):
        logits.retain_grad()
        seen.append(logits)

    handle = models.actor.module.lm.get_output_embeddings().register_forward_hook(keep)
    exp, *_ = collect(models, prompts, flags(8))
    exp.advantages = torch.tensor([[0.0, 1.0]]).expand(8, -1)  # only the end was good
    ppo_step.update(models, exp, flags(8), train_actor=True)
    handle.remove()
    gradient, p = seen[0].grad, seen[0].detach().softmax(-1)
    assert gradient.shape == (16, 8)
    assert torch.allclose(gradient[1::2, 0], -(1 - p[1::2, 0]) / 16, atol=1e-6)  # -(1 - p) x advantage 1 / 16 tokens
    assert float(gradient[0::2].abs().max()) == 0


def test_critic_alone_learns_in_the_warm_up(codec, prompts):
    models, _ = make_models(codec)
    before = copy.deepcopy(models.actor.module.state_dict())
    exp, *_ = collect(models, prompts, flags(8))
    losses = [
        ppo_step.update(models, exp, flags(8, cliprange_value=10.0), train_actor=False)["value_loss"] for _ in range(10)
    ]
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(before[k], v) for k, v in models.actor.module.state_dict().items())


def test_empty_one_token_and_cut_answers(codec, prompts, monkeypatch):
    answers = [[0], [4], [0], [GOOD, GOOD, 0], [5] * 6, [0], [4, 0], [GOOD]]
    models, _ = make_models(codec)
    monkeypatch.setattr(rollout, "sample", lambda *args: answers)

    def score_shaping(raw, ended):
        assert ended.tolist() == [True, False, True, True, False, True, True, False]
        return shaped_scores(raw, ended, 0.0, 1.0, 5.0, 1.0)

    exp, sums, _ = collect(models, prompts, flags(8, lam=1.0), score_shaping=score_shaping, kl_coef=0.0)
    assert exp.texts == ["", "나", "", "가 가", "다 다 다 다 다 다", "", "나", "가"]
    assert exp.scores.tolist() == [0, 0, 0, 2, 0, 0, 0, 1]
    # with gamma and lambda 1 and no KL penalty every token's return is the counted score: less 1 for a missing EOS
    counted = torch.tensor([0.0, -1, 0, 2, -1, 0, 0, 0]).unsqueeze(1)
    assert torch.allclose(exp.returns, counted * exp.mask, atol=1e-5)
    assert exp.mask.sum(1).tolist() == list(map(len, answers))
    assert (sums["tokens"], sums["eos_rate"], sums["answers"]) == (16, 5, 8)
    f = flags(8, per_device_training_batch_size=1, gradient_accumulation_steps=1)
    stats = ppo_step.update(models, exp, f, train_actor=True)
    assert (
        all(torch.isfinite(torch.tensor(float(v))) for k, v in stats.items() if k != "ptx_loss")
        and stats["ptx_loss"] is None
    )


def test_batches_of_empty_answers_only(codec, prompts, monkeypatch):
    models, _ = make_models(codec)
    monkeypatch.setattr(rollout, "sample", lambda *args: [[0]] * 8)
    exp, *_ = collect(models, prompts, flags(8))
    exp.advantages = whiten(exp.advantages, exp.mask)
    stats = ppo_step.update(models, exp, flags(8), train_actor=True)
    assert stats["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert all(torch.isfinite(p).all() for p in models.actor.module.parameters())


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_the_adapter_switched_off_is_the_reference(codec, prompts, architecture):
    models, frozen = make_models(codec, lora=2, lr=0.05, architecture=architecture)
    f = flags(8)
    for step in range(3):
        exp, *_ = collect(models, prompts, f, seeds=[100 * step + i for i in range(8)])
        exp.advantages = whiten(exp.advantages, exp.mask)
        ppo_step.update(models, exp, f, train_actor=True)
    ids, copy_ = [p.ids for p in prompts], Frozen(TokenLogps(frozen), ALONE, "fp32")
    ref, _ = ppo_step.answer_logps(models, ids, exp.answers, 3, "reference")
    actor, _ = ppo_step.answer_logps(models, ids, exp.answers, 3, "actor")
    models.reference = copy_
    plain, _ = ppo_step.answer_logps(models, ids, exp.answers, 3, "reference")
    assert float((ref - plain).abs().max()) < 1e-6
    assert float((actor - ref).abs().max()) > 1e-2
    assert all(
        p.requires_grad for n, p in models.actor.module.named_parameters() if "lora_" in n
    )  # disabling must not freeze them


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_ptx_loss_is_the_mean_of_its_tokens(codec, prompts, temperature):
    """Whatever the sampler's temperature."""
    extra = [Tokens([4, 5, 6, 0], [0, 1, 1, 1]), Tokens([7, 0], [1, 1])]
    gradients, loss = [], None
    for coefficient in (0.0, 2.0):
        models, frozen = make_models(codec)
        f = flags(8, unsupervised_dataset_name="texts", unsup_coef=coefficient, temperature=temperature)
        exp, *_ = collect(models, prompts, f)
        loss = ppo_step.update(models, exp, f, True, iter([extra]))["ptx_loss"]
        gradients.append(models.actor.gradient)
    nll = sum(-plain_logps(frozen, t[:1], t[1:]).sum() for t in ([4, 5, 6, 0], [7, 0])) / 4
    assert loss == pytest.approx(float(nll), abs=1e-5)
    total = 0.0
    for ids in ([4, 5, 6, 0], [7, 0]):
        out = frozen(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        total = total - out.gather(1, torch.tensor(ids[1:]).unsqueeze(1)).sum() / 4
    total.backward()
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    difference = gradients[1]["lm." + name] - gradients[0]["lm." + name]
    assert torch.allclose(difference, 2.0 * dict(frozen.named_parameters())[name].grad, atol=1e-5)


def test_minibatches_cover_every_answer_once_an_epoch():
    torch.manual_seed(0)
    batches = list(ppo_step.minibatches(12, 2, 3, 2))
    assert [[len(c) for c in b] for b in batches] == [[2, 2, 2]] * 4
    epochs = [[i for b in half for c in b for i in c] for half in (batches[:2], batches[2:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12)) and epochs[0] != epochs[1]


def test_evaluation_is_the_same_twice_and_counts_by_category(codec, prompts):
    models, _ = make_models(codec)
    held = [Prompt(p.ids, p.messages, "ab"[i % 2]) for i, p in enumerate(prompts[:5])]
    figures, rows = evaluate(models, held, flags(2), seed=3)
    again, _ = evaluate(models, held, flags(3), seed=3)
    scores = torch.tensor([float(text.split().count("가")) for _, text, _ in rows], dtype=torch.float64)
    assert [i for i, *_ in rows] == list(range(5)) and [s for *_, s in rows] == scores.tolist()
    assert figures["score"] == pytest.approx(float(scores.mean())) and figures["score_std"] == pytest.approx(
        float(scores.std())
    )
    assert figures["kl"] == pytest.approx(0, abs=1e-5) and figures["n"] == 5
    assert (figures["by_category"]["a"]["n"], figures["by_category"]["b"]["n"]) == (3, 2)
    assert figures["by_category"]["a"]["score"] == pytest.approx(float(scores[::2].mean()))
    assert again["score"] == figures["score"] and again["length"] == figures["length"]


def test_the_reward_model_reads_its_own_template(codec, prompts, chat_codec):
    """Scores come from the reward model's own tokenizer and template, at the token that ends the answer there."""

    class LastToken(torch.nn.Module):
        def forward(self, packed):
            return packed.ids.flatten().float()

    own = chat_codec("chatml")
    reward = RewardModel(Frozen(LastToken(), ALONE, "fp32"), own, 3)
    assert reward(prompts, ["가"] * 8).tolist() == [own.eos_token_id] * 8


@pytest.mark.parametrize("lora, lr", [(0, 4e-3), (4, 2e-2)])
def test_the_reward_rises(codec, prompts, lora, lr):
    """24 updates on: score = number of 가 in the answer."""
    models, _ = make_models(codec, lora=lora, lr=lr, spread=0.1 if not lora else 0.2)
    f, moments, scores = flags(32, per_device_training_batch_size=16), RunningMoments(), []

    def score_shaping(raw, ended):
        moments.update(raw)
        return shaped_scores(raw, ended, 0.5, moments.std, 5.0, 1.0)

    for step in range(24):
        torch.manual_seed(step)
        exp, sums, *_ = collect(
            models,
            prompts * 4,
            f,
            seeds=[step * 1000 + i for i in range(32)],
            score_shaping=score_shaping,
            kl_coef=0.01,
        )
        exp.advantages = whiten(exp.advantages, exp.mask)
        ppo_step.update(models, exp, f, train_actor=True)
        scores.append(sums["score"] / 32)
    assert sum(scores[:3]) / 3 < 1.2 and sum(scores[-5:]) / 5 > 2.5


def ppo_training(models, prompts, heldout, folder):
    f = flags(8)
    named = SimpleNamespace(model_name_or_path="x")
    every = SimpleNamespace(ppo=f, paths={}, actor=named, critic=named, rewards=RewardFlags())
    order = SimpleNamespace(seed=3)
    return PpoTraining(models, every, prompts, heldout, [], order, SimpleNamespace(dir=folder))


def test_the_zero_of_the_score_is_of_a_few_training_prompts_and_kept(codec, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(rl_training, "REFERENCE_ANSWERS", 3)
    models, _ = make_models(codec)
    training, asked = ppo_training(models, prompts[2:], prompts[:2], tmp_path), []

    def seen(models, chosen, *args):
        asked.append([p.ids for p in chosen])
        return evaluate(models, chosen, *args)

    monkeypatch.setattr(rl_training, "evaluate", seen)
    training.evaluate()
    training.begin()
    assert list(map(len, asked)) == [2, 3] and all(ids in [p.ids for p in prompts[2:]] for ids in asked[1])
    # killed now, and started again: the same answers, not sampled once more
    again = ppo_training(models, prompts[2:], prompts[:2], tmp_path)
    again.evaluate()
    again.begin()
    assert len(asked) == 2 and again.state() == json.loads(json.dumps(training.state()))
    again.evaluate()  # in the course of the training
    assert len(asked) == 3


def with_score(value):
    def too_long(prompts, texts):
        return torch.tensor([1.0, value, 2.0])

    return too_long


@pytest.mark.parametrize("value, shown", [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf")])
def test_a_score_that_is_not_finite_names_the_reward_and_the_answer(prompts, value, shown):
    with pytest.raises(InputError) as error:
        finite_scores(with_score(value), prompts[:3], ["하나", "둘 'x'", "셋"], ALONE)
    assert str(error.value).startswith(f"the reward too_long gave {shown} for the answer \"둘 'x'\" to '다 라'; ")
    assert finite_scores(with_score(0.0), prompts[:3], ["", "", ""], ALONE).tolist() == [1.0, 0.0, 2.0]


def test_the_reward_of_a_step_and_of_an_evaluation_is_looked_at(codec, prompts):
    class Broken(torch.nn.Module):
        def forward(self, packed):
            return torch.full((packed.ids.numel(),), float("nan"))

    models, _ = make_models(codec, reward=Broken())
    models.reward.name = "--reward_model_name_or_path x"
    for go in (lambda: collect(models, prompts, flags(8)), lambda: evaluate(models, prompts, flags(8), 1)):
        with pytest.raises(InputError, match="the reward --reward_model_name_or_path x gave nan"):
            go()


def test_the_best_model_is_never_one_of_figures_that_are_not_finite(codec, prompts, tmp_path, monkeypatch):
    training, written = ppo_training(make_models(codec)[0], prompts, prompts, tmp_path), []
    monkeypatch.setattr(training, "_write_actor", written.append)
    training.flags = PpoFlags(kl_limit=5.0)
    good = {"score": 1.0, "kl": 2.0, "eos_rate": 1.0, "friendly": 1.0, "sense": 1.0}
    for step, wrong in enumerate([{"score": math.nan}, {"score": math.inf}, {"kl": math.nan}, {"kl": -math.inf}]):
        training.evaluated(step, good | wrong)
        assert training.best is None and not written
    training.evaluated(7, good)
    for step, wrong in enumerate([{"score": math.nan}, {"score": math.inf}, {"score": 2.0, "kl": math.nan}], 8):
        training.evaluated(step, good | wrong)
    assert training.best["step"] == 7 and len(written) == 1
    training.evaluated(11, good | {"score": 1.5})
    assert training.best["step"] == 11 and len(written) == 2


def test_figures_by_which_a_collapse_is_seen(codec, prompts, monkeypatch):
    answers = [[3, 0], [3, 0], [3, 3, 0], [0], [4, 0], [3, 0], [5, 5], [6, 0]]
    monkeypatch.setattr(rollout, "sample", lambda *args, **kwargs: answers)
    models, _ = make_models(codec)
    models.actor.lr, models.actor.grad_norm = 0.1, lambda: None
    _, sums, seconds = collect(models, prompts, flags(8))
    training = ppo_training(models, prompts, prompts, Path("none"))
    metrics = training._metrics(sums, dict.fromkeys(seconds, 1.0))
    assert metrics["same_answer"] == 3 / 8
    scores = torch.tensor([1.0, 1, 2, 0, 0, 1, 0, 0])  # how often the word 3 stands in each
    assert metrics["score_std"] == pytest.approx(float(scores.std(correction=0)))


def test_an_actor_whose_logits_are_not_finite_still_samples_words():
    """So that its KL, which is not finite either, ends the training in order."""
    for top_p in (1.0, 0.5):
        tokens = rollout.choose(torch.full((2, 5), float("nan")), torch.tensor([0.0, 0.9]), 1.0, top_p)
        assert all(0 <= token < 5 for token in tokens.tolist())
