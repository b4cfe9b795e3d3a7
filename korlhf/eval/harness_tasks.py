"""Tasks of lm-evaluation-harness by its own definitions, on the hub's data or on local files of KoBEST.

Prompts, options and metrics are the harness's; what is here is the data's way in. Importing this module imports the harness and torch,
which takes seconds.
"""

import difflib
import hashlib
import inspect
import io
import json
import logging
import sys
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import datasets
import lm_eval.tasks
from lm_eval.api.group import Group
from lm_eval.api.task import ConfigurableTask
from lm_eval.config.group import GroupConfig
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from korlhf.core.errors import InputError
from korlhf.eval import kobest_files as kobest

VERSION = version("lm_eval")
KOBEST = {f"kobest_{name}": name for name in kobest.TASKS}
UP = "\x1b[A"  # of a terminal: one line up
SHORT = {name: long for long, name in KOBEST.items()}


@dataclass(frozen=True)
class Problem:
    """A task with its items. task: the harness's; items: [{"id", "question", "options" (None where text is written), "right"}];
    right: number of an option (None if it is none of them), or text; config: the task's, as JSON; data: sha256 of items and examples."""

    name: str
    task: object
    items: list
    config: dict
    data: str


@dataclass(frozen=True)
class Unit:
    """What was asked for by one name: a task, or a group of the harness with its tasks."""

    name: str
    problems: list
    group: Group | None = None
    files: list = field(default_factory=list)


class LocalTask(ConfigurableTask):
    """A task of the harness on rows that are at hand. splits: {split: datasets.Dataset}."""

    def __init__(self, config, splits):
        self._splits = splits
        super().__init__(config=config)

    def download(self, dataset_kwargs=None, **kwargs):
        self.dataset = self._splits


def load(names, data_dir, limit):
    """Units of the names: copa, hellaswag ... (KoBEST's), or any task or group name of the harness.

    data_dir: local files for KoBEST's tasks, "" = the hub; limit: the first items of each task, 0 = all. Raises InputError for unknown
    names and for data that cannot be had.
    """
    full = list(dict.fromkeys(SHORT.get(name, name) for name in names))
    manager = _manager(full)
    for name in full:
        if name not in manager.task_index:
            close = difflib.get_close_matches(name, dict.fromkeys([*SHORT, *manager.all_tasks]), n=3)
            raise InputError(
                f"--tasks {name}: lm-evaluation-harness {VERSION} has no task or group of this name"
                + (f"; did you mean {' or '.join(close)}?" if close else f"; KoBEST's are {', '.join(SHORT)}")
            )
    return [_unit(manager, name, data_dir, limit) for name in full]


def _manager(names):
    """The harness's index of tasks; of KoBEST alone, which takes no seconds, if that is enough."""
    with quiet():
        small = TaskManager(include_defaults=False, include_path=Path(lm_eval.tasks.__file__).parent / "kobest")
        return small if set(names) <= set(small.all_tasks) else TaskManager()


def _unit(manager, name, data_dir, limit):
    if name in KOBEST:
        task, files = _kobest(manager, name, data_dir)
        return Unit(name, [_problem(task, limit)], None, files)
    if name == "kobest":
        config = load_yaml(manager.task_index[name].yaml_path)
        group, files = Group.from_config(GroupConfig(**config)), []
        for child in config["task"]:
            task, of_task = _kobest(manager, child, data_dir)
            group.add(task)
            files += of_task
        return Unit(name, [_problem(task, limit) for task in group], group, files)
    with _reached(name):
        loaded = manager.load([name])
    return Unit(name, [_problem(task, limit) for task in loaded["tasks"].values()], loaded["groups"].get(name))


def _kobest(manager, name, data_dir):
    """(A KoBEST task by the harness's own YAML, the files it read)."""
    config = load_yaml(manager.task_index[name].yaml_path)
    # hf_evaluate fetches the code of a metric from the hub. Only the aggregation is used, and that is the harness's macro_f1_score.
    config["metric_list"] = [
        {k: v for k, v in metric.items() if k != "hf_evaluate"} for metric in config["metric_list"]
    ]
    if not data_dir:
        with _reached(name):
            return ConfigurableTask(config=config), []
    splits, files = kobest.read(data_dir, KOBEST[name])
    config.update(dataset_path=str(Path(data_dir) / KOBEST[name]), dataset_name=None)
    with quiet():
        return LocalTask(config, {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}), files


@contextmanager
def _reached(name):
    """One line for data that the hub does not give."""
    print(f"{name}: loading its data from the hub", flush=True)
    try:
        with quiet():
            yield
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        remedy = (
            f"or give --data_dir with {KOBEST[name]}/train.jsonl and test.jsonl in it"
            if name in KOBEST
            else "or fetch it once on a connected machine and copy its cache (HF_HOME)"
        )
        raise InputError(
            f"--tasks {name}: its data could not be had from the hub ({type(error).__name__}: {_first_line(error)}); "
            f"check the connection, {remedy}"
        ) from error


def _first_line(error):
    return (str(error).strip().splitlines() or [""])[0][:200]


def _problem(task, limit):
    with quiet():
        docs = list(task.eval_docs)
    items = [_item(task, i, doc) for i, doc in enumerate(docs[:limit] if limit else docs)]
    config = json.loads(json.dumps(task.dump_config(), default=_source))
    text = json.dumps([docs, _examples(task)], sort_keys=True, ensure_ascii=False, default=str)
    return Problem(
        task.task_name, task, items, config, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    )


def _item(task, i, doc):
    options, right = _options(task, doc), task.doc_to_target(doc)
    if options is not None and isinstance(right, str):
        right = options.index(right) if right in options else None
    return {"id": i, "question": task.doc_to_text(doc), "options": options, "right": right}


def _options(task, doc):
    """The texts to choose from, None where the model writes."""
    return (
        list(task.doc_to_choice(doc))
        if task.OUTPUT_TYPE == "multiple_choice" and not getattr(task, "multiple_input", 0)
        else None
    )


def _source(value):
    """What stands for a function or object in JSON: its source."""
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):
        return str(value)


def _examples(task):
    """Documents that few-shot examples are drawn from."""
    return list(task.sampler.fewshot_docs()) if hasattr(task, "sampler") else []


def check_shots(problem, shots):
    """Number of items that are also among the few-shot examples. Raises InputError if there are too few examples.

    0 without shots, and where examples come from the evaluated split, from which the harness takes out the item that is asked.
    """
    task = problem.task
    if not shots or task.get_config("num_fewshot") == 0 or not hasattr(task, "sampler"):
        return 0
    examples = _examples(task)
    same_split = task.fewshot_cfg.split is not None and task.fewshot_cfg.split == task.config.test_split
    if shots > len(examples) - same_split:
        raise InputError(
            f"--num_fewshot {shots}: {problem.name} has {len(examples) - same_split} examples to draw from; give no more"
        )
    if same_split:
        return 0
    known = {_content(_item(task, 0, doc)) for doc in examples}
    return sum(_content(item) in known for item in problem.items)


def _content(item):
    return json.dumps([" ".join(str(item["question"]).split()), item["options"]], ensure_ascii=False)


class _Collect(logging.Handler):
    def __init__(self, said):
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record):
        self.said.append(_first_line(record.getMessage()))


class _WithoutBars(io.TextIOBase):
    """A stream that passes everything on but progress bars: texts that begin with a carriage return, and moves of the cursor."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        if text.replace(UP, "").strip() and not text.startswith("\r"):
            self.stream.write(text)
        return len(text)


@contextmanager
def quiet():
    """Within it the harness's progress bars and notes are not printed; its warnings are collected in the list that it gives."""
    logger, said = logging.getLogger("lm_eval"), []
    handler, before = _Collect(said), (logger.propagate, logger.level)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        with redirect_stderr(_WithoutBars(sys.stderr)):
            yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before[0]
        logger.setLevel(before[1])
