"""Korean benchmarks by lm-evaluation-harness: what models choose in KoBEST, KMMLU, CLIcK, HAE-RAE or any other of its
tasks, and what they write in HRM8K, on the hub's data or on local files.

Every accuracy stands next to what guessing gets on the same items, every difference of two models is over the same
items. Left out: several GPUs, and tuning of prompts (they are the harness's).
"""

from dataclasses import dataclass

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import REQUIRED, flag, parse
from korlhf.eval.flags import ResultFlags
from korlhf.eval.result import Result
from korlhf.eval.session import open_models
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Checkpoint
from korlhf.llm.flags import CheckpointFlags


@dataclass(frozen=True, kw_only=True)
class BenchmarkFlags:
    """tasks of lm-evaluation-harness"""

    model_name_or_path: list[str] = flag(
        REQUIRED,
        "[NAME=]FOLDER or hub name of one or more language models: folders of steps 1 and 3, LoRA folders; NAME stands "
        "in the tables",
    )
    tasks: list[str] = flag(
        ["copa", "hellaswag"],
        "KoBEST's boolq, copa, hellaswag, sentineg, wic, or any task or group name of the harness: kobest, kmmlu, "
        "click, haerae, hrm8k ...",
    )
    data_dir: str = flag(
        "",
        "local files: of KoBEST FOLDER/copa/train.jsonl, test.jsonl and so on (.jsonl, .json, .parquet or numbered "
        "shards); of others a copy of the hub's set, FOLDER/OWNER/NAME; not given = the hub's data",
    )
    num_fewshot: int = flag(0, "solved examples before each item, drawn from the training split by --seed", low=0)
    apply_chat_template: bool = flag(
        False, "ask in the model's chat template (--prompt_template), examples as earlier turns"
    )
    limit: int = flag(0, "only the first N items of each task; 0 = all", low=0)
    batch_size: int = flag(16, "options in a forward pass", above=0)
    max_gen_toks: int = flag(0, "longest text in tokens, in tasks in which the model writes; 0 = the task's own", low=0)
    max_length: int = flag(0, "longest prompt + option in tokens, cut at the left; 0 = the model's positions", low=0)


def main(argv=None):
    groups = ResultFlags, BenchmarkFlags, CheckpointFlags
    settings = parse(argv, "KoBEST, KMMLU and other tasks of lm-evaluation-harness", *groups)
    files, args, checkpoint = settings
    if checkpoint.prompt_template != "auto" and not args.apply_chat_template:
        raise InputError(
            f"--prompt_template {checkpoint.prompt_template}: is used only with --apply_chat_template; "
            "give that too, or delete it"
        )
    how = checkpoint.prompt_template, checkpoint.dtype, checkpoint.trust_remote_code
    models = open_models(args.model_name_or_path, lambda path: Checkpoint(path, "--model_name_or_path", *how))
    from korlhf.eval import benchmark_report as report
    from korlhf.eval import lm_eval, lm_tasks

    units, read = lm_tasks.load(args.tasks, args.data_dir)
    tasks = list({task.task_name: task for unit in units for task in unit.tasks}.values())
    for task in tasks:
        lm_tasks.check_shots(task, args.num_fewshot)
    contents = lm_tasks.contents(tasks)
    inputs = [*(c.path for c in models.values()), *read]
    with (
        Result("benchmark", files.output_dir, settings, inputs) as result,
        Cache(result.folder / "cache.sqlite") as cache,
    ):
        outcomes = lm_eval.run(models, tasks, contents, args, files.seed, cache)
        figures = report.figures(units, list(models), outcomes, files.seed)
        gaps = report.differences(units, list(models), outcomes, files.seed)
        report.tables(result, figures, gaps)
        report.note_protocol(result, models, units, outcomes)
        report.warn(result, figures, outcomes)
        result.rows = report.rows(tasks, models, outcomes)
        result.figures = {
            "rows": figures,
            "differences": gaps,
            "harness": lm_tasks.VERSION,
            "tasks": contents,
            "models": {n: {"model": c.path, "fingerprint": c.fingerprint, "dtype": c.dtype} for n, c in models.items()},
        }


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: tasks that were finished are in the cache")
