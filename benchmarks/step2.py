"""How fast step 2 trains: real tokens per second, padding, memory, and the share of the machine's matrix-product peak.

python benchmarks/step2.py [--hidden_size 256 --layers 4 ...]
"""

from functools import partial

import bench

from korlhf.core import program
from korlhf.data.tokenize import Tokens
from korlhf.models.reward_model import TokenValues
from korlhf.training import pairs
from korlhf.training.reward import ranked_loss


def batches(args, vocab, rng):
    """Endless lists of prompts with two answers: lists of [Tokens, Tokens] of random ids, the better first."""
    lengths = bench.draw_lengths(args, 3, args.seq_len, rng)
    while True:
        yield [group(*next(lengths), vocab, rng) for _ in range(args.batch_size)]


def group(prompt, better, worse, vocab, rng):
    ids = [rng.randrange(vocab) for _ in range(prompt)]
    return [Tokens(ids + [rng.randrange(vocab) for _ in range(n)], [0] * prompt + [1] * n) for n in (better, worse)]


def train(reward, groups):
    scores = pairs.forward(reward, [t for g in groups for t in g], reward.world.device)
    reward.backward(ranked_loss(scores, [len(g) for g in groups]))
    reward.step()


def count(flops, groups):
    lengths = [len(t) for g in groups for t in g]
    return len(groups), lengths, flops.forward(lengths)


def main():
    args, _ = bench.parse("Benchmark of step 2: reward model")
    world, dtype, rng = bench.start(args)
    scorer = bench.scoring_model(args)
    model, flops, vocab = bench.described(scorer), bench.Flops(scorer), scorer.get_input_embeddings().weight.size(0)
    reward = bench.trained(TokenValues(scorer), args, world, dtype)
    reward.train()
    step = bench.supervised(args.seq_len, partial(train, reward), partial(count, flops))
    measured = bench.measure(args, world, batches(args, vocab, rng), step)
    bench.run("step 2: reward model", args, world, dtype, measured, model)


if __name__ == "__main__":
    program.run(main)
