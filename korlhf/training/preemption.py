"""SIGTERM and SIGUSR1, by which a machine is taken away: the step is ended and saved, then the program stops."""

import os
import signal
import sys
import time
from types import FrameType

from korlhf.training.world import World

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
ONE_SIGNAL = 1.0  # seconds: DeepSpeed's launcher passes on what the whole group has had already


class Preemption:
    """While this is entered, the first of SIGNALS is remembered and a second one ends the program at once."""

    def __init__(self, world: World):
        self.world = world
        self.at: float | None = None  # when this process was told

    def __enter__(self) -> "Preemption":
        self.before = {number: signal.signal(number, self._told) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if self.at is None:
            self.at = time.monotonic()
            if self.world.first:
                name = signal.Signals(number).name
                print(f"{name}: saving after this step; a second one ends at once", file=sys.stderr, flush=True)
        elif time.monotonic() - self.at > ONE_SIGNAL:
            os._exit(128 + number)

    def agreed(self) -> bool:
        """Whether any process was told; the same for all, which call it after each step."""
        return bool(self.world.sum([self.at is not None])[0])
