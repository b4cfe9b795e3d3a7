"""Records with answers -> the same records with a score beside every answer, of a judge that fills in a form or of a reward model.

Scored are a record's `candidates`; of a record without any, its chosen, rejected and output become candidates. An answer that could not
be judged has the score null and its reason in OUTPUT.failed.jsonl; it is never scored by a guess. Left out: choosing among the answers
(rank.py), and several judges at once (run it again: a second judge's scores take the place of the first's).
"""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.data import example as rows
from korlhf.data import record as records
from korlhf.data import stage
from korlhf.judges import form as forms
from korlhf.judges import geval
from korlhf.judges import rubric as rubrics
from korlhf.llm import client as llm
from korlhf.llm.cache import Cache
from korlhf.llm.flags import CheckpointFlags, LlmFlags

COLUMNS = ("chosen", "rejected", "output")
JUDGES = ("openai", "reward_model")
DIGITS = 6  # of a score


@dataclass(frozen=True, kw_only=True)
class ScoreFlags:
    """judge"""

    judge: str = flags.flag(
        flags.REQUIRED,
        "openai:MODEL, a model of the server of --base_url that fills in a rubric's form; or "
        "reward_model:FOLDER (or hub name)",
    )
    rubric: list[str] = flags.flag(
        [],
        "rubrics of single categories in place of the ones of korlhf/judges/rubrics: CATEGORY=NAME of one of "
        "those, or CATEGORY=FILE.yaml",
    )
    samples: int = flags.flag(5, "forms sampled for an answer, used only where the server gives no token probabilities")
    temperature: float = flags.flag(1.0, "temperature of those; with token probabilities it is 0")
    together: bool = flags.flag(
        False, "all answers to a prompt in one request, in the given order and again in the reverse, and the mean"
    )
    structured: str = flags.flag(
        "auto", "ask for JSON by a schema; auto = if the server takes it", choices=["auto", "on", "off"]
    )
    max_failed: float = flags.flag(
        0.05, "a larger share of answers without a score ends with exit code 3, after everything is written"
    )


@dataclass(frozen=True, kw_only=True)
class RewardFlags(CheckpointFlags):
    """reward model"""

    max_seq_len: int = flags.flag(512, "longest prompt + answer in tokens; longer ones are not scored")
    batch_size: int = flags.flag(16, "answers in a forward pass")


def parse(argv=None):
    """(StageFlags, ScoreFlags, RewardFlags, LlmFlags)"""
    parser = flags.Parser(description="Score answers with a judge or a reward model")
    groups = (stage.StageFlags, ScoreFlags, RewardFlags, LlmFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    files, args, reward_flags, llm_flags = (flags.read(space, group) for group in groups)
    flags.check_positive(
        {"samples": args.samples, "max_seq_len": reward_flags.max_seq_len, "batch_size": reward_flags.batch_size},
        parser,
    )
    if args.temperature < 0 or not 0 <= args.max_failed <= 1:
        parser.error("--temperature must be 0 or above, --max_failed a share from 0 to 1")
    if args.temperature == 0 and args.samples > 1:
        parser.error(
            f"--samples {args.samples}: at --temperature 0 all are the same; give --samples 1, or a higher temperature"
        )
    if (args.together or args.rubric) and not args.judge.startswith("openai:"):
        parser.error(
            "--together and --rubric are for --judge openai:MODEL; a reward model reads one answer at a time and no rubric"
        )
    return files, args, reward_flags, llm_flags


def read_judge(text):
    """--judge -> (openai or reward_model, model)."""
    kind, _, model = text.partition(":")
    if kind not in JUDGES or not model:
        raise InputError(f"--judge {text}: give openai:MODEL, e.g. openai:gpt-4o, or reward_model:FOLDER")
    return kind, model if kind == "openai" else str(Path(model).expanduser())


def read_records(paths):
    """[(record with candidates, their texts as the judge reads them)]. Raises InputError with file and line."""
    found = []
    for place, record in records.read(paths):
        candidates = record.get("candidates") or column_candidates(record)
        if not candidates:
            raise InputError(f"{place}: no candidates, chosen, rejected or output to score; run respond.py first")
        if not isinstance(candidates, list) or not all(isinstance(c, dict) for c in candidates):
            raise InputError(f'{place}: candidates must be a list of {{"text": ...}}; correct it, or delete the column')
        try:
            texts = [rows.bare_answer(c.get("text"), f"the text of candidate {i}") for i, c in enumerate(candidates, 1)]
        except rows.RowError as error:
            raise InputError(f"{place}: {error}") from error
        found.append(({**record, "candidates": candidates}, texts))
    return found


def column_candidates(record):
    """Candidates from chosen, rejected and output; equal texts once. Their `model` is the column where the record names none."""
    found = []
    for column in COLUMNS:
        if column in record and record[column] not in [c["text"] for c in found]:
            found.append({"text": record[column], "model": record.get(f"{column}_model", column)})
    return found


def judge_by_server(args, model, found, llm_flags, cache, out):
    """Per record a list: {"score", "scores", "judge"}, or llm.Failure, of each candidate."""
    by_category = rubrics.for_categories(args.rubric, list(dict.fromkeys(record["category"] for record, _ in found)))
    client = llm.Client(llm_flags, cache)
    structured, probabilities = geval.abilities(
        client, next(iter(by_category.values())), model, args.structured, args.temperature
    )
    found_out = "the server takes it" if structured else "the server refuses it"
    why = found_out if args.structured == "auto" else f"--structured {args.structured}"
    print(
        f"judge {model}: structured output {'on' if structured else 'off'} ({why}); token probabilities "
        + (
            f"asked for, and {args.samples} sampled forms where none come"
            if probabilities
            else f"refused by the server, so {args.samples} sampled forms an answer"
        ),
        flush=True,
    )
    judge = geval.Judge(model, structured, probabilities, args.samples, args.temperature)
    items = [
        forms.Item(by_category[record["category"]], records.messages(record), tuple(texts)) for record, texts in found
    ]
    verdicts = geval.judge_answers(client, judge, items, args.together)
    out.extra["usage"] = client.usage
    out.extra["rubrics"] = {category: {"file": r.file, "sha256": r.sha256} for category, r in by_category.items()}
    if args.together:
        out.extra["position"] = geval.preference(verdicts)
    return [
        [
            result
            if isinstance(result, llm.Failure)
            else judged(item.rubric, judge, result, 2 if verdict.orders else 1)
            for result in verdict.results
        ]
        for item, verdict in zip(items, verdicts)
    ]


def judged(rubric, judge, result, orders):
    """What is written beside an answer."""
    return {
        "score": round(result.score, DIGITS),
        "scores": {key: round(value, DIGITS) for key, value in result.scores.items()},
        "judge": {
            "model": judge.model,
            "rubric": rubric.file,
            "rubric_sha256": rubric.sha256,
            "structured": judge.structured,
            "method": result.method,
            "samples": result.samples,
            "orders": orders,
        },
    }


def judge_by_reward_model(model, found, reward_flags, cache, out):
    """Per record a list: {"score", "judge"}, or llm.Failure, of each candidate. The score is the model's own, on no scale."""
    from korlhf.judges.reward import RewardJudge  # slow to import

    reward = RewardJudge(model, "--judge", reward_flags, reward_flags.max_seq_len, reward_flags.batch_size)
    judge = {"model": reward.name, "fingerprint": reward.fingerprint, "dtype": reward.dtype, "method": "reward model"}
    scores = reward.scores([records.messages(record) for record, _ in found], [texts for _, texts in found], cache)
    out.extra["reward_model"] = {**judge, "path": model}
    return [
        [s if isinstance(s, llm.Failure) else {"score": round(s, DIGITS), "judge": judge} for s in of_record]
        for of_record in scores
    ]


def write(found, results, name, samples, out):
    """Write every record with its scores; count by method, and note what has no score."""
    for (record, _), of_record in zip(found, results):
        candidates = []
        for k, (candidate, result) in enumerate(zip(record["candidates"], of_record)):
            candidate = {key: value for key, value in candidate.items() if key not in ("score", "scores", "judge")}
            if isinstance(result, llm.Failure):
                out.fail(record, result.reason, result.kind, candidate=k, model=candidate.get("model"))
                result = {"score": None}
            else:
                out.count(f"answers scored by {result['judge']['method']}")
                if result["judge"]["method"] == geval.SAMPLES and result["judge"]["samples"] < samples:
                    out.count("of these with fewer usable samples than --samples")
            candidates.append({**candidate, **result})
        out.write({**records.step(record, "score", judge=name), "candidates": candidates})


def means(found, results):
    """{model that answered: {category: {"n", "score", criterion ...}}}, means over the answers that have a score."""
    sums, counts = defaultdict(Counter), Counter()
    for (record, _), of_record in zip(found, results):
        for candidate, result in zip(record["candidates"], of_record):
            if not isinstance(result, llm.Failure):
                group = str(candidate.get("model")), record["category"]
                counts[group] += 1
                sums[group].update({"score": result["score"], **result.get("scores", {})})
    out = {}
    for model, category in sorted(counts):
        n = counts[model, category]
        out.setdefault(model, {})[category] = {
            "n": n,
            **{key: round(total / n, DIGITS) for key, total in sums[model, category].items()},
        }
    return out


def table(figures, position):
    """The means for people, and the judge's preference for a place."""
    lines = [f"{'answers of':<16}{'category':<16}{'n':>7}  mean score"]
    for model, by_category in figures.items():
        for category, f in by_category.items():
            criteria = ", ".join(f"{key} {value:.2f}" for key, value in f.items() if key not in ("n", "score"))
            lines.append(
                f"{model:<16}{category:<16}{f['n']:>7}  {f['score']:.3f}" + (f"  ({criteria})" if criteria else "")
            )
    if position and position["n_decided"]:
        lines.append(
            f"the answer placed first won {position['first_place']:.1%} of {position['n_decided']} decided comparisons "
            "(50% = no preference)"
        )
    if position and position["n_decided_in_both"]:
        lines.append(f"the two orders disagree on {position['disagree']:.1%} of {position['n_decided_in_both']} pairs")
    return "\n".join(lines)


def main(argv=None):
    files, args, reward_flags, llm_flags = parse(argv)
    kind, model = read_judge(args.judge)
    found = read_records(files.input)
    settings = {
        **asdict(args),
        **(asdict(reward_flags) if kind == "reward_model" else {"base_url": llm_flags.base_url}),
    }
    with (
        stage.Stage("score", files.output, settings, files.input) as out,
        Cache(llm_flags.cache or out.path.parent / "llm_cache.sqlite") as cache,
    ):
        if kind == "openai":
            results = judge_by_server(args, model, found, llm_flags, cache, out)
        else:
            results = judge_by_reward_model(model, found, reward_flags, cache, out)
        write(found, results, model if kind == "openai" else Path(model).name, args.samples, out)
        out.extra["means"] = means(found, results)
    print(table(out.extra["means"], out.extra.get("position")), flush=True)
    return program.exit_code(out.failures, sum(len(texts) for _, texts in found), args.max_failed)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
