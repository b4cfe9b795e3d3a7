"""Supervised fine-tuning: the loss of trained tokens in packed batches.

Loss on answers only, the token that ends them included; every answer of a conversation of several turns is trained.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from korlhf.data import packing
from korlhf.data.tokenize import Codec, Tokens
from korlhf.training.engine import Engine
from korlhf.training.examples import Split
from korlhf.training.log import Clock
from korlhf.training.loop import Order, Training, write_model


def sft_loss(logps: torch.Tensor, normalizer: float) -> torch.Tensor:
    """Negative log-likelihood of the trained tokens: sum over `logps` (M,) in nats, divided by `normalizer`.

    normalizer: trained tokens of the whole optimizer step / (processes x accumulation steps), so that the gradient
    DeepSpeed averages is that of the mean over all of the step's tokens, however they are spread over processes and
    forward passes.
    """
    return -logps.sum() / normalizer


def token_logps(actor: Any, rows: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """Log-probabilities of the trained tokens of `rows`, (M,), in order. actor: a TokenLogps or its Engine."""
    packed = packing.pack([r.ids for r in rows]).to(device)
    logits_at, targets = packing.targets(packed, [r.mask for r in rows])
    return actor(packed, logits_at, targets)


class SftTraining(Training):
    """Step 1 for `fit`."""

    name, title = "SFT", "Supervised fine-tuned model (step 1)"
    shown = ("loss", "heldout_loss", "tokens_per_second")
    measured = ("loss", "perplexity", "n")
    panels = [
        ("loss (nats per token)", ["loss", "heldout_loss"]),
        ("learning rate", ["lr"]),
        ("real tokens/s", ["tokens_per_second"]),
    ]

    def __init__(
        self, actor: Engine, base: str, codec: Codec, split: tuple[Split, Split], order: Order, eval_batch: int
    ):
        """base: checkpoint that the actor was; split: training and held-out rows of Tokens; eval_batch: sequences per
        forward pass.
        """
        self.actor, self.base, self.codec, self.engines = actor, base, codec, {"actor": actor}
        self.rows, self.heldout, self.order, self.world = split[0].rows, split[1], order, order.world
        self.eval_batch = eval_batch

    def train_step(self, step, mine, everyone):
        clock, passes = Clock(), self.world.size * self.order.accumulation
        normalizer = max(sum(sum(self.rows[i].mask[1:]) for i in everyone), 1) / passes
        total = torch.zeros(1, dtype=torch.float64, device=self.world.device)
        for chunk in mine:
            loss = sft_loss(token_logps(self.actor, [self.rows[i] for i in chunk], self.world.device), normalizer)
            self.actor.backward(loss)
            self.actor.step()
            total += loss.detach()
        return {
            "loss": float(self.world.sum(total)) / passes,
            "lr": self.actor.lr,
            "grad_norm": self.actor.grad_norm(),
            "epoch": step / self.order.steps_per_epoch,
            "tokens_per_second": sum(len(self.rows[i]) for i in everyone) / clock.lap(),
        }

    @torch.no_grad()
    def evaluate(self):
        """Held-out loss per category and over all: mean over trained tokens in nats, with the number of examples.

        With ZeRO-3 all processes must run equally many batches, so those with fewer repeat the first one uncounted.
        """
        examples, rows = self.heldout.examples, self.heldout.rows
        if not rows:
            return None
        self.actor.eval()
        chunks = [range(i, min(i + self.eval_batch, len(rows))) for i in range(0, len(rows), self.eval_batch)]
        mine, most = chunks[self.world.rank :: self.world.size], -(-len(chunks) // self.world.size)
        sums = defaultdict(lambda: [0.0, 0.0])
        for i in range(most):
            chunk = mine[i] if i < len(mine) else chunks[0]
            logps = token_logps(self.actor, [rows[j] for j in chunk], self.world.device)
            at = 0
            for j in chunk if i < len(mine) else ():
                n = sum(rows[j].mask[1:])
                sums[examples[j].category][0] -= float(logps[at : at + n].sum())
                sums[examples[j].category][1] += n
                at += n
        self.actor.train()
        categories = sorted({e.category for e in examples})
        totals = self.world.sum([sums[c] for c in categories]).tolist()
        counts = [sum(e.category == c for e in examples) for c in categories]
        by_category = {c: _figures(nll, tokens, n) for c, (nll, tokens), n in zip(categories, totals, counts)}
        nll, tokens = (sum(t[k] for t in totals) for k in (0, 1))
        return {**_figures(nll, tokens, len(examples)), "by_category": by_category}

    def heldout_metrics(self, figures):
        return {"heldout_loss": figures["loss"]}

    def report(self, figures, when):
        lines = [
            f"{when}: held-out loss {figures['loss']:.4f}, perplexity {figures['perplexity']:.2f} "
            f"(n {figures['n']}, {figures['tokens']} tokens)"
        ]
        for category, f in figures["by_category"].items():
            lines.append(f"  {category:<14} loss {f['loss']:.4f}  perplexity {f['perplexity']:8.2f}  n {f['n']}")
        return "\n".join(lines)

    def save_model(self, folder: Path):
        write_model(self.actor, self.codec.tokenizer, folder, self.base, self.codec.eos_token_id)

    def on_card(self, figures):
        return super().on_card(figures) | {k: figures[k] for k in ("examples", "steps")}


def _figures(nll, tokens, n):
    """nll: summed over `tokens` trained tokens of n examples, in nats."""
    loss = nll / tokens
    return {"loss": loss, "perplexity": _exp(loss), "n": n, "tokens": int(tokens)}


def _exp(x):
    return float(torch.tensor(x, dtype=torch.float64).exp())
