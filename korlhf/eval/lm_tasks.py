"""Tasks of lm-evaluation-harness by its own definitions, on the hub's data or on local files: KoBEST's, each row of
which is checked, and copies of any other set of the hub.

Prompts, options and metrics are the harness's; what is here is the data's way in. Importing this module imports the
harness and torch.
"""

import difflib
import hashlib
import inspect
import json
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from logging.handlers import BufferingHandler
from pathlib import Path

import datasets
import lm_eval.tasks
from jinja2 import UndefinedError
from lm_eval.api.group import Group
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind
from lm_eval.tasks._yaml_loader import load_yaml

from korlhf.core.errors import InputError
from korlhf.eval import kobest_files

VERSION = version("lm_eval")
SHORT = {name: f"kobest_{name}" for name in kobest_files.TEXTS}
KOBEST = ("kobest", *SHORT.values())


@dataclass(frozen=True)
class Unit:
    """What was asked for by one name. tasks: the harness's; group: the harness's, None of a task; local: its data are
    files."""

    name: str
    tasks: list
    group: Group | None
    local: bool


def load(names, data_dir):
    """(Units of the names: copa, hellaswag ... (KoBEST's), or any task or group name of the harness; files read).

    data_dir: local files, "" = the hub: KoBEST's as kobest_files says, of other tasks a copy of their set, OWNER/NAME
    or NAME, as `hf download` lays it out. Raises InputError for unknown names and for data that cannot be had, or are
    not what the task reads.
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
    files = [file for name in SHORT if {SHORT[name], "kobest"} & {*names} for file in _adapt(manager, name, data_dir)]
    if data_dir:
        files += [copy for name in names if name not in KOBEST for copy in _use_copies(manager, name, data_dir)]
    return [_unit(manager, name, data_dir) for name in names], files


def _use_copies(manager, name, data_dir):
    """Change the harness's entries of what `name` stands for: their sets are copies below data_dir, which are
    returned."""
    copies = {}
    for task in _members(manager.task_index, name):
        entry = manager.task_index[task]
        hub = entry.cfg["dataset_path"]
        copies[hub] = next((c for c in (Path(data_dir, hub), Path(data_dir, Path(hub).name)) if c.is_dir()), None)
        if copies[hub] is None:
            fetch = f"hf download --repo-type dataset {hub} --local-dir {data_dir}/{hub}"
            raise InputError(
                f"--data_dir {data_dir}: no {hub} in it, which {name} needs; on a connected machine: {fetch}"
            )
        config = load_yaml(entry.yaml_path)
        read = partial(_read_copy, str(copies[hub]), config.get("dataset_name"))
        config |= {"dataset_path": str(copies[hub]), "custom_dataset": read}
        manager.task_index[task] = replace(entry, yaml_path=None, cfg=config)
    return list(copies.values())


def _read_copy(folder, name, **_):
    """The splits of a copy, read anew: the cache of `datasets` knows it by its names, not by what is in it."""
    with tempfile.TemporaryDirectory() as cache:
        return datasets.load_dataset(folder, name, cache_dir=cache, keep_in_memory=True)


def _members(index, name):
    """The tasks that a task, a group or a tag stands for."""
    entry = index[name]
    if entry.kind is Kind.GROUP:
        parts = [part if isinstance(part, str) else part["task"] for part in entry.cfg["task"]]
    elif entry.kind is Kind.TAG:
        parts = [task for task, other in index.items() if name in other.tags]
    else:
        return [name]
    return list(dict.fromkeys(task for part in parts for task in _members(index, part)))


def _unit(manager, name, data_dir):
    if not data_dir:
        print(f"{name}: loading its data from the hub", flush=True)
    try:
        with quiet():
            loaded = manager.load([name])
    except (OSError, ValueError, RuntimeError, ImportError, LookupError, UndefinedError) as error:
        if data_dir:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(
                f"--data_dir {data_dir}: {name} cannot be read from it ({what}); copy the set anew"
            ) from error
        folder = f"or give --data_dir with {name.removeprefix('kobest_')}/train.jsonl and test.jsonl in it"
        copy = "or fetch it once on a connected machine and copy its cache (HF_HOME)"
        raise InputError(
            f"--tasks {name}: its data could not be had from the hub ({type(error).__name__}: {first_line(error)}); "
            f"check the connection, {folder if name in SHORT.values() else copy}"
        ) from error
    tasks = list(loaded["tasks"].values())
    if data_dir and name not in KOBEST:
        for task in tasks:
            _check_items(task, data_dir)
    return Unit(name, tasks, loaded["groups"].get(name), bool(data_dir))


def _check_items(task, data_dir):
    """Raises InputError for the first item that the task cannot ask, or whose right answer is no option."""
    name = task.task_name
    for n, doc in enumerate(task.eval_docs, 1):
        try:
            task.doc_to_text(doc)
            right = task.doc_to_target(doc)
            options = list(task.doc_to_choice(doc)) if task.OUTPUT_TYPE == "multiple_choice" else None
        except (AttributeError, LookupError, TypeError, ValueError, UndefinedError) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(
                f"--data_dir {data_dir}: item {n} of {name} is not of its form ({what}); correct it"
            ) from error
        if options and not (right in options if isinstance(right, str) else 0 <= right < len(options)):
            raise InputError(
                f"--data_dir {data_dir}: item {n} of {name} has the right answer {right!r}, which is none of its "
                f"{len(options)} options; correct it"
            )


def _adapt(manager, name, data_dir):
    """Change the harness's entry of a KoBEST task: no code from the hub; data from local files, which are returned."""
    entry = manager.task_index[SHORT[name]]
    config, files = load_yaml(entry.yaml_path), []
    # hf_evaluate fetches a metric's code from the hub; only the aggregation is used, the harness's own macro_f1_score.
    for metric in config["metric_list"]:
        metric.pop("hf_evaluate", None)
    if data_dir:
        splits, files = kobest_files.read(data_dir, name)
        rows = {split: datasets.Dataset.from_list(of_split) for split, of_split in splits.items()}
        config.update(dataset_path=str(Path(data_dir) / name), dataset_name=None, custom_dataset=lambda **_: rows)
    manager.task_index[SHORT[name]] = replace(entry, yaml_path=None, cfg=config)
    return files


def first_line(error):
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


def _examples(task):
    return list(task.sampler.fewshot_docs()) if hasattr(task, "sampler") else []


def check_shots(task, shots):
    """Raises InputError if there are too few examples. (Of those in the evaluated split the harness takes out the item
    that is asked.)"""
    if shots and task.get_config("num_fewshot") != 0 and hasattr(task, "sampler"):
        same_split = task.fewshot_cfg.split is not None and task.fewshot_cfg.split == task.config.test_split
        n = len(_examples(task)) - same_split
        if shots > n:
            raise InputError(f"--num_fewshot {shots}: {task.task_name} has {n} examples to draw from; give no more")


@contextmanager
def quiet():
    """Within it the harness's notes are not printed; its warnings are collected in the list of LogRecords it gives."""
    logger, handler = logging.getLogger("lm_eval"), BufferingHandler(1_000_000)
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)
    try:
        yield handler.buffer
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])
