"""G-Eval of several models: their answers to the same prompts, scored by a judge with the rubrics of data_prep, or by a reward model.

Every answer is judged by itself. Shown are means by category and criterion, paired differences with p-values adjusted for their number,
and the judge's own noise: what happens to scores when the same answers are judged again. Left out: several judges at once (run it again
with another folder), and answers judged beside each other (win_rate.py does that).
"""

from dataclasses import dataclass

import numpy as np

from korlhf.core import flags, program, stats
from korlhf.core.tables import both, column, estimate, words
from korlhf.data.prompts import prompts
from korlhf.eval import comparison, conflicts
from korlhf.eval import result as evaluation
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.judges import judge as judges
from korlhf.judges import rubric as rubrics
from korlhf.judges.flags import JudgeFlags
from korlhf.judges.geval import PROBABILITIES
from korlhf.llm.client import Failure
from korlhf.llm.flags import LlmFlags, SamplerFlags

DIGITS = 6  # of a score in the rows
MEAN = both("mean of the criteria", "기준의 평균")
ORIGINAL_CRITERIA = (
    ("friendly", "친근함"),
    ("intelligible", "이해 가능성"),
    ("natural", "자연스러움"),
    ("context", "맥락 유지"),
    ("overall", "전반적인 품질"),
)
ORIGINAL = {
    "KULLM": (3.71, 4.09, 3.61, 3.92, 3.78),
    "KULLM + SFT": (4.41, 4.55, 4.39, 4.48, 4.41),
    "KULLM + SFT + RLHF": (4.59, 4.57, 4.55, 4.53, 4.51),
    "ChatGPT": (4.70, 4.94, 4.85, 4.93, 4.86),
}
ORIGINAL_NOISE = 0.225


@dataclass(frozen=True, kw_only=True)
class GevalFlags:
    """comparison"""

    rubric: list[str] = flags.flag(
        [],
        "rubrics of single categories in place of the ones of korlhf/judges/rubrics: CATEGORY=NAME of one of "
        "those, or CATEGORY=FILE.yaml",
    )
    baseline: str = flags.flag("", "compare every other responder with this one alone; not given = every two of them")
    rescore_share: float = flags.flag(
        0.1, "share of the answers, at least 10, judged again to measure the judge's noise; 0 = none"
    )
    show_original: bool = flags.flag(False, "also print the table that the original project published")


def parse(argv=None):
    """[ResultFlags, GevalFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags]"""
    parser = flags.Parser(description="Score the answers of several models with a judge")
    groups = (ResultFlags, GevalFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    found = [flags.read(space, group) for group in groups]
    evaluation.check(found[2], parser)
    judges.check(found[3], parser)
    if not 0 <= found[1].rescore_share <= 1:
        parser.error(f"--rescore_share {found[1].rescore_share:g}: give a share from 0 to 1")
    if found[1].rubric and found[3].judge.startswith("reward_model:"):
        parser.error("--rubric is for a judge that reads one; a reward model does not")
    return found


def overview(result, scored, grouped, seed):
    """The means by category, of every model."""
    rows, figures = [], []
    for category, numbers in grouped:
        of_models = {name: comparison.by_prompt(of_model, numbers) for name, of_model in scored.items()}
        means = {name: comparison.mean(values, seed) for name, values in of_models.items()}
        rows.append([comparison.category_name(category), _count(means), *map(_cell, means.values())])
        figures += [{"model": name, "category": category, **(m or {"n": 0})} for name, m in means.items()]
    result.table(
        both("Mean score", "평균 점수"),
        [column("category", "범주"), column("prompts", "프롬프트"), *(column(n, n, 2) for n in scored)],
        rows,
        [
            both(
                "With the 95 % interval. A model's answers to one prompt are averaged first.",
                "괄호 안은 95 % 구간입니다. 한 프롬프트에 대한 답변이 여럿이면 먼저 평균을 냅니다.",
            )
        ],
    )
    return figures


def _count(means):
    """The number of prompts, "58–60" if it is not the same for all models."""
    counts = {m["n"] if m else 0 for m in means.values()}
    return counts.pop() if len(counts) == 1 else f"{min(counts)}–{max(counts)}"


def _cell(m):
    return m and (m["mean"] if m["low"] is None else estimate(m["mean"], m["low"], m["high"]))


def by_criterion(result, scored, grouped, of_category, seed):
    """A table of the criteria for every group; over all categories the criteria that every rubric has."""
    figures = []
    for category, numbers in grouped:
        used = list(
            {r.sha256: r for r in (of_category.values() if category is None else [of_category[category]])}.values()
        )
        rows = []
        for c in used[0].criteria:
            if all(c.key in [other.key for other in r.criteria] for r in used):
                of_models = [comparison.by_prompt(of_model, numbers, c.key) for of_model in scored.values()]
                means = [comparison.mean(values, seed) for values in of_models]
                rows.append([both(c.key, c.name), *map(_cell, means)])
                figures += [
                    {"model": name, "category": category, "criterion": c.key, **(m or {"n": 0})}
                    for name, m in zip(scored, means)
                ]
        rows.append(
            [
                MEAN,
                *(
                    _cell(comparison.mean(comparison.by_prompt(of_model, numbers), seed))
                    for of_model in scored.values()
                ),
            ]
        )
        name = comparison.category_name(category)
        title = both("all categories", "전체") if category is None else both(words(name, "en"), words(name, "ko"))
        scales = ", ".join(dict.fromkeys(f"{r.low}–{r.high}" for r in used))
        result.table(
            both(f"By criterion: {title['en']}", f"기준별 점수: {title['ko']}"),
            [column("criterion", "기준"), *(column(n, n, 2) for n in scored)],
            rows,
            [both(f"Scale {scales}.", f"척도 {scales}.")],
        )
    return figures


def differences(result, scored, grouped, seed, baseline, unit, noise):
    """The paired differences. unit: (name, SD of its answers' scores), of a score on no scale; noise: comparison.noise, or None."""
    found = comparison.differences(scored, grouped, seed, baseline)
    if not found:
        return found
    more, notes = (
        [],
        [
            both(
                "Paired: the same prompts. p: flipping the signs of prompts, two-sided; Holm: adjusted for the "
                f"{len(found)} comparisons of this table.",
                f"같은 프롬프트끼리 짝지어 비교했습니다. p는 프롬프트의 부호를 뒤집는 양측 검정이고, p (홀름)은 이 표의 비교 {len(found)}개에 맞춰 보정한 값입니다.",
            )
        ],
    )
    if unit:
        more = [column(f"in SDs of {unit[0]}'s answers", f"{unit[0]} 답변의 표준편차 단위", 2)]
    elif noise:
        more = [column("judge's noise ±", "심판의 흔들림 ±", 3)]
        notes.append(
            both(
                "judge's noise: how far the judge's noise alone may put the difference off (95 %).",
                "심판의 흔들림은 채점이 흔들리는 것만으로 차이가 어긋날 수 있는 폭(95 %)입니다.",
            )
        )
    rows = []
    for f in found:
        if unit:
            f["in_sds"] = f["mean"] / unit[1] if unit[1] else None
        elif noise:
            numbers = dict(grouped)[f["category"]]
            counts = [len(comparison.usable([scored[f[side]][i] for i in numbers])) for side in ("model", "other")]
            f["judge_noise"] = comparison.noise_of_difference(noise["sd"], *counts)
        rows.append(
            [
                f"{f['model']} − {f['other']}",
                comparison.category_name(f["category"]),
                f["n"],
                _cell(f),
                f["p"],
                f["holm"],
                *([f["in_sds"]] if unit else [f["judge_noise"]] if noise else []),
            ]
        )
    result.table(
        both("Differences of the mean score", "평균 점수의 차이"),
        [
            column("difference", "차이"),
            column("category", "범주"),
            column("prompts", "프롬프트"),
            column("mean", "평균"),
            column("p", "p", 4),
            column("p (Holm)", "p (홀름)", 4),
            *more,
        ],
        rows,
        notes,
    )
    return found


def measure_noise(result, judge, of_category, found, answered, scored, share, seed):
    """Judge some answers again. Returns (comparison.noise of the score or None, figures), and writes the table."""
    if judge.repeats:
        result.protocol["judge's noise"] = both(
            "not measured: this judge computes its scores, so the same answer always gets the same one. That is no sign of its being right",
            "재지 않음: 이 심판은 점수를 계산해 내므로 같은 답변에는 언제나 같은 점수를 줌. 그렇다고 점수가 맞다는 뜻은 아님",
        )
    if judge.repeats or share == 0:
        return None, {}
    twice = comparison.rescore(judge, of_category, found, answered, scored, share, seed)
    result.attempted += len(twice)
    result.lost(
        both("judge, second time", "심판의 두 번째 채점"), [again for _, again in twice if isinstance(again, Failure)]
    )
    names = {c.key: c.name for rubric in of_category.values() for c in rubric.criteria}
    figures = {key: comparison.noise(twice, key) for key in [None, *names]}
    rows = [
        [both(key, names[key]) if key else MEAN, _cell(n), n["sd"], n["shift"], n["n"]]
        for key, n in figures.items()
        if n
    ]
    notes = [
        both(
            "Answers drawn at random. Change: the second score of the same answer minus the first.",
            "무작위로 뽑은 답변입니다. 변화는 같은 답변의 두 번째 점수에서 첫 번째 점수를 뺀 값입니다.",
        )
    ]
    if any(first.method == PROBABILITIES for first, _ in twice):
        notes.append(
            both(
                "These scores come from token probabilities at temperature 0: asking again shows how far the server repeats itself, not how "
                "sure the judge is.",
                "온도 0의 토큰 확률로 얻은 점수입니다. 다시 물어서 알 수 있는 것은 서버가 같은 값을 되풀이하는지뿐이고, 심판이 얼마나 확신하는지는 알 수 없습니다.",
            )
        )
    if rows:
        result.table(
            both("The judge's noise: the same answers judged again", "심판의 흔들림: 같은 답변을 다시 채점했을 때"),
            [
                column("criterion", "기준"),
                column("mean |change|", "변화의 크기 평균"),
                column("SD of change", "변화의 표준편차"),
                column("mean change", "변화의 평균"),
                column("answers", "답변"),
            ],
            rows,
            notes,
        )
    return figures[None], {key or "score": n for key, n in figures.items()}


def warn_of_noise(result, found, noise):
    """Warn of differences over all prompts that are no larger than what the judge's noise alone can make of equal models."""
    small = [f for f in found if f["category"] == found[0]["category"] and abs(f["mean"]) <= f["judge_noise"]]
    if not small or noise["mean"] == 0:
        return
    listed = ", ".join(f"{f['model']} − {f['other']} {f['mean']:.3f} (±{f['judge_noise']:.3f})" for f in small)
    result.warn(
        f"these differences are no larger than what the judge's noise alone may do to them, in brackets: {listed}; judged again, "
        f"the same answer's score moves by {noise['mean']:.3f} on average",
        f"다음 차이는 심판의 흔들림만으로도 생길 수 있는 폭(괄호 안)보다 크지 않습니다: {listed}. 같은 답변을 다시 채점하면 점수가 평균 "
        f"{noise['mean']:.3f} 움직입니다",
    )


def original(result):
    """The table of the original project, as published."""
    result.table(
        both(
            "Published by the original project: another judge, other prompts",
            "원 프로젝트가 발표한 점수: 심판도 프롬프트도 다름",
        ),
        [column("model", "모델"), *(column(*c, 2) for c in ORIGINAL_CRITERIA)],
        [[name, *scores] for name, scores in ORIGINAL.items()],
        [
            both(
                "Everyday talk, scale 1–5, no intervals published. Not comparable digit by digit with the tables here. Judged "
                f"again, the same answers' overall moved by {ORIGINAL_NOISE} on average.",
                "일상 대화, 척도 1–5이며 구간은 발표되지 않았습니다. 여기의 표와 숫자를 하나하나 견줄 수 없습니다. 같은 답변을 다시 채점하면 전반적인 품질이 "
                f"평균 {ORIGINAL_NOISE} 움직였습니다.",
            )
        ],
    )


def protocol(result, judge, of_category, scored):
    """How it was measured."""
    result.protocol["judge"] = judge.protocol()
    scores = [one for of_model in scored.values() for one in comparison.usable(of_model)]
    result.protocol["scores by"] = comparison.methods(scores, "answers", "개")
    for category, r in of_category.items():
        result.protocol[f"rubric of {category}"] = f"{r.file} (sha256 {r.sha256[:12]})"
    result.protocol["pairing"] = both(
        "by prompt; several answers to a prompt are averaged first", "프롬프트별. 답변이 여럿이면 먼저 평균을 냄"
    )
    result.protocol["interval"] = both(
        f"95 %, percentile bootstrap over prompts, {stats.RESAMPLES:,} resamples",
        f"95 %, 프롬프트 부트스트랩 {stats.RESAMPLES:,}회",
    )


def shown(scored, what):
    """Of every answer what(Score), None where it has no score; for evaluation.rows."""
    return {
        name: [
            [None if one is None or isinstance(one, Failure) else what(one) for one in of_record]
            for of_record in of_model
        ]
        for name, of_model in scored.items()
    }


def main(argv=None):
    files, args, answer_flags, judge_flags, sampler, llm_flags = parse(argv)
    found = prompts(answer_flags.data_path, answer_flags.max_prompts, files.seed)
    grouped, categories = comparison.groups(found), list(dict.fromkeys(r["category"] for r in found))
    reward = judges.read_name(judge_flags.judge).kind == "reward_model"
    of_category = {} if reward else rubrics.for_categories(args.rubric, categories)
    settings = [files, args, answer_flags, judge_flags, sampler, llm_flags]
    with (
        evaluation.Result(
            "geval", files.output_dir, settings, [*answer_flags.data_path, *judges.inputs(judge_flags.judge)]
        ) as result,
        evaluation.open_cache(llm_flags, files.output_dir) as cache,
    ):
        judge = judges.open_judge(judge_flags, sampler, llm_flags, cache, result.usage)
        answered = evaluation.answers(result, found, answer_flags, sampler, llm_flags, cache)
        first = evaluation.baseline(args.baseline, answered)
        scored = comparison.score(judge, of_category, found, answered)
        for line in [*conflicts.of(judge, result.figures["responders"]), *judge.warnings(), comparison.few(grouped)]:
            if line:
                result.warn(**line)
        for name, of_model in scored.items():
            result.attempted += len(comparison.flat(of_model))
            result.lost(both(f"judge on {name}", f"{name}의 답변 채점"), comparison.failures(of_model))
        protocol(result, judge, of_category, scored)
        result.figures["means"] = overview(result, scored, grouped, files.seed)
        if args.show_original:
            original(result)
        if not reward and any(map(comparison.usable, scored.values())):
            result.figures["criteria"] = by_criterion(result, scored, grouped, of_category, files.seed)
        noise, result.figures["noise"] = measure_noise(
            result, judge, of_category, found, answered, scored, args.rescore_share, files.seed
        )
        of_first = [one.score for one in comparison.usable(scored[first])]
        unit = (first, float(np.std(of_first))) if reward and of_first else None
        result.figures["differences"] = differences(result, scored, grouped, files.seed, args.baseline, unit, noise)
        if noise and result.figures["differences"]:
            warn_of_noise(result, result.figures["differences"], noise)
        result.rows = evaluation.rows(
            found,
            answered,
            score=shown(scored, lambda s: round(s.score, DIGITS)),
            scores=shown(scored, lambda s: {k: round(v, DIGITS) for k, v in s.scores.items()}),
        )
    return result.code(answer_flags.max_failed)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
