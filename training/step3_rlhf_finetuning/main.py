"""Step 3: PPO, RLOO, GRPO or REINFORCE. Sample answers, score them with the reward model or what --reward names, pull
the actor towards higher scores and not far from the reference.

With LoRA the reference is the actor with its adapter off; otherwise a frozen copy. PPO's critic starts from the reward
model; the others have none. Left out: the hybrid engine, value heads that share the actor's trunk.
"""

import sys
from dataclasses import replace
from functools import partial

from korlhf.core import flags, program
from korlhf.judges.flags import ServerJudgeFlags
from korlhf.llm.flags import LlmFlags
from korlhf.models.folders import check_inputs
from korlhf.rl.flags import Flags
from korlhf.training.flags import DataFlags, ModelFlags, RunFlags, check, step_parser
from korlhf.training.ppo_flags import PpoFlags, check_ppo
from korlhf.training.reward_flags import RewardFlags
from korlhf.training.rollout_flags import RolloutFlags


def parse(argv=None):
    parser = step_parser("Step 3: PPO, RLOO, GRPO or REINFORCE")
    flags.add(parser, DataFlags)
    flags.add(parser, ModelFlags, "actor_", learning_rate=2e-6, lora_learning_rate=2e-5)
    of_critic = {"learning_rate": 9e-6, "lora_learning_rate": 9e-5}
    if any(word.split("=")[0] == "--reward" for word in (sys.argv[1:] if argv is None else argv)):
        of_critic["model_name_or_path"] = ""  # needed with gae alone
    flags.add(parser, ModelFlags, "critic_", **of_critic)
    flags.add(parser, RunFlags)
    for group in (PpoFlags, RolloutFlags, RewardFlags, LlmFlags, ServerJudgeFlags):
        flags.add(parser, group)
    parser.add_argument("--eval_steps", type=int, dest="eval_interval", help="the old name of --eval_interval")
    args = parser.parse_args(argv)
    data, run, ppo, rewards = (flags.read(args, group) for group in (DataFlags, RunFlags, PpoFlags, RewardFlags))
    judging, llm, rollout = (flags.read(args, group) for group in (ServerJudgeFlags, LlmFlags, RolloutFlags))
    actor, critic = (flags.read(args, ModelFlags, prefix) for prefix in ("actor_", "critic_"))
    check(data, {"actor_": actor, "critic_": critic}, run, parser)
    check_ppo(ppo, parser)
    judging.check(parser)
    rollout.check(actor, ppo, run.ddp_timeout)
    rewards.check(ppo.reward_model_name_or_path, run.ddp_timeout, llm.request_timeout)
    if ppo.has_critic and not critic.model_name_or_path:
        parser.error("the following arguments are required: --critic_model_name_or_path")
    return data, Flags(actor, critic, ppo, run, rewards, rollout), (llm, judging), vars(args)


def main():
    data, given, (llm, judging), settings = parse()
    actor, ppo, run, rewards = given.actor, given.ppo, given.run, given.rewards
    check_inputs([*data.data_path, *data.eval_data_path], given.models)
    if run.estimate_memory:
        with program.slow_imports():
            from korlhf.training import estimate
        models = [path for _, path in rewards.models] if rewards.reward else None
        return estimate.say(3, {"actor_": actor, "critic_": given.critic}, ppo, run, models)
    program.errors_in(run.output_dir)
    with program.slow_imports():
        from korlhf.data.tokenize import Codec, prompt_tokens
        from korlhf.judges.step3 import Judges
        from korlhf.models.checks import check_model
        from korlhf.models.fingerprint import fingerprint
        from korlhf.models.tokenizer import load_tokenizer
        from korlhf.rl.http_reward import open_http
        from korlhf.rl.models import open_models
        from korlhf.rl.reward_kinds import reward_inputs
        from korlhf.rl.rewards import Prompt
        from korlhf.rl.training import PpoTraining, load_unsupervised
        from korlhf.rl.vllm_server import opened
        from korlhf.training import engine, examples
        from korlhf.training.batch import fitting
        from korlhf.training.loop import Order, fit
        from korlhf.training.run import FINISHED, Run, seed_step
        from korlhf.training.world import resolve_dtype

    world = engine.start(run.local_rank, run.ddp_timeout)
    dtype = resolve_dtype(run.dtype, world.device)

    what, trust = "--actor_model_name_or_path", run.trust_remote_code
    codec = Codec(load_tokenizer(actor.model_name_or_path, data.prompt_template, trust, what))
    longest, named = ppo.max_prompt_seq_len + ppo.max_answer_seq_len, "--max_answer_seq_len with --max_prompt_seq_len"
    for flag, path in given.models:
        check_model(path, flag, longest, named, trust)
    tokenise = partial(prompt_tokens, codec, max_prompt_seq_len=ppo.max_prompt_seq_len)
    *splits, inputs = examples.load(3, data, tokenise)
    prompts, heldout = (
        [Prompt(i, e.messages, e.category, e.columns) for e, i in zip(s.examples, s.rows)] for s in splits
    )
    unsupervised, further = load_unsupervised(ppo, codec)
    inputs |= further | {flag: fingerprint(path, whole=False) for flag, path in given.paths.items()}
    judges = Judges(llm, judging, run.output_dir, rewards.reward_wait, world.size)
    inputs |= reward_inputs(rewards, prompts) | judges.inputs(rewards, {p.category for p in [*prompts, *heldout]})
    ppo = fitting(ppo, len(prompts), "prompts", world, settings)
    given = replace(given, ppo=ppo)
    batches = ppo.prompts_at_once, ppo.generation_batches, ppo.num_train_epochs
    flag = "--per_device_generation_batch_size"
    order = Order(len(prompts), *batches, run.max_steps, data.seed, world, "prompts", flag)
    settings |= {"dtype": dtype, "examples": order.examples, "total_steps": order.total_steps}
    folder = Run(run.output_dir, settings, world, run.overwrite_output_dir, inputs)
    if folder.finished:
        return print(folder.dir, FINISHED)

    seed_step(data.seed, 0)
    server = partial(open_http, seconds=llm.request_timeout, concurrency=llm.concurrency, wait=rewards.reward_wait)
    openers = {"http": server, "judge": judges.open}
    models = open_models(given, codec, world, dtype, order.total_steps, openers)
    training = PpoTraining(models, given, prompts, heldout, unsupervised, order, folder)
    with opened(models, given, prompts, dtype):
        fit(folder, training, run, data.data_path)


if __name__ == "__main__":
    program.run(main, "stopped before the first step; start the same command again")
