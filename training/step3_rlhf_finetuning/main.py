"""Step 3: PPO. Sample answers, score them with the reward model, pull the actor towards higher scores and not far from the reference.

With LoRA the reference is the actor with its adapter off; otherwise a frozen copy. The critic starts from the reward model.
Left out: the hybrid engine, value heads that share the actor's trunk, other algorithms than PPO.
"""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.data import load, packing, tokenize
from korlhf.models import card, lora, reward_model, save
from korlhf.models import causal_lm as models
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import step as ppo_step
from korlhf.rl.advantages import explained_variance, whiten
from korlhf.rl.rewards import KLController, RunningMoments, shaped_scores
from korlhf.training import engine, log
from korlhf.training import run as checkpoint
from korlhf.training.flags import DataFlags, ModelFlags, PpoFlags, RunFlags, check, step_parser

PANELS = [
    ("reward-model score", ["score", "heldout_score"]),
    ("KL per answer (nats)", ["kl", "heldout_kl"]),
    ("EOS rate, friendly share", ["eos_rate", "heldout_friendly"]),
    ("answer length (tokens)", ["length"]),
    ("seconds", ["seconds_sampling", "seconds_scoring", "seconds_training"]),
]
REFERENCE_PROMPTS = 256  # prompts whose reference answers set the zero of the score


def parse(argv=None):
    parser = step_parser("Step 3: PPO")
    flags.add(parser, DataFlags)
    flags.add(parser, ModelFlags, "actor_", learning_rate=2e-6, lora_learning_rate=2e-5)
    flags.add(parser, ModelFlags, "critic_", learning_rate=9e-6, lora_learning_rate=9e-5)
    flags.add(parser, RunFlags)
    flags.add(parser, PpoFlags)
    args = parser.parse_args(argv)
    data, run, ppo_flags = (flags.read(args, c) for c in (DataFlags, RunFlags, PpoFlags))
    actor, critic = (flags.read(args, ModelFlags, p) for p in ("actor_", "critic_"))
    check(data, actor, critic, run=run, parser=parser)
    flags.check_positive(
        {
            k: getattr(ppo_flags, k)
            for k in (
                "per_device_generation_batch_size",
                "per_device_training_batch_size",
                "generation_batches",
                "gradient_accumulation_steps",
                "ppo_epochs",
                "num_train_epochs",
                "max_prompt_seq_len",
                "max_answer_seq_len",
                "temperature",
                "top_p",
                "reward_clip",
            )
        },
        parser,
    )
    sampled = ppo_flags.per_device_generation_batch_size * ppo_flags.generation_batches
    used = ppo_flags.per_device_training_batch_size * ppo_flags.gradient_accumulation_steps
    if sampled % used:
        parser.error(
            f"--per_device_generation_batch_size x --generation_batches = {sampled} answers a step, which is not a multiple of "
            f"--per_device_training_batch_size x --gradient_accumulation_steps = {used}; change one of them"
        )
    return data, actor, critic, run, ppo_flags, vars(args)


def load_prompts(data, codec, max_prompt_seq_len):
    """Training and held-out prompts as ppo_step.Prompt lists; held-out prompts over the limit are left out too."""
    train, heldout = load.load_step(
        3,
        data.data_path,
        data.data_split,
        eval_data_path=data.eval_data_path,
        eval_share=data.eval_share,
        max_eval_examples=data.max_eval_examples,
        seed=data.seed,
    )
    out = []
    for examples in (train, heldout):
        kept, ids = tokenize.prompt_tokens(codec, examples, max_prompt_seq_len) if examples else ([], [])
        out.append([ppo_step.Prompt(i, e.messages, e.category) for e, i in zip(kept, ids)])
    return out


def load_models(data, actor_flags, critic_flags, run_flags, flags_ppo, codec, ranks, dtype, ppo_steps):
    """Actor, critic, reference and reward model under DeepSpeed: ppo_step.Models."""
    how = {
        "attn_implementation": run_flags.attn_implementation,
        "trust_remote_code": run_flags.trust_remote_code,
        "dropout": 0.0,
    }
    reward_path = flags_ppo.reward_model_name_or_path or critic_flags.model_name_or_path
    reward_flag = (
        "--reward_model_name_or_path" if flags_ppo.reward_model_name_or_path else "--critic_model_name_or_path"
    )
    reward_tokenizer = load_tokenizer(reward_path, trust_remote_code=run_flags.trust_remote_code, what=reward_flag)
    reward = reward_model.load_reward_model(reward_path, reward_flag, **how)

    critic_tokenizer = load_tokenizer(
        critic_flags.model_name_or_path,
        trust_remote_code=run_flags.trust_remote_code,
        what="--critic_model_name_or_path",
    )
    if critic_tokenizer.get_vocab() != codec.tokenizer.get_vocab() and not same_ids(critic_tokenizer, codec.tokenizer):
        raise InputError(
            f"--critic_model_name_or_path {critic_flags.model_name_or_path}: its tokenizer is not the actor's, so it cannot read the actor's tokens; "
            "give the actor's folder as critic (it gets a new value head) and the reward model as --reward_model_name_or_path"
        )
    is_language_model = bool(flags_ppo.reward_model_name_or_path) and not reward_model.has_head(
        critic_flags.model_name_or_path
    )
    critic = reward_model.load_reward_model(
        critic_flags.model_name_or_path, "--critic_model_name_or_path", new_head=is_language_model, **how
    )

    lm = models.load_causal_lm(actor_flags.model_name_or_path, codec.tokenizer, "--actor_model_name_or_path", **how)
    reference = None
    if flags_ppo.reference_model_name_or_path or not actor_flags.lora_dim:
        path = flags_ppo.reference_model_name_or_path or actor_flags.model_name_or_path
        copy = models.load_causal_lm(path, codec.tokenizer, "--reference_model_name_or_path", **how)
        reference = engine.Frozen(
            models.TokenLogps(copy), ranks, dtype, actor_flags.zero_stage, flags_ppo.offload_reference_model
        )
    if actor_flags.lora_dim:
        lm = lora.add_lora(lm, actor_flags, "CAUSAL_LM")
    if critic_flags.lora_dim:
        critic = lora.add_lora(critic, critic_flags, "SEQ_CLS")

    updates = (
        flags_ppo.ppo_epochs
        * flags_ppo.per_device_generation_batch_size
        * flags_ppo.generation_batches
        // (flags_ppo.per_device_training_batch_size * flags_ppo.gradient_accumulation_steps)
    )
    common = {
        "dtype": dtype,
        "offload": run_flags.offload,
        "micro_batch_size": flags_ppo.per_device_training_batch_size,
        "accumulation": flags_ppo.gradient_accumulation_steps,
        "schedule": run_flags.lr_scheduler_type,
        "num_warmup_steps": run_flags.num_warmup_steps,
        "max_grad_norm": run_flags.max_grad_norm,
    }
    return ppo_step.Models(
        actor=engine.Engine(
            models.TokenLogps(lm),
            actor_flags,
            ranks,
            total_steps=updates * max(ppo_steps - flags_ppo.critic_warmup_steps, 1),
            **common,
        ),
        critic=engine.Engine(
            reward_model.TokenValues(critic), critic_flags, ranks, total_steps=updates * ppo_steps, **common
        ),
        reference=reference,
        reward=engine.Frozen(reward_model.TokenValues(reward), ranks, dtype, critic_flags.zero_stage),
        codec=codec,
        reward_codec=tokenize.Codec(reward_tokenizer),
        ranks=ranks,
    )


def same_ids(a, b):
    """Whether two tokenizers give a Korean sample the same ids (one may know a pad token more)."""
    text = "오늘 날씨가 참 좋네요! 산책하러 갈까요? 1234 Hello, 안녕하세요. ㅎㅎ 漢字"
    return (
        len(a) - len(b) in (-1, 0, 1)
        and a(text, add_special_tokens=False).input_ids == b(text, add_special_tokens=False).input_ids
    )


def main():
    data, actor_flags, critic_flags, run_flags, ppo_flags, settings = parse()
    ranks = engine.start(run_flags.local_rank)
    dtype = engine.resolve_dtype(run_flags.dtype, ranks.device)
    tokenizer = load_tokenizer(
        actor_flags.model_name_or_path, data.prompt_template, run_flags.trust_remote_code, "--actor_model_name_or_path"
    )
    codec = tokenize.Codec(tokenizer)
    prompts, heldout = load_prompts(data, codec, ppo_flags.max_prompt_seq_len)
    per_step = ppo_flags.per_device_generation_batch_size
    steps_per_epoch = packing.steps_per_epoch(
        len(prompts),
        per_step,
        ranks.world,
        ppo_flags.generation_batches,
        "prompts",
        "--per_device_generation_batch_size",
    )
    total_steps = run_flags.max_steps or steps_per_epoch * ppo_flags.num_train_epochs
    run = checkpoint.Run(
        run_flags.output_dir,
        {**settings, "dtype": dtype, "examples": len(prompts)},
        ranks,
        run_flags.overwrite_output_dir,
    )
    if run.finished:
        print(f"{run.dir} is finished already; give another --output_dir, or --overwrite_output_dir to train again")
        return
    checkpoint.seed_step(data.seed, 0)
    four = load_models(data, actor_flags, critic_flags, run_flags, ppo_flags, codec, ranks, dtype, total_steps)
    unsupervised = load_unsupervised(ppo_flags, codec, data.seed) if ppo_flags.unsupervised_dataset_name else None
    state = run.resume({"actor": four.actor, "critic": four.critic})
    if state is None:
        state = before_training(four, prompts, heldout, ppo_flags, data.seed, ranks)
        if ranks.first:
            shutil.rmtree(
                run.dir / "best", ignore_errors=True
            )  # of a start that was killed before its first checkpoint
    elif ranks.first:
        print(f"resuming {run.dir} after step {state['step']}", flush=True)
    ema = Average(run, four.actor, ppo_flags.ema_decay, state["step"]) if ppo_flags.enable_ema else None
    state = train(
        four, prompts, heldout, unsupervised, ema, state, run, data, actor_flags, run_flags, ppo_flags, total_steps
    )
    finish(run, four, ema, heldout, data, actor_flags, critic_flags, run_flags, settings, state, dtype)


def before_training(four, prompts, heldout, ppo_flags, seed, ranks):
    """The state at step 0: the zero and spread of the score, from the actor's own answers, and the held-out figures."""
    chosen = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()[:REFERENCE_PROMPTS]
    reference, _ = ppo_step.evaluate(four, [prompts[i] for i in chosen], ppo_flags, seed)
    moments = RunningMoments(reference["n"], reference["score"], reference["score_std"] ** 2 * (reference["n"] - 1))
    before, rows = ppo_step.evaluate(four, heldout, ppo_flags, seed) if heldout else (None, [])
    if ranks.first and before:
        print(describe("before", before), flush=True)
    return {
        "step": 0,
        "offset": reference["score"],
        "moments": moments.state(),
        "kl_coef": ppo_flags.kl_coef,
        "before": before,
        "best": None,
        "answers_before": rows,
    }


def describe(title, f):
    return (
        f"{title}: held-out score {f['score']:.3f} (sd {f['score_std']:.3f}), KL {f['kl']:.2f}, EOS rate {f['eos_rate']:.3f}, "
        f"friendly {f['friendly']:.3f}, length {f['length']:.1f}, n {f['n']}"
    )


def train(four, prompts, heldout, unsupervised, ema, state, run, data, actor_flags, run_flags, ppo_flags, total_steps):
    """The PPO steps; returns the state after the last."""
    ranks, moments = four.ranks, RunningMoments(**state["moments"])
    controller = KLController(state["kl_coef"], ppo_flags.kl_target, ppo_flags.kl_horizon)
    progress = log.Log(
        run.dir,
        "PPO",
        total_steps,
        ranks.first,
        state["step"],
        (run_flags.tensorboard_path or run.dir / "tensorboard") if run_flags.enable_tensorboard else None,
    )
    if state["step"] == 0 and heldout:
        progress.write(0, heldout_values(state["before"]))

    shape = ScoreShaper(moments, state["offset"], ppo_flags, ranks)
    for step, (mine, _) in packing.steps(
        len(prompts),
        ppo_flags.per_device_generation_batch_size,
        ranks,
        ppo_flags.generation_batches,
        data.seed,
        state["step"],
        total_steps,
    ):
        checkpoint.seed_step(data.seed, step, ranks.rank)
        clock = log.Clock()
        chosen = [i for batch in mine for i in batch]
        seeds = [(data.seed * 1_000_003 + step) * 100_003 + i for i in chosen]
        exp, sums, seconds, texts = ppo_step.collect(
            four, [prompts[i] for i in chosen], seeds, ppo_flags, controller.coef, shape, clock
        )
        explained = explained_variance(exp.values, exp.returns, exp.mask)
        if not ppo_flags.no_whitening:
            exp.advantages = whiten(exp.advantages, exp.mask, ranks.sum)
        ptx = (
            ptx_batches(unsupervised, ppo_flags.per_device_training_batch_size, data.seed, step, ranks)
            if unsupervised
            else None
        )
        stats = ppo_step.update(four, exp, ppo_flags, step > ppo_flags.critic_warmup_steps, ptx, ppo_flags.unsup_coef)
        seconds["training"] = clock.lap()
        if ema:
            ema.update(four.actor)
        values = step_values(ranks, sums, seconds, stats, explained, controller, four)
        controller.update(values["kl"], values["answers"])
        if heldout and ppo_flags.eval_steps and step % ppo_flags.eval_steps == 0 and step < total_steps:
            figures, _ = ppo_step.evaluate(four, heldout, ppo_flags, data.seed)
            values.update(heldout_values(figures))
            state["best"] = keep_best(
                run, four, state["best"], step, figures, actor_flags, run_flags, ppo_flags.kl_limit
            )
        progress.step(step, values, ("score", "kl", "eos_rate", "heldout_score"))
        if ppo_flags.print_answers and step % ppo_flags.print_answers == 0:
            for k in range(min(2, len(texts))):
                progress.say(
                    f"  [{step}] {prompts[chosen[k]].messages[-1]['content']}\n      -> {texts[k]}  (score {float(exp.scores[k]):.3f})"
                )
        state = {**state, "step": step, "moments": moments.state(), "kl_coef": controller.coef}
        if run_flags.save_steps and step % run_flags.save_steps == 0 and step < total_steps:
            if ema and ranks.first:
                ema.save(step)
            run.save(step, {"actor": four.actor, "critic": four.critic}, state, run_flags.save_total_limit)

    if heldout:
        state["after"], state["answers_after"] = ppo_step.evaluate(four, heldout, ppo_flags, data.seed)
        state["best"] = keep_best(
            run, four, state["best"], total_steps, state["after"], actor_flags, run_flags, ppo_flags.kl_limit
        )
        progress.write(total_steps, heldout_values(state["after"]))
        progress.say(describe("after", state["after"]))
    progress.close()
    return state


class ScoreShaper:
    """Raw scores to scores as PPO counts them; takes every batch into the running moments."""

    def __init__(self, moments, offset, flags, ranks):
        self.moments, self.offset, self.flags, self.ranks = moments, offset, flags, ranks

    def __call__(self, raw, ended):
        self.moments.update(raw, self.ranks.sum)
        if self.flags.no_score_normalization:
            return shaped_scores(raw, ended, 0.0, 1.0, float("inf"), self.flags.missing_eos_penalty)
        return shaped_scores(
            raw, ended, self.offset, self.moments.std, self.flags.reward_clip, self.flags.missing_eos_penalty
        )


def heldout_values(figures):
    return {f"heldout_{k}": figures[k] for k in ("score", "kl", "eos_rate", "friendly", "length", "repetition")}


def step_values(ranks, sums, seconds, stats, explained, controller, four):
    """This step's figures over all ranks. Scores, rewards and KL are means per answer, entropy per token; tokens/s count real tokens."""
    total = dict(zip(sums, ranks.sum(list(sums.values())).tolist()))
    n, every = total["answers"], total["tokens"] + total["prompt_tokens"]
    return {
        **{k: total[k] / n for k in ("score", "reward", "kl", "kl_k3", "eos_rate", "repetition")},
        "answers": n,
        "length": total["tokens"] / n,
        "entropy": total["entropy"] / total["tokens"],
        **stats,
        "explained_variance": explained,
        "kl_coef": controller.coef,
        "lr": four.actor.lr,
        "grad_norm": four.actor.grad_norm(),
        **{f"seconds_{k}": v for k, v in seconds.items()},
        "sampled_tokens_per_second": total["tokens"] / seconds["sampling"],
        "trained_tokens_per_second": every / seconds["training"],
    }


def keep_best(run, four, best, step, figures, actor_flags, run_flags, kl_limit):
    """Write OUTPUT_DIR/best if these held-out figures beat `best` under the KL limit; returns the best of the two."""
    if (kl_limit and figures["kl"] > kl_limit) or (best and figures["score"] <= best["score"]):
        return best
    save_actor(run.dir / "best", four, actor_flags, run_flags)
    return {"step": step, **{k: figures[k] for k in ("score", "kl", "eos_rate", "friendly")}}


def save_actor(folder, four, actor_flags, run_flags, replaced=None):
    """Save the actor (LoRA merged). replaced: weights to put in the place of the actor's own. All ranks call it."""
    weights = four.actor.state_dict()
    if four.ranks.first:
        save.save_model(
            four.actor.module.lm,
            {**weights, **(replaced or {})},
            four.codec.tokenizer,
            folder,
            actor_flags.model_name_or_path,
            AutoModelForCausalLM,
            dtype=four.actor.dtype,
            stop_id=four.codec.stop_id,
            trust_remote_code=run_flags.trust_remote_code,
        )
    four.ranks.barrier()


class Average:
    """Exponential moving average of the trained weights, in fp32 on the CPU of rank 0."""

    def __init__(self, run, actor, decay, step):
        """step: where the run goes on; its average is read from beside that checkpoint."""
        self.folder, self.decay = run.dir / "checkpoints", decay
        weights = actor.state_dict(trainable_only=True)
        self.weights = {k: v.float() for k, v in weights.items()}
        if step and self.weights:
            self.weights = load_file(self.folder / f"ema_{step:06d}.safetensors")

    def update(self, actor):
        for name, tensor in actor.state_dict(trainable_only=True).items():
            self.weights[name].lerp_(tensor.float(), 1 - self.decay)

    def save(self, step):
        """Before the checkpoint of `step` is marked whole; older averages go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file(self.weights, self.folder / f"ema_{step:06d}.safetensors")


def load_unsupervised(ppo_flags, codec, seed):
    """Tokens of the ptx dataset."""
    name = ppo_flags.unsupervised_dataset_name + (
        f":{ppo_flags.unsupervised_dataset_config_name}" if ppo_flags.unsupervised_dataset_config_name else ""
    )
    examples = load.load_examples(name, 1)
    return tokenize.sft_tokens(codec, examples, ppo_flags.max_prompt_seq_len + ppo_flags.max_answer_seq_len)[1]


def ptx_batches(rows, size, seed, step, ranks):
    """Endless lists of `size` Tokens, drawn at random: the same ones after a resumption."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) * 8209 + ranks.rank)
    while True:
        yield [rows[i] for i in torch.randint(len(rows), (size,), generator=generator).tolist()]


def finish(run, four, ema, heldout, data, actor_flags, critic_flags, run_flags, settings, state, dtype):
    """Save actor, critic, average, card, curves and held-out answers, and mark the run as finished."""
    save_actor(run.dir, four, actor_flags, run_flags)
    if ema:
        save_actor(
            run.dir / "actor_ema",
            four,
            actor_flags,
            run_flags,
            {k: v.to(four.actor.dtype) for k, v in ema.weights.items()},
        )
    weights = four.critic.state_dict()
    figures = {
        "heldout_before": state["before"],
        "heldout_after": state.get("after"),
        "best": state["best"],
        "score_offset": state["offset"],
        "steps": state["step"],
        "dtype": dtype,
        "peak_memory_mb": log.peak_memory_mb(four.ranks.device),
    }
    if four.ranks.first:
        save.save_model(
            four.critic.module.model,
            weights,
            four.codec.tokenizer,
            run.dir / "critic",
            critic_flags.model_name_or_path,
            AutoModelForSequenceClassification,
            dtype=four.critic.dtype,
            num_labels=1,
            trust_remote_code=run_flags.trust_remote_code,
        )
        write_answers(run.dir / "heldout_answers.jsonl", heldout, state)
        measured = {
            f"held-out {k} {when}": card.compact(figures[f"heldout_{when}"][k])
            for when in ("before", "after")
            if figures[f"heldout_{when}"]
            for k in ("score", "score_std", "kl", "eos_rate", "friendly", "length", "n")
        }
        card.write_card(
            run.dir,
            "PPO-tuned model (step 3)",
            actor_flags.model_name_or_path,
            data.data_path,
            settings,
            {**measured, "best": state["best"]},
        )
        log.curves(run.dir, PANELS, f"Step 3, seed {data.seed}")
    run.finish(figures)


def write_answers(path, heldout, state):
    """One line a held-out prompt: its text and category, the answers before and after, their scores."""
    with open(path, "w", encoding="utf-8") as out:
        for (i, a, s), (_, b, t) in zip(state["answers_before"], state.get("answers_after", [])):
            row = {
                "prompt": heldout[i].messages[-1]["content"],
                "category": heldout[i].category,
                "answer_before": a,
                "score_before": s,
                "answer_after": b,
                "score_after": t,
            }
            print(json.dumps(row, ensure_ascii=False), file=out)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume from the last checkpoint", engine.stop)
