"""Scores of a judge or of a reward model, next to every answer of a record. The program is data_prep/score.py."""

from collections import Counter, defaultdict
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.data import record as records
from korlhf.data.example import RowError, bare_answer
from korlhf.judges import geval, rubric
from korlhf.judges.form import Item
from korlhf.llm.client import Client, Failure

COLUMNS = ("chosen", "rejected", "output")
JUDGES = ("openai", "reward_model")
DIGITS = 6  # of a score


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
        candidates = records.candidates(place, record) or column_candidates(record)
        if not candidates:
            raise InputError(f"{place}: no candidates, chosen, rejected or output to score; run respond.py first")
        try:
            texts = [bare_answer(c["text"], f"the text of candidate {i}") for i, c in enumerate(candidates, 1)]
        except RowError as error:
            raise InputError(f"{place}: {error}") from error
        found.append(({**record, "candidates": candidates}, texts))
    return found


def column_candidates(record):
    """Candidates from chosen, rejected and output; equal texts once. Without a model, the column stands for it."""
    found = []
    for column in COLUMNS:
        if column in record and record[column] not in [c["text"] for c in found]:
            found.append({"text": record[column], "model": record.get(f"{column}_model", column)})
    return found


def by_server(args, model, found, llm, cache, out):
    """Per record a list: {"score", "scores", "judge"}, or Failure, of each candidate. args: flags of the program."""
    rubrics = rubric.for_categories(args.rubric, list(dict.fromkeys(record["category"] for record, _ in found)))
    client = Client(llm, cache)
    first = next(iter(rubrics.values()))
    structured, probabilities = geval.abilities(client, first, model, args.structured, args.temperature)
    takes_it = "the server takes it" if structured else "the server refuses it"
    if probabilities:
        how = f"asked for, and {args.samples} sampled forms where none come"
    else:
        how = f"refused by the server, so {args.samples} sampled forms per answer"
    print(
        f"judge {model}: structured output {'on' if structured else 'off'} "
        f"({takes_it if args.structured == 'auto' else f'--structured {args.structured}'}); token probabilities {how}",
        flush=True,
    )
    judge = geval.Judge(model, structured, probabilities, args.samples, args.temperature)
    items = [Item(rubrics[record["category"]], records.messages(record), tuple(texts)) for record, texts in found]
    verdicts = geval.judge_answers(client, judge, items, args.together)
    out.extra["usage"] = client.usage
    out.extra["rubrics"] = {category: {"file": r.file, "sha256": r.sha256} for category, r in rubrics.items()}
    if args.together:
        out.extra["position"] = geval.preference(verdicts)
    return [
        [judged(item.rubric, judge, result, 2 if verdict.orders else 1) for result in verdict.results]
        for item, verdict in zip(items, verdicts)
    ]


def judged(rubric, judge, result, orders):
    """What is written next to an answer; a Failure stays one."""
    if isinstance(result, Failure):
        return result
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


def by_reward_model(model, found, reward_flags, cache, out):
    """Per record a list: {"score", "judge"}, or Failure, of each candidate. The score is the model's own."""
    from korlhf.judges.reward import RewardJudge  # slow to import

    reward = RewardJudge(model, "--judge", reward_flags, reward_flags.max_seq_len, reward_flags.batch_size)
    judge = {"model": reward.name, "fingerprint": reward.fingerprint, "dtype": reward.dtype, "method": "reward model"}
    scores = reward.scores([records.messages(record) for record, _ in found], [texts for _, texts in found], cache)
    out.extra["reward_model"] = {**judge, "path": model}
    return [
        [s if isinstance(s, Failure) else {"score": round(s, DIGITS), "judge": judge} for s in per_record]
        for per_record in scores
    ]


def write(found, results, name, samples, out):
    """Write every record with its scores; count by method, and note what has no score."""
    for (record, _), per_record in zip(found, results):
        candidates = []
        for k, (candidate, result) in enumerate(zip(record["candidates"], per_record)):
            candidate = {key: value for key, value in candidate.items() if key not in ("score", "scores", "judge")}
            if isinstance(result, Failure):
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
    for (record, _), per_record in zip(found, results):
        for candidate, result in zip(record["candidates"], per_record):
            if not isinstance(result, Failure):
                group = str(candidate.get("model")), record["category"]
                counts[group] += 1
                sums[group].update({"score": result["score"], **result.get("scores", {})})
    table = {}
    for (model, category), n in sorted(counts.items()):
        figures = {key: round(total / n, DIGITS) for key, total in sums[model, category].items()}
        table.setdefault(model, {})[category] = {"n": n, **figures}
    return table


def summary(means, position):
    """The means for people, and the judge's preference for a place."""
    wide = max(16, *(len(model) + 2 for model in means))
    lines = [f"{'answers of':<{wide}}{'category':<16}{'n':>7}  mean score"]
    for model, by_category in means.items():
        for category, f in by_category.items():
            criteria = ", ".join(f"{key} {value:.2f}" for key, value in f.items() if key not in ("n", "score"))
            more = f"  ({criteria})" if criteria else ""
            lines.append(f"{model:<{wide}}{category:<16}{f['n']:>7}  {f['score']:.3f}{more}")
    if position and position["n_decided"]:
        lines.append(
            f"the answer placed first won {position['first_place']:.1%} of {position['n_decided']} decided comparisons "
            "(50% = no preference)"
        )
    if position and position["n_decided_in_both"]:
        lines.append(f"the two orders disagree on {position['disagree']:.1%} of {position['n_decided_in_both']} pairs")
    return "\n".join(lines)
