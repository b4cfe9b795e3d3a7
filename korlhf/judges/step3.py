"""judge:[RUBRIC:]openai:MODEL[@BASE_URL] as a reward of step 3: the mean of a rubric's scores, by G-Eval."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from korlhf.core import progress
from korlhf.core.errors import InputError, Unavailable
from korlhf.judges.flags import ServerJudgeFlags
from korlhf.judges.form import Item
from korlhf.judges.judge import ServerJudge, read_name
from korlhf.judges.rubric import FOLDER, Rubric, load_rubric, load_rubrics
from korlhf.llm.client import Unreachable, new_usage, open_cache
from korlhf.llm.flags import LlmFlags
from korlhf.llm.protocol import Failure
from korlhf.rl.rewards import Prompt
from korlhf.training.reward_flags import RewardFlags, kind_of

PASSING = ("timeout", "connection", "server", "rate limit")  # kinds of Failure
PAUSE = 5.0  # seconds before what the client gave up is asked again


class JudgeReward:
    """A judge of a server; what it refuses, or cannot read, it does not score. rubrics: by category; wait: seconds
    until a server that does not answer makes it Unavailable, as a spent budget does at once.
    """

    def __init__(self, judge: ServerJudge, rubrics: dict[str, Rubric], text: str, wait: float):
        self.judge, self.rubrics, self.text, self.wait = judge, rubrics, text, wait

    def __call__(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        items = [Item(self.rubrics[p.category], list(p.messages), (t,)) for p, t in zip(prompts, texts)]
        began, told = time.monotonic(), False
        while True:
            try:
                scores = [score for (score,) in self.judge.rate(items)]
                failed = next((s for s in scores if isinstance(s, Failure) and s.kind in PASSING), None)
                if failed is None:
                    return [None if isinstance(s, Failure) else s.score for s in scores]
                why = f"{failed.kind}: {failed.reason}"
            except Unreachable as error:
                why = str(error)
            except InputError as error:  # a budget, a key: what was answered is in the cache
                raise Unavailable(f"the reward {self.text}: {error}") from error
            if time.monotonic() - began + PAUSE > self.wait:
                raise Unavailable(f"the reward {self.text} gave no scores for {self.wait:g} s (--reward_wait): {why}")
            if not told:
                told = True
                progress.say(f"the reward {self.text}: {why}; asking again for {self.wait:g} s (--reward_wait)")
            time.sleep(PAUSE)


class Judges:
    """Opens the judges of --reward and --veto, which share one cache and one budget of all `processes`."""

    def __init__(self, llm: LlmFlags, judging: ServerJudgeFlags, output_dir: str, wait: float, processes: int = 1):
        share = {name: -(-getattr(llm, name) // processes) for name in ("max_requests", "concurrency")}
        self.llm = replace(llm, **share, max_cost=llm.max_cost / processes)
        self.judging, self.output_dir, self.wait = judging, Path(output_dir), wait
        self.categories: set[str] = set()
        self.cache, self.usage = None, new_usage()

    def inputs(self, flags: RewardFlags, categories: Iterable[str]) -> dict[str, str]:
        """Fingerprints of the rubrics for prompts of these categories. Raises InputError if there is none for one."""
        self.categories = set(categories)
        found = [(flag, text) for flag, text in flags.named if kind_of(text) == "judge"]
        return {
            f"{flag[2:]} {text}": " ".join(sorted({r.sha256 for r in _rubrics(flag, text, self.categories).values()}))
            for flag, text in found
        }

    def open(self, text: str, flag: str) -> JudgeReward:
        """Raises InputError if there is no key, or the address is none."""
        _, model, url = read_name("openai:" + text.partition("openai:")[2])
        self.cache = self.cache or open_cache(self.llm, self.output_dir / "judgments")
        judge = ServerJudge(model, url or self.llm.base_url, self.judging, self.llm, self.cache, self.usage)
        return JudgeReward(judge, _rubrics(flag, text, self.categories), text, self.wait)


def _rubrics(flag, text, categories):
    """{category: Rubric}: the one that is named, or each category's own."""
    named = text.removeprefix("judge:").partition("openai:")[0].removesuffix(":")
    names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
    if named:
        path = Path(named) if named.endswith((".yaml", ".yml")) else FOLDER / f"{named}.yaml"
        if path.parent == FOLDER and not path.exists():
            raise InputError(f"{flag} {text}: no rubric {named}; give one of {names}, or FILE.yaml")
        return dict.fromkeys(categories, load_rubric(path))
    known = load_rubrics()
    for category in sorted(categories - known.keys()):
        raise InputError(
            f"{flag} {text}: there is no rubric for the category {category!r}; name one for all, of {names}, or "
            "FILE.yaml: judge:RUBRIC:openai:MODEL"
        )
    return known
