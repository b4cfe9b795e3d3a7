"""What keeps a diverged training from being called a success, and its checkpoints good."""

from typing import TYPE_CHECKING, Any

from korlhf.core.errors import Diverged
from korlhf.training.flags import RunFlags
from korlhf.training.log import Log
from korlhf.training.run import Run
from korlhf.training.watch import Watch, finite

if TYPE_CHECKING:
    from korlhf.training.loop import Training


class Guard:
    """Looks at every step of a training, and writes its checkpoints.

    None is written of a step that was not finite, and the one before goes only once a step from the new one was finite
    too, as one update may break weights and leave them finite.
    """

    def __init__(self, run: Run, training: "Training", flags: RunFlags):
        self.run, self.training, self.flags = run, training, flags
        advice = " or --dtype bf16" if run.settings["dtype"] == "fp16" else ""
        remedies = {name: text + advice for name, text in training.remedies.items()}
        self.watch = Watch(flags, remedies, training.world.size)
        self.good: int | None = None  # step of the newest checkpoint from which a step was finite
        self.new: int | None = None  # step of a later one

    def resume(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint; those of earlier versions know no watch."""
        self.watch.resume(state.get("watch", {}))
        self.good = state["step"]

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint."""
        return self.good if self.new is None else self.new

    def look(self, step: int, metrics: dict[str, Any]) -> list[dict[str, Any]]:
        """The warnings that begin with a step, as of Watch.look."""
        skipped = {}
        for name, engine in self.training.engines.items():
            skipped[name], engine.skipped = engine.skipped, 0
        return self.watch.look(step, metrics, skipped)

    def check(self, step: int, last: bool, evaluated: bool) -> None:
        """Raises Diverged if the training must not go on after `step`.

        last: or must not end there: one bad step at the end is let pass if an evaluation follows (`evaluated`).
        """
        limit = min(self.flags.max_bad_steps, 2 if evaluated else 1) if last else self.flags.max_bad_steps
        if reason := self.watch.reason(step, limit) or (self._weights(step) if last else ""):
            raise Diverged(f"{reason}. {self._left()}")
        if self.new is not None and not self.watch.bad:
            self.run.prune(self.new, self.flags.save_total_limit)
            self.good, self.new = self.new, None

    def check_heldout(self, step: int, metrics: dict[str, float]) -> None:
        """Raises Diverged if the evaluation after the last step gave figures that are not finite."""
        if wrong := [name for name, value in metrics.items() if not finite(value)]:
            remedy = self.watch.remedy("")
            raise Diverged(f"diverged at step {step}: {', '.join(wrong)} not finite; try {remedy}. {self._left()}")

    def save(self, step: int, before: dict[str, Any] | None, progress: Log, owed: dict[str, Any] | None = None) -> None:
        """Write a checkpoint, unless the step was not finite; raises Diverged if weights are not.

        before: figures before the first step; progress: what it has written is on the disk before the checkpoint is;
        owed: metrics of the step if it is not over yet, as an evaluation follows.
        """
        if self.watch.bad:
            return
        if reason := self._weights(step):
            raise Diverged(f"{reason}. {self._left()}")
        progress.sync()
        state = {**self.training.state(), "before": before, "watch": self.watch.state()}
        state |= {"owed": owed} if owed else {}
        self.run.save(step, self.training.saved, state, self.flags.save_total_limit + 1)
        self.new = step

    def _weights(self, step):
        """Which weight is not finite, "" if all are."""
        for model, engine in self.training.engines.items():
            if name := engine.non_finite():
                remedy = self.watch.remedy(model)
                return f"diverged at step {step}: the weight {name} of the {model} is not finite; try {remedy}"
        return ""

    def _left(self):
        """What the run leaves; a new checkpoint from which no step was good goes, if there is one before."""
        if self.good is None:
            only = f"The only checkpoint is that of step {self.new}, and no step from it was finite"
            return "There is no checkpoint" if self.new is None else only
        if self.new is not None:
            self.run.drop(self.new)
        return f"The last good checkpoint is that of step {self.good}"
