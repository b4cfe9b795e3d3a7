"""How fast step 2 trains: real tokens per second, padding, memory, and the share of the machine's matrix-product peak.

python benchmarks/step2.py [--hidden_size 256 --layers 4 ...]
"""

import bench
import report
import trainings
from layouts import Flops
from measure import Steps, examples_needed, measure

from korlhf.core import program


def main():
    args, _ = bench.parse("Benchmark of step 2: reward model")
    world, dtype, rng = bench.start(args)
    scorer = trainings.scoring_model(args, world, dtype)
    model, flops = report.model_line(scorer), Flops(scorer)
    lengths, vocab_size = bench.draw_lengths(args, 2, args.seq_len, rng), scorer.get_input_embeddings().weight.size(0)
    groups = trainings.groups(lengths, examples_needed(args, world), vocab_size, rng)
    steps = Steps(trainings.reward(scorer, args, world, dtype, groups), args, flops, flops)
    report.run("step 2: reward model", args, world, dtype, measure(args, world, steps), model)


if __name__ == "__main__":
    program.run(main)
