"""Step 2: a reward model from ranked answers.

Pairwise loss on the score of the last token; K ranked answers of a prompt give all K(K-1)/2 pairs (InstructGPT), and
share one forward pass. The checkpoint is a plain transformers sequence-classification model.
"""

from functools import partial

from korlhf.core import flags, program
from korlhf.models.folders import check_inputs
from korlhf.training.flags import (
    DataFlags,
    DropoutFlags,
    ModelFlags,
    PairFlags,
    RunFlags,
    TrainFlags,
    check,
    step_parser,
)

FLAGS = (DataFlags, PairFlags, ModelFlags, DropoutFlags, TrainFlags, RunFlags)


def parse(argv=None):
    parser = step_parser("Step 2: reward model")
    for group in FLAGS:
        flags.add(parser, group)
    args = parser.parse_args(argv)
    data, pairs, model, dropout, train, run = (flags.read(args, group) for group in FLAGS)
    check(data, {"": model}, run, parser)
    for name in ("min_margin", "margin_weight"):
        if (value := getattr(pairs, name)) and not pairs.margin_column:
            parser.error(f"--{name} {value:g} needs --margin_column, the column that the margins are in")
    return data, pairs, model, dropout, train, run, vars(args)


def main():
    data, pairs, model, dropout, train, run, settings = parse()
    check_inputs([*data.data_path, *data.eval_data_path], [("--model_name_or_path", model.model_name_or_path)])
    if run.estimate_memory:
        with program.slow_imports():
            from korlhf.training import estimate
        return estimate.say(2, {"": model}, train, run)
    program.errors_in(run.output_dir)
    with program.slow_imports():
        from korlhf.data.tokenize import Codec, reward_tokens
        from korlhf.models.checks import check_model
        from korlhf.models.fingerprint import fingerprint
        from korlhf.models.lora import add_lora
        from korlhf.models.reward_model import TokenValues, load_reward_model, set_padding
        from korlhf.models.tokenizer import load_tokenizer
        from korlhf.training import engine, examples
        from korlhf.training.batch import fitting
        from korlhf.training.loop import Order, fit
        from korlhf.training.reward import RewardTraining, Terms
        from korlhf.training.run import FINISHED, Run, seed_step
        from korlhf.training.world import resolve_dtype

    world = engine.start(run.local_rank, run.ddp_timeout)
    dtype = resolve_dtype(run.dtype, world.device)

    tokenizer = load_tokenizer(model.model_name_or_path, data.prompt_template, run.trust_remote_code)
    codec = Codec(tokenizer)
    what = model.model_name_or_path, "--model_name_or_path"
    check_model(*what, train.max_seq_len, "--max_seq_len", run.trust_remote_code)
    tokenise = partial(reward_tokens, codec, max_seq_len=train.max_seq_len)
    *split, inputs = examples.load(2, data, tokenise, margin_column=pairs.margin_column)
    if pairs.min_margin:
        split[0] = examples.far_apart(split[0], pairs.min_margin)
    if pairs.margin_weight:
        split[0] = examples.with_gaps(split[0], pairs.margin_weight)
    inputs["model_name_or_path"] = fingerprint(model.model_name_or_path, whole=False)
    train = fitting(train, len(split[0]), "prompts", world, settings)
    order = Order.of(train, len(split[0]), run.max_steps, data.seed, world, "prompts")
    settings |= {"dtype": dtype, "examples": order.examples, "total_steps": order.total_steps}
    folder = Run(run.output_dir, settings, world, run.overwrite_output_dir, inputs)
    if folder.finished:
        return print(folder.dir, FINISHED)

    seed_step(data.seed, 0)
    how = {"attn_implementation": run.attn_implementation, "trust_remote_code": run.trust_remote_code}
    how["load_in_4bit"] = model.load_in_4bit
    with engine.loading(world, dtype, model.zero_stage, run.offload) as placed:
        scorer = load_reward_model(model.model_name_or_path, new_head=True, dropout=dropout.dropout, **how, **placed)
        set_padding(scorer, tokenizer, codec.eos_token_id)
        module = TokenValues(add_lora(scorer, model, "SEQ_CLS", dropout.lora_dropout), run.packing)
    recipe = engine.Recipe.of(run, dtype, order.batch_size, order.accumulation, order.total_steps)
    reward = engine.Engine(module, model, world, recipe)
    batch = train.per_device_eval_batch_size
    terms = Terms(pairs.center_rewards, pairs.label_smoothing)
    training = RewardTraining(reward, model.model_name_or_path, tokenizer, split, order, batch, terms)
    fit(folder, training, run, data.data_path)


if __name__ == "__main__":
    program.run(main, "stopped before the first step; start the same command again")
