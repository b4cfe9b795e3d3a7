"""How fast step 1 trains: real tokens per second, padding, memory, and the share of the machine's matrix-product peak.

python benchmarks/step1.py [--hidden_size 256 --layers 4 ...]
"""

from functools import partial

import bench

from korlhf.core import program
from korlhf.data.tokenize import Tokens
from korlhf.models.causal_lm import TokenLogps
from korlhf.training.sft import sft_loss, token_logps


def batches(args, vocab, rng):
    """Endless lists of Tokens: a prompt and a trained answer each, of random ids."""
    lengths = bench.draw_lengths(args, 2, args.seq_len, rng)
    while True:
        pairs = [next(lengths) for _ in range(args.batch_size)]
        yield [Tokens([rng.randrange(vocab) for _ in range(p + a)], [0] * p + [1] * a) for p, a in pairs]


def train(actor, rows):
    loss = sft_loss(token_logps(actor, rows, actor.world.device), sum(sum(r.mask) for r in rows))
    actor.backward(loss)
    actor.step()


def count(flops, rows):
    lengths = [len(r) for r in rows]
    return len(rows), lengths, flops.forward(lengths, sum(sum(r.mask) for r in rows))


def main():
    args, _ = bench.parse("Benchmark of step 1: supervised fine-tuning")
    world, dtype, rng = bench.start(args)
    lm = bench.language_model(args)
    model, flops, vocab = bench.described(lm), bench.Flops(lm), lm.get_input_embeddings().weight.size(0)
    actor = bench.trained(TokenLogps(lm), args, world, dtype)
    actor.train()
    step = bench.supervised(args.seq_len, partial(train, actor), partial(count, flops))
    measured = bench.measure(args, world, batches(args, vocab, rng), step)
    bench.run("step 1: supervised fine-tuning", args, world, dtype, measured, model)


if __name__ == "__main__":
    program.run(main)
