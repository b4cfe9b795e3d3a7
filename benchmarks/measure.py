"""Steps of a training timed and counted, in one layout of rows or another."""

import itertools
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from bench import BenchFlags
from layouts import LAYOUTS, Fed, Flops, Layout

from korlhf.rl.training import PpoTraining
from korlhf.training import log
from korlhf.training.loop import Training
from korlhf.training.reward import RewardTraining
from korlhf.training.run import seed_step
from korlhf.training.sft import SftTraining
from korlhf.training.world import World


@dataclass(frozen=True)
class Phase:
    """A timed part of some steps.

    tokens: real ones that went through training or sampling once; real, computed: all that were fed.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    samples: int = 0
    tokens: int = 0
    flops: float = 0.0
    real: int = 0
    computed: int = 0

    def __add__(self, other: "Phase") -> "Phase":
        return Phase(*(a + b for a, b in zip(astuple(self), astuple(other))))


Phases = dict[str, Phase]
Batch = tuple[int, list[list[int]], list[int]]  # number of a step, this process's indices and everyone's


class Steps:
    """Calls train_step of one of the three trainings, in any layout of rows."""

    def __init__(self, training: Training, args: BenchFlags, lm: Flops, scorer: Flops):
        """lm, scorer: Flops of the two kinds of models, made before DeepSpeed spreads their weights."""
        self.training, self.args, self.flops = training, args, (lm, scorer)
        self.answers: dict[tuple[int, ...], list[int]] = {}
        self.metrics: dict[str, Any] = {}

    def __call__(self, batch: Batch, kind: str) -> Phases:
        """One step of this process: what each phase took, and "total" if there are several."""
        number, mine, everyone = batch
        seed_step(self.args.seed, number, self.training.world.rank)
        clocks = Clocks()
        with Layout(kind, self.args.seq_len, *self.flops, self.answers) as layout:
            self.metrics = self.training.train_step(number, mine, everyone)
        seconds, cpu = clocks.read()
        whole = Phase(seconds, cpu, samples=sum(map(len, mine)))
        if isinstance(self.training, PpoTraining):
            return self._ppo(self.training, whole, layout)
        lengths, predicted = _lengths(self.training, mine)
        return {"training": self._counted(whole, layout.fed[True], sum(lengths), sum(lengths), predicted, 3)}

    def _ppo(self, training, whole, layout):
        exp, metrics = training.exp, self.metrics
        sampled, tokens = sum(map(len, exp.answers)), sum(len(p) + len(a) for p, a in zip(exp.prompts, exp.answers))
        lengths = torch.tensor([len(p) + len(a) for p, a in zip(exp.prompts, exp.answers)])
        once = Fed(tokens - len(lengths), layout.sampled, self.flops[0].trunk(lengths), tokens)
        fed = {"sampling": once, "scoring": layout.fed[False], "training": layout.fed[True]}
        phases = {}
        for name, part in fed.items():
            phase = replace(whole, seconds=metrics[f"seconds_{name}"], cpu_seconds=0.0)
            done = sampled if name == "sampling" else tokens
            phases[name] = self._counted(phase, part, done, tokens, sampled, 3 if name == "training" else 1)
        total = replace(sum(phases.values(), Phase()), samples=whole.samples, tokens=tokens)
        return {**phases, "total": replace(total, seconds=whole.seconds, cpu_seconds=whole.cpu_seconds)}

    def _counted(self, phase, fed, done, tokens, predicted, forwards):
        """`phase` with the tokens and operations of `fed`.

        done: its tokens; tokens: real ones of one pass over the batch; forwards: what a step costs, in forward passes.
        """
        if forwards == 3 and self.args.lora_dim:
            forwards = 2  # no gradients of the frozen weights
        head = self.flops[0].logits(predicted) * fed.passes / tokens
        flops = forwards * (fed.flops + head)
        return replace(phase, tokens=done, flops=flops, real=fed.real, computed=fed.computed)


def _lengths(training, mine):
    """Lengths of the sequences of a batch of step 1 or 2, and how many of their tokens get logits."""
    chosen = [i for chunk in mine for i in chunk]
    if isinstance(training, SftTraining):
        rows = [training.rows[i] for i in chosen]
        return [len(r) for r in rows], sum(sum(r.mask[1:]) for r in rows)
    assert isinstance(training, RewardTraining)
    return [len(t) for i in chosen for t in training.train.rows[i]], 0


class Clocks:
    """Wall and CPU seconds since it was made; both wait for the accelerator."""

    def __init__(self):
        self.began = self._now()

    def read(self) -> tuple[float, float]:
        wall, cpu = (now - then for now, then in zip(self._now(), self.began))
        return wall, cpu

    def _now(self):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def batch_of(number: int, size: int, world: World) -> Batch:
    """Step `number` (from 0) takes the examples in their order, `size` in each process."""
    everyone = list(range(number * size * world.size, (number + 1) * size * world.size))
    return number + 1, [everyone[world.rank * size : (world.rank + 1) * size]], everyone


def examples_needed(args: BenchFlags, world: World) -> int:
    return (args.warmup_steps + args.steps + args.compare_steps) * args.batch_size * world.size


def summed(parts: list[Phases]) -> Phases:
    return {name: sum((part[name] for part in parts), Phase()) for name in parts[0]}


def measure(
    args: BenchFlags, world: World, step: Callable[[Batch, str], Phases]
) -> tuple[list[Phases], float, dict[str, Phases]]:
    """(phases of each timed step, packed, peak memory in MiB, {layout: phases} over the same batches or {})."""
    batches = (batch_of(number, args.batch_size, world) for number in itertools.count())
    for batch in itertools.islice(batches, args.warmup_steps):
        step(batch, "packed")
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    timed = [step(batch, "packed") for batch in itertools.islice(batches, args.steps)]
    memory = max(world.gather(log.peak_memory_mb(world.device)))
    chosen = list(itertools.islice(batches, args.compare_steps))
    # In turn, so that a change of the machine's pace meets all layouts alike; each is warmed up by the first batch.
    rounds = [{kind: step(batch, kind) for kind in LAYOUTS} for batch in [*chosen[:1], *chosen]][1:]
    return timed, memory, {kind: summed([r[kind] for r in rounds]) for kind in LAYOUTS} if rounds else {}
