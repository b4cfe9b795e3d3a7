"""What a run folder holds: trained stages (folders with settings.json or finished.json) and results of evaluations, any of them absent.

Everything that is read passes `shown`: characters that cannot be seen, and those that turn the direction of writing, are spelt out.
"""

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.data import chat_template as templates
from korlhf.data.characters import visible
from korlhf.data.readers import read_rows
from korlhf.eval.report.words import PROGRAMS

RESULT_KEYS = {
    "program",
    "warnings",
    "tables",
    "protocol",
    "figures",
    "settings",
    "inputs",
    "rows",
    "versions",
    "seconds",
    "finished",
}
STARTED = re.compile(
    r"^== (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  OMP_NUM_THREADS=\d+ (.*)$", re.MULTILINE
)  # written by training/launch.sh


@dataclass(eq=False)
class Stage:
    """A trained model. step: 1, 2 or 3, or 0 if that cannot be told; settings, finished: {} if the file is not there.

    metrics: lines of metrics.jsonl; card: README.md; template: name of the conversation template, or "" ; seconds: None if not known;
    clocked: whether they are the trainer's own (else from the first line of the log to the last file, pauses included).
    """

    name: str
    folder: Path
    step: int = 0
    settings: dict = field(default_factory=dict)
    finished: dict = field(default_factory=dict)
    metrics: list = field(default_factory=list)
    card: str = ""
    template: str = ""
    command: str = ""
    seconds: float | None = None
    clocked: bool = True
    memory: float | None = None
    answers: list = field(default_factory=list)

    @property
    def done(self):
        return (self.folder / "finished.json").exists()

    @property
    def base(self):
        """The model that it was made from, as it was named."""
        return self.settings.get("actor_model_name_or_path") or self.settings.get("model_name_or_path") or ""


@dataclass(eq=False)
class Result:
    """found: the JSON that evaluation.Result wrote; rows: the lines of the file beside it, or None if that is not there."""

    program: str
    path: Path
    found: dict
    rows: list | None

    @property
    def name(self):
        """The program, and the file too if that has another name."""
        return self.program if self.path.stem == self.program else f"{self.program} ({shown(self.path.name)})"


@dataclass(eq=False)
class Run:
    """stages: in the order of training; results: as words.PROGRAMS has them; summary: summary.json of the quickstart, or {}."""

    folder: Path
    eval_folder: Path
    stages: list
    results: list
    summary: dict


def read_run(run_dir, eval_dir=""):
    """The Run in a folder. Raises InputError for a folder that holds nothing of a run, and for broken files."""
    folder = Path(run_dir).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"--run_dir {run_dir}: no such folder; give the one that holds sft/, reward/ and ppo/, e.g. output/quickstart"
        )
    eval_folder = Path(eval_dir).expanduser() if eval_dir else folder / "eval"
    if eval_dir and not eval_folder.is_dir():
        raise InputError(f"--eval_dir {eval_dir}: no such folder; give the --output_dir of the evaluation programs")
    stages = [read_stage(p) for p in sorted(folder.iterdir()) if p.is_dir() and is_stage(p)]
    results = [r for p in sorted(eval_folder.glob("*.json")) if (r := read_result(p))] if eval_folder.is_dir() else []
    if not stages and not results:
        hint = "give the folder that holds them"
        if is_stage(folder):
            hint = f"it is one trained model: give its parent, {folder.resolve().parent}"
        raise InputError(f"--run_dir {run_dir}: no trained model in its folders and no result in {eval_folder}; {hint}")
    clock(folder, stages)
    summary = read_json(folder / "summary.json") if (folder / "summary.json").exists() else {}
    return Run(folder, eval_folder, in_order(stages), sorted(results, key=_worth), _dict(summary))


def _worth(result):
    """The place of a result in the page: known programs in the order of words.PROGRAMS."""
    known = list(PROGRAMS)
    return known.index(result.program) if result.program in known else len(known), result.name


def shown(value):
    """A value of JSON, fit to be shown: every text in it, names too, by audit.sample.visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(k): shown(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shown(v) for v in value]
    return value


def read_text(path):
    """A text file, "" if it is not there. Raises InputError."""
    try:
        return path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1}); write it again, or move it away") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}; check the file and its permissions"
        ) from error


def read_json(path):
    """A JSON file. Raises InputError with file and line if it is broken."""
    try:
        return shown(json.loads(read_text(path)))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: broken JSON: {error.msg} at character {error.colno}; "
            "run the program that writes it again, or move the file away"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: JSON that is nested too deep; move the file away") from error


def _dict(value):
    return value if isinstance(value, dict) else {}


def read_metrics(path, done):
    """Lines of metrics.jsonl; the last one of a run that is not finished may be cut. Raises InputError with file and line."""
    lines, out = read_text(path).splitlines(), []
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            out.append(_dict(shown(json.loads(line))))
        except json.JSONDecodeError as error:
            if n == len(lines) and not done:
                break
            raise InputError(
                f"{path}:{n}: broken JSON: {error.msg} at character {error.colno}; delete the line"
            ) from error
    return [row for row in out if isinstance(row.get("step"), int)]


def is_stage(folder):
    """Whether a training program made the folder; other programs have a settings.json too."""
    if (folder / "finished.json").exists():
        return True
    path = folder / "settings.json"
    return path.exists() and '"processes":' in read_text(path)


def read_stage(folder):
    """The Stage of a folder."""
    stage = Stage(shown(folder.name), folder)
    for name in ("settings", "finished"):
        path = folder / f"{name}.json"
        if path.exists():
            setattr(stage, name, _dict(read_json(path)))
    stage.step = step_of(stage.settings, stage.finished)
    stage.metrics = read_metrics(folder / "metrics.jsonl", stage.done)
    stage.card = shown(read_text(folder / "README.md"))
    stage.template = template_name(read_text(folder / "chat_template.jinja"))
    stage.memory = stage.finished.get("peak_memory_mb")
    answers = folder / "heldout_answers.jsonl"
    if answers.exists() and answers.stat().st_size:
        stage.answers = [shown(row) for _, row in read_rows(answers)]
    return stage


def step_of(settings, finished):
    """Which training step wrote these files: 1, 2 or 3; 0 if that cannot be told."""
    after = finished.get("heldout_after") or finished.get("heldout_before") or {}
    if "actor_model_name_or_path" in settings or "score" in after:
        return 3
    if "train_on_prompt" in settings or "loss" in after:
        return 1
    return 2 if "model_name_or_path" in settings or "accuracy" in after else 0


def template_name(text):
    """kullm, human_assistant, "own" (the tokenizer's), or "" without one."""
    if not text:
        return ""
    ours = (
        name
        for name in templates.TEMPLATES
        for bos in (True, False)
        if templates.template_source(name, bos).strip() == text.strip()
    )
    return next(ours, "own")


def clock(folder, stages):
    """Fill in how long the stages took: by stages.json of the quickstart, else by their logs."""
    path = folder / "stages.json"
    noted = _dict(read_json(path)) if path.exists() else {}
    for stage in stages:
        own = _dict(noted.get(stage.name))
        starts = (
            STARTED.findall(read_text(stage.folder / "training.log"))
            if (stage.folder / "training.log").exists()
            else []
        )
        if starts:
            stage.command = shown(starts[-1][1])
        if own:
            stage.seconds, stage.memory = own.get("seconds"), stage.memory or own.get("peak_rss_mb")
        elif starts and stage.done:
            began = time.mktime(time.strptime(starts[0][0], "%Y-%m-%d %H:%M:%S"))
            stage.seconds, stage.clocked = max(0.0, (stage.folder / "finished.json").stat().st_mtime - began), False


def in_order(stages):
    """Stages by step; within a step a model comes after the one that it was made from."""
    return sorted(stages, key=lambda s: (s.step or 9, _depth(s, stages), s.name))


def before(stage, stages):
    """The stage of the run that a stage was made from, or None."""
    base = Path(stage.base).expanduser().resolve() if stage.base else None
    return next((s for s in stages if s.folder.resolve() == base and s is not stage), None)


def _depth(stage, stages):
    """How many stages of the run lie before it."""
    seen, found = [], before(stage, stages)
    while found and found not in seen:
        seen.append(found)
        found = before(found, stages)
    return len(seen)


def read_result(path):
    """The Result of a JSON file, or None if the file is something else. Raises InputError if it is broken."""
    found = read_json(path)
    if not isinstance(found, dict) or not {"program", "tables", "protocol"} <= set(found):
        return None
    missing = sorted(RESULT_KEYS - set(found))
    if missing:
        raise InputError(
            f"{path}: a result of {found['program']} without {', '.join(missing)}; run the program again, or move the "
            "file away"
        )
    try:
        _check(found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: not as a result of {found['program']} is written ({type(error).__name__}: {error}); run the program "
            "again, or move the file away"
        ) from error
    rows = path.parent / Path(found["rows"]["file"]).name
    read = [shown(row) for _, row in read_rows(rows)] if rows.exists() and rows.stat().st_size else []
    return Result(str(found["program"]), path, found, read if rows.exists() else None)


def _check(found):
    """Raise KeyError, TypeError, AttributeError or ValueError if a part of a result that the page shows has another form."""
    for table in found["tables"]:
        tables.table(table["title"], table["columns"], table["rows"])
        tables.plain(table, "en"), tables.plain(table, "ko")
    for line in found["warnings"]:
        tables.both(line["en"], line["ko"])
    for read in found["inputs"]:
        Path(read["path"])
    if not isinstance(found["protocol"], dict) or not isinstance(found["versions"], dict):
        raise TypeError("protocol and versions are no objects")
    int(found["rows"]["n"]), Path(found["rows"]["file"]), float(found["seconds"])
