"""Reward models from ranked answers: the pairwise loss on the score of the last token.

K ranked answers of a prompt give all K(K-1)/2 pairs (InstructGPT), and share one forward pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from korlhf.korean import ngram_classifier
from korlhf.models.card import Sample, places
from korlhf.training import pairs
from korlhf.training.engine import Engine
from korlhf.training.examples import Split
from korlhf.training.log import Clock
from korlhf.training.loop import Order, Training, write_model
from korlhf.training.watch import spread

Kept = Sequence[list[bool]]  # of each prompt which pairs count, in the order of _margins; () = all
Gaps = Sequence[list[float]]  # of each prompt by how much a pair's better score is to be higher; () = by any amount


@dataclass(frozen=True)
class Terms:
    """What is added to the pairwise loss. center: weight of the mean of (better + worse)^2 (Eisenstein et al. 2023,
    arXiv 2312.09244, section 3.1); smoothing: probability that a label is wrong.
    """

    center: float = 0.0
    smoothing: float = 0.0


PLAIN = Terms()


def ranked_loss(
    scores: torch.Tensor, group_sizes: Sequence[int], kept: Kept = (), gaps: Gaps = (), terms: Terms = PLAIN
) -> torch.Tensor:
    """Pairwise loss of ranked answers: for each prompt the mean of -log sigmoid(better - worse - gap) over all K(K-1)/2
    pairs.

    scores (S,): prompt after prompt, best answer first; group_sizes: answers of each prompt, each >= 2; kept: with at
    least one pair of each. Returns the mean over prompts. Source: InstructGPT (arXiv 2203.02155), equation 1; gaps:
    Llama 2 (arXiv 2307.09288), equation 2.
    """
    of_prompts = [_pair_loss(m, terms.smoothing).mean() for m in _margins(scores, group_sizes, kept, gaps)]
    loss = torch.stack(of_prompts).mean()
    if terms.center:
        added = [(s**2).mean() for s in _margins(scores, group_sizes, kept, sign=1)]
        loss = loss + terms.center * torch.stack(added).mean()
    return loss


def _pair_loss(margins, smoothing):
    right = -F.logsigmoid(margins)
    return (1 - smoothing) * right - smoothing * F.logsigmoid(-margins) if smoothing else right


def ranked_right(scores: torch.Tensor, group_sizes: Iterable[int], kept: Kept = ()) -> tuple[torch.Tensor, int]:
    """How many pairs `scores` (as for ranked_loss) order rightly, equal scores as one half, fp64 (); and how many there
    are.
    """
    margins = torch.cat(list(_margins(scores, group_sizes, kept)))
    return ((margins > 0).double() + 0.5 * (margins == 0)).sum(), len(margins)


def _margins(scores, group_sizes, kept, gaps=(), sign=-1):
    """Of each prompt the differences better - worse - gap of all its pairs, (K(K-1)/2,), or of those that are kept;
    sign 1: the sums.
    """
    for k, group in enumerate(scores.split(list(group_sizes))):
        better, worse = torch.triu_indices(len(group), len(group), 1, device=scores.device)
        margins = group[better] + sign * group[worse]
        if gaps:
            margins = margins - margins.new_tensor(gaps[k])
        yield margins[torch.tensor(kept[k], device=scores.device)] if kept else margins


class RewardTraining(Training):
    """Step 2 for `fit`."""

    name, title, kind = "reward model", "Reward model (step 2)", "reward"
    shown = ("loss", "accuracy", "heldout_accuracy", "tokens_per_second")
    panels = [
        ("pairwise loss", ["loss"]),
        ("accuracy", ["accuracy", "heldout_accuracy"]),
        ("held-out margin", ["heldout_margin"]),
    ]

    def __init__(
        self,
        reward: Engine,
        base: str,
        tokenizer: Any,
        split: tuple[Split, Split],
        order: Order,
        eval_batch: int,
        terms: Terms = PLAIN,
    ):
        """base: checkpoint that the reward model was; split: training and held-out rows, lists of Tokens, best answer
        first.
        """
        self.terms = terms
        self.reward, self.base, self.tokenizer, self.engines = reward, base, tokenizer, {"reward": reward}
        (self.train, self.heldout), self.order, self.world = split, order, order.world
        self.eval_batch, self.beside, self.scores = eval_batch, None, []

    def train_step(self, step, mine, everyone):
        clock, groups = Clock(), self.train.rows
        sums = torch.zeros(5, dtype=torch.float64, device=self.world.device)
        for chunk in mine:
            sizes = [len(groups[i]) for i in chunk]
            scores = pairs.forward(self.reward, [t for i in chunk for t in groups[i]], self.world.device)
            kept = [self.train.kept[i] for i in chunk] if self.train.kept else ()
            gaps = [self.train.gaps[i] for i in chunk] if self.train.gaps else ()
            loss = ranked_loss(scores, sizes, kept, gaps, self.terms)
            self.reward.backward(loss)
            self.reward.step()
            right, n = ranked_right(scores.detach(), sizes, kept)
            known = scores.detach().double()
            sums += torch.stack([loss.detach().double(), right, right.new_tensor(n), known.sum(), (known**2).sum()])
        total_loss, right, n, *moments = self.world.sum(sums).tolist()
        answers = sum(len(groups[i]) for i in everyone)
        return {
            "loss": total_loss / (self.world.size * len(mine)),
            "accuracy": right / n,
            "score_std": spread(answers, *moments),
            "answers": answers,
            "lr": self.reward.lr,
            "grad_norm": self.reward.grad_norm(),
            "epoch": step / self.order.steps_per_epoch,
            "tokens_per_second": sum(len(t) for i in everyone for t in groups[i]) / clock.lap(),
        }

    def evaluate(self):
        if not self.heldout.rows:
            return None
        self.reward.eval()
        self.scores = pairs.score_groups(self.reward, self.heldout.rows, self.eval_batch, self.world, desc="held-out")
        figures = pairs.accuracy(self.heldout.examples, self.scores)
        self.reward.train()
        return figures

    def heldout_metrics(self, figures):
        return {"heldout_accuracy": figures["accuracy"], "heldout_margin": figures["mean_margin"]}

    def final_figures(self, after):
        if after and self.world.first:
            self.beside = pairs.beside(self.train.examples, self.heldout.examples, self.heldout.left_out)
        return self.beside or {"trivial_rules": None}

    def report(self, figures, when):
        return pairs.report(figures, "held-out pairs", self.beside) if when == "after" and self.world.first else ""

    def save_model(self, folder: Path):
        write_model(self.reward, self.tokenizer, folder, self.base)

    def samples(self):
        """The best and the worst answer to held-out prompts, with the scores of the last evaluation."""
        examples = self.heldout.examples if self.scores else ()
        labels = ("더 나은 답변 · better", "더 못한 답변 · worse")
        return [
            Sample(
                examples[i].prompt,
                [(f"{label} ({self.scores[i][k]:.3f})", examples[i].answers[k]) for label, k in zip(labels, (0, -1))],
            )
            for i in places(len(examples))
        ]

    def on_card(self, figures):
        before, after = figures["heldout_before"], figures["heldout_after"]
        if not after:
            return []
        named = {"": lambda f: f, **{f", {c}": lambda f, c=c: f["by_category"].get(c) for c in after["by_category"]}}
        rows = [(f"accuracy{name}", _accuracy(of(before)), _accuracy(of(after))) for name, of in named.items()]
        rules = list(figures["trivial_rules"].items())[:3]
        return rows + [
            (rule if rule == ngram_classifier.NAME else f"trivial rule: {rule}", "", _other(share, after))
            for rule, share in rules
        ]


def _other(share, of_model):
    return f"{share:.3f}{', more than the model' if share > of_model['accuracy'] else ''}"


def _accuracy(figures):
    if not figures:
        return ""
    low, high = figures["ci95"]
    return f"{figures['accuracy']:.3f} [{low:.3f}, {high:.3f}] (n {figures['n']})"
