"""Step 2: a reward model from ranked answers.

Pairwise loss on the score of the last token; K ranked answers of a prompt give all K(K-1)/2 pairs (InstructGPT), and share one
forward pass. The checkpoint is a plain transformers sequence-classification model.
"""

from transformers import AutoModelForSequenceClassification

from korlhf.core import flags, program
from korlhf.data import load, packing, tokenize
from korlhf.models import card, lora, reward_model, save
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine, log, losses
from korlhf.training import reward as pairs
from korlhf.training import run as checkpoint
from korlhf.training.flags import DataFlags, DropoutFlags, ModelFlags, RunFlags, TrainFlags, check, step_parser

PANELS = [
    ("pairwise loss", ["loss"]),
    ("accuracy", ["accuracy", "heldout_accuracy"]),
    ("held-out margin", ["heldout_margin"]),
]


def parse(argv=None):
    parser = step_parser("Step 2: reward model")
    flags.add(parser, DataFlags)
    flags.add(parser, ModelFlags)
    flags.add(parser, DropoutFlags)
    flags.add(parser, TrainFlags)
    flags.add(parser, RunFlags)
    args = parser.parse_args(argv)
    data, model, dropout, train, run = (
        flags.read(args, c) for c in (DataFlags, ModelFlags, DropoutFlags, TrainFlags, RunFlags)
    )
    check(data, model, run=run, parser=parser)
    flags.check_positive({k: getattr(train, k) for k in vars(train)} | {"learning_rate": model.learning_rate}, parser)
    return data, model, dropout, train, run, vars(args)


def evaluate(reward, examples, groups, batch_size, ranks):
    reward.eval()
    figures = pairs.accuracy(examples, pairs.score_groups(reward, groups, batch_size, ranks))
    reward.train()
    return figures


def main():
    data, model_flags, dropout, train, run_flags, settings = parse()
    ranks = engine.start(run_flags.local_rank)
    dtype = engine.resolve_dtype(run_flags.dtype, ranks.device)

    tokenizer = load_tokenizer(model_flags.model_name_or_path, data.prompt_template, run_flags.trust_remote_code)
    codec = tokenize.Codec(tokenizer)
    examples, heldout = load.load_step(
        2,
        data.data_path,
        data.data_split,
        eval_data_path=data.eval_data_path,
        eval_share=data.eval_share,
        max_eval_examples=data.max_eval_examples,
        seed=data.seed,
    )
    examples, groups = tokenize.reward_tokens(codec, examples, train.max_seq_len)
    heldout, heldout_groups = tokenize.reward_tokens(codec, heldout, train.max_seq_len) if heldout else ([], [])
    steps_per_epoch = packing.steps_per_epoch(
        len(groups), train.per_device_train_batch_size, ranks.world, train.gradient_accumulation_steps, "prompts"
    )
    total_steps = run_flags.max_steps or steps_per_epoch * train.num_train_epochs
    run = checkpoint.Run(
        run_flags.output_dir,
        {**settings, "dtype": dtype, "examples": len(groups)},
        ranks,
        run_flags.overwrite_output_dir,
    )
    if run.finished:
        print(f"{run.dir} is finished already; give another --output_dir, or --overwrite_output_dir to train again")
        return

    checkpoint.seed_step(data.seed, 0)
    model = reward_model.load_reward_model(
        model_flags.model_name_or_path,
        new_head=True,
        dropout=dropout.dropout,
        attn_implementation=run_flags.attn_implementation,
        trust_remote_code=run_flags.trust_remote_code,
    )
    reward_model.set_padding(model, tokenizer, codec.stop_id)
    if model_flags.lora_dim:
        model = lora.add_lora(model, model_flags, "SEQ_CLS")
    reward = engine.Engine(
        reward_model.TokenValues(model),
        model_flags,
        ranks,
        dtype=dtype,
        offload=run_flags.offload,
        micro_batch_size=train.per_device_train_batch_size,
        accumulation=train.gradient_accumulation_steps,
        total_steps=total_steps,
        schedule=run_flags.lr_scheduler_type,
        num_warmup_steps=run_flags.num_warmup_steps,
        max_grad_norm=run_flags.max_grad_norm,
    )
    state = run.resume({"reward": reward})
    if state is None:
        state = {
            "step": 0,
            "before": evaluate(reward, heldout, heldout_groups, train.per_device_eval_batch_size, ranks)
            if heldout
            else None,
        }
    elif ranks.first:
        print(f"resuming {run.dir} after step {state['step']}", flush=True)

    progress = log.Log(
        run.dir,
        "reward model",
        total_steps,
        ranks.first,
        state["step"],
        (run_flags.tensorboard_path or run.dir / "tensorboard") if run_flags.enable_tensorboard else None,
    )
    if state["step"] == 0 and heldout:
        progress.write(
            0, {"heldout_accuracy": state["before"]["accuracy"], "heldout_margin": state["before"]["mean_margin"]}
        )
    reward.train()  # a loaded model is in evaluation mode, and a resumed run evaluates nothing first
    for step, (mine, everyone) in packing.steps(
        len(groups),
        train.per_device_train_batch_size,
        ranks,
        train.gradient_accumulation_steps,
        data.seed,
        state["step"],
        total_steps,
    ):
        checkpoint.seed_step(data.seed, step, ranks.rank)
        clock = log.Clock()
        sums = [0.0, 0.0, 0.0]
        for chunk in mine:
            scores = pairs.forward(reward, [t for i in chunk for t in groups[i]], ranks.device)
            loss = losses.ranked_loss(scores, [len(groups[i]) for i in chunk])
            reward.backward(loss)
            reward.step()
            right, n = losses.ranked_right(scores.detach(), [len(groups[i]) for i in chunk])
            sums = [sums[0] + float(loss.detach()), sums[1] + right, sums[2] + n]
        total_loss, right, n = ranks.sum(sums).tolist()
        seen = sum(len(t) for i in everyone for t in groups[i])
        values = {
            "loss": total_loss / (ranks.world * len(mine)),
            "accuracy": right / n,
            "lr": reward.lr,
            "grad_norm": reward.grad_norm(),
            "epoch": step / steps_per_epoch,
            "tokens_per_second": seen / clock.lap(),
        }
        if heldout and run_flags.eval_interval and step % run_flags.eval_interval == 0 and step < total_steps:
            figures = evaluate(reward, heldout, heldout_groups, train.per_device_eval_batch_size, ranks)
            values.update(heldout_accuracy=figures["accuracy"], heldout_margin=figures["mean_margin"])
        progress.step(step, values, ("loss", "accuracy", "heldout_accuracy", "tokens_per_second"))
        if run_flags.save_steps and step % run_flags.save_steps == 0 and step < total_steps:
            run.save(step, {"reward": reward}, {"before": state["before"]}, run_flags.save_total_limit)

    after = evaluate(reward, heldout, heldout_groups, train.per_device_eval_batch_size, ranks) if heldout else None
    trivial = pairs.trivial_rules(examples, heldout) if heldout and ranks.first else None
    if after:
        progress.write(total_steps, {"heldout_accuracy": after["accuracy"], "heldout_margin": after["mean_margin"]})
        if ranks.first:
            progress.say(pairs.report(after, "held-out pairs", trivial))
    progress.close()
    finish(
        run,
        reward,
        tokenizer,
        data,
        model_flags,
        run_flags,
        settings,
        {
            "heldout_before": state["before"],
            "heldout_after": after,
            "trivial_rules": trivial,
            "steps": total_steps,
            "examples": len(groups),
            "dtype": dtype,
            "peak_memory_mb": log.peak_memory_mb(ranks.device),
        },
        ranks,
    )


def finish(run, reward, tokenizer, data, model_flags, run_flags, settings, figures, ranks):
    """Save the model (LoRA merged) with tokenizer, template, card and curves, and mark the run as finished."""
    weights = reward.state_dict()
    if ranks.first:
        save.save_model(
            reward.module.model,
            weights,
            tokenizer,
            run.dir,
            model_flags.model_name_or_path,
            AutoModelForSequenceClassification,
            dtype=engine.DTYPES[figures["dtype"]],
            num_labels=1,
            trust_remote_code=run_flags.trust_remote_code,
        )
        measured = {"prompts": figures["examples"], "steps": figures["steps"]}
        if after := figures["heldout_after"]:
            for name, f in [("all", after), *after["by_category"].items()]:
                measured[f"held-out accuracy, {name}"] = (
                    f"{f['accuracy']:.3f} (n {f['n']}, 95 % {f['ci95'][0]:.3f}-{f['ci95'][1]:.3f}, margin {f['mean_margin']:.3f})"
                )
            for name, share in list(figures["trivial_rules"].items())[:5]:
                measured[f"trivial rule: {name}"] = f"{share:.3f}"
        card.write_card(
            run.dir,
            "Reward model (step 2)",
            model_flags.model_name_or_path,
            data.data_path,
            settings,
            measured,
            [
                "The score of an answer is the single logit at its last token, the one that ends it: "
                "`AutoModelForSequenceClassification` with the chat template of this folder."
            ],
        )
        log.curves(run.dir, PANELS, f"Step 2, seed {data.seed}")
    run.finish(figures)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume from the last checkpoint", engine.stop)
