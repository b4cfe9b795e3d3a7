"""Step 2 without a reward model: a chat model from ranked answers by DPO, IPO, SimPO or ORPO, or from answers that are
good or bad each by KTO.

Starts from the model of step 1, which is also the reference: what it says is computed once, before the first step. Left
out: another reference than the model itself.
"""

from functools import partial

from korlhf.core import flags, program
from korlhf.models.folders import check_inputs
from korlhf.training.dpo_flags import PreferenceFlags, check_preferences
from korlhf.training.flags import DataFlags, DropoutFlags, ModelFlags, RunFlags, TrainFlags, check, step_parser

REMOVED = {"--offload_reference_model": "no reference is in memory while the model trains. Delete the flag"}
FLAGS = (DataFlags, PreferenceFlags, ModelFlags, DropoutFlags, TrainFlags, RunFlags)


def parse(argv=None):
    parser = step_parser("Step 2: DPO, IPO, SimPO, ORPO or KTO", REMOVED)
    rates = {"learning_rate": 1e-6, "lora_learning_rate": 1e-5}
    for group in FLAGS:
        flags.add(parser, group, **(rates if group is ModelFlags else {}))
    args = parser.parse_args(argv)
    data, preferences, model, dropout, train, run = (flags.read(args, group) for group in FLAGS)
    check(data, {"": model}, run, parser)
    check_preferences(preferences, parser)
    return data, preferences, model, dropout, train, run, vars(args)


def main():
    data, preferences, model, dropout, train, run, settings = parse()
    check_inputs([*data.data_path, *data.eval_data_path], [("--model_name_or_path", model.model_name_or_path)])
    if run.estimate_memory:
        with program.slow_imports():
            from korlhf.training import estimate
        return estimate.say("2 (preferences)", {"": model}, train, run)
    program.errors_in(run.output_dir)
    with program.slow_imports():
        from korlhf.data.tokenize import Codec, reward_tokens
        from korlhf.models.causal_lm import TokenLogps, load_causal_lm
        from korlhf.models.checks import check_model
        from korlhf.models.fingerprint import fingerprint
        from korlhf.models.lora import add_lora
        from korlhf.models.tokenizer import load_tokenizer
        from korlhf.rl import rollout
        from korlhf.training import engine, examples
        from korlhf.training.batch import fitting
        from korlhf.training.dpo import DpoTraining
        from korlhf.training.loop import Order, fit
        from korlhf.training.reference import Asked
        from korlhf.training.run import FINISHED, Run, seed_step
        from korlhf.training.world import resolve_dtype

    world = engine.start(run.local_rank, run.ddp_timeout)
    dtype = resolve_dtype(run.dtype, world.device)

    codec = Codec(load_tokenizer(model.model_name_or_path, data.prompt_template, run.trust_remote_code))
    what = model.model_name_or_path, "--model_name_or_path"
    check_model(*what, train.max_seq_len, "--max_seq_len", run.trust_remote_code)
    tokenise, kto = partial(reward_tokens, codec, max_seq_len=train.max_seq_len), preferences.loss == "kto"
    *split, inputs = examples.load(2, data, tokenise, margin_column=preferences.margin_column, labels=kto)
    if preferences.min_margin:
        split[0] = examples.far_apart(split[0], preferences.min_margin)
    if kto:
        split[0] = examples.unpaired(split[0], train.max_seq_len, data.seed)
    inputs["model_name_or_path"] = fingerprint(model.model_name_or_path, whole=False)
    noun = "answers" if kto else "prompts"
    train = fitting(train, len(split[0]), noun, world, settings)
    order = Order.of(train, len(split[0]), run.max_steps, data.seed, world, noun)
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
    batch, limits = train.per_device_eval_batch_size, rollout.Limits(preferences.max_answer_seq_len)
    sample = partial(rollout.sample, eos_token_id=codec.eos_token_id, limits=limits, batch_size=batch)
    room = train.max_seq_len - preferences.max_answer_seq_len
    asked = Asked.of(split[1].rows, preferences.drift_prompts, room, data.seed, sample, batch)
    training = DpoTraining(actor, preferences, codec, split, order, asked, folder)
    fit(folder, training, run, data.data_path)


if __name__ == "__main__":
    program.run(main, "stopped before the first step; start the same command again")
