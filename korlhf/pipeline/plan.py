"""The plan as text: what will run and why, what it reads and writes, how long it takes, whether the disk suffices, what is missing."""

import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from korlhf.core import tables
from korlhf.core.tables import both, column
from korlhf.pipeline import estimates, state
from korlhf.pipeline import stages as stages_

WIDTH = 140
LONGEST = 70  # characters of a reason in the table; longer ones follow below it


@dataclass(frozen=True)
class Plan:
    """states: name -> state.State; seconds: name -> (seconds, where from) or None; found: needs.Found; stays, besides: bytes of disk, those
    that stay and those that a training needs besides while it runs; unknown: stages whose need of disk is not known; free: bytes."""

    stages: list
    states: dict
    seconds: dict
    found: object
    stays: float
    besides: float
    unknown: list
    free: int

    def left(self, names):
        """(seconds that are known, number of stages that are not) of those among `names` that run."""
        times = [self.seconds[name] for name in names if self.states[name].runs]
        return sum(t[0] for t in times if t), sum(t is None for t in times)


def make(stages, states, settings, record, found, run):
    """The Plan. settings: name -> what each stage is told (state.settings)."""
    siblings = estimates.sibling_records(record)
    seconds = {
        s.name: estimates.measured(s.name, settings[s.name], record.stages.get(s.name), siblings) or s.seconds
        for s in stages
    }
    return Plan(stages, states, seconds, found, *estimates.disk(stages, states), estimates.free(run))


def left_words(known, unknown):
    """Time left, in words."""
    if not known:
        return "time not known" if unknown else "nothing left"
    if unknown:
        return f"more than {estimates.duration(known)} left: the time of {unknown} stage{'s' if unknown > 1 else ''} is not known"
    return f"about {estimates.duration(known)} left"


def table(plan, prints):
    """The stages."""
    made_by = stages_.dependencies(plan.stages)
    rows = []
    for number, stage in enumerate(plan.stages, 1):
        found, seconds = plan.states[stage.name], plan.seconds[stage.name]
        outside = [p for p in stage.reads if not any(stages_.touch(p, w) for s in plan.stages for w in s.writes)]
        reads = [n for n in made_by if n in made_by[stage.name]] + _names(outside)
        time = "" if not found.runs else "not known" if seconds is None else estimates.duration(seconds[0])
        disk = (
            ""
            if not found.runs
            else "not known"
            if stage.disk is None
            else estimates.amount(stage.disk[0])
            if stage.disk[0]
            else ""
        )
        rows.append(
            [
                f"{number} {stage.name}",
                _list(reads),
                _list(_names(stage.writes, prints)),
                _shorten(found.why),
                time,
                disk,
            ]
        )
    return tables.plain(
        tables.table(
            both("stages", "단계"),
            [
                column("stage", "단계"),
                column("reads", "입력"),
                column("writes", "출력"),
                column("state", "상태"),
                column("time", "시간"),
                column("disk", "디스크"),
            ],
            rows,
        )
    )


def _names(paths, prints=None):
    """Short names of paths: in the run's folder where they are in it, else the last part."""
    paths = [Path(p) for p in paths if not any(Path(p) != q and Path(q) in Path(p).parents for q in paths)]
    shorts = [prints.short(p) if prints else p.name for p in paths]
    return list(dict.fromkeys(s.removeprefix("RUN/") for s in shorts))


def _list(names, most=2):
    return ", ".join(names[:most]) + (f", +{len(names) - most}" if len(names) > most else "")


def _shorten(text):
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def text(plan, prints, title):
    """The whole plan."""
    lines = [title, "", table(plan, prints), ""]
    lines += _reasons(plan)
    lines += _totals(plan)
    lines += [_wrap(f"note: {note}") for note in plan.found.notes]
    lines += [_wrap(f"stops before {name}: {why}") for name, why in plan.found.waiting.items()]
    lines += [_wrap(f"MISSING  {line}") for line in plan.found.missing]
    return "\n".join(lines)


def _reasons(plan):
    """What the table has no room for: long reasons, trainings that are thrown away, how times were computed."""
    out = []
    for stage in plan.stages:
        why = plan.states[stage.name].why
        if len(why) > LONGEST:
            out.append(_wrap(f"{stage.name}: {why}"))
    trained = [
        (s.name, plan.states[s.name]) for s in plan.stages if plan.states[s.name].again and s.begun and s.begun.exists()
    ]
    anew = "thrown away and trained anew"
    for sure, words in ((True, anew), (False, f"{anew} if what they read has changed then")):
        names = [name for name, found in trained if (found.kind != state.AFTER) == sure]
        if names:
            out.append(_wrap(f"{words}: {', '.join(names)}"))
    out += [
        _wrap(f"time of {how}") for seconds in plan.seconds.values() if seconds for how in [seconds[1]] if ":" in how
    ]
    return out


def _totals(plan):
    running = [s.name for s in plan.stages if plan.states[s.name].runs]
    if not running:
        return ["everything is up to date"]
    known, unknown = plan.left(running)
    told = sorted({plan.seconds[n][1] for n in running if plan.seconds[n] and ":" not in plan.seconds[n][1]})
    source = f" ({'; '.join(told)})" if told else ""
    lines = [_wrap(f"to run: {len(running)} of {len(plan.stages)} stages, {left_words(known, unknown)}{source}")]
    also = f" (without {', '.join(plan.unknown)}, not known)" if plan.unknown else ""
    need = plan.stays + plan.besides
    during = f", {estimates.amount(plan.besides)} of it only while a training runs" if plan.besides else ""
    short = need - plan.free
    verdict = f"NOT ENOUGH: make {estimates.amount(short)} free, or give another RUN" if short > 0 else "enough"
    lines.append(
        _wrap(
            f"disk: at most {estimates.amount(need)} more{during}{also}, {estimates.amount(plan.free)} free: {verdict}"
        )
    )
    return lines


def _wrap(line):
    return "\n".join(
        textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    )


def commands(plan, prints, environ):
    """The command lines of the stages that run, with what they are given."""
    lines = ["", "commands, with RUN and KORLHF for the two folders:"]
    for stage in plan.stages:
        if plan.states[stage.name].runs:
            given = " ".join(
                f"{k}={shlex.quote(prints.portable(v))}"
                for k, v in stage.settings(environ).items()
                if k != stages_.FLAGS
            )
            lines.append(f"  {stage.name}: {given}{' ' if given else ''}{prints.portable(stage.line())}")
    return "\n".join(lines)


def summary(plan, record, prints):
    """Table of all stages with what they took, for the end of a run."""
    rows = []
    for stage in plan.stages:
        entry = record.stages.get(stage.name, {})
        done = entry.get("state") == "done"
        rows.append(
            [
                stage.name,
                estimates.duration(entry["seconds"]) if done else "not finished",
                memory_words(entry) if done else "",
                _list(_names(stage.writes, prints)),
            ]
        )
    columns = [column("stage", "단계"), column("time", "시간"), column("memory", "메모리"), column("outputs", "출력")]
    return tables.plain(
        tables.table(
            both("what it took", "걸린 시간"),
            columns,
            rows,
            [both("memory: of the largest process, and of a GPU as the training noted it", "메모리: 가장 큰 프로세스")],
        )
    )


def memory_words(entry):
    host = f"{entry['memory_mb'] / 1024:.1f} GiB"
    return f"{host}, GPU {entry['gpu_mb'] / 1024:.1f} GiB" if entry.get("gpu_mb") else host
