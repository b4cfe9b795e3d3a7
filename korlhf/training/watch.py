"""What a training is watched for: steps that are not finite, and the signs of a training that goes wrong.

The figures are those of all processes, so that all decide alike without a word to each other. A warning is told once,
when it begins, and again only after it has gone away; it goes away at an easier value than it begins at.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from korlhf.training.flags import RunFlags

Figures = Mapping[str, Any]
NON_FINITE = "non_finite_"  # begins the names of warnings about figures and gradients that are not finite
# Figures that must be finite, causes first.
WATCHED = ("loss", "score", "kl", "entropy", "reward", "value_loss", "ptx_loss", "policy_loss")
FEW = 4  # answers of a process: fewer say nothing about whether they are alike
NORMS = 20  # gradient norms that a spike is measured against, and how many there must be
LEAST_NORMS = 5
FALL = 0.2  # nats per token that better answers may lose while preferences are learnt


def finite(value: Any) -> bool:
    """Whether a figure is a finite number, or there is none."""
    return value is None or math.isfinite(value)


def spread(n: float, total: float, squares: float) -> float:
    """Standard deviation of n numbers, from their sum and the sum of their squares."""
    return max(squares / n - (total / n) ** 2, 0.0) ** 0.5


@dataclass(frozen=True)
class Sign:
    """A named warning: it begins once `measure` has reached `begin` in `steps` steps in a row and goes away below
    `end`.

    text: has holes for the figures, and {ratio}; collapse: ends a run with --stop_on_divergence.
    """

    measure: Callable[[Figures, "Watch"], float | None]
    begin: float
    end: float
    text: str
    collapse: bool = True
    steps: int = 1


def _scores_equal(figures, watch):
    if "score_std" not in figures or not watch.many(figures):
        return None
    return float(figures["score_std"] <= 1e-6 * max(1.0, abs(figures.get("score", 0.0))))


def _no_eos(figures, watch):
    return 1 - figures["eos_rate"] if "eos_rate" in figures else None


def _entropy_lost(figures, watch):
    entropy = figures.get("entropy")
    if entropy is None:
        return None
    watch.first_entropy = watch.first_entropy or entropy
    lost = watch.first_entropy / max(entropy, 1e-9)
    return max(lost, 10.0) if entropy < 0.01 else lost


def _kl(figures, watch):
    kl = figures.get("kl")
    return None if kl is None else min(kl / 20, kl / figures["length"] / 0.5)


def _same_answer(figures, watch):
    return figures.get("same_answer") if watch.many(figures) else None


def _clipped(figures, watch):
    return figures.get("clip_fraction")


def _chosen_fall(figures, watch):
    falls = [figures[k] for k in ("chosen_fall", "heldout_chosen_fall") if figures.get(k) is not None]
    return max(falls, default=None)


def _norm_ratio(figures, watch):
    norm, known = figures.get("grad_norm"), watch.norms
    if norm is None or not finite(norm):  # what fp16 leaves out to find its loss scale
        return None
    watch.norms = [*known, norm][-NORMS:]
    if len(known) < LEAST_NORMS:
        return None
    return norm / max(median(known), 1e-12)


SIGNS = {
    "scores_equal": Sign(
        _scores_equal,
        1.0,
        1.0,
        "all answers of the step got the same score, so nothing can be learnt from it; look at the reward model and at "
        "the answers",
    ),
    "no_eos": Sign(
        _no_eos,
        1.0,
        0.95,
        "no answer of the last 3 steps ended by itself; try a higher --max_answer_seq_len or --missing_eos_penalty",
        collapse=False,
        steps=3,
    ),
    "entropy_collapse": Sign(
        _entropy_lost,
        10.0,
        5.0,
        "the entropy fell to {entropy:.3g} nats per token: the actor always says the same; try a lower "
        "--actor_learning_rate or a higher --kl_coef",
    ),
    "kl_explosion": Sign(
        _kl,
        1.0,
        0.5,
        "the KL per answer rose to {kl:.4g} nats: the actor has left the reference; try a higher --kl_coef, or a lower "
        "--actor_learning_rate",
    ),
    "one_answer": Sign(
        _same_answer,
        0.5,
        0.35,
        "{same_answer:.0%} of the prompts got one and the same answer; try a lower --actor_learning_rate or a higher "
        "--kl_coef, and look at the answers with --print_answers 1",
    ),
    "clip_fraction": Sign(
        _clipped,
        0.8,
        0.5,
        "{clip_fraction:.0%} of the ratios were clipped; try a lower --actor_learning_rate or fewer --ppo_epochs",
    ),
    "chosen_fall": Sign(
        _chosen_fall,
        FALL,
        FALL / 2,
        "the better answers lost {ratio:.2g} nats per token: both answers are pushed down, as DPO may; try "
        "--sft_weight 0.1 or more, a higher --beta, or a lower --learning_rate",
        collapse=False,
    ),
    "grad_norm_spike": Sign(
        _norm_ratio,
        10.0,
        5.0,
        "the gradient norm {grad_norm:.3g} is {ratio:.0f} times the usual one; if the loss rises from here, try a "
        "lower learning rate or --max_grad_norm, or --num_warmup_steps",
        collapse=False,
    ),
}


class Watch:
    """The watch over one training. told: every warning so far, {"step", "name", "text"}."""

    def __init__(self, flags: RunFlags, remedies: Mapping[str, str], processes: int):
        """remedies: name of a figure or a model -> what to try when it is not finite; "" = of all others."""
        self.flags, self.remedies, self.processes = flags, remedies, processes
        self.told: list[dict[str, Any]] = []
        self.bad = 0  # steps in a row, up to the last one, that are not finite
        self.wrong: dict[str, str] = {}  # what is not finite at the last step -> what to try
        self.collapsed = ""  # text of a sign of a collapse that began at the last step
        self.first_entropy, self.norms = 0.0, []
        self.active: list[str] = []
        self.seen: dict[str, int] = {}  # name of a sign -> steps in a row that have reached its beginning

    def many(self, figures: Figures) -> bool:
        """Whether a step has enough answers or pairs to tell that they are alike."""
        return figures.get("answers", 0) >= FEW * self.processes

    def look(self, step: int, figures: Figures, skipped: Mapping[str, int]) -> list[dict[str, Any]]:
        """The warnings that begin with a step: its figures over all processes, and how many updates of each model were
        left out because gradients were not finite.
        """
        begun = self._not_finite(figures, [model for model, n in skipped.items() if n])
        self.bad = self.bad + 1 if self.wrong else 0
        for name, sign in SIGNS.items() if not self.wrong else ():
            measure = sign.measure(figures, self)
            if measure is not None and self._begins(name, sign, measure):
                begun[name] = sign.text.format(**figures, ratio=measure)
        self.collapsed = next((text for name, text in begun.items() if name in SIGNS and SIGNS[name].collapse), "")
        told = [{"step": step, "name": name, "text": text} for name, text in begun.items()]
        self.told += told
        return told

    def _not_finite(self, figures, skipped):
        """Warnings about figures and about gradients of the models `skipped`: name -> text.

        What was told is not told again until a step was finite.
        """
        names = [n for k in WATCHED for n in (k, f"heldout_{k}") if not finite(figures.get(n))]
        self.wrong = {name: self.remedy(name.removeprefix("heldout_")) for name in names}
        self.wrong |= {f"gradient of the {model} model": self.remedy(model) for model in skipped}
        codes = dict.fromkeys(NON_FINITE + name for name in [*names, *(["grad_norm"] if skipped else [])])
        new = [code for code in codes if code not in self.active]
        kept = [code for code in self.active if self.wrong or not code.startswith(NON_FINITE)]
        self.active = kept + new
        left_out = "; the step was not applied" if skipped else ""
        text = f"{self._told()}{left_out}; try {next(iter(self.wrong.values()), '')}"
        return dict.fromkeys(new, text)

    def _told(self):
        return f"{', '.join(self.wrong)} not finite"

    def remedy(self, name: str) -> str:
        """What to try if a figure or the gradient of a model is not finite."""
        return self.remedies.get(name, self.remedies[""])

    def _begins(self, name, sign, measure):
        if name in self.active:
            if measure < sign.end:
                self.active.remove(name)
            return False
        self.seen[name] = self.seen.get(name, 0) + 1 if measure >= sign.begin else 0
        if self.seen[name] < sign.steps:
            return False
        self.active.append(name)
        self.seen[name] = 0
        return True

    def reason(self, step: int, limit: int) -> str:
        """Why the training must not go on after `step`, "" if it may; limit: bad steps in a row that are too many."""
        if self.bad >= (1 if self.flags.stop_on_divergence else limit):
            steps = (
                f" in {self.bad} steps in a row (--max_bad_steps {self.flags.max_bad_steps})" if self.bad > 1 else ""
            )
            return f"diverged at step {step}: {self._told()}{steps}; try {next(iter(self.wrong.values()))}"
        if self.collapsed and self.flags.stop_on_divergence:
            return f"stopped at step {step} (--stop_on_divergence): {self.collapsed}"
        return ""

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold; JSON-able."""
        names = ("told", "bad", "first_entropy", "norms", "active", "seen")
        return {name: getattr(self, name) for name in names}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a checkpoint; those of earlier versions have none."""
        vars(self).update(state)
