"""The loop of every training: begin or resume, step by step, evaluate and save now and then, finish."""

import os
from collections.abc import Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from korlhf.core.errors import Diverged, InputError, Preempted, Unavailable, Unscored
from korlhf.data import packing
from korlhf.models.card import Sample, write_card
from korlhf.models.lora import is_adapted
from korlhf.models.merged import merge, probe
from korlhf.models.save import save_adapter, save_model
from korlhf.training import log, provenance
from korlhf.training.engine import Engine
from korlhf.training.flags import RunFlags, TrainFlags
from korlhf.training.guard import Guard
from korlhf.training.preemption import Preemption
from korlhf.training.run import Run, seed_step, unwritable
from korlhf.training.trackers import open_trackers
from korlhf.training.world import World


@dataclass(frozen=True)
class Order:
    """The order in which the examples are taken: `epochs` passes, each in a new order made of `seed`, or `max_steps`
    steps if not 0.

    batch_size: examples per process and forward pass, accumulation: forward passes per step. noun, flag: for the
    InputError if there are fewer examples than one step takes.
    """

    examples: int
    batch_size: int
    accumulation: int
    epochs: int
    max_steps: int
    seed: int
    world: World
    noun: str = "examples"
    flag: str = "--per_device_train_batch_size"
    steps_per_epoch: int = field(init=False)

    def __post_init__(self):
        batch = self.examples, self.batch_size, self.world.size, self.accumulation
        object.__setattr__(self, "steps_per_epoch", packing.steps_per_epoch(*batch, self.noun, self.flag))

    @classmethod
    def of(cls, flags: TrainFlags, n: int, max_steps: int, seed: int, world: World, noun: str = "examples") -> "Order":
        """The order of steps 1 and 2."""
        batches = flags.per_device_train_batch_size, flags.gradient_accumulation_steps, flags.num_train_epochs
        return cls(n, *batches, max_steps, seed, world, noun)

    @property
    def total_steps(self) -> int:
        return self.max_steps or self.steps_per_epoch * self.epochs


class Training:
    """What a step of the three brings to `fit`.

    Figures are those of one evaluation on the held-out examples, as finished.json has them.
    """

    name: str  # on the progress bar
    title: str  # of the model card
    kind: str = "sft"  # of model, as the card has it
    shown: tuple[str, ...]  # metrics on the progress bar
    panels: list[tuple[str, list[str]]]  # of curves.png
    measured: tuple[str, ...] = ()  # figures on the model card, before and after
    remedies: dict[str, str] = {"": "a lower --learning_rate (of LoRA: --lora_learning_rate)"}  # as of watch.Watch
    world: World
    order: Order
    engines: dict[str, Engine]  # what is trained, saved and resumed
    base: str  # checkpoint that the saved model was made from
    judge: str = ""  # reward model that it was trained by

    def train_step(self, step: int, mine: list[list[int]], everyone: list[int]) -> dict[str, Any]:
        """One optimizer step (PPO: one round of sampling and updates): metrics over all processes, as of
        packing.steps.
        """
        raise NotImplementedError

    def evaluate(self) -> dict[str, Any] | None:
        """Figures, or None if nothing is held out."""
        raise NotImplementedError

    def heldout_metrics(self, figures: dict[str, Any]) -> dict[str, float]:
        """What metrics.jsonl gets of an evaluation."""
        raise NotImplementedError

    def report(self, figures: dict[str, Any], when: str) -> str:
        """Figures for people; when: before or after. "" = nothing to say."""
        raise NotImplementedError

    def save_model(self, folder: Path) -> None:
        """Write the finished model. All processes call it."""
        raise NotImplementedError

    def begin(self) -> None:
        """At step 0, after the first evaluation."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold besides the engines; JSON-able."""
        return {}

    def resume(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""

    def evaluated(self, step: int, figures: dict[str, Any]) -> None:
        """After an evaluation in the course of the training, or at its end."""

    def comment(self, step: int) -> str:
        """A text to print after a step, or ""."""
        return ""

    @property
    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds in files of its own: name -> what has save(folder) and load(folder)."""
        return self.engines

    def final_figures(self, after: dict[str, Any] | None) -> dict[str, Any]:
        """What finished.json gets besides the held-out figures."""
        return {}

    def samples(self) -> Sequence[Sample]:
        """What the model card shows of the model, which is saved by then. All processes call it."""
        return ()

    def on_card(self, figures: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        """What the model card says was measured: (name, before, after); figures: of finished.json."""
        before, after = figures["heldout_before"], figures["heldout_after"]
        return [
            (name, provenance.measured(before, name), provenance.measured(after, name))
            for name in self.measured
            if after
        ]


def fit(run: Run, training: Training, flags: RunFlags, data: Sequence[str]) -> None:
    """Train to the end of `training.order` from where the folder of `run` stands, and leave the finished model there.

    data: names of the datasets, for the model card.
    """
    try:
        figures, guard, progress = _fit(run, training, flags)
        _finish(run, training, figures, data)
        if flags.save_steps and flags.max_steps:  # ended early: with more steps it can go on
            guard.save(training.order.total_steps, figures["heldout_before"], progress)
    except Diverged as error:
        raise Diverged(str(error) if training.world.first else "") from error
    except Unavailable as error:
        raise Preempted(f"{error}; {run.stopped(flags.save_steps)}" if training.world.first else "") from error
    except Unscored as error:
        raise InputError(f"{error}; {run.stopped(flags.save_steps)}") from error
    except OSError as error:
        raise unwritable(run.dir, error) from error
    except SafetensorError as error:  # which has no errno
        if "os error" not in str(error):
            raise
        code = int(str(error).rpartition("os error ")[2].rstrip(")"))
        raise unwritable(run.dir, OSError(code, os.strerror(code))) from error
    except RuntimeError as error:  # the others may be gone
        if training.world.size > 1:
            error.add_note(run.stopped(flags.save_steps))
        raise
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(run.stopped(flags.save_steps)) from interrupt


def _fit(run, training, flags):
    """The steps; returns the held-out figures with what else finished.json gets, the Guard, and the closed Log."""
    world, total = training.world, training.order.total_steps
    start, before, guard, owed = _start(run, training, flags)
    trackers = partial(open_trackers, flags, run.dir, run.settings, start)
    done = start - bool(owed)
    with closing(log.Log(run.dir, training.name, total, world.first, done, trackers)) as progress:
        if start == 0 and before:
            progress.write(0, training.heldout_metrics(before))
        with Preemption(world) as preemption:
            _steps(run, training, guard, (progress, preemption), (start, before, owed))
        with _saved_if_unscored(guard, total, before, progress):
            after = training.evaluate()
        if after:
            guard.check_heldout(total, training.heldout_metrics(after))
            training.evaluated(total, after)
        figures = {"heldout_before": before, "heldout_after": after, **training.final_figures(after)}
        figures["warnings"] = guard.watch.told
        if after:
            progress.write(total, training.heldout_metrics(after))
            progress.say(training.report(after, "after"))
    return figures, guard, progress


def _steps(run, training, guard, watchers, begun):
    """begun: the step that the folder stands at, the figures before the first, and what of that step is owed."""
    order, world, (start, before, owed) = training.order, training.world, begun
    for engine in training.engines.values():
        engine.train()  # a loaded model is in evaluation mode, and a resumed run evaluates nothing first
    if owed:
        _after_step(run, training, guard, watchers, (start, before, owed))
    batches = order.examples, order.batch_size, world, order.accumulation, order.seed
    for step, (mine, everyone) in packing.steps(*batches, start, order.total_steps):
        seed_step(order.seed, step, world.rank)
        with _saved_if_unscored(guard, step - 1, before, watchers[0]):
            metrics = training.train_step(step, mine, everyone)
        _after_step(run, training, guard, watchers, (step, before, metrics))


def _after_step(run, training, guard, watchers, stepped):
    """Evaluate, look at, log and save a step. stepped: its number, the figures before the first, its metrics."""
    flags, (progress, preemption), (step, before, metrics) = guard.flags, watchers, stepped
    last = step == training.order.total_steps
    if before and flags.eval_interval and step % flags.eval_interval == 0 and not last:
        with _saved_if_unscored(guard, step, before, progress, owed=metrics):
            figures = training.evaluate()
        metrics |= training.heldout_metrics(figures)
        training.evaluated(step, figures)
    warnings = guard.look(step, metrics)
    progress.step(step, metrics | ({"warnings": [w["name"] for w in warnings]} if warnings else {}), training.shown)
    for text in dict.fromkeys(w["text"] for w in warnings):
        progress.say(f"warning: step {step}: {text}")
    progress.say(training.comment(step))
    guard.check(step, last, evaluated=bool(before))
    preempted = preemption.agreed() and not last
    if preempted or (flags.save_steps and step % flags.save_steps == 0 and not last):
        guard.save(step, before, progress)
    if preempted:
        raise Preempted(run.stopped(flags.save_steps) if training.world.first else "")


@contextmanager
def _saved_if_unscored(guard, step, before, progress, owed=None):
    """Saves `step`, which nothing has changed since, if answers cannot be scored."""
    try:
        yield
    except Unscored:
        if step and step != guard.newest:
            guard.save(step, before, progress, owed)
        raise


def _start(run, training, flags):
    """The step that the folder stands at, the figures before the first, the Guard of the checkpoints, and the metrics
    of that step if its evaluation is owed.
    """
    state, guard = run.resume(training.saved), Guard(run, training, flags)
    first = training.world.first
    if state is not None:
        step, total = state["step"], training.order.total_steps
        if step > total:
            raise InputError(
                f"--output_dir {run.dir} stands at step {step}, and --max_steps or --num_train_epochs end it after "
                f"{total}; --max_steps {step} makes a finished model of it as it stands"
            )
        training.resume(state)
        guard.resume(state)
        if first:
            print(f"resuming {run.dir} after step {state['step']}", flush=True)
        return state["step"], state["before"], guard, state.get("owed")
    before = training.evaluate()
    if before and first and (text := training.report(before, "before")):
        print(text, flush=True)
    training.begin()
    return 0, before, guard, None


def _finish(run, training, figures, data):
    """Save the model with tokenizer, template, card and curves, and mark the run as finished."""
    training.save_model(run.dir)
    samples = training.samples()
    figures |= {
        "steps": training.order.total_steps,
        "examples": training.order.examples,
        "dtype": run.settings["dtype"],
        "peak_memory_mb": log.peak_memory_mb(training.world.device),
    }
    if training.world.first:
        order, after = training.order, figures["heldout_after"]
        names = provenance.name_of(training.base), [provenance.bare(name) for name in data]
        if training.judge:
            names[1].append(f"보상 모델 · reward model: `{provenance.name_of(training.judge)}`")
        trained = f"{order.examples} {order.noun}, {order.total_steps} steps, seed {order.seed}, {figures['dtype']}"
        heading = f"held-out · 평가용 (n {after['n']})" if after and "n" in after else "held-out · 평가용"
        card = names, trained, (heading, training.on_card(figures)), samples
        write_card(run.dir, training.kind, training.title, *card)
        log.curves(run.dir, training.panels, f"{training.title}, seed {training.order.seed}")
    run.finish(figures)


def write_model(
    engine: Engine,
    tokenizer: Any,
    folder: Path,
    base: str,
    eos_token_id: int | None = None,
    replaced: dict[str, Any] | None = None,
) -> None:
    """Save the model of an engine (LoRA merged) with its tokenizer; replaced: weights in the place of its own.

    All processes call it. Raises Diverged if a weight is not finite, and InputError if merged LoRA computes something
    else than the model in training.
    """
    if name := engine.non_finite():
        raise Diverged(f"{folder}: not written, as the weight {name} is not finite" if engine.world.first else "")
    model = next(engine.module.children())  # inside TokenLogps or TokenValues
    weights, live = engine.state_dict(), None
    if is_adapted(model) and not replaced and not engine.load_in_4bit:  # the saved base is another than one in 4 bits
        training = engine.module.training
        engine.eval()
        live = probe(engine.module, engine, engine.world.device)
        engine.module.train(training)
    if engine.world.first:
        weights |= replaced or {}
        if live is not None:
            adapter = save_adapter(model, weights, tokenizer, folder)
            model = merge(model, weights, adapter, base, engine.dtype, live)
            weights = model.state_dict()
        save_model(model, weights, tokenizer, folder, base, engine.dtype, eos_token_id)
    engine.world.barrier()
