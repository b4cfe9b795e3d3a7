"""Runs a pipeline: the plan first, then every stage that is not up to date, in order, each under its record."""

import errno
import json
import sys
import time
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import write_json
from korlhf.pipeline import estimates, needs, process, state
from korlhf.pipeline import plan as plans
from korlhf.pipeline.prints import Prints, size
from korlhf.pipeline.process import say
from korlhf.pipeline.record import Record, hold, owner

WAITING = (
    4  # exit code of a run that stopped for something that people have to do, or whose stage ended without its outputs
)
GO_ON = "start the same command again to go on"
BIG = 2**30  # bytes of inputs that are worth a word before they are read


class Pipeline:
    """The stages of one run's folder, with what is needed to run them.

    stages: list of Stage; run, root: the run's folder and the project's; recipe: dict that names the kind of run; environ: the user's
    environment; notes: lines for the plan.
    """

    def __init__(self, stages, run, root, recipe, environ, notes=()):
        self.stages, self.run, self.environ, self.notes = stages, Path(run), environ, list(notes)
        self.record = Record(run, recipe)
        self.prints = Prints(run, root, self.record.files)
        self.names = [s.name for s in stages]

    def survey(self, choice):
        return state.survey(self.stages, self.record.stages, self.prints, self.environ, choice)

    def plan(self, choice):
        states = self.survey(choice)
        found = needs.look(self.stages, states, self.record.stages, self.prints, self.environ)
        found.notes[:0] = self.notes
        settings = {s.name: state.settings(s, self.prints, self.environ) for s in self.stages}
        return plans.make(self.stages, states, settings, self.record, found, self.run)

    def title(self):
        kind = " ".join(v for v in self.record.recipe.values() if v)
        return f"{kind} in {self.run}"


def show(pipeline, choice, with_commands):
    """Print the plan and return it."""
    plan = pipeline.plan(choice)
    say(plans.text(plan, pipeline.prints, pipeline.title()))
    if with_commands:
        say(plans.commands(plan, pipeline.prints, pipeline.environ))
    return plan


def check_choice(choice, names):
    """Raises InputError for a stage that does not exist, or an order that cannot be."""
    for flag, name in (("--from", choice.first), ("--to", choice.last), ("--only", choice.only)):
        if name and name not in names:
            raise InputError(f"{flag} {name}: no such stage; there are {', '.join(names)}")
    if choice.only and (choice.first or choice.last):
        raise InputError(f"--only {choice.only}: runs this one stage; leave out --from and --to")
    if choice.first and choice.last and names.index(choice.first) > names.index(choice.last):
        raise InputError(f"--from {choice.first} --to {choice.last}: {choice.last} comes before {choice.first}")


def dry_run(pipeline, choice):
    """Print the plan and start nothing. Returns the exit code: 2 if something is missing that the run cannot start without."""
    if pipeline.run.exists() and not pipeline.run.is_dir():
        raise InputError(f"RUN={pipeline.run}: is a file; give a folder")
    running = owner(pipeline.run)
    if running:
        pipeline.notes.insert(0, f"process {running} is running this folder now")
    missing = show(pipeline, choice, True).found.missing
    if missing:
        say(f"error: it could not start: {len(missing)} MISSING above the commands; put them right first", sys.stderr)
    return 2 if missing else 0


def run(pipeline, choice):
    """Print the plan and run it. Returns the exit code: 0, 2 if something is missing, WAITING, the code of the stage that failed, or 128 +
    the number of the signal that ended it. Raises InputError if the folder is in use, or its disk is full."""
    with process.Signals() as signals:
        try:
            with hold(pipeline.run) as lock:
                return _run(pipeline, choice, signals, lock)
        except process.Stopped:
            say(f"\nstopped between two stages; {GO_ON}")
            return signals.code
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InputError(f"RUN={pipeline.run}: no room left on its disk; make some, then {GO_ON}") from error


def _run(pipeline, choice, signals, lock):
    plan = show(pipeline, choice, False)
    if pipeline.prints.read:
        pipeline.record.save()  # what was read now is known next time
    if plan.found.missing:
        say("error: not started; put right what is MISSING above, then start again", sys.stderr)
        return 2
    code = _stages(pipeline, choice, plan, signals, lock)
    if code == 0:
        _last_words(pipeline, plan)
    return code


def _last_words(pipeline, plan):
    if any(s.runs for s in plan.states.values()):
        say(f"\n{plans.summary(plan, pipeline.record, pipeline.prints)}")
    for path in pipeline.stages[-1].writes if plan.states[pipeline.names[-1]].kind != state.KEPT else ():
        if path.suffix == ".html" and path.exists():
            say(f"report: {path}")


def _stages(pipeline, choice, plan, signals, lock):
    """Run the stages that have to run, in order, each looked at again when it is its turn; returns the exit code."""
    began = time.monotonic()
    settled = [name for name, found in plan.states.items() if found.kind == state.DONE]
    for number, stage in enumerate(pipeline.stages):
        if not plan.states[stage.name].runs:
            continue
        title = f"[{number + 1}/{len(pipeline.stages)}] {stage.name}"
        _same_inputs(pipeline, stage, settled)
        forced = choice.forces(stage.name, pipeline.names)
        now = state.look(stage, pipeline.record.stages.get(stage.name), pipeline.prints, pipeline.environ, forced)
        if now.runs and stage.name in plan.found.waiting:
            say(f"\n{title}: waiting: {plan.found.waiting[stage.name]}")
            return WAITING
        if now.runs:
            left = plans.left_words(*plan.left(pipeline.names[number:]))
            say(
                f"\n{title}: {stage.title}\n    {now.why}; {estimates.duration(time.monotonic() - began)} so far, {left}"
            )
            ended, unwritten = execute(pipeline, stage, now, signals, lock)
            code = _close(pipeline, stage, ended, unwritten, signals, title, choice)
            if code:
                return code
        else:
            say(f"\n{title}: up to date after all, what it reads has come out the same")
        settled.append(stage.name)
    return 0


def stamp(path):
    """What changes when a file is written anew; None if it is not there."""
    if path is None or not path.exists():
        return None
    stat = path.stat()
    return [stat.st_mtime_ns, stat.st_ino]


def execute(pipeline, stage, now, signals, lock):
    """Run one stage under its record, which says from here on that it is running.

    Returns process.Ended, and the short paths of what it should have written and has not.
    """
    record, prints = pipeline.record, pipeline.prints
    entry = record.stages.get(stage.name, {})
    inputs = sum(map(size, stage.reads))
    if inputs > BIG:
        say(f"    reading its inputs once, {estimates.amount(inputs)}, to know them again")
    _keep_edited(stage, entry, now, prints)
    # A training's folder is emptied only if the run in it is known to be another one, and only once: not again when it goes on.
    stale = stamp(stage.begun) if now.again else entry.get("stale")
    anew = stale is not None and stamp(stage.begun) == stale
    if anew:
        say(
            f"    {prints.short(stage.begun.parent)} holds a run with other inputs or settings: thrown away ({stage.reset})"
        )
    resumed = now.kind == state.RESUME
    record.stages[stage.name] = {
        "state": "running",
        **state.identity(stage, prints, pipeline.environ),
        "outputs": {},
        "stale": stale,
        "seconds": entry.get("seconds", 0.0) if resumed else 0.0,
        "memory_mb": entry.get("memory_mb", 0.0) if resumed else 0.0,
        "starts": entry.get("starts", 0) + 1 if resumed else 1,
        "measured": entry.get("measured"),
        "measured_with": entry.get("measured_with"),
    }
    record.save()
    log = pipeline.run / "logs" / f"{stage.name}.log"
    # A finished training is left as it is when it is started again; every other stage writes its files anew.
    before = {} if stage.reset else {path: stamp(path) for path in stage.writes if path.is_file()}
    ended = process.run(stage.line(anew), stage.environment(pipeline.environ), log, signals, Path.cwd(), lock)
    entry = record.stages[stage.name]
    entry["seconds"] = round(entry["seconds"] + ended.seconds, 2)
    entry["memory_mb"] = round(max(entry["memory_mb"], ended.memory_mb), 1)
    entry["code"] = ended.code
    return ended, [prints.short(p) for p in stage.writes if not p.exists() or (p in before and stamp(p) == before[p])]


def _keep_edited(stage, entry, now, prints):
    """Files that someone has changed since this stage wrote them are kept beside, as NAME.changed, when it writes them again."""
    if now.kind != state.BROKEN:
        return
    present = prints.of(path for path in stage.writes if path.is_file())
    for path in stage.writes:
        short = prints.short(path)
        if path.is_file() and present[short] != entry["outputs"].get(short):
            path.replace(path.with_name(path.name + ".changed"))
            say(f"    {short} was changed by hand: kept as {path.name}.changed")


def _same_inputs(pipeline, stage, settled):
    """Raises InputError if what a settled stage had written has been changed by a later one, so that what came between is stale."""
    for name in settled:
        earlier = next(s for s in pipeline.stages if s.name == name)
        broken = state.broken_outputs(earlier, pipeline.record.stages[name], pipeline.prints)
        if broken:
            raise InputError(
                f"{', '.join(broken)} changed after stage {name} had written it, before {stage.name} began (what had failed "
                f"then may have succeeded since); start the same command again: what depends on it runs again"
            )


def _close(pipeline, stage, ended, unwritten, signals, title, choice):
    """Enter how a stage ended; returns the code to stop with, or 0 to go on."""
    record, entry = pipeline.record, pipeline.record.stages[stage.name]
    if ended.code == 0 and not unwritten:
        entry |= {
            "state": "done",
            "outputs": {} if stage.loose else pipeline.prints.of(stage.writes),
            "measured": entry["seconds"],
            "measured_with": entry["settings"],
            "gpu_mb": _gpu_memory(stage, pipeline.environ),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
    record.save()
    _tell_report(pipeline)
    log = pipeline.run / "logs" / f"{stage.name}.log"
    on = f"{GO_ON}, with --from {stage.name}" if choice.first else GO_ON
    if signals.received:
        say(f"{title}: stopped after {estimates.duration(ended.seconds)}; log: {log}; {on}")
        return signals.code
    if ended.code:
        say(f"error: stage {title} ended with exit code {ended.code}; log: {log}; put it right and {on}", sys.stderr)
        return ended.code
    if unwritten:
        say(
            f"error: stage {title} ended without an error, but has not written {', '.join(unwritten)}: its last lines in {log} say what it "
            f"waits for; then {on}",
            sys.stderr,
        )
        return WAITING
    say(f"{title}: done in {estimates.duration(ended.seconds)}, {plans.memory_words(entry)}")
    return 0


def _gpu_memory(stage, environ):
    """Highest memory of a GPU in MiB as a training noted it, None without one."""
    done = stage.begun.parent / "finished.json" if stage.begun else None
    if done is None or not done.exists() or not needs.gpus(environ):
        return None
    return json.loads(done.read_text(encoding="utf-8")).get("peak_memory_mb")


def _tell_report(pipeline):
    """RUN/stages.json, from which the report takes how long the trainings took and how much memory."""
    entries = pipeline.record.stages
    write_json(
        pipeline.run / "stages.json",
        {
            s.name: {"seconds": entries[s.name]["seconds"], "peak_rss_mb": entries[s.name]["memory_mb"]}
            for s in pipeline.stages
            if s.begun and s.name in entries
        },
    )
