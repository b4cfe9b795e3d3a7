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
from dataclasses import dataclass, replace
from importlib.metadata import version
from logging.handlers import BufferingHandler
from pathlib import Path

import datasets
import lm_eval.tasks
from lm_eval.api.group import Group
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from korlhf.core.errors import InputError
from korlhf.eval import kobest_files

VERSION = version("lm_eval")
SHORT = {name: f"kobest_{name}" for name in kobest_files.TEXTS}


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
    files = [file for name in SHORT if {SHORT[name], "kobest"} & {*names} for file in _adapt(manager, name, data_dir)]
    return [_unit(manager, name, bool(data_dir)) for name in names], files


def _unit(manager, name, local):
    local = local and name in (*SHORT.values(), "kobest")
    if not local:
        print(f"{name}: loading its data from the hub", flush=True)
    try:
        with quiet():
            loaded = manager.load([name])
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        folder = f"or give --data_dir with {name.removeprefix('kobest_')}/train.jsonl and test.jsonl in it"
        copy = "or fetch it once on a connected machine and copy its cache (HF_HOME)"
        raise InputError(
            f"--tasks {name}: its data could not be had from the hub ({type(error).__name__}: {first_line(error)}); "
            f"check the connection, {folder if name in SHORT.values() else copy}"
        ) from error
    return Unit(name, list(loaded["tasks"].values()), loaded["groups"].get(name), local)


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
