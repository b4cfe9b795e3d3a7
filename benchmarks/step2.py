"""How fast step 2 trains: real tokens a second, padding, memory, and the share of the machine's matrix-product peak.

python benchmarks/step2.py [--hidden_size 256 --layers 4 ...]
"""

import bench

from korlhf.core import program
from korlhf.data.tokenize import Tokens
from korlhf.models import reward_model
from korlhf.training import losses
from korlhf.training import reward as pairs


def batches(args, vocab, rng):
    """Endless lists of prompts with two answers: lists of [Tokens, Tokens] of random ids, the better first."""
    lengths = bench.draw_lengths(args, 3, args.seq_len, rng)
    while True:
        yield [group(*next(lengths), vocab, rng) for _ in range(args.batch_size)]


def group(prompt, better, worse, vocab, rng):
    ids = [rng.randrange(vocab) for _ in range(prompt)]
    return [Tokens(ids + [rng.randrange(vocab) for _ in range(n)], [0] * prompt + [1] * n) for n in (better, worse)]


class Step:
    """One optimizer step as step 2's main.py does it."""

    def __init__(self, reward, ranks):
        self.reward, self.ranks = reward, ranks

    def __call__(self, groups):
        scores = pairs.forward(self.reward, [t for g in groups for t in g], self.ranks.device)
        self.reward.backward(losses.ranked_loss(scores, [len(g) for g in groups]))
        self.reward.step()


class Count:
    """A batch -> (samples, that is prompts, real tokens, FLOP of a training step)."""

    def __init__(self, flops):
        self.flops = flops

    def __call__(self, groups):
        lengths = [len(t) for g in groups for t in g]
        return len(groups), sum(lengths), self.flops.training(lengths, 0)


def main():
    args, _ = bench.parse("Benchmark of step 2: reward model")
    ranks, dtype, rng = bench.start(args)
    model = bench.scoring_model(args)
    description, count, vocab = (
        bench.described(model),
        Count(bench.Flops(model)),
        model.get_input_embeddings().weight.size(0),
    )
    reward = bench.trained(reward_model.TokenValues(model), args, ranks, dtype)
    reward.train()
    layouts = {k: bench.Layout(k, args.seq_len) for k in bench.LAYOUTS}
    figures, memory, comparison = bench.measure(
        args, ranks, batches(args, vocab, rng), layouts, Step(reward, ranks), count
    )
    bench.show(
        "step 2: reward model",
        args,
        ranks,
        {
            "model": description,
            "machine": bench.machine(args, ranks, dtype),
            "peak_memory_mb": memory,
            "phases": {"training": figures},
            "layouts": comparison,
        },
    )


if __name__ == "__main__":
    program.run(main)
