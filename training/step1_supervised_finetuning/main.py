"""Step 1: supervised fine-tuning of a causal language model on answers.

Loss on answers only, EOS included; every answer turn of a multi-turn conversation is trained. Sequences are packed.
Left out: pre-training from scratch on large text (any JSONL with a `text` column is trained whole, packed the same way).
"""

from collections import defaultdict

import torch
from transformers import AutoModelForCausalLM

from korlhf.core import flags, program
from korlhf.data import load, packing, tokenize
from korlhf.models import card, lora, save
from korlhf.models import causal_lm as models
from korlhf.models.tokenizer import load_tokenizer
from korlhf.training import engine, log, losses
from korlhf.training import run as checkpoint
from korlhf.training.flags import (
    DataFlags,
    DropoutFlags,
    ModelFlags,
    RunFlags,
    SftDataFlags,
    TrainFlags,
    check,
    step_parser,
)

PANELS = [
    ("loss (nats per token)", ["loss", "heldout_loss"]),
    ("learning rate", ["lr"]),
    ("real tokens/s", ["tokens_per_second"]),
]


def parse(argv=None):
    parser = step_parser("Step 1: supervised fine-tuning")
    flags.add(parser, DataFlags)
    flags.add(parser, SftDataFlags)
    flags.add(parser, ModelFlags)
    flags.add(parser, DropoutFlags)
    flags.add(parser, TrainFlags)
    flags.add(parser, RunFlags)
    args = parser.parse_args(argv)
    data, sft, model, dropout, train, run = (
        flags.read(args, c) for c in (DataFlags, SftDataFlags, ModelFlags, DropoutFlags, TrainFlags, RunFlags)
    )
    check(data, model, run=run, parser=parser)
    flags.check_positive({k: getattr(train, k) for k in vars(train)} | {"learning_rate": model.learning_rate}, parser)
    return data, sft, model, dropout, train, run, vars(args)


def forward(actor, rows, device):
    """Log-probabilities of the trained tokens of `rows` (Tokens), (M,), in order."""
    packed = packing.pack([r.ids for r in rows]).to(device)
    before, tokens = packing.targets(packed, [r.mask for r in rows])
    return actor(packed.ids, packed.position_ids, before, tokens)


@torch.no_grad()
def evaluate(actor, examples, rows, batch_size, ranks):
    """Held-out loss per category and over all: mean over trained tokens in nats, with the number of examples.

    Every rank takes every world-th batch; with ZeRO-3 all must run equally many, so short ranks repeat their last one uncounted.
    """
    actor.eval()
    chunks = [range(i, min(i + batch_size, len(rows))) for i in range(0, len(rows), batch_size)]
    mine, most = chunks[ranks.rank :: ranks.world], -(-len(chunks) // ranks.world)
    categories = sorted({e.category for e in examples})
    sums = defaultdict(lambda: [0.0, 0.0])
    for i in range(most):
        chunk = mine[i] if i < len(mine) else chunks[0]
        logps = forward(actor, [rows[j] for j in chunk], ranks.device)
        at = 0
        for j in chunk if i < len(mine) else ():
            n = sum(rows[j].mask[1:])
            sums[examples[j].category][0] -= float(logps[at : at + n].sum())
            sums[examples[j].category][1] += n
            at += n
    actor.train()
    totals = ranks.sum([sums[c] for c in categories]).tolist()
    counts = {c: sum(e.category == c for e in examples) for c in categories}
    by_category = {
        c: {"loss": nll / n, "perplexity": _exp(nll / n), "n": counts[c], "tokens": int(n)}
        for c, (nll, n) in zip(categories, totals)
    }
    nll, n = sum(t[0] for t in totals), sum(t[1] for t in totals)
    return {
        "loss": nll / n,
        "perplexity": _exp(nll / n),
        "n": len(examples),
        "tokens": int(n),
        "by_category": by_category,
    }


def _exp(x):
    return float(torch.tensor(x, dtype=torch.float64).exp())


def report(figures, title):
    lines = [
        f"{title}: held-out loss {figures['loss']:.4f}, perplexity {figures['perplexity']:.2f} (n {figures['n']}, {figures['tokens']} tokens)"
    ]
    lines += [
        f"  {c:<14} loss {f['loss']:.4f}  perplexity {f['perplexity']:8.2f}  n {f['n']}"
        for c, f in figures["by_category"].items()
    ]
    return "\n".join(lines)


def main():
    data, sft, model_flags, dropout, train, run_flags, settings = parse()
    ranks = engine.start(run_flags.local_rank)
    dtype = engine.resolve_dtype(run_flags.dtype, ranks.device)

    tokenizer = load_tokenizer(model_flags.model_name_or_path, data.prompt_template, run_flags.trust_remote_code)
    codec = tokenize.Codec(tokenizer)
    examples, heldout = load.load_step(
        1,
        data.data_path,
        data.data_split,
        eval_data_path=data.eval_data_path,
        eval_share=data.eval_share,
        max_eval_examples=data.max_eval_examples,
        seed=data.seed,
        sft_only_data_path=sft.sft_only_data_path,
    )
    examples, rows = tokenize.sft_tokens(codec, examples, train.max_seq_len, sft.train_on_prompt)
    heldout, heldout_rows = (
        tokenize.sft_tokens(codec, heldout, train.max_seq_len, sft.train_on_prompt) if heldout else ([], [])
    )
    steps_per_epoch = packing.steps_per_epoch(
        len(rows), train.per_device_train_batch_size, ranks.world, train.gradient_accumulation_steps
    )
    total_steps = run_flags.max_steps or steps_per_epoch * train.num_train_epochs
    run = checkpoint.Run(
        run_flags.output_dir, {**settings, "dtype": dtype, "examples": len(rows)}, ranks, run_flags.overwrite_output_dir
    )
    if run.finished:
        print(f"{run.dir} is finished already; give another --output_dir, or --overwrite_output_dir to train again")
        return

    checkpoint.seed_step(data.seed, 0)
    lm = models.load_causal_lm(
        model_flags.model_name_or_path,
        tokenizer,
        dropout=dropout.dropout,
        attn_implementation=run_flags.attn_implementation,
        trust_remote_code=run_flags.trust_remote_code,
    )
    if model_flags.lora_dim:
        lm = lora.add_lora(lm, model_flags, "CAUSAL_LM")
    actor = engine.Engine(
        models.TokenLogps(lm),
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
    state = run.resume({"actor": actor})
    if state is None:
        state = {
            "step": 0,
            "before": evaluate(actor, heldout, heldout_rows, train.per_device_eval_batch_size, ranks)
            if heldout
            else None,
        }
        if ranks.first and heldout:
            print(report(state["before"], "before"), flush=True)
    elif ranks.first:
        print(f"resuming {run.dir} after step {state['step']}", flush=True)

    progress = log.Log(
        run.dir,
        "SFT",
        total_steps,
        ranks.first,
        state["step"],
        (run_flags.tensorboard_path or run.dir / "tensorboard") if run_flags.enable_tensorboard else None,
    )
    if state["step"] == 0 and heldout:
        progress.write(0, {"heldout_loss": state["before"]["loss"]})
    actor.train()  # a loaded model is in evaluation mode, and a resumed run evaluates nothing first
    for step, (mine, everyone) in packing.steps(
        len(rows),
        train.per_device_train_batch_size,
        ranks,
        train.gradient_accumulation_steps,
        data.seed,
        state["step"],
        total_steps,
    ):
        checkpoint.seed_step(data.seed, step, ranks.rank)
        clock = log.Clock()
        trained = sum(sum(rows[i].mask[1:]) for i in everyone)
        normalizer = max(trained, 1) / (ranks.world * train.gradient_accumulation_steps)
        total = 0.0
        for chunk in mine:
            loss = losses.sft_loss(forward(actor, [rows[i] for i in chunk], ranks.device), normalizer)
            actor.backward(loss)
            actor.step()
            total += float(loss.detach())
        mean_loss = float(ranks.sum([total])[0]) / (ranks.world * train.gradient_accumulation_steps)
        seen = sum(len(rows[i]) for i in everyone)
        values = {
            "loss": mean_loss,
            "lr": actor.lr,
            "grad_norm": actor.grad_norm(),
            "epoch": step / steps_per_epoch,
            "tokens_per_second": seen / clock.lap(),
        }
        if heldout and run_flags.eval_interval and step % run_flags.eval_interval == 0 and step < total_steps:
            values["heldout_loss"] = evaluate(actor, heldout, heldout_rows, train.per_device_eval_batch_size, ranks)[
                "loss"
            ]
        progress.step(step, values, ("loss", "heldout_loss", "tokens_per_second"))
        if run_flags.save_steps and step % run_flags.save_steps == 0 and step < total_steps:
            run.save(step, {"actor": actor}, {"before": state["before"]}, run_flags.save_total_limit)

    after = evaluate(actor, heldout, heldout_rows, train.per_device_eval_batch_size, ranks) if heldout else None
    if after:
        progress.write(total_steps, {"heldout_loss": after["loss"]})
        progress.say(report(after, "after"))
    progress.close()
    finish(
        run,
        actor,
        codec,
        data,
        sft,
        model_flags,
        run_flags,
        settings,
        {
            "heldout_before": state["before"],
            "heldout_after": after,
            "steps": total_steps,
            "examples": len(rows),
            "dtype": dtype,
            "peak_memory_mb": log.peak_memory_mb(ranks.device),
        },
        ranks,
    )


def finish(run, actor, codec, data, sft, model_flags, run_flags, settings, figures, ranks):
    """Save the model (LoRA merged) with tokenizer, template, card and curves, and mark the run as finished."""
    weights = actor.state_dict()
    if ranks.first:
        save.save_model(
            actor.module.lm,
            weights,
            codec.tokenizer,
            run.dir,
            model_flags.model_name_or_path,
            AutoModelForCausalLM,
            dtype=engine.DTYPES[figures["dtype"]],
            stop_id=codec.stop_id,
            trust_remote_code=run_flags.trust_remote_code,
        )
        measured = {
            f"held-out {k} {when}": card.compact(figures[f"heldout_{when}"][k])
            for when in ("before", "after")
            if figures[f"heldout_{when}"]
            for k in ("loss", "perplexity", "n")
        }
        card.write_card(
            run.dir,
            "Supervised fine-tuned model (step 1)",
            model_flags.model_name_or_path,
            [*data.data_path, *sft.sft_only_data_path],
            settings,
            {**measured, "examples": figures["examples"], "steps": figures["steps"]},
        )
        log.curves(run.dir, PANELS, f"Step 1, seed {data.seed}")
    run.finish(figures)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume from the last checkpoint", engine.stop)
