"""How much of each step fits into a number of minutes, at a speed that was measured: plain arithmetic.

Of the time that is left when every program has started and evaluated, the steps get SHARES; none trains longer than
its most useful passes (EPOCHS). The settings are those that were tried on Gemma 3 270M (docs/talks.md).
"""

import math
from dataclasses import dataclass

from korlhf.core.errors import InputError

SHARES = {"sft": 0.5, "reward": 0.25, "ppo": 0.25}
EPOCHS = {"sft": 2, "reward": 2, "ppo": 2}
BATCH = {"sft": 8, "reward": 8, "ppo": 16}  # examples, rankings, prompts of a step
LEAST = {"sft": 20, "reward": 10, "ppo": 4}  # steps; with fewer there is nothing to be seen
EVALUATED = {"sft": 48, "reward": 48, "ppo": 16}  # held-out examples, before and after
REFERENCE = 64  # answers that set the zero of PPO's score (REFERENCE_ANSWERS of korlhf/rl/training.py)
TALKS = 60  # prompts that base, SFT and PPO model answer at the end
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
        """Seconds of one optimizer step of "sft", "reward" or "ppo"."""
        if name != "ppo":
            return BATCH[name] * (self.row if name == "sft" else self.ranking)
        # an answer is sampled, read by the reference and the reward model, trained on by the actor and the critic,
        # which starts from the reward model; a ranking has about three answers
        one = self.ranking / 3
        return BATCH["ppo"] * (self.answer + (1 + FORWARD) * (self.row + one))

    @property
    def fixed(self) -> float:
        """Seconds of what does not depend on the budget: starts, evaluations before and after, the zero of the score,
        the talks.
        """
        evaluated = FORWARD * (EVALUATED["sft"] * self.row + EVALUATED["reward"] * self.ranking)
        one = self.answer + FORWARD * self.row  # sampled and scored
        evaluated += EVALUATED["ppo"] * one
        talks = 3 * (TALKS * self.answer + FORWARD * EVALUATED["sft"] * self.row)
        return STARTS * self.start + 2 * evaluated + REFERENCE * one + talks


def steps(speed: Speed, minutes: float, examples: dict[str, int]) -> dict[str, int]:
    """Optimizer steps of "sft", "reward" and "ppo" that together with all else take at most `minutes`.

    examples: how many each step has. Raises InputError, which says how many minutes are needed at least, if one would
    get fewer than LEAST.
    """
    most = {name: max(1, EPOCHS[name] * examples[name] // BATCH[name]) for name in SHARES}
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
    """What the steps are expected to take, and "rest": all else."""
    return {name: counts[name] * speed.step(name) for name in SHARES} | {"rest": speed.fixed}
