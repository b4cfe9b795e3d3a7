"""What a run folder holds: trained stages (folders with settings.json or finished.json) and results of evaluations, any
of them absent.

Everything that is read passes `shown`: characters that cannot be seen, and those that turn the direction of writing,
are spelt out.
"""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from korlhf.core import tables
from korlhf.core.errors import InputError
from korlhf.data.characters import visible
from korlhf.data.chat_template import template_name
from korlhf.data.readers import parsed, read_rows
from korlhf.eval.report.words import PROGRAMS
from korlhf.training.ppo_flags import NAMES

RESULT_KEYS = {"program", "warnings", "tables", "protocol", "figures", "settings", "inputs", "rows", "versions"}
RESULT_KEYS |= {"seconds", "finished"}
STARTED = re.compile(r"^== (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  OMP_NUM_THREADS=\d+ (.*)$", re.MULTILINE)  # by launch.sh


@dataclass(eq=False)
class Stage:
    """A trained model. step: 1, 2 or 3, or 0 if that cannot be told; settings, finished: {} if the file is not there.

    metrics: lines of metrics.jsonl; card: README.md; template: kullm, human_assistant, own (the tokenizer's) or "";
    seconds: None if not known; clocked: whether the runner measured them (else from the first line of the log to the
    last file, pauses included); answers: lines of heldout_answers.jsonl.
    """

    name: str
    folder: Path
    settings: dict = field(default_factory=dict)
    finished: dict = field(default_factory=dict)
    step: int = 0
    metrics: list = field(default_factory=list)
    card: str = ""
    template: str = ""
    command: str = ""
    seconds: float | None = None
    clocked: bool = True
    answers: list = field(default_factory=list)

    @property
    def done(self):
        return (self.folder / "finished.json").exists()

    @property
    def base(self):
        """The model that it was made from, as it was named."""
        return self.settings.get("actor_model_name_or_path") or self.settings.get("model_name_or_path") or ""

    @property
    def algorithm(self):
        """PPO, DPO or the like; "" for step 1, reward models and what is not known."""
        if self.step == 3:
            return NAMES.get(self.settings.get("advantage_estimator"), "PPO")
        loss = self.settings.get("loss")  # of preference optimisation
        return loss.upper() if isinstance(loss, str) else ""

    @property
    def heldout(self):
        """Held-out figures, those of the end if there are any."""
        return self.finished.get("heldout_after") or self.finished.get("heldout_before") or {}


@dataclass(eq=False)
class Result:
    """content: the JSON that korlhf.eval.result.Result wrote; rows: the lines of the file next to it, None without."""

    program: str
    path: Path
    content: dict
    rows: list | None

    @property
    def suffix(self):
        """Told after the program's name: the file, if that has another name."""
        return "" if self.path.stem == self.program else f" ({shown(self.path.name)})"

    @property
    def name(self):
        return self.program + self.suffix


@dataclass(eq=False)
class Run:
    """stages: in the order of training; results: in that of words.PROGRAMS; summary: the quickstart's, or {}."""

    folder: Path
    stages: list
    results: list
    summary: dict


def read_run(run_dir, eval_dir=""):
    """The Run in a folder. Raises InputError for a folder that holds nothing of a run, and for broken files."""
    folder = Path(run_dir).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"--run_dir {run_dir}: no such folder; give the one that holds sft/, reward/ and ppo/, "
            "e.g. output/quickstart"
        )
    eval_folder = Path(eval_dir).expanduser() if eval_dir else folder / "eval"
    if eval_dir and not eval_folder.is_dir():
        raise InputError(f"--eval_dir {eval_dir}: no such folder; give the --output_dir of the evaluation programs")
    clock = _read_object(folder / "stages.json")
    stages = [_read_stage(p, clock) for p in sorted(folder.iterdir()) if p.is_dir() and _is_stage(p)]
    results = [result for p in sorted(eval_folder.glob("*.json")) if (result := _read_result(p))]
    if not stages and not results:
        hint = "give the folder that holds them"
        if _is_stage(folder):
            hint = f"it is one trained model: give its parent, {folder.resolve().parent}"
        raise InputError(f"--run_dir {run_dir}: no trained model in its folders and no result in {eval_folder}; {hint}")
    stages = sorted(stages, key=lambda s: (s.step or 9, _depth(s, stages), s.name))
    places = {program: k for k, program in enumerate(PROGRAMS)}
    results.sort(key=lambda r: (places.get(r.program, len(places)), r.name))
    return Run(folder, stages, results, _read_object(folder / "summary.json"))


def made_from(stage, stages):
    """The stage of the run that a stage was made from, or None."""
    base = Path(stage.base).expanduser().resolve() if stage.base else None
    return next((s for s in stages if s.folder.resolve() == base and s is not stage), None)


def _depth(stage, stages):
    """How many stages of the run a stage was made from, one after the other."""
    seen = []
    while (stage := made_from(stage, stages)) and stage not in seen:
        seen.append(stage)
    return len(seen)


def shown(value: Any) -> Any:
    """A value of JSON, fit to be shown: every text in it, names too, by korlhf.data.characters.visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(k): shown(v) for k, v in value.items()}
    return [shown(v) for v in value] if isinstance(value, list) else value


def _read_text(path):
    """A text file, "" if it is not there."""
    try:
        return path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start + 1}); write it again, or move it away") from error
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be read: {reason}; check the file and its permissions") from error


def _read_json(path):
    return shown(parsed(_read_text(path), path, remedy="run the program that writes it again, or move the file away"))


def _read_object(path):
    """The object in a JSON file, {} if there is no file or no object in it."""
    value = _read_json(path) if path.exists() else {}
    return value if isinstance(value, dict) else {}


def _rows(path):
    return [shown(row) for _, row in read_rows(path)] if path.exists() and path.stat().st_size else []


def _is_stage(folder):
    """Whether a training program made the folder; other programs have a settings.json too."""
    return (folder / "finished.json").exists() or '"processes":' in _read_text(folder / "settings.json")


def _read_stage(folder, clock):
    """clock: {name of a stage: {"seconds"}}, by the runner."""
    settings, finished = (_read_object(folder / f"{name}.json") for name in ("settings", "finished"))
    stage = Stage(shown(folder.name), folder, settings, finished)
    stage.step = _step_of(stage)
    stage.metrics = _read_metrics(folder / "metrics.jsonl", stage.done)
    stage.card = shown(_read_text(folder / "README.md"))
    template = _read_text(folder / "chat_template.jinja")
    stage.template = template and (template_name(template) or "own")
    stage.answers = _rows(folder / "heldout_answers.jsonl")
    starts = STARTED.findall(_read_text(folder / "training.log"))
    stage.command = shown(starts[-1][1]) if starts else ""
    own = clock.get(stage.name)
    if isinstance(own, dict):
        stage.seconds = own.get("seconds")
    elif starts and stage.done:
        began = time.mktime(time.strptime(starts[0][0], "%Y-%m-%d %H:%M:%S"))
        stage.seconds, stage.clocked = max(0.0, (folder / "finished.json").stat().st_mtime - began), False
    return stage


def _step_of(stage):
    """Which training step wrote a stage's files."""
    if "actor_model_name_or_path" in stage.settings or "score" in stage.heldout:
        return 3
    if "train_on_prompt" in stage.settings or "loss" in stage.heldout:
        return 1
    return 2 if "model_name_or_path" in stage.settings or "accuracy" in stage.heldout else 0


def _read_metrics(path, done):
    """Lines of metrics.jsonl; the last one of a run that is not finished may be cut off."""
    lines = [(n, line) for n, line in enumerate(_read_text(path).splitlines(), 1) if line.strip()]
    rows = []
    for n, line in lines:
        try:
            rows.append(shown(parsed(line, path, n, "delete the line")))
        except InputError:
            if done or n != lines[-1][0]:
                raise
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("step"), int)]


def _read_result(path):
    """The Result of a JSON file, or None if the file is something else."""
    content = _read_json(path)
    if not isinstance(content, dict) or not {"program", "tables", "protocol"} <= set(content):
        return None
    program, absent = content["program"], sorted(RESULT_KEYS - set(content))
    again = "run the program again, or move the file away"
    if absent:
        raise InputError(f"{path}: a result of {program} without {', '.join(absent)}; {again}")
    try:
        _check(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: not as a result of {program} is written ({reason}); {again}") from error
    rows = path.parent / Path(content["rows"]["file"]).name
    return Result(str(program), path, content, _rows(rows) if rows.exists() else None)


def _check(content):
    """Raise KeyError, TypeError, AttributeError or ValueError if what the page shows of a result has another form."""
    for table in content["tables"]:
        tables.table(table["title"], table["columns"], table["rows"])
        for language in ("en", "ko"):
            tables.plain(table, language)
    for line in content["warnings"]:
        tables.both(line["en"], line["ko"])
    for read in content["inputs"]:
        Path(read["path"])
    if not all(isinstance(content[name], dict) for name in ("protocol", "versions", "figures")):
        raise TypeError("protocol, versions or figures are no object")
    int(content["rows"]["n"])
    Path(content["rows"]["file"])
    float(content["seconds"])
