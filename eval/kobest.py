"""KoBEST by lm-evaluation-harness: what models choose in COPA, HellaSwag and the other tasks, on the hub's data or on local files.

Any other task or group of the harness goes the same way: KMMLU, HAE-RAE, CLIcK. Every accuracy stands beside what guessing gets on the
same items, every difference of two models is over the same items. Left out: several GPUs, and tuning of prompts (they are the harness's).
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.tables import both, column, estimate
from korlhf.eval import result as evaluation
from korlhf.eval.flags import ResultFlags
from korlhf.llm import checkpoint as local
from korlhf.llm.cache import Cache
from korlhf.llm.flags import CheckpointFlags
from korlhf.llm.responders import NAMED

FLAG = "--model_name_or_path"
SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "kobest"
FEW = 100  # items, below which the interval of an accuracy reaches more than 10 points to each side
SHOWN = 400  # characters of a prompt
METRICS = {
    "acc": ("accuracy", "정확도"),
    "acc_norm": ("accuracy by length", "길이 보정 정확도"),
    "macro_f1": ("macro-F1", "매크로 F1"),
}
ANCHOR = [["kobest_copa", "polyglot-ko-1.3b", None, 0.7114], ["kobest_hellaswag", "polyglot-ko-1.3b", 0.532, 0.4013]]
INTERVALS = both(
    "accuracies: the harness's standard error times 1.96, or Wilson's where all or none are right; macro-F1, for which the "
    "harness has no standard error: percentile bootstrap over items, 2,000 draws; groups: the harness's own mean and pooled "
    "standard error",
    "정확도는 하네스의 표준 오차 × 1.96(모두 맞거나 모두 틀리면 윌슨 구간), 하네스에 표준 오차가 없는 매크로 F1은 문항 부트스트랩 2,000회, "
    "묶음은 하네스가 낸 평균과 합동 표준 오차",
)
DECODING = both(
    "none: the option with the highest log-likelihood is the choice; by length: divided by its characters. Tasks in which the "
    "model writes: as their configuration in the harness says",
    "생성하지 않음. 로그 우도가 가장 높은 선택지를 고른 것으로 봄(길이 보정은 글자 수로 나눔). 모델이 쓰는 과제는 하네스의 과제 설정대로",
)
GUESSING = both(
    "chance: one option at random; most frequent: always the place that is right most often here; p: exact binomial test that "
    "the accuracy is no better than that, not adjusted for the number of rows.",
    "무작위는 선택지 하나를 아무렇게나 고를 때, 최빈은 이 문항들에서 가장 자주 정답인 자리만 고를 때입니다. p는 정확도가 최빈보다 낫지 "
    "않다는 가설의 정확 이항 검정이며, 줄 수에 맞추어 보정하지 않은 값입니다.",
)


@dataclass(frozen=True, kw_only=True)
class KobestFlags:
    """tasks of lm-evaluation-harness"""

    model_name_or_path: list[str] = flags.flag(
        flags.REQUIRED,
        "[NAME=]FOLDER or hub name of one or more language models: folders of steps "
        "1 and 3, LoRA folders; NAME stands in the tables",
    )
    tasks: list[str] = flags.flag(
        ["copa", "hellaswag"],
        "KoBEST's boolq, copa, hellaswag, sentineg, wic, or any task or group name of the "
        "harness: kobest, kmmlu, haerae, click ...",
    )
    data_dir: str = flags.flag(
        "",
        "KoBEST from local files: FOLDER/copa/train.jsonl, test.jsonl and so on (.jsonl, .json, .parquet or "
        "numbered shards); not given = the hub's data",
    )
    num_fewshot: int = flags.flag(0, "solved examples before each item, drawn from the training split by --seed")
    apply_chat_template: bool = flags.flag(
        False, "ask in the model's chat template (--prompt_template), examples as earlier turns"
    )
    limit: int = flags.flag(0, "only the first N items of each task; 0 = all")
    batch_size: int = flags.flag(16, "options in a forward pass")
    max_length: int = flags.flag(0, "longest prompt + option in tokens, cut at the left; 0 = the model's positions")
    show_anchor: bool = flags.flag(
        False, "also print the published figures of polyglot-ko-1.3b, which are of another run"
    )


def parse(argv=None):
    """[ResultFlags, KobestFlags, CheckpointFlags]"""
    parser = flags.Parser(description="KoBEST and other tasks of lm-evaluation-harness")
    groups = (ResultFlags, KobestFlags, CheckpointFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    files, args, checkpoint = (flags.read(space, group) for group in groups)
    flags.check_positive({"batch_size": args.batch_size}, parser)
    for name in ("num_fewshot", "limit", "max_length"):
        if getattr(args, name) < 0:
            parser.error(f"--{name} {getattr(args, name)}: must be 0 or above")
    if checkpoint.prompt_template != "auto" and not args.apply_chat_template:
        parser.error(
            f"--prompt_template {checkpoint.prompt_template}: is used only with --apply_chat_template; "
            "give that too, or delete it"
        )
    return files, args, checkpoint


def open_models(texts, checkpoint):
    """{name: local.Checkpoint}. Raises InputError for what is no language model, and for two of one name."""
    found = {}
    for text in texts:
        named = NAMED.fullmatch(text)
        path = str(Path(named["model"] if named else text).expanduser())
        name = named["name"] if named else Path(path).resolve().name if Path(path).is_dir() else path
        if name in found:
            raise InputError(f"{FLAG}: two are called {name!r}; name each, e.g. {FLAG} first=... second=...")
        found[name] = local.Checkpoint(
            path, FLAG, checkpoint.prompt_template, checkpoint.dtype, checkpoint.trust_remote_code
        )
    return found


def table(rows, result):
    """The figures as a table."""
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    names.sort(key=lambda name: list(METRICS).index(name) if name in METRICS else len(METRICS))
    cells = [
        [
            row["task"],
            row["model"],
            row["n"],
            *(_cell(row["metrics"].get(name)) for name in names),
            row["chance"],
            row["majority"],
            row["p"],
        ]
        for row in rows
    ]
    only_kobest = all(row["task"].startswith("kobest") for row in rows)
    result.table(
        both("KoBEST", "KoBEST")
        if only_kobest
        else both("Tasks of lm-evaluation-harness", "lm-evaluation-harness 과제"),
        [
            column("task", "과제"),
            column("model", "모델"),
            column("n", "문항 수"),
            *(column(*METRICS.get(name, (name, name))) for name in names),
            column("chance", "무작위"),
            column("most frequent", "최빈"),
            column("p", "p", 4),
        ],
        cells,
        [both(f"95 % intervals: {INTERVALS['en']}.", f"95 % 구간: {INTERVALS['ko']}."), GUESSING],
    )


def _cell(figure):
    if figure is None or figure["low"] is None:
        return figure and figure["value"]
    return estimate(figure["value"], figure["low"], figure["high"])


def table_of_differences(rows, result):
    """The differences as a table."""
    cells = [
        [
            row["task"],
            both(*METRICS.get(row["metric"], (row["metric"],) * 2)),
            f"{row['model']} − {row['other']}",
            row["n"],
            estimate(row["mean"], row["low"], row["high"]),
            row["only_model"],
            row["only_other"],
            row["p"],
            row["holm"],
        ]
        for row in rows
    ]
    result.table(
        both("Differences of the models on the same items", "같은 문항에서 모델 사이의 차이"),
        [
            column("task", "과제"),
            column("figure", "수치"),
            column("models", "모델"),
            column("n", "문항 수"),
            column("difference", "차이"),
            column("only the first right", "앞 모델만 정답"),
            column("only the second right", "뒤 모델만 정답"),
            column("p", "p", 4),
            column("p, adjusted", "보정한 p", 4),
        ],
        cells,
        [
            both(
                "Paired by item. 95 % bootstrap interval over items; p: McNemar's exact test, adjusted by Holm for all rows.",
                "같은 문항끼리 짝지어 비교했습니다. 95 % 구간은 문항 부트스트랩, p는 맥니마 정확 검정이며 보정한 p는 줄 수에 맞춰 홀름의 방법으로 보정한 값입니다.",
            )
        ],
    )


def warnings(args, rows, problems, found, repeated, result):
    """What a reader must know before the figures."""
    if args.data_dir and Path(args.data_dir).expanduser().resolve() == SAMPLE:
        result.warn(
            "the items of samples/kobest are invented, to try the program: these are no results of KoBEST; for those leave "
            "--data_dir away",
            "samples/kobest의 문항은 프로그램을 시험해 보려고 지어낸 것이므로 KoBEST 결과가 아닙니다. 허브의 데이터로 재려면 --data_dir를 빼세요",
        )
    tasks = {row["task"]: row["n"] for row in rows}
    small = ", ".join(f"{task} {n}" for task, n in tasks.items() if n < FEW)
    if small:
        result.warn(
            f"fewer than {FEW} items, so few that an accuracy may be off by more than 10 points: {small}",
            f"문항이 {FEW}개가 안 되어 정확도가 10%p 넘게 어긋날 수 있습니다: {small}",
        )
    for model in dict.fromkeys(row["model"] for row in rows):
        weak = [row for row in rows if row["model"] == model and row["p"] is not None and row["p"] >= 0.05]
        listed = ", ".join(
            f"{r['task']} ({r['metrics']['acc']['value']:.3f}; {max(r['chance'], r['majority']):.3f})" for r in weak
        )
        if weak:
            result.warn(
                f"{model} is not significantly better than guessing (accuracy; guessing): {listed}",
                f"{model}의 정확도는 찍기보다 유의하게 낫지 않습니다(정확도; 찍기): {listed}",
            )
    for task, n in repeated.items():
        if n:
            result.warn(
                f"{task}: {n} items are also among the few-shot examples, which show their answers: the figures are too good",
                f"{task}: 문항 {n}개가 퓨샷 예시에도 있어 정답이 드러나므로 수치가 부풀려집니다",
            )
    for (model, task), value in found.items():
        _warn_of(model, task, value, result)


def _warn_of(model, task, value, result):
    if value["cut"]:
        result.warn(
            f"{model}, {task}: {value['cut']} prompts are longer than the model's positions or --max_length, and cut at the left",
            f"{model}, {task}: 프롬프트 {value['cut']}개가 모델의 최대 길이나 --max_length보다 길어 앞부분이 잘렸습니다",
        )
    if value["not_finite"]:
        result.warn(
            f"{model}, {task}: {value['not_finite']} log-likelihoods are no numbers (--dtype too narrow, or broken weights): its "
            "figures mean nothing",
            f"{model}, {task}: 로그 우도 {value['not_finite']}개가 숫자가 아니므로(--dtype의 정밀도가 낮거나 가중치가 손상됨) 수치에 의미가 "
            "없습니다",
        )
    for line in value["said"]:
        result.warn(f"{model}, {task}: the harness says: {line}", f"{model}, {task}: 하네스의 경고: {line}")


def protocol(args, files, models, units, found, result):
    """How it was measured."""
    from korlhf.eval import harness_tasks

    first = next(iter(models))
    shots = {p.name: found[first, p.name]["shots"] for unit in units for p in unit.problems}
    result.protocol["harness"] = f"lm-evaluation-harness {harness_tasks.VERSION}"
    result.protocol["data"] = data(args.data_dir, units)
    if args.limit:
        result.protocol["items"] = both(f"the first {args.limit} of each task", f"과제마다 처음 {args.limit}개")
    alike = len(set(shots.values())) == 1
    result.protocol["shots"] = (
        next(iter(shots.values())) if alike else ", ".join(f"{task} {n}" for task, n in shots.items())
    )
    result.protocol["chat template"] = chat_template(args.apply_chat_template, models)
    for unit in units:
        problem = unit.problems[0]
        result.protocol[f"doc_to_text of {problem.name}"] = " ".join(str(problem.config.get("doc_to_text")).split())
        prompt = found[first, problem.name]["prompt"]
        shown = prompt if len(prompt) <= SHOWN else f"{prompt[: SHOWN // 2]} [...] {prompt[-SHOWN // 2 :]}"
        result.protocol[f"first prompt of {problem.name}"] = shown.replace("\n", "\\n")
    result.protocol["decoding"] = DECODING
    result.protocol["pairing"] = both(
        "all models on the same items, with the same examples", "모든 모델에 같은 문항, 같은 예시"
    )
    result.protocol["interval"] = both(f"95 %; {INTERVALS['en']}", f"95 %. {INTERVALS['ko']}")
    result.protocol["precision"] = ", ".join(dict.fromkeys(checkpoint.dtype for checkpoint in models.values()))
    result.protocol["batch size"] = args.batch_size
    result.protocol["seed"] = files.seed


def data(data_dir, units):
    """Where the items are from."""
    local_ones = [unit.name for unit in units if unit.files]
    others = ", ".join(unit.name for unit in units if not unit.files)
    en = [f"local files in {data_dir}"] * bool(local_ones) + [f"the hub's ({others})"] * bool(others)
    ko = [f"{data_dir}의 로컬 파일"] * bool(local_ones) + [f"허브의 데이터({others})"] * bool(others)
    return both("; ".join(en), ", ".join(ko))


def chat_template(applied, models):
    """Which conversation template the items were asked in."""
    if not applied:
        return both("not applied", "적용하지 않음")
    shown = {
        name: checkpoint.codec.tokenizer.apply_chat_template(
            [{"role": "user", "content": "{prompt}"}], tokenize=False, add_generation_prompt=True
        ).replace("\n", "\\n")
        for name, checkpoint in models.items()
    }
    text = (
        next(iter(shown.values()))
        if len(set(shown.values())) == 1
        else "; ".join(f"{name}: {text}" for name, text in shown.items())
    )
    return both(f"applied: {text}", f"적용함: {text}")


def anchor(result):
    """The published figures, kept apart."""
    result.table(
        both(
            "Published figures of polyglot-ko-1.3b, of another run, not measured here",
            "다른 실행에서 발표된 polyglot-ko-1.3b 수치(여기서 측정한 값이 아님)",
        ),
        [
            column("task", "과제"),
            column("model", "모델"),
            column(*METRICS["acc_norm"], 4),
            column(*METRICS["macro_f1"], 4),
        ],
        ANCHOR,
        [
            both(
                "On the hub's KoBEST, by another version of the harness; shots and number of items are not known.",
                "허브의 KoBEST를 다른 버전의 하네스로 측정한 값이며, 샷 수와 문항 수는 알려져 있지 않습니다.",
            )
        ],
    )


def lines(problems, models, found):
    """One row an item: each model's choice beside the right one."""
    return [
        {
            "id": f"{problem.name}/{item['id']}",
            "category": problem.name,
            "question": item["question"],
            "options": item["options"],
            "right": item["right"],
            "choice": {model: found[model, problem.name]["items"][i]["choice"] for model in models},
            "scores": {model: found[model, problem.name]["items"][i]["scores"] for model in models},
        }
        for problem in problems
        for i, item in enumerate(problem.items)
    ]


def main(argv=None):
    files, args, checkpoint = parse(argv)
    models = open_models(args.model_name_or_path, checkpoint)
    from korlhf.eval import benchmark, harness, harness_tasks  # slow to import

    units = harness_tasks.load(args.tasks, args.data_dir, args.limit)
    problems = list({p.name: p for unit in units for p in unit.problems}.values())
    repeated = {p.name: harness_tasks.check_shots(p, args.num_fewshot) for p in problems}
    setting = harness.Setting(
        args.num_fewshot, args.limit, files.seed, args.apply_chat_template, args.batch_size, args.max_length
    )
    read = [*(c.path for c in models.values()), *dict.fromkeys(file for unit in units for file in unit.files)]
    with (
        evaluation.Result("kobest", files.output_dir, [files, args, checkpoint], read) as result,
        Cache(result.folder / "cache.sqlite") as cache,
    ):
        found = harness.results(models, problems, setting, cache)
        rows = benchmark.figures(units, list(models), found, files.seed)
        table(rows, result)
        gaps = benchmark.differences(units, list(models), found, files.seed)
        if gaps:
            table_of_differences(gaps, result)
        if args.show_anchor:
            anchor(result)
        protocol(args, files, models, units, found, result)
        warnings(args, rows, problems, found, repeated, result)
        result.rows = lines(problems, models, found)
        result.figures = {
            "rows": rows,
            "differences": gaps,
            "harness": harness_tasks.VERSION,
            "tasks": {p.name: {"config": p.config, "data_sha256": p.data} for p in problems},
            "models": {
                name: {"model": c.path, "fingerprint": c.fingerprint, "dtype": c.dtype} for name, c in models.items()
            },
        }
    return 0


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
