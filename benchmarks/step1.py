"""How fast step 1 trains: real tokens per second, padding, memory, and the share of the machine's matrix-product peak.

python benchmarks/step1.py [--hidden_size 256 --layers 4 ...]
"""

import bench
import report
import trainings
from layouts import Flops
from measure import Steps, examples_needed, measure

from korlhf.core import program


def main():
    args, _ = bench.parse("Benchmark of step 1: supervised fine-tuning")
    world, dtype, rng = bench.start(args)
    lm = trainings.language_model(args, world, dtype)
    model, flops = report.model_line(lm), Flops(lm)
    lengths, vocab_size = bench.draw_lengths(args, 1, args.seq_len, rng), lm.get_input_embeddings().weight.size(0)
    rows = trainings.sft_rows(lengths, examples_needed(args, world), vocab_size, rng)
    steps = Steps(trainings.sft(lm, args, world, dtype, rows), args, flops, flops)
    report.run("step 1: supervised fine-tuning", args, world, dtype, measure(args, world, steps), model)


if __name__ == "__main__":
    program.run(main)
