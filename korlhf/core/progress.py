"""How far long work is: a bar on a terminal, and off one a line every 30 s, which a log keeps as it is.

The one place of bars. launch.sh and run_all.sh, whose pipes hide the terminal from the programs, set KORLHF_TERMINAL=1
where they write to one, and keep the bars out of their logs.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines


def on_terminal() -> bool:
    """Whether stderr reaches a terminal, if only through the pipe of a run script."""
    return os.environ.get("KORLHF_TERMINAL") == "1" or sys.stderr.isatty()


def bar(
    iterable: Iterable | None = None,
    total: float | None = None,
    desc: str = "",
    unit: str = "records",
    initial: int = 0,
) -> "tqdm | Lines":
    """A progress bar with rate and time left on a terminal, else Lines; to stderr.

    initial: of `total`, what was done before.
    """
    if not on_terminal():
        return Lines(iterable, total, desc, unit, initial)
    how: dict[str, Any] = {"leave": None, "dynamic_ncols": True, "mininterval": 0.5, "file": sys.stderr}
    return tqdm(iterable, total=total, desc=desc, unit=f" {unit}", initial=initial, **how)


def say(text: str) -> None:
    """Print a line to stdout without breaking a bar."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def one_line(text: str) -> str:
    """What a model wrote, as one line of a log: blanks for line breaks, U+FFFD for what cannot be seen."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


class Lines:
    """What `bar` gives off a terminal: of tqdm what is used here.

    A line such as `SFT: step 300/858, loss 3.1, 2 min left` where EVERY seconds have passed since the last one; nothing
    for what takes less.
    """

    def __init__(self, iterable: Iterable | None, total: float | None, desc: str, unit: str, initial: int):
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)  # ty: ignore[invalid-argument-type]
        self.iterable, self.total, self.desc, self.unit = iterable, total, desc, unit
        self.n, self.initial, self.postfix = initial, initial, ""
        self.began = self.told = time.monotonic()

    def __iter__(self) -> Iterator:
        for item in self.iterable or ():
            yield item
            self.update()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """n more are done."""
        self.n += n
        now = time.monotonic()
        if now - self.told >= EVERY:
            self.told = now
            print(self.line(now - self.began), file=sys.stderr, flush=True)

    def set_postfix(self, figures: dict[str, Any], refresh: bool = False) -> None:
        """What stands on the next lines besides: name -> value. refresh: tqdm's."""
        self.postfix = "".join(f", {name} {value}" for name, value in figures.items())

    def set_description(self, desc: str) -> None:
        """What is being done from here on."""
        self.desc = desc

    def line(self, seconds: float) -> str:
        """What is told after so many seconds."""
        done, start = self.n - self.initial, f"{self.desc}: " if self.desc else ""
        if not self.total:
            return f"{start}{self.unit} {self.n}{self.postfix}, {done / seconds:.3g} a second"
        left = duration(seconds / done * max(self.total - self.n, 0)) if done else "?"
        return f"{start}{self.unit} {self.n}/{self.total}{self.postfix}, {left} left"

    def close(self) -> None:
        """Nothing more is told."""


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 2 min, 3 h 20 min."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
