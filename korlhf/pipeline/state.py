"""Which stages have to run, and why: the rules of what is up to date.

A stage is up to date if its record says that it was finished, everything it writes is there as it left it, and command, settings, scripts
and inputs are the same, by content. A stage whose inputs another one will write is looked at again when it is its turn: if they come out
the same, it need not run.
"""

from dataclasses import dataclass

from korlhf.pipeline import stages as stages_

DONE, NEW, RESUME, CHANGED, BROKEN, FORCED, AFTER, KEPT = (
    "done",
    "new",
    "resume",
    "changed",
    "broken",
    "forced",
    "after",
    "kept",
)
LONGEST = 40  # characters of a value in a reason


@dataclass(frozen=True)
class State:
    """kind: one of the above; why: for people; again: what an earlier run left has to be thrown away first."""

    kind: str
    why: str
    again: bool = False

    @property
    def runs(self):
        return self.kind not in (DONE, KEPT)


def settings(stage, prints, environ):
    """Setting -> value of what a stage's result depends on, as it is recorded."""
    return {k: prints.portable(v) for k, v in stage.settings(environ).items()}


def identity(stage, prints, environ):
    """What the result of a stage depends on; an input that is not there is None."""
    return {
        "command": prints.portable(stage.command),
        "settings": settings(stage, prints, environ),
        "scripts": prints.of(stage.scripts),
        "inputs": prints.of(stage.reads),
    }


def differences(before, now):
    """In words, how a stage's identity differs from that in its record: a list, empty if it does not."""
    old, new = before["settings"], now["settings"]
    out = [
        f"{k} {_value(old.get(k))} -> {_value(new.get(k))}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)
    ]
    if before["command"] != now["command"]:
        out.append("its command")
    for kind in ("scripts", "inputs"):
        old, new = before[kind], now[kind]
        out += [
            path + ("" if new.get(path) else " is gone")
            for path in sorted({*old, *new})
            if old.get(path) != new.get(path)
        ]
    return out


def _value(value):
    if value is None:
        return "(default)"
    text = " ".join(value.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _some(texts):
    return "; ".join(texts[:2]) + (f"; and {len(texts) - 2} more" if len(texts) > 2 else "")


def broken_outputs(stage, entry, prints):
    """Short paths of what a finished stage wrote and is no longer there as it left it."""
    if stage.loose:
        return [prints.short(path) for path in stage.writes if not path.exists()]
    now, before = prints.of(stage.writes), entry["outputs"]
    return sorted(path for path in before if now.get(path) != before[path])


def look(stage, entry, prints, environ, forced=False):
    """The State of one stage by its record (`entry`, or None) and the files as they are now."""
    if entry is None:
        return State(NEW, "never run")
    changed = differences(entry, identity(stage, prints, environ))
    if entry["state"] != "done":
        only_scripts = all(
            text.removesuffix(" is gone") in {*entry["scripts"], *map(prints.short, stage.scripts)} for text in changed
        )
        if not changed or (stage.reset and only_scripts):  # a training itself refuses to go on with other settings
            return State(RESUME, "was stopped; goes on")
        return State(CHANGED, f"was stopped, and changed since: {_some(changed)}", again=True)
    if changed:
        return State(CHANGED, f"changed: {_some(changed)}", again=True)
    broken = broken_outputs(stage, entry, prints)
    if broken:
        return State(BROKEN, f"not as it was written: {_some(broken)}", again=True)
    return State(FORCED, "asked for again", again=True) if forced else State(DONE, "up to date")


@dataclass(frozen=True)
class Choice:
    """Which stages may run. first, last, only: names or ""; of `first` on all run, also those that are up to date."""

    first: str = ""
    last: str = ""
    only: str = ""

    def span(self, names):
        """The names that may run, in order."""
        if self.only:
            return [self.only]
        begin = names.index(self.first) if self.first else 0
        end = names.index(self.last) if self.last else len(names) - 1
        return names[begin : end + 1]

    def forces(self, name, names):
        return bool(self.only or self.first) and name in self.span(names)


def survey(stages, entries, prints, environ, choice):
    """Name -> State of every stage, in order. A stage outside of the choice is KEPT as it is, whatever has changed."""
    names, after = [s.name for s in stages], stages_.dependencies(stages)
    span, states = set(choice.span(names)), {}
    for stage in stages:
        state = look(stage, entries.get(stage.name), prints, environ, choice.forces(stage.name, names))
        waits = [n for n in names if n in after[stage.name] and states[n].runs]
        if stage.name not in span:
            state = State(KEPT, "not asked for" + ("" if state.kind == DONE else f" ({state.why})"))
        elif waits and state.kind in (DONE, FORCED):
            why = f"reads what {', '.join(waits)} {'makes' if len(waits) == 1 else 'make'} anew"
            state = State(AFTER if state.kind == DONE else FORCED, why, again=True)
        states[stage.name] = state
    return states
