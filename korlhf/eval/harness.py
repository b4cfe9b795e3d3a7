"""What models choose in the tasks of lm-evaluation-harness, kept in the cache task by task.

Requests, metrics and standard errors are the harness's. It is called below its `simple_evaluate`, which describes the machine and asks the
hub about the model at every call. Left out: several GPUs (one holds the model), and tasks that need a judge.
"""

import gc
import math
import random
from dataclasses import asdict, dataclass

import numpy
import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.eval.harness_tasks import VERSION, quiet
from korlhf.llm.cache import cache_key

ELSEWHERE = (
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    "metadata",
    "num_fewshot",
)  # settings that the key has by content
CUT = "exceeds model's maximum length"
EXPECTED = (
    "`pretrained` model kwarg is not of type",
    "Passed an already-initialized model",
    "Overwriting default num_fewshot",
    CUT,
)


@dataclass(frozen=True)
class Setting:
    """How tasks are asked. shots: few-shot examples; limit: the first items of each task, 0 = all; chat: in the model's chat template;
    max_length: tokens of prompt and option, 0 = the model's own."""

    shots: int
    limit: int
    seed: int
    chat: bool
    batch_size: int
    max_length: int


def results(checkpoints, problems, setting, cache):
    """{(model, task): {"results" of the harness, "shots", "prompt" of the first item, "items": [{"choice", "scores"}], "cut", "not_finite",
    "said"}}; what is in the cache is not measured again, and a model is loaded only if something of it is missing.

    checkpoints: {name: local.Checkpoint}. cut: options that were too long for the model; not_finite: log-likelihoods that are no numbers;
    said: the harness's warnings. Raises InputError if the GPU's memory does not suffice.
    """
    keys = {(name, p.name): _key(checkpoint, p, setting) for name, checkpoint in checkpoints.items() for p in problems}
    found = {pair: cache.get(key) for pair, key in keys.items()}
    missing = {name: [p for p in problems if found[name, p.name] is None] for name in checkpoints}
    count = sum(len(item["options"] or [1]) for of_model in missing.values() for p in of_model for item in p.items)
    if not count:
        return found
    with program.bar(total=count, unit="requests") as bar:
        for name, of_model in missing.items():
            lm = None
            for problem in of_model:
                bar.set_description(f"{name}, {problem.name}")
                lm = lm or _open(checkpoints[name], setting)
                found[name, problem.name] = _measure(lm, problem, setting, bar)
                cache.put(keys[name, problem.name], found[name, problem.name])
            del lm
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return found


def _key(checkpoint, problem, setting):
    """The cache's key: all that a result depends on, but for the batch size, which moves no more than the last digits."""
    config = {k: v for k, v in problem.config.items() if k not in ELSEWHERE}
    template = checkpoint.codec.tokenizer.chat_template if setting.chat else None
    return cache_key(
        {
            "harness": VERSION,
            "model": checkpoint.fingerprint,
            "dtype": checkpoint.dtype,
            "device": checkpoint.device.type,
            "task": problem.name,
            "version": str(problem.task.VERSION),
            "config": config,
            "data": problem.data,
            "template": template,
            **{k: v for k, v in asdict(setting).items() if k != "batch_size"},
        }
    )


def _open(checkpoint, setting):
    """The model as the harness wants it."""
    with quiet():
        return HFLM(
            pretrained=checkpoint.load(),
            tokenizer=checkpoint.codec.tokenizer,
            batch_size=setting.batch_size,
            max_length=setting.max_length or None,
        )


def _measure(lm, problem, setting, bar):
    """One model on one task; see `results`."""
    task = problem.task
    random.seed(setting.seed)
    numpy.random.seed(setting.seed)
    torch.manual_seed(setting.seed)
    if task.get_config("num_fewshot") != 0:  # a task that fixes 0 cannot take examples
        task.set_config(key="num_fewshot", value=setting.shots)
    task.set_fewshot_seed(seed=setting.seed)
    lm.set_cache_hook(_Tick(bar))
    try:
        with quiet() as said:
            out = evaluator.evaluate(
                lm=lm,
                task_dict={"tasks": {problem.name: task}, "groups": {}},
                limit=setting.limit or None,
                apply_chat_template=setting.chat,
                fewshot_as_multiturn=True,
                log_samples=True,
            )
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"--batch_size {setting.batch_size}: too much at once for the GPU's memory; lower it"
        ) from error
    samples = out["samples"][problem.name]
    items = [{"choice": None, "scores": {}} for _ in problem.items]
    for sample in samples:  # a task with several filters has several samples an item
        item = items[sample["doc_id"]]
        item["scores"].update(
            {
                label(name, sample["filter"]): float(sample[name])
                for name in sample["metrics"]
                if isinstance(sample[name], (bool, int, float, numpy.number))
            }
        )
        if item["choice"] is None:
            item["choice"] = _choice(sample, problem.items[sample["doc_id"]]["options"])
    likelihoods = [r[0] for s in samples for r in s["filtered_resps"] if task.OUTPUT_TYPE == "multiple_choice"]
    return {
        "results": {
            k: v if isinstance(v, str) else float(v)
            for k, v in out["results"][problem.name].items()
            if k != "sample_len"
        },
        "n": len(items),
        "shots": int(out["n-shot"][problem.name] or 0),
        "prompt": str(samples[0]["arguments"][0][0]),
        "items": items,
        "cut": sum(CUT in line for line in said),
        "not_finite": sum(not math.isfinite(value) for value in likelihoods),
        "said": [line for line in dict.fromkeys(said) if not any(known in line for known in EXPECTED)],
    }


def _choice(sample, options):
    """Number of the option with the highest log-likelihood (the first of equals, as numpy's argmax), or the text that was written."""
    if options is None:
        return str(sample["filtered_resps"][0])
    return int(numpy.argmax([response[0] for response in sample["filtered_resps"][: len(options)]]))


def label(metric, filter_name):
    """A metric's name, with the filter that answers went through if it is not the plain one."""
    return metric if filter_name == "none" else f"{metric} ({filter_name})"


def metrics(of_harness):
    """{metric: (value, standard error or None)} of a dict such as {"acc,none": .5, "acc_stderr,none": .1 or "N/A"}."""
    out = {}
    for key, value in of_harness.items():
        name, comma, filter_name = key.partition(",")
        if comma and not name.endswith("_stderr"):
            error = of_harness.get(f"{name}_stderr,{filter_name}")
            out[label(name, filter_name)] = (float(value), float(error) if isinstance(error, (int, float)) else None)
    return out


def grouped(unit, of_tasks):
    """Like `metrics`, of a group by the harness's own aggregation; {} if it has none. Metrics that some of its tasks lack are left out.

    of_tasks: {task: its value in `results`}.
    """
    shared = set.intersection(*(set(metrics(of_tasks[p.name]["results"])) for p in unit.problems))
    with quiet():
        found = unit.group.aggregate(
            {p.name: {**of_tasks[p.name]["results"], "sample_len": len(p.items)} for p in unit.problems}
        )
    return {name: value for name, value in metrics(found).items() if name in shared}


class _Tick:
    """What the harness takes for a cache of answers: moves the progress bar for each."""

    def __init__(self, bar):
        self.bar = bar

    def add_partial(self, attr, req, res):
        self.bar.update(1)
