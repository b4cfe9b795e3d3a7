"""Warnings of the report's own: what was not evaluated, what does not fit together, and what has changed since it was
measured."""

import shlex
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.core.files import fingerprint
from korlhf.core.tables import both, joined, words
from korlhf.eval.report import gather, summary
from korlhf.eval.report.words import PROGRAMS, STEPS, name_of, protocol_name, say
from korlhf.eval.texts import rule_name
from korlhf.llm import checkpoint

WEIGHTS = (
    "*.safetensors",
    "pytorch_model*.bin",
    "adapter_config.json",
    "config.json",
    "chat_template*",
    "tokenizer*.json",
)
SMALL = 2**30  # bytes: folders and files up to this are always compared by content
SLACK = 2.0  # seconds by which clocks of files may differ
COMPARED = ("seed", "decoding", "template", "system")  # lines of a protocol; prompts differ by design
JUDGED = {"geval", "win_rate", "harmlessness", "chat_benchmark"}  # judge by more than the training's reward model
SCRIPTS = {
    1: "step1_supervised_finetuning/training_scripts/polyglot_ko/run_1.3b.sh {run}/sft",
    2: "step2_reward_model_finetuning/training_scripts/polyglot_ko/run_1.3b.sh {run}/reward",
    3: "step3_rlhf_finetuning/training_scripts/polyglot_ko/run_1.3b.sh {run}/sft {run}/reward 2 2 {run}/ppo",
}


@dataclass
class Finding:
    """about: the gather.Results and gather.Stages that it is about, none for the run as a whole; text: tables.both."""

    about: list
    text: dict


def missing(run):
    """[(tables.both, command)] of the stages and results that the run does not have."""
    folder = shlex.quote(str(run.folder))
    runner = None
    if (run.folder / "base_init").is_dir():  # of the tiny models; only the sample's recipe has data of its own
        script = "applications/rlhf/run_all.sh" if (run.folder / "data").is_dir() else "quickstart.sh"
        runner = f"bash {script} --output_dir {folder}"
    trained = {s.step for s in run.stages if s.done}
    evaluated = {r.program for r in run.results}
    return [
        (say(f"steps.{step}"), runner or "bash training/" + SCRIPTS[step].format(run=folder))
        for step in STEPS
        if step not in trained
    ] + [
        (say(f"programs.{program}"), f"RUN={folder} bash eval/run_{program}.sh")
        for program in PROGRAMS
        if program not in evaluated
    ]


def warnings(run):
    """All Findings, those of the results first, then the report's own; what several results say alike is one."""
    abouts = defaultdict(list)
    for result in run.results:
        for line in result.content["warnings"]:
            abouts[line["en"], line["ko"]].append(result)
    for check in CHECKS:
        for about, text in check(run):
            abouts[text["en"], text["ko"]] += [about] if about else []
    return [Finding(about, both(*text)) for text, about in abouts.items()]


def _not_evaluated(run):
    evaluated = {r.program for r in run.results}
    absent = [say(f"programs.{program}") for program in PROGRAMS if program not in evaluated]
    if absent:
        yield None, say("warnings.not_evaluated", names=joined(absent))
    ppo = [s for s in run.stages if s.step == 3 and s.done]
    if ppo and not evaluated & JUDGED:
        yield ppo[-1], say("warnings.unjudged")


def _stages(run):
    for step in STEPS:
        if not any(s.step == step for s in run.stages):
            yield None, say("warnings.no_model", step=say(f"steps.{step}"))
    for s in run.stages:
        if not s.done:
            last = max((row["step"] for row in s.metrics), default=0)
            yield s, say("warnings.not_finished", step=f"{last:,}")
        elif not s.finished.get("heldout_after"):
            yield s, say("warnings.no_heldout")
        elif s.step == 2 and (best := summary.best_rule(s)) and (interval := s.heldout.get("ci95")):
            if interval[0] <= best[1]:
                figures = map(summary.number, (s.heldout["accuracy"], *interval, best[1]))
                values = zip(("accuracy", "low", "high", "share"), figures)
                yield s, say("warnings.trivial", rule=rule_name(best[0]), n=s.heldout["n"], **dict(values))


def _diverged(run):
    """The warnings of the trainings, one line per name."""
    for s in run.stages:
        steps = defaultdict(list)
        for row in s.metrics:
            for name in row.get("warnings") or ():
                steps[str(name)].append(row["step"])
        for name, at in steps.items():
            values = {"event": _event(name), "step": f"{at[0]:,}"}
            yield s, say("warnings.signs", n=len(at), **values) if len(at) > 1 else say("warnings.sign", **values)


def _event(name):
    """What a warning of korlhf.training.watch says, in both languages."""
    figure = name.removeprefix("non_finite_")
    if figure != name:
        return say("signs.non_finite", what=name_of("curves", figure.removeprefix("heldout_")))
    return name_of("signs", name)


def _made(folder):
    """When a model folder was last changed, in seconds; None if it is not there."""
    times = [p.stat().st_mtime for pattern in WEIGHTS for p in folder.glob(pattern)] if folder.is_dir() else []
    return max(times, default=None)


def _trained_again(run):
    for s in run.stages:
        base = gather.made_from(s, run.stages)
        if base and s.done and (_made(base.folder) or 0) > (s.folder / "finished.json").stat().st_mtime + SLACK:
            yield s, say("warnings.trained_again", base=base.name, name=s.name)


def _responders(result):
    """{name of a model: how it was asked} of a result."""
    return result.content["figures"].get("responders") or {}


def _unlike_settings(run):
    """Results that show answers of the same model, but were made in different ways."""
    for what in COMPARED:
        by_model = defaultdict(lambda: defaultdict(dict))  # model -> way in English -> result's name -> way
        for result in (r for r in run.results if r.program != "chat_benchmark"):  # whose questions are its own
            for name, how in _responders(result).items():
                way = _way(result, how, what)
                if way is not None:
                    by_model[name][words(way, "en")][result.name] = way
        unlike = defaultdict(dict)
        for ways in by_model.values():
            for key, results in ways.items() if len(ways) > 1 else ():
                unlike[key] |= results
        if unlike:
            told = both(
                *("; ".join(_told(results, language) for results in unlike.values()) for language in ("en", "ko"))
            )
            yield None, say("warnings.settings_differ", what=protocol_name(what), ways=told)


def _way(result, how, what):
    """How a result asked one responder, in one respect; None if not known. Templates are each model's own."""
    if what == "template":
        return how.get("template")
    return None if what == "decoding" and how.get("kind") == "file" else result.content["protocol"].get(what)


def _told(results, language):
    """Which results were made in one way, and the way, shortened."""
    way = " ".join(str(words(next(iter(results.values())), language)).split())
    return f"{', '.join(results)}: {way if len(way) <= 70 else way[:67] + '…'}"


def _unlike_models(run):
    """One name for different models in different results."""
    known = defaultdict(lambda: defaultdict(list))
    for result in run.results:
        for name, how in _responders(result).items():
            known[name][how.get("fingerprint") or how.get("model")].append(result.name)
    for name, marks in known.items():
        if len(marks) > 1:
            yield None, say("warnings.models_differ", name=name, programs="; ".join(map(", ".join, marks.values())))


def _changed(run):
    """Results of model folders and files that have changed since. Small ones are compared byte for byte where the
    result has their fingerprint."""
    now = {}
    for result in run.results:
        inputs = result.content["inputs"]
        responders = [how for how in _responders(result).values() if how.get("model")]
        prints = {how["model"]: how.get("fingerprint") for how in responders}
        for path in dict.fromkeys([*prints, *(i["path"] for i in inputs if "sha256" not in i)]):
            if _differs(Path(path).expanduser(), prints.get(path), result.content["finished"], now):
                yield result, say("warnings.folder_changed", path=path)
        for path, before in ((i["path"], i["sha256"]) for i in inputs if "sha256" in i):
            file = Path(path).expanduser()
            if file.is_file() and file.stat().st_size <= SMALL and fingerprint(file) != before:
                yield result, say("warnings.file_changed", path=file)


def _differs(folder, before, finished, now):
    """now: fingerprints of folders that were looked at already."""
    made = _made(folder)
    if made is None:
        return False
    later = made > _seconds(finished) + SLACK
    small = sum(p.stat().st_size for p in folder.glob("*.safetensors")) <= SMALL
    if not before or not (later or small):
        return later
    try:
        now[folder] = now.get(folder) or checkpoint.fingerprint(folder)
    except InputError:  # an adapter whose base is not here
        return later
    return now[folder] != before


def _seconds(finished):
    try:
        return datetime.strptime(str(finished), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return float("inf")


def _rows(run):
    for result in run.results:
        file, before = result.content["rows"]["file"], result.content["rows"]["n"]
        if result.rows is None:
            yield result, say("warnings.rows_gone", file=file)
        elif len(result.rows) != before:
            n = f"{len(result.rows):,}"
            yield result, say("warnings.rows_changed", file=file, n=n, before=f"{before:,}")


def _versions(run):
    results = defaultdict(list)
    for result in run.results:
        results[frozenset(result.content["versions"].items())].append(result.name)
    first, *others = results or [frozenset()]
    packages = sorted({name for other in others for name, _ in first ^ other})
    if packages:
        programs = "; ".join(map(", ".join, results.values()))
        yield None, say("warnings.versions_differ", packages=", ".join(packages), programs=programs)


CHECKS = (
    _not_evaluated,
    _stages,
    _diverged,
    _trained_again,
    _unlike_settings,
    _unlike_models,
    _changed,
    _rows,
    _versions,
)
