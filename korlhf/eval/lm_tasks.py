"""Tasks of lm-evaluation-harness by its own definitions, on the hub's data or on local files of KoBEST.

Prompts, options and metrics are the harness's; what is here is the data's way in. Importing this module imports the
harness and torch.
"""

import difflib
import hashlib
import inspect
import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
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
from korlhf.eval import kobest_files

VERSION = version("lm_eval")
SHORT = {name: f"kobest_{name}" for name in kobest_files.TEXTS}


@dataclass(frozen=True)
class Unit:
    """What was asked for by one name. tasks: the harness's; group: the harness's, None of a task; files: of the data,
    [] = the hub's."""

    name: str
    tasks: list
    group: Group | None
    files: list


def load(names, data_dir):
    """Units of the names: copa, hellaswag ... (KoBEST's), or any task or group name of the harness.

    data_dir: local files for KoBEST's tasks, "" = the hub. Raises InputError for unknown names and for data that cannot
    be had.
    """
    names = list(dict.fromkeys(SHORT.get(name, name) for name in names))
    datasets.disable_progress_bars()
    with quiet():  # the index of KoBEST alone takes no seconds
        manager = TaskManager(include_defaults=False, include_path=Path(lm_eval.tasks.__file__).parent / "kobest")
        manager = manager if set(names) <= set(manager.all_tasks) else TaskManager()
    for name in names:
        if name not in manager.task_index:
            close = difflib.get_close_matches(name, dict.fromkeys([*SHORT, *manager.all_tasks]), n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"KoBEST's are {', '.join(SHORT)}"
            raise InputError(
                f"--tasks {name}: lm-evaluation-harness {VERSION} has no task or group of this name; {hint}"
            )
    return [_unit(manager, name, data_dir) for name in names]


def _unit(manager, name, data_dir):
    if name not in (*SHORT.values(), "kobest"):
        with _reached(name):
            loaded = manager.load([name])
        return Unit(name, list(loaded["tasks"].values()), loaded["groups"].get(name), [])
    names, group, files = [name], None, []
    if name == "kobest":
        config = load_yaml(manager.task_index[name].yaml_path)
        names, group = config["task"], Group.from_config(GroupConfig(**config))
    tasks = [_kobest(manager, child, data_dir, files) for child in names]
    for task in tasks if group is not None else ():
        group.add(task)
    return Unit(name, tasks, group, files)


def _kobest(manager, name, data_dir, files):
    """A KoBEST task by the harness's own YAML; the files it read are added to `files`."""
    config, short = load_yaml(manager.task_index[name].yaml_path), name.removeprefix("kobest_")
    # hf_evaluate fetches a metric's code from the hub; only the aggregation is used, the harness's own macro_f1_score.
    for metric in config["metric_list"]:
        metric.pop("hf_evaluate", None)
    if not data_dir:
        with _reached(name):
            return ConfigurableTask(config=config)
    splits, paths = kobest_files.read(data_dir, short)
    files += paths
    rows = {split: datasets.Dataset.from_list(of_split) for split, of_split in splits.items()}
    config.update(dataset_path=str(Path(data_dir) / short), dataset_name=None, custom_dataset=lambda **_: rows)
    with quiet():
        return ConfigurableTask(config=config)


@contextmanager
def _reached(name):
    """One line for data that the hub does not give."""
    print(f"{name}: loading its data from the hub", flush=True)
    try:
        with quiet():
            yield
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        folder = f"or give --data_dir with {name.removeprefix('kobest_')}/train.jsonl and test.jsonl in it"
        copy = "or fetch it once on a connected machine and copy its cache (HF_HOME)"
        raise InputError(
            f"--tasks {name}: its data could not be had from the hub ({type(error).__name__}: {_first_line(error)}); "
            f"check the connection, {folder if name in SHORT.values() else copy}"
        ) from error


def _first_line(error):
    return (str(error).strip().splitlines() or [""])[0][:200]


def contents(tasks):
    """{task: {"config": as JSON, functions by their source, "data_sha256": of items and few-shot examples}}"""
    out = {}
    for task in tasks:
        with quiet():
            documents = [list(task.eval_docs), _examples(task)]
        text = json.dumps(documents, sort_keys=True, ensure_ascii=False, default=str)
        config = json.loads(json.dumps(task.dump_config(), default=_source))
        config.pop("custom_dataset", None)
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        out[task.task_name] = {"config": config, "data_sha256": sha256}
    return out


def _source(value):
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):
        return str(value)


def item_of(task, doc):
    """{"question", "options" (None where text is written), "right": number of an option (None if it is none of them),
    or text}"""
    options, right = None, task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "multiple_choice" and not getattr(task, "multiple_input", 0):
        options = list(task.doc_to_choice(doc))
        if isinstance(right, str):
            right = options.index(right) if right in options else None
    return {"question": task.doc_to_text(doc), "options": options, "right": right}


def _examples(task):
    return list(task.sampler.fewshot_docs()) if hasattr(task, "sampler") else []


def check_shots(task, shots, limit):
    """Number of items that are also among the few-shot examples. Raises InputError if there are too few examples.

    0 without shots, and where examples come from the evaluated split, from which the harness takes out the item that is
    asked.
    """
    if not shots or task.get_config("num_fewshot") == 0 or not hasattr(task, "sampler"):
        return 0
    examples, split = _examples(task), task.fewshot_cfg.split
    same_split = split is not None and split == task.config.test_split
    if shots > (n := len(examples) - same_split):
        raise InputError(f"--num_fewshot {shots}: {task.task_name} has {n} examples to draw from; give no more")
    known = {_content(task, doc) for doc in examples} if not same_split else ()
    with quiet():
        return sum(_content(task, doc) in known for doc in list(task.eval_docs)[: limit or None])


def _content(task, doc):
    item = item_of(task, doc)
    return " ".join(str(item["question"]).split()), str(item["options"])


class _Collect(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(_first_line(record.getMessage()))


@contextmanager
def quiet():
    """Within it the harness's notes are not printed; its warnings are collected in the list that it gives."""
    logger, handler = logging.getLogger("lm_eval"), _Collect()
    before = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before[0]
        logger.setLevel(before[1])
