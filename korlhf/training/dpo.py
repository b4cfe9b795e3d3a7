"""Preference optimisation: DPO, IPO, SimPO, ORPO and KTO. A language model learns from ranked or labelled answers
directly, without a reward model and without sampling.

All answers of a prompt share a forward pass. Left out: computing a prompt once for its answers, which needs attention
in the form of a tree.
"""

from pathlib import Path

import torch

from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.data import packing
from korlhf.data.tokenize import Codec
from korlhf.models.card import Sample, places
from korlhf.training import implicit, pairs, provenance, reference
from korlhf.training.dpo_flags import PreferenceFlags
from korlhf.training.engine import Engine
from korlhf.training.examples import Split
from korlhf.training.log import Clock
from korlhf.training.loop import Order, write_model
from korlhf.training.preference_losses import answer_scores, kto_losses, pair_losses, pairs_of
from korlhf.training.reward import RewardTraining
from korlhf.training.run import Run
from korlhf.training.sft import sequence_logps
from korlhf.training.watch import FALL

NAMES = {"dpo": "DPO", "ipo": "IPO", "simpo": "SimPO", "orpo": "ORPO", "kto": "KTO"}
# Sums over the pairs (kto: answers) of a step: their loss, implicit rewards of the better and the worse answers and
# how many, pairs in the right order, nats and tokens of the better answers, nats that they lost.
FIGURES = ("loss", "chosen", "n_chosen", "rejected", "n_rejected", "right", "nats", "tokens", "fall")
OWN, MISMATCHED = slice(0, 1), slice(1, 2)  # of a row of examples.unpaired


class DpoTraining(RewardTraining):
    """Preference optimisation for `fit`."""

    kind = "dpo"
    shown = ("loss", "accuracy", "margin", "heldout_accuracy", "tokens_per_second")
    panels = [
        ("loss", ["loss"]),
        ("accuracy", ["accuracy", "heldout_accuracy"]),
        ("implicit rewards", ["reward_chosen", "reward_rejected"]),
        ("better answers (nats per token)", ["chosen_nll", "heldout_chosen_nll"]),
        ("drift (nats per answer)", ["heldout_kl"]),
    ]

    def __init__(
        self,
        actor: Engine,
        flags: PreferenceFlags,
        codec: Codec,
        split: tuple[Split, Split],
        order: Order,
        asked: reference.Asked,
        run: Run,
    ):
        """split: training and held-out rows, lists of Tokens, best answer first, or of examples.unpaired; run: the
        folder that keeps the reference.

        Computes the reference, with the weights that the actor has now, unless it is there.
        """
        self.actor, self.flags, self.codec, self.asked, self.engines = actor, flags, codec, asked, {"actor": actor}
        (self.train, self.heldout), self.order, self.world, self.settings = split, order, order.world, run.settings
        self.base, self.name = run.settings["model_name_or_path"], NAMES[flags.loss]
        self.title = f"{self.name}-tuned model (step 2)"
        self.beside, self.scores, self.known, self.first_nll = None, [], None, None
        if self.train.labels and order.batch_size * order.accumulation * self.world.size < 2:
            raise InputError(
                "--per_device_train_batch_size 1: kto needs 2 answers or more in a step, of which it estimates the KL"
            )
        if flags.has_reference:
            self.known = self._reference(run)

    def _reference(self, run):
        rows = [self.train.rows, self.heldout.rows]
        names = ("dtype", "load_in_4bit", "max_answer_seq_len", "seed")
        how = {name: run.settings[name] for name in names}
        identity = reference.fingerprint(run.settings["inputs"]["model_name_or_path"], how, rows, self.asked.prompts)
        read = self._read()
        compute = lambda: reference.compute(self.actor, rows, read, self.asked)  # noqa: E731
        return reference.kept_in(run.dir / reference.FILE, identity, read, self.world, compute)

    def _read(self):
        """Places of the training rows that the steps take: all, but in less than an epoch."""
        order = self.order
        if order.total_steps >= order.steps_per_epoch:
            return range(len(self.train))
        batches = order.examples, order.batch_size, order.world, order.accumulation, order.seed
        taken = packing.steps(*batches, 0, order.total_steps)
        return sorted({i for _, (_, everyone) in taken for i in everyone})

    def train_step(self, step, mine, everyone):
        clock, labels = Clock(), self.train.labels
        zero = self._zero(mine, len(everyone)) if labels else 0.0
        sums = torch.zeros(len(FIGURES), dtype=torch.float64, device=self.world.device)
        for chunk in mine:
            loss, figures = self._labelled(chunk, zero) if labels else self._ranked(chunk)
            self.actor.backward(loss)
            self.actor.step()
            sums += torch.stack([loss.detach().double(), *figures])
        total = dict(zip(FIGURES, self.world.sum(sums).tolist()))
        chosen, rejected = (_share(total[k], total[f"n_{k}"]) for k in ("chosen", "rejected"))
        return {
            "loss": total["loss"] / (self.world.size * len(mine)),
            "reward_chosen": chosen,
            "reward_rejected": rejected,
            "margin": None if chosen is None or rejected is None else chosen - rejected,
            **({"mismatched_kl": zero} if labels else {"accuracy": total["right"] / total["n_chosen"]}),
            "chosen_nll": _share(total["nats"], total["tokens"]),
            **({"chosen_fall": _share(total["fall"], total["tokens"])} if self.known else {}),
            "lr": self.actor.lr,
            "grad_norm": self.actor.grad_norm(),
            "epoch": step / self.order.steps_per_epoch,
            "tokens_per_second": sum(len(t) for i in everyone for t in self.train.rows[i]) / clock.lap(),
        }

    def _passed(self, chunk, part=slice(None)):
        """(scores, log-probabilities, tokens, nats lost to the reference), (S,) each, of the answers of a chunk."""
        device = self.world.device
        rows = [t for i in chunk for t in self.train.rows[i][part]]
        logps, known = sequence_logps(self.actor, rows, device), None
        lengths = torch.tensor([t.answer for t in rows], device=device)
        if self.known:
            known = torch.tensor([x for i in chunk for x in self.known["train"][i][part]], device=device)
        lost = torch.zeros_like(logps) if known is None else known - logps.detach()
        return answer_scores(self.flags, logps, lengths, known), logps, lengths, lost

    def _ranked(self, chunk):
        """(The loss of a chunk of prompts with ranked answers, FIGURES but for the loss)."""
        scores, logps, lengths, lost = self._passed(chunk)
        kept = [self.train.kept[i] for i in chunk] if self.train.kept else ()
        better, worse, weights = pairs_of([len(self.train.rows[i]) for i in chunk], kept)
        margins, nll = scores[better] - scores[worse], -logps[better] / lengths[better]
        loss = (pair_losses(self.flags, margins, nll) * torch.tensor(weights, device=scores.device)).sum()
        return loss, self._figures(scores, logps, lengths, lost, better, worse)

    def _labelled(self, chunk, zero):
        """(The loss of a chunk of answers that are good or bad, FIGURES but for the loss)."""
        scores, logps, lengths, lost = self._passed(chunk, OWN)
        good = torch.tensor([self.train.labels[i] for i in chunk], device=scores.device)
        loss = kto_losses(self.flags, scores, good, zero, -logps / lengths).mean()
        parts = [[k for k, i in enumerate(chunk) if self.train.labels[i] == of] for of in (True, False)]
        return loss, self._figures(scores, logps, lengths, lost, *parts)

    def _figures(self, scores, logps, lengths, lost, better, worse):
        rewards, logps = self.flags.scale * scores.detach().double(), logps.detach().double()
        right = rewards.new_zeros(())
        if not self.train.labels:
            margins = rewards[better] - rewards[worse]
            right = ((margins > 0).double() + 0.5 * (margins == 0)).sum()
        counts = rewards.new_tensor([len(better), len(worse)])
        sums = rewards[better].sum(), counts[0], rewards[worse].sum(), counts[1], right
        return *sums, -logps[better].sum(), lengths[better].sum().double(), lost[better].sum().double()

    @torch.no_grad()
    def _zero(self, mine, n):
        """KTO's estimate of the KL from the reference: the mean log-ratio of other prompts' answers over the whole
        step, at least 0.
        """
        self.actor.eval()
        total = sum(float(self._passed(chunk, MISMATCHED)[0].double().sum()) for chunk in mine)
        self.actor.train()
        return max(float(self.world.sum([total])) / n, 0.0)

    def evaluate(self):
        if not self.heldout.rows:
            return None
        rows, n = self.heldout.rows, self.asked.batch_size
        logps = reference.group_logps(self.actor, rows, n, "held-out")
        lengths = [[t.answer for t in group] for group in rows]
        self.scores = [
            (self.flags.scale * answer_scores(self.flags, *map(_tensor, parts))).tolist()
            for parts in zip(logps, lengths, self.known["heldout"] if self.known else [None] * len(rows))
        ]
        figures = self._accuracy()
        good = [i for i, e in enumerate(self.heldout.examples) if e.label is not False]
        nats, tokens = sum(-logps[i][0] for i in good), sum(lengths[i][0] for i in good)
        figures["chosen"] = {"nll": nats / max(tokens, 1), "n": len(good)}
        if self.first_nll is None:
            self.first_nll = figures["chosen"]["nll"]
        if self.known and self.asked.prompts:
            answers = reference.after(self.asked.prompts, self.known["answers"])
            figures["drift"] = reference.drift(self.known["drift"], reference.group_logps(self.actor, answers, n))
        self.actor.train()
        return figures

    def _accuracy(self):
        """Figures of the ranked held-out answers, else of the labelled ones."""
        examples, groups = self.heldout.examples, self.scores
        ranked = [(e, s) for e, s in zip(examples, groups) if e.label is None]
        if ranked:
            return pairs.accuracy(*zip(*ranked))
        good, bad = ([s[0] for e, s in zip(examples, groups) if e.label is of] for of in (True, False))
        means = {"reward_good": _share(sum(good), len(good)), "reward_bad": _share(sum(bad), len(bad))}
        return {"n": len(groups), **{k: v for k, v in means.items() if v is not None}}

    def final_figures(self, after):
        if after and self.world.first:
            ranked = [[e for e in split.examples if e.label is None] for split in (self.train, self.heldout)]
            if all(ranked):
                self.beside = pairs.beside(*ranked, self.heldout.left_out)
        return self.beside or {"trivial_rules": None}

    def resume(self, state):
        self.first_nll = state["before"]["chosen"]["nll"] if state["before"] else None

    def heldout_metrics(self, figures):
        found = {"heldout_chosen_nll": figures["chosen"]["nll"]}
        found["heldout_chosen_fall"] = found["heldout_chosen_nll"] - self.first_nll
        if "accuracy" in figures:
            found |= {"heldout_accuracy": figures["accuracy"], "heldout_margin": figures["mean_margin"]}
        found |= {f"heldout_{k}": v for k, v in figures.items() if k.startswith("reward_")}
        return found | ({"heldout_kl": figures["drift"]["kl"]} if "drift" in figures else {})

    def report(self, figures, when):
        if when == "before" or not self.world.first:
            return ""
        if "accuracy" in figures:
            lines = [pairs.report(figures, "held-out pairs, by the implicit reward", self.beside)]
        else:
            told = {k: f"{figures[k]:.3f}" for k in ("reward_good", "reward_bad") if k in figures}
            lines = [f"held-out answers (n {figures['n']}): {told}"]
        nll, fall = figures["chosen"]["nll"], figures["chosen"]["nll"] - self.first_nll
        lines.append(f"  better answers: {nll:.3f} nats per token, {fall:+.3f} (n {figures['chosen']['n']})")
        if fall >= FALL:
            lines.append("  WARNING: the better answers became less likely too; try --sft_weight, or a higher --beta")
        if "drift" in figures:
            lines.append(
                f"  drift: KL(reference || model) {provenance.measured(figures['drift'], 'kl')} nats per answer"
            )
        return "\n".join(lines)

    def on_card(self, figures):
        before, after = figures["heldout_before"], figures["heldout_after"]
        rows = super().on_card(figures) if after and figures["trivial_rules"] else []
        for name, group, key in (("nats per token, better answers", "chosen", "nll"), ("drift", "drift", "kl")):
            if after and group in after:
                rows.append((name, *(provenance.measured(f[group], key) for f in (before, after))))
        return rows

    def samples(self):
        """Answers to held-out prompts, before (of the reference, where there is one) and after."""
        which = places(len(self.asked.prompts))
        after = self.asked.answers(self.actor, which) if which else []
        before = self.known["answers"] if self.known else []
        shown = []
        for i, answer in zip(which, after):
            texts = [("학습 전 · before", self.codec.decode(before[i]))] if before else []
            texts.append(("학습 후 · after", self.codec.decode(answer)))
            shown.append(Sample(self.heldout.examples[self.asked.places[i]].prompt, texts))
        return shown

    def save_model(self, folder: Path):
        write_model(self.actor, self.codec.tokenizer, folder, self.base, self.codec.eos_token_id)
        if self.world.first:
            write_json(folder / implicit.FILE, implicit.describe(self.settings))


def _tensor(values):
    return None if values is None else torch.tensor(values, dtype=torch.float64)


def _share(total, n):
    """total / n, None of nothing."""
    return total / n if n else None
