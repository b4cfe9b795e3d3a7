"""Step 1: supervised fine-tuning of a causal language model on answers.

Loss on answers only, EOS included; every answer turn of a multi-turn conversation is trained. Sequences are packed.
Left out: pre-training from scratch on large text (any JSONL with a `text` column is trained whole, packed the same
way).
"""

from functools import partial
from itertools import chain

from korlhf.core import flags, program
from korlhf.models.folders import check_inputs
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

FLAGS = (DataFlags, SftDataFlags, ModelFlags, DropoutFlags, TrainFlags, RunFlags)


def parse(argv=None):
    parser = step_parser("Step 1: supervised fine-tuning")
    for group in FLAGS:
        flags.add(parser, group)
    args = parser.parse_args(argv)
    data, sft, model, dropout, train, run = (flags.read(args, group) for group in FLAGS)
    check(data, {"": model}, run, parser)
    return data, sft, model, dropout, train, run, vars(args)


def main():
    data, sft, model, dropout, train, run, settings = parse()
    names = data.data_path, data.eval_data_path, sft.sft_only_data_path
    check_inputs(chain(*names), [("--model_name_or_path", model.model_name_or_path)])
    if run.estimate_memory:
        with program.slow_imports():
            from korlhf.training import estimate
        return estimate.say(1, {"": model}, train, run)
    program.errors_in(run.output_dir)
    with program.slow_imports():
        from korlhf.data.tokenize import Codec, sft_tokens
        from korlhf.models.causal_lm import TokenLogps, load_causal_lm
        from korlhf.models.checks import check_model
        from korlhf.models.fingerprint import fingerprint
        from korlhf.models.lora import add_lora
        from korlhf.models.tokenizer import load_tokenizer
        from korlhf.training import engine, examples
        from korlhf.training.batch import fitting
        from korlhf.training.loop import Order, fit
        from korlhf.training.run import FINISHED, Run, seed_step
        from korlhf.training.sft import SftTraining
        from korlhf.training.world import resolve_dtype

    world = engine.start(run.local_rank, run.ddp_timeout)
    dtype = resolve_dtype(run.dtype, world.device)

    codec = Codec(load_tokenizer(model.model_name_or_path, data.prompt_template, run.trust_remote_code))
    what = model.model_name_or_path, "--model_name_or_path"
    check_model(*what, train.max_seq_len, "--max_seq_len", run.trust_remote_code)
    tokenise = partial(sft_tokens, codec, max_seq_len=train.max_seq_len, train_on_prompt=sft.train_on_prompt)
    *split, inputs = examples.load(1, data, tokenise, sft.sft_only_data_path)
    inputs["model_name_or_path"] = fingerprint(model.model_name_or_path, whole=False)
    train = fitting(train, len(split[0]), "examples", world, settings)
    order = Order.of(train, len(split[0]), run.max_steps, data.seed, world)
    settings |= {"dtype": dtype, "examples": order.examples, "total_steps": order.total_steps}
    folder = Run(run.output_dir, settings, world, run.overwrite_output_dir, inputs)
    if folder.finished:
        return print(folder.dir, FINISHED)

    seed_step(data.seed, 0)
    how = {"attn_implementation": run.attn_implementation, "trust_remote_code": run.trust_remote_code}
    how["load_in_4bit"] = model.load_in_4bit
    with engine.loading(world, dtype, model.zero_stage, run.offload) as placed:
        lm = load_causal_lm(model.model_name_or_path, codec.tokenizer, dropout=dropout.dropout, **how, **placed)
        module = TokenLogps(add_lora(lm, model, "CAUSAL_LM", dropout.lora_dropout), run.packing)
    recipe = engine.Recipe.of(run, dtype, order.batch_size, order.accumulation, order.total_steps)
    actor = engine.Engine(module, model, world, recipe)
    batch = train.per_device_eval_batch_size
    training = SftTraining(actor, model.model_name_or_path, codec, split, order, batch)
    fit(folder, training, run, [*data.data_path, *sft.sft_only_data_path])


if __name__ == "__main__":
    program.run(main, "stopped before the first step; start the same command again")
