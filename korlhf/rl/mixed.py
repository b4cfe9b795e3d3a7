"""What --reward and --veto make of an answer: every reward's score, brought to one scale, weighed, less the guards.

Of several rewards each is whitened before it is weighed: less the mean of the untrained actor's answers to the
reference prompts, divided by the standard deviation of all its scores so far; in an evaluation by that of the untrained
actor's answers, so that evaluations can be compared. One reward alone counts as it is.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, TypeVar

import torch

from korlhf.core.errors import InputError, Unavailable, Unscored
from korlhf.rl.rewards import Prompt, Reward, RunningMoments, finite_scores
from korlhf.training.world import World

LEAST_STD = 1e-4  # below it scores are taken for equal, and keep their unit
VETOED = "vetoed"

Each = dict[str, torch.Tensor]  # name of a reward -> raw scores (B,), NaN where there is none; VETOED -> 0 or 1
Found = TypeVar("Found")


class Part:
    """A reward with the scale of its scores. offset, unit: mean and spread of the untrained actor's; moments: of all
    scores of the training.
    """

    def __init__(self, name: str, reward: Callable[[Sequence[Prompt], Sequence[str]], Any]):
        """reward: prompts and answers -> for each a number, or None: not scored; name: its SPEC."""
        self.name, self.reward = name, reward
        self.offset, self.unit, self.moments = 0.0, 1.0, RunningMoments()

    def scores(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> torch.Tensor:
        """(B,), NaN where it scores none. Raises Unscored for what are no scores."""
        given = self.reward(prompts, texts)
        given = given.tolist() if hasattr(given, "tolist") else given
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise Unscored(f"the reward {self.name} gave {str(given)[:60]!r}; it must give a list of numbers")
        if len(given) != len(texts):
            raise Unscored(f"the reward {self.name} gave {len(given)} scores for {len(texts)} answers; mend it")
        numbers = torch.tensor([_number(score) for score in given], dtype=torch.float64)
        wrong = [i for i, score in enumerate(given) if score is not None and not numbers[i].isfinite()]
        if wrong:
            asked, score = prompts[wrong[0]].messages[-1]["content"], given[wrong[0]]
            raise Unscored(
                f"the reward {self.name} gave {score!r} for the answer {texts[wrong[0]]!r} to {asked!r}; a score must "
                "be a finite number, or None: mend the reward, or give another"
            )
        return numbers


def _number(score):
    return float(score) if isinstance(score, Real) else float("nan")


class Mix:
    """All rewards of a training. groups: (weight, members), with several members an ensemble; vetoes: (threshold,
    Part); penalty: an ensemble is its mean less this times its standard deviation.
    """

    def __init__(
        self,
        groups: Sequence[tuple[float, Sequence[Part]]],
        vetoes: Sequence[tuple[float, Part]],
        penalty: float,
        world: World,
    ):
        self.groups, self.vetoes, self.penalty, self.world = groups, vetoes, penalty, world
        self.parts = [part for _, members in groups for part in members]
        self.whitens, self.begun = len(self.parts) > 1, False

    def __call__(
        self, prompts: Sequence[Prompt], texts: Sequence[str], learn: bool = False
    ) -> tuple[torch.Tensor, Each]:
        """(scores (B,) as they are weighed, what each reward gave). learn: a step's answers, which the running moments
        take in.

        An answer that a reward does not score is weighed without it; those that a guard stops get the lowest score
        of all processes' answers. Raises Unscored on all processes if one of them cannot score its answers, and the
        moments are as they were; all processes call it.
        """
        each: Each = {}
        for part in (*self.parts, *(part for _, part in self.vetoes)):
            if part.name not in each:
                each[part.name] = agreed(lambda part=part: part.scores(prompts, texts), self.world)
        none = torch.stack([each[part.name] for part in self.parts]).isnan().all(0)
        agreed(lambda: _refuse_unscored(none, prompts, texts), self.world)
        if self.whitens and not self.begun:  # the untrained actor's answers to the reference prompts
            self.begin({name: _measured(scores, self.world) for name, scores in each.items()})
        if learn:
            for part in self.parts:
                part.moments.update(_known(each[part.name]), self.world.sum)
        total = self._weighed(each, learn)
        if self.vetoes:
            stopped = torch.stack([each[part.name] < least for least, part in self.vetoes]).any(0)
            total = total.masked_fill(stopped, min(self.world.gather(float(total.min()))))
            each[VETOED] = stopped.double()
        return total.float().to(self.world.device), each

    def begin(self, measured: dict[str, dict[str, float]]) -> None:
        """Set the scale by {name: {"score", "std", "n"}} of the untrained actor's answers."""
        self.begun = True
        for part in self.parts:
            found = measured[part.name]
            part.moments = RunningMoments(found["n"], found["score"], found["std"] ** 2 * max(found["n"] - 1, 0))
            part.offset, part.unit = found["score"], _unit(part.moments)

    def state(self) -> dict[str, Any]:
        return {p.name: {"offset": p.offset, "unit": p.unit, "moments": p.moments.state()} for p in self.parts}

    def resume(self, state: dict[str, Any]) -> None:
        self.begun = True
        for part in self.parts:
            kept = state[part.name]
            part.offset, part.unit, part.moments = kept["offset"], kept["unit"], RunningMoments(**kept["moments"])

    def _weighed(self, each, learn):
        """The mean over the groups that score an answer, by their weights."""
        weights = torch.tensor([weight for weight, _ in self.groups], dtype=torch.float64).unsqueeze(1)
        values = torch.stack([self._of_group(members, each, learn) for _, members in self.groups])
        sizes = (weights.abs() * ~values.isnan()).sum(0)
        return (weights * values.nan_to_num(0.0)).sum(0) / sizes

    def _of_group(self, members, each, learn):
        scores = torch.stack([self._scaled(part, each[part.name], learn) for part in members])
        if len(members) == 1:
            return scores[0]
        mean = scores.nanmean(0)
        return mean - self.penalty * ((scores - mean) ** 2).nanmean(0).sqrt()

    def _scaled(self, part, raw, learn):
        if not self.whitens:
            return raw
        return (raw - part.offset) / (_unit(part.moments) if learn else part.unit)


def scored(
    reward: Reward | Mix, prompts: Sequence[Prompt], texts: Sequence[str], world: World, learn: bool = False
) -> tuple[torch.Tensor, Each]:
    """(scores (B,), what each of several rewards gave); raises Unscored on all processes. learn: as of Mix."""
    if isinstance(reward, Mix):
        return reward(prompts, texts, learn)
    return finite_scores(reward, prompts, texts, world), {}


def agreed(call: Callable[[], Found], world: World) -> Found:
    """What `call` returns, on all processes, or one process's InputError on all of them. All processes call it."""
    found: Any = None
    error = None
    try:
        found = call()
    except Unavailable as wrong:
        error = wrong
    except InputError as wrong:
        error = Unscored(str(wrong))
    first = next((wrong for wrong in world.gather(error) if wrong), None)
    if first:
        raise first
    return found


def sums(each: Each) -> dict[str, float]:
    """Sums and numbers of what each reward scored, for figures over all processes."""
    known = {name: _known(scores) for name, scores in each.items()}
    total = {f"score/{name}": float(scores.sum()) for name, scores in known.items()}
    return total | {f"scored/{name}": float(len(scores)) for name, scores in known.items()}


def means(total: dict[str, float], answers: float) -> dict[str, float]:
    """Metrics of `sums` over all processes: the mean of each reward over what it scored, and the share that it did
    not.
    """
    out = {}
    for key, scored_answers in total.items():
        what, _, name = key.partition("/")
        if what == "scored" and scored_answers:
            out[metric(name)] = total[f"score/{name}"] / scored_answers
        if what == "scored" and scored_answers < answers:
            out[f"unscored/{name}"] = 1 - scored_answers / answers
    return out


def metric(name: str) -> str:
    """The name of a reward's mean in metrics.jsonl."""
    return name if name == VETOED else f"score/{name}"


def _known(scores):
    return scores[~scores.isnan()]


def _measured(scores, world):
    moments = RunningMoments()
    moments.update(_known(scores), world.sum)
    return {"score": moments.mean, "std": moments.std if moments.std > LEAST_STD else 0.0, "n": moments.count}


def _unit(moments):
    return moments.std if moments.std > LEAST_STD else 1.0


def _refuse_unscored(none, prompts, texts):
    if none.any():
        i = int(none.nonzero()[0])
        raise Unscored(
            f"no reward scores the answer {texts[i]!r} to {prompts[i].messages[-1]['content']!r}; give a --reward that "
            "scores every answer"
        )
