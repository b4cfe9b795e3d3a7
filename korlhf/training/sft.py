"""Supervised fine-tuning: the loss of trained tokens in packed batches.

Loss on answers only, the token that ends them included; every answer of a conversation of several turns is trained.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from korlhf.core import progress, stats
from korlhf.data import packing
from korlhf.data.tokenize import Codec, Tokens
from korlhf.models.card import Sample, places
from korlhf.models.folders import first_line
from korlhf.models.lora import without_adapter
from korlhf.training.engine import Engine
from korlhf.training.examples import Split
from korlhf.training.log import Clock
from korlhf.training.loop import Order, Training, write_model

SAMPLE_TOKENS = 96  # longest answer on the model card


def sft_loss(logps: torch.Tensor, normalizer: float) -> torch.Tensor:
    """Negative log-likelihood of the trained tokens: sum over `logps` (M,) in nats, divided by `normalizer`.

    normalizer: trained tokens of the whole optimizer step / (processes x accumulation steps), so that the gradient
    DeepSpeed averages is that of the mean over all of the step's tokens, however they are spread over processes and
    forward passes.
    """
    return -logps.sum() / normalizer


def token_logps(actor: Any, rows: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """Log-probabilities of the trained tokens of `rows`, (M,), in order. actor: a TokenLogps or its Engine."""
    packed = packing.pack([r.ids for r in rows], [r.prompt for r in rows]).to(device)
    logits_at, targets = packing.targets(packed, [r.mask for r in rows])
    return actor(packed, logits_at, targets)


def sequence_logps(actor: Any, sequences: Sequence[Tokens], device: torch.device) -> torch.Tensor:
    """Log-probabilities (S,) in nats of the final answers of `sequences`, each the sum over its tokens.

    actor: a TokenLogps or its Engine.
    """
    lengths = [t.answer for t in sequences]
    rows = [Tokens(t.ids, [0] * t.prompt + [1] * t.answer) for t in sequences]
    return torch.stack([part.sum() for part in token_logps(actor, rows, device).split(lengths)])


class SftTraining(Training):
    """Step 1 for `fit`."""

    name, title = "SFT", "Supervised fine-tuned model (step 1)"
    shown = ("loss", "heldout_loss", "tokens_per_second")
    measured = ("loss", "perplexity")
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
        losses = {}  # place of an example -> (nats, trained tokens)
        for i in progress.bar(range(most), desc="held-out", unit="batches") if self.world.first else range(most):
            chunk = mine[i] if i < len(mine) else chunks[0]
            logps = token_logps(self.actor, [rows[j] for j in chunk], self.world.device).double()
            sizes = [sum(rows[j].mask[1:]) for j in chunk]
            sums = [-float(part.sum()) for part in logps.split(sizes)]
            losses |= dict(zip(chunk, zip(sums, sizes))) if i < len(mine) else {}
        self.actor.train()
        every = {j: loss for part in self.world.gather(losses) for j, loss in part.items()}
        by_category = {
            c: _figures([every[j] for j in range(len(rows)) if examples[j].category == c])
            for c in sorted({e.category for e in examples})
        }
        return {**_figures([every[j] for j in range(len(rows))]), "by_category": by_category}

    def samples(self):
        """Greedy answers to held-out prompts, by transformers' own sampler; none of plain documents."""
        asked = [e for e in self.heldout.examples if e.messages]
        prompts = [self.codec.prompt(asked[i].messages).ids for i in places(len(asked))]
        answers, lm = [], without_adapter(next(self.actor.module.children()))
        limit = getattr(lm.config.get_text_config(), "max_position_embeddings", None) or 10**6
        self.actor.eval()
        try:
            with self.actor.gathered_weights(), torch.no_grad():
                for ids in prompts if self.world.first else ():
                    room = min(SAMPLE_TOKENS, limit - len(ids))
                    answers.append(self._greedy(lm, ids, room) if room > 0 else "")
        except Exception as error:  # a model of somebody's own code may have no `generate`; it is trained all the same
            print(f"note: no answers on the card: {type(error).__name__}: {first_line(error)}", flush=True)
        self.world.barrier()
        shown = [asked[i].prompt for i in places(len(asked))]
        return [Sample(prompt, [("답변 · answer", text)]) for prompt, text in zip(shown, answers)]

    def _greedy(self, lm, ids, max_new_tokens):
        prompt = torch.tensor([ids], device=self.world.device)
        ends = {"eos_token_id": self.codec.eos_token_id, "pad_token_id": self.codec.eos_token_id}
        how = GenerationConfig(do_sample=False, max_new_tokens=max_new_tokens, **ends)
        mask = torch.ones_like(prompt)
        found = lm.generate(prompt, attention_mask=mask, generation_config=how, use_cache=True, synced_gpus=False)
        return self.codec.decode(found[0, len(ids) :].tolist())

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


def _figures(losses):
    """losses: (nats summed over trained tokens, those tokens) of each example."""
    sums, tokens = zip(*losses)
    estimate = stats.ratio_interval(sums, tokens)
    figures = {"loss": estimate.mean, "perplexity": _exp(estimate.mean), "n": len(losses), "tokens": sum(tokens)}
    if estimate.known:
        low, high = estimate.low, estimate.high
        figures["ci95"] = {"loss": [low, high], "perplexity": [_exp(low), _exp(high)]}
    return figures


def _exp(x):
    return float(torch.tensor(x, dtype=torch.float64).exp())
