"""How much of each step fits into a number of minutes, at a speed that was measured: plain arithmetic.

Of the time that is left when every program has started and evaluated, the steps get SHARES, with one of LAST as the
last; none trains longer than its most useful passes (EPOCHS). The settings are those that were tried on Gemma 3 270M
(docs/talks.md).
"""

import math
from dataclasses import dataclass

from korlhf.core.errors import InputError

LAST = ("ppo", "grpo", "rloo", "reinforce", "dpo")  # one of them follows, on the SFT model
SHARES = {"sft": 0.5, "reward": 0.25, **dict.fromkeys(LAST, 0.25)}
EPOCHS = 2
BATCH = {"sft": 8, "reward": 8, **dict.fromkeys(LAST, 16), "dpo": 8}  # examples, rankings, answers of a step
LEAST = {"sft": 20, "reward": 10, **dict.fromkeys(LAST, 4)}  # steps; with fewer there is nothing to be seen
EVALUATED = {"sft": 48, "reward": 48, **dict.fromkeys(LAST, 16)}  # held-out examples, before and after
REFERENCE = 64  # answers that set the zero of PPO's score (REFERENCE_ANSWERS of korlhf/rl/training.py)
ANSWERS = 3  # of a ranking, about
LENGTH = 0.5  # of the longest answer, of a trained model's; the base's do not end
TALKS = 60  # prompts that base, SFT and last model answer at the end
STARTS = 9  # models that are loaded: 1 here, 1 in step 1, 1 in step 2, 3 in step 3, 3 at the end
FORWARD = 1 / 3  # of the time of forward and backward pass
SPARE = 0.9  # of the minutes: the machine may become slower


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine.

    start: until a program has loaded the model; row: forward and backward of one example of step 1; ranking: of one
    prompt's answers of step 2; answer: one sampled answer of full length, in a batch.
    """

    start: float
    row: float
    ranking: float
    answer: float

    def step(self, name: str) -> float:
        """Seconds of one optimizer step of "sft", "reward" or one of LAST."""
        if name == "dpo":  # every answer of a ranking is trained on, and read by the reference
            return BATCH[name] * ANSWERS * (1 + FORWARD) * self.row
        if name not in LAST:
            return BATCH[name] * (self.row if name == "sft" else self.ranking)
        # an answer is sampled, read by the reference and the reward model, trained on by the actor, and in PPO by the
        # critic, which starts from the reward model
        scored = (FORWARD + (name == "ppo")) * self.ranking / ANSWERS
        return BATCH[name] * (LENGTH * self.answer + (1 + FORWARD) * self.row + scored)

    @property
    def fixed(self) -> float:
        """Seconds of what does not depend on the budget: starts, evaluations before and after, the zero of the score,
        the talks.
        """
        evaluated = FORWARD * (EVALUATED["sft"] * self.row + EVALUATED["reward"] * self.ranking)
        one = LENGTH * self.answer + FORWARD * self.row  # sampled and scored
        evaluated += EVALUATED["ppo"] * one
        talks = (1 + 2 * LENGTH) * TALKS * self.answer + 3 * FORWARD * EVALUATED["sft"] * self.row
        return STARTS * self.start + 2 * evaluated + REFERENCE * one + talks


def steps(speed: Speed, minutes: float, examples: dict[str, int]) -> dict[str, int]:
    """Optimizer steps of "sft", "reward" and each of LAST that together with all else take at most `minutes`.

    examples: how many each has. Raises InputError, which says how many minutes are needed at least, if one would
    get fewer than LEAST.
    """
    most = {name: max(1, EPOCHS * examples[name] // BATCH[name]) for name in SHARES}
    least = {name: min(LEAST[name], most[name]) for name in SHARES}
    left = SPARE * 60 * minutes - speed.fixed
    fits = {name: int(left * share / speed.step(name)) for name, share in SHARES.items()}
    if any(fits[name] < least[name] for name in SHARES):
        wanted = speed.fixed + max(least[name] * speed.step(name) / share for name, share in SHARES.items())
        raise InputError(
            f"--minutes {minutes:g}: too few for this model on this machine; give {math.ceil(wanted / SPARE / 60)} or "
            "more, or a smaller model"
        )
    return {name: min(fits[name], most[name]) for name in SHARES}


def seconds(speed: Speed, counts: dict[str, int]) -> dict[str, float]:
    """What the steps are expected to take, and "rest": all else. Only one of LAST is done."""
    return {name: counts[name] * speed.step(name) for name in SHARES} | {"rest": speed.fixed}


def together(expected: dict[str, float]) -> float:
    """Seconds of a whole run, with the longest of LAST."""
    return sum(s for name, s in expected.items() if name not in LAST) + max(expected[name] for name in LAST)
