"""How fast step 1 trains: real tokens a second, padding, memory, and the share of the machine's matrix-product peak.

python benchmarks/step1.py [--hidden_size 256 --layers 4 ...]
"""

import bench

from korlhf.core import program
from korlhf.data import packing
from korlhf.data.tokenize import Tokens
from korlhf.models import causal_lm as models
from korlhf.training import losses


def batches(args, vocab, rng):
    """Endless lists of Tokens: a prompt and a trained answer each, of random ids."""
    lengths = bench.draw_lengths(args, 2, args.seq_len, rng)
    while True:
        yield [
            Tokens([rng.randrange(vocab) for _ in range(p + a)], [0] * p + [1] * a)
            for p, a in (next(lengths) for _ in range(args.batch_size))
        ]


class Step:
    """One optimizer step as step 1's main.py does it."""

    def __init__(self, actor, ranks):
        self.actor, self.ranks = actor, ranks

    def __call__(self, rows):
        packed = packing.pack([r.ids for r in rows]).to(self.ranks.device)
        before, tokens = packing.targets(packed, [r.mask for r in rows])
        loss = losses.sft_loss(
            self.actor(packed.ids, packed.position_ids, before, tokens), sum(sum(r.mask) for r in rows)
        )
        self.actor.backward(loss)
        self.actor.step()


class Count:
    """A batch -> (samples, real tokens, FLOP of a training step)."""

    def __init__(self, flops):
        self.flops = flops

    def __call__(self, rows):
        lengths = [len(r) for r in rows]
        return len(rows), sum(lengths), self.flops.training(lengths, sum(sum(r.mask) for r in rows))


def main():
    args, _ = bench.parse("Benchmark of step 1: supervised fine-tuning")
    ranks, dtype, rng = bench.start(args)
    lm = bench.language_model(args)
    model, count, vocab = bench.described(lm), Count(bench.Flops(lm)), lm.get_input_embeddings().weight.size(0)
    actor = bench.trained(models.TokenLogps(lm), args, ranks, dtype)
    actor.train()
    layouts = {k: bench.Layout(k, args.seq_len) for k in bench.LAYOUTS}
    figures, memory, comparison = bench.measure(
        args, ranks, batches(args, vocab, rng), layouts, Step(actor, ranks), count
    )
    bench.show(
        "step 1: supervised fine-tuning",
        args,
        ranks,
        {
            "model": model,
            "machine": bench.machine(args, ranks, dtype),
            "peak_memory_mb": memory,
            "phases": {"training": figures},
            "layouts": comparison,
        },
    )


if __name__ == "__main__":
    program.run(main)
