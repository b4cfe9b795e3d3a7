"""How fast PPO goes: sampling, scoring and training apart, and packed batches against padded rows.

python benchmarks/step3.py [--hidden_size 256 --layers 4 ...]

Four models of one size: actor, critic, reference, reward model. A random actor would hardly ever end an answer, so
its head gets a bias on the end-of-answer token: answer lengths are geometric with --mean_answer tokens, cut at the
limit.
"""

from dataclasses import dataclass

import bench
import report
import trainings
from layouts import Flops
from measure import Steps, examples_needed, measure

from korlhf.core import flags, program
from korlhf.training.ppo_flags import PpoFlags


@dataclass(frozen=True, kw_only=True)
class SamplingFlags:
    """sampling"""

    mean_answer: int = flags.flag(
        -1,
        "mean answer length of the random actor in tokens; -1 = a quarter of the "
        "answer limit, 0 = it never stops by itself",
        low=-1,
    )


def main():
    args, more = bench.parse("Benchmark of step 3: PPO", more=SamplingFlags)
    world, dtype, rng = bench.start(args)
    limit = args.seq_len // 2
    mean_answer = limit // 4 if more.mean_answer < 0 else more.mean_answer
    lm, reference = trainings.actor_and_reference(args, mean_answer, world, dtype)
    model, scorer = report.model_line(lm), trainings.scoring_model(args, world, dtype)
    flops = Flops(lm), Flops(scorer)
    del scorer
    models = trainings.ppo_models(lm, reference, args, world, dtype)
    lengths = bench.draw_lengths(args, 3, limit, rng)
    prompts = trainings.prompts(lengths, examples_needed(args, world), args, models.codec, rng)
    ppo_flags = PpoFlags(
        per_device_generation_batch_size=args.batch_size,
        per_device_training_batch_size=args.train_batch_size or args.batch_size,
        max_prompt_seq_len=limit,
        max_answer_seq_len=limit,
    )
    steps = Steps(trainings.ppo(models, args, ppo_flags, prompts), args, *flops)
    report.run("step 3: PPO", args, world, dtype, measure(args, world, steps), f"four of {model}")


if __name__ == "__main__":
    program.run(main)
