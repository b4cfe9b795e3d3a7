"""What models choose in the tasks of lm-evaluation-harness, kept in the cache task by task.

Requests, metrics, standard errors and the mean of a group are the harness's. `evaluate` is called, not
`simple_evaluate`, which describes the machine and asks the hub about the model at every call. Left out: several GPUs
(one holds the model), and tasks that need a judge.
"""

import gc
import random

import lm_eval
import lm_eval.api.model
import lm_eval.api.task
import numpy
import torch
from lm_eval.models import huggingface
from lm_eval.models.huggingface import HFLM

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.eval.lm_tasks import VERSION, first_line, quiet
from korlhf.llm.cache import cache_key

BY_CONTENT = ("dataset_path", "dataset_name", "dataset_kwargs", "metadata", "num_fewshot")  # in the key otherwise
CUT = "exceeds model's maximum length"
EXPECTED = ("model kwarg is not of type", "already-initialized model", "Overwriting default num_fewshot", CUT)


def _bar(iterable=None, total=None, desc=None, **_):
    """In the place of tqdm, of which the harness's own bars would be in every log."""
    return progress.bar(iterable, total, desc or "items", "requests")


for module in (lm_eval.api.model, lm_eval.api.task, huggingface):
    module.tqdm = _bar


def run(checkpoints, tasks, content, args, seed, cache):
    """{(model, task): {"results" of the harness, "shots", "prompt" of the first item, "items": [{"question", "options",
    "right", "choice", "scores"}], "cut", "not_finite", "said"}}; what is in the cache is not measured again, and a
    model is loaded only if something is missing.

    checkpoints: {name: Checkpoint}; content: of lm_tasks.contents; args: BenchmarkFlags of eval/benchmark.py. cut:
    options that were too long for the model; not_finite: log-likelihoods that are no numbers; said: the harness's
    warnings. Raises InputError if the GPU's memory, or the model's positions, do not suffice.
    """
    outcomes = {}
    for name, checkpoint in checkpoints.items():
        lm = None
        for task in tasks:
            task_name = task.task_name
            key = _key(checkpoint, task, content[task_name], args, seed)
            outcome = cache.get(key)
            if outcome is None:
                print(f"{name}: {task_name}", flush=True)
                with quiet():
                    how = {"batch_size": args.batch_size, "max_length": args.max_length or None}
                    lm = lm or HFLM(pretrained=checkpoint.load(), tokenizer=checkpoint.codec.tokenizer, **how)
                outcome = _measure(lm, task, args, seed)
                cache.put(key, outcome)
            outcomes[name, task_name] = outcome
        del lm
        gc.collect()
        torch.cuda.empty_cache()
    return outcomes


def _key(checkpoint, task, content, args, seed):
    """All that an outcome depends on, but for the batch size, which moves no more than the last digits."""
    return cache_key(
        {
            "harness": VERSION,
            "model": checkpoint.fingerprint,
            "dtype": checkpoint.dtype,
            "device": checkpoint.device.type,
            "task": [task.task_name, str(task.VERSION)],
            "config": {k: v for k, v in content["config"].items() if k not in BY_CONTENT},
            "data": content["data_sha256"],
            "template": checkpoint.codec.tokenizer.chat_template if args.apply_chat_template else None,
            "asked": [args.num_fewshot, args.limit, seed, args.apply_chat_template, args.max_length, args.max_gen_toks],
        }
    )


def _measure(lm, task, args, seed):
    """One model on one task; see `run`."""
    name = task.task_name
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    if task.get_config("num_fewshot") != 0:  # a task that fixes 0 cannot take examples
        task.set_config(key="num_fewshot", value=args.num_fewshot)
    task.set_fewshot_seed(seed=seed)
    if task.OUTPUT_TYPE == "generate_until":
        _limit_texts(lm, task, args.max_gen_toks)
    try:
        with quiet() as said:
            out = lm_eval.evaluate(
                lm=lm,
                task_dict={"tasks": {name: task}, "groups": {}},
                limit=args.limit or None,
                apply_chat_template=args.apply_chat_template,
                fewshot_as_multiturn=True,
                log_samples=True,
            )
    except torch.OutOfMemoryError as error:
        raise InputError(f"--batch_size {args.batch_size}: too much at once for the GPU's memory; lower it") from error
    samples, lines = out["samples"][name], [first_line(record.getMessage()) for record in said]
    items = _items(task, samples)
    likelihoods = [r[0] for s in samples for r in s["filtered_resps"] if task.OUTPUT_TYPE == "multiple_choice"]
    results = {k: v if isinstance(v, str) else float(v) for k, v in out["results"][name].items()}
    return {
        "results": {**results, "sample_len": len(items)},
        "shots": int(out["n-shot"][name] or 0),
        "prompt": str(samples[0]["arguments"][0][0]),
        "items": items,
        "cut": sum(CUT in line for line in lines),
        "not_finite": int((~numpy.isfinite(likelihoods)).sum()),
        "said": [line for line in dict.fromkeys(lines) if not any(known in line for known in EXPECTED)],
    }


def _limit_texts(lm, task, most):
    """Raises InputError if the model has no room for what it is to write. most: tokens, 0 = the task's own."""
    if most:
        task.set_config(key="generation_kwargs", value={"max_gen_toks": most}, update=True)
    most = (task.get_config("generation_kwargs") or {}).get("max_gen_toks", lm.max_gen_toks)
    if most >= lm.max_length:
        raise InputError(
            f"--tasks {task.task_name}: up to {most} tokens are written, but the model has {lm.max_length} positions "
            "for question and text; lower --max_gen_toks"
        )


def _items(task, samples):
    """[{"question", "options" (None where text is written), "right": number of an option (None if it is none of them),
    or text, "choice": the same, "scores"}]"""
    items, chooses = {}, task.OUTPUT_TYPE == "multiple_choice" and not getattr(task, "multiple_input", 0)
    for sample in samples:  # a task with several filters has several samples per item
        doc, responses = sample["doc"], sample["filtered_resps"]
        if sample["doc_id"] not in items:
            options, right, choice = None, task.doc_to_target(doc), str(responses[0])
            if chooses:  # responses: (log-likelihood, greedy); the first of equals is the choice
                options = list(task.doc_to_choice(doc))
                choice = int(numpy.argmax([r[0] for r in responses[: len(options)]]))
                if isinstance(right, str):
                    right = options.index(right) if right in options else None
            values = {"question": task.doc_to_text(doc), "options": options, "right": right, "choice": choice}
            items[sample["doc_id"]] = {**values, "scores": {}}
        for metric in sample["metrics"]:
            if isinstance(sample[metric], (bool, int, float, numpy.number)):
                items[sample["doc_id"]]["scores"][_label(metric, sample["filter"])] = float(sample[metric])
    return [items[i] for i in sorted(items)]


def _label(metric, filter_name):
    """A metric's name, with the filter that answers went through if it is not the plain one."""
    return metric if filter_name == "none" else f"{metric} ({filter_name})"


def metrics(results, task):
    """{metric: (value, standard error or None)} of a dict such as {"acc,none": .5, "acc_stderr,none": .1 or "N/A"}.

    KoBEST's f1 is called macro_f1; other tasks mean other things by f1.
    """
    out = {}
    for key, value in results.items():
        name, comma, filter_name = key.partition(",")
        if comma and not name.endswith("_stderr"):
            error = results.get(f"{name}_stderr,{filter_name}")
            label = _label("macro_f1" if name == "f1" and task.startswith("kobest") else name, filter_name)
            out[label] = float(value), float(error) if isinstance(error, (int, float)) else None
    return out


def grouped(unit, results):
    """Like `metrics`, of a group by the harness's own aggregation; {} if it has none. Metrics that some of its tasks
    lack are left out.

    results: {task: the harness's of it}.
    """
    shared = set.intersection(*(set(metrics(of_task, unit.name)) for of_task in results.values()))
    with quiet():
        whole = unit.group.aggregate(results)
    return {name: value for name, value in metrics(whole, unit.name).items() if name in shared}
