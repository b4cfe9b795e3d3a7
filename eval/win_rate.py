"""Which of several models answers better: every two of them side by side, before a judge that sees both orders, or by a reward model.

Shown are win rates with ties, the same with length taken out, how much the judge goes by place and by length, and for more than two models
a matrix and Bradley-Terry strengths. An answer wins if both orders name it. Left out: comparisons across prompts, and more than two
answers in one question.
"""

import math
from dataclasses import dataclass

from korlhf.core import flags, program, stats
from korlhf.core.tables import both, column, estimate
from korlhf.data import record as records
from korlhf.data.prompts import prompts
from korlhf.eval import comparison, conflicts
from korlhf.eval import result as evaluation
from korlhf.eval import win_rate as pairwise
from korlhf.eval.flags import AnswerFlags, ResultFlags
from korlhf.eval.win_rate import Game
from korlhf.judges import judge as judges
from korlhf.judges import rubric as rubrics
from korlhf.judges.flags import JudgeFlags
from korlhf.llm.client import Failure, Reply
from korlhf.llm.flags import LlmFlags, SamplerFlags

DIGITS = 6  # of a result in the rows
STRONG = 0.25  # farther than this from one half is no slight preference
VERDICTS = {1.0: "first", 0.5: "tie", 0.0: "second"}
SEEN = {1.0: "won", 0.5: "tie", 0.0: "lost"}
PLACES = ("first place", "second place", "tie")


@dataclass(frozen=True, kw_only=True)
class WinRateFlags:
    """comparison"""

    rubric: list[str] = flags.flag(
        [],
        "rubrics whose criteria guide the judge, of single categories in place of the ones of "
        "korlhf/judges/rubrics: CATEGORY=NAME of one of those, or CATEGORY=FILE.yaml",
    )


def parse(argv=None):
    """[ResultFlags, WinRateFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags]"""
    parser = flags.Parser(description="Win rates of several models' answers")
    groups = (ResultFlags, WinRateFlags, AnswerFlags, JudgeFlags, SamplerFlags, LlmFlags)
    for group in groups:
        flags.add(parser, group)
    space = parser.parse_args(argv)
    found = [flags.read(space, group) for group in groups]
    evaluation.check(found[2], parser)
    judges.check(found[3], parser)
    if len(found[2].responder) < 2:
        parser.error("--responder: a win rate needs two or more responders")
    if found[1].rubric and found[3].judge.startswith("reward_model:"):
        parser.error("--rubric is for a judge that reads one; a reward model does not")
    return found


def compare(judge, of_category, found, answered):
    """{(model, other): {(number of the record, of the answer): pairwise.Verdict or Failure}} of every two models; the k-th answer of one
    meets the k-th of the other."""
    scored = comparison.score(judge, {}, found, answered) if judge.kind == "reward_model" else None
    out = {}
    for a, b in comparison.pairs(list(answered)):
        places = [
            (i, k)
            for i in range(len(found))
            for k, both_ in enumerate(zip(answered[a][i], answered[b][i]))
            if all(isinstance(reply, Reply) for reply in both_)
        ]
        if scored:
            verdicts = [pairwise.of_scores(scored[a][i][k], scored[b][i][k]) for i, k in places]
        else:
            verdicts = pairwise.compare(
                judge,
                [
                    (
                        of_category[found[i]["category"]],
                        records.messages(found[i]),
                        answered[a][i][k].text,
                        answered[b][i][k].text,
                    )
                    for i, k in places
                ],
                desc=f"{a} against {b}",
            )
        out[a, b] = dict(zip(places, verdicts))
    return out


def games_of(verdicts, answered):
    """[Game] of the verdicts that are no Failures."""
    return [
        Game(a, b, i, len(answered[a][i][k].text) - len(answered[b][i][k].text), verdict)
        for (a, b), of_pair in verdicts.items()
        for (i, k), verdict in of_pair.items()
        if not isinstance(verdict, Failure)
    ]


def between(games, a, b):
    return [g for g in games if (g.first, g.second) == (a, b)]


def _cell(m):
    return m and estimate(m["mean"], m["low"], m["high"])


def _strength(m):
    """Without an interval where all games ended alike: resampled prompts then show no spread, which does not make the strength certain."""
    return m and (m["mean"] if m["low"] == m["high"] else _cell(m))


def win_rates(result, games, grouped, names, seed):
    """The table of win rates by category; their p-values are adjusted for the number of its rows. Returns its figures."""
    found = []
    for a, b in comparison.pairs(names):
        of_pair = between(games, a, b)
        for place, (category, numbers) in enumerate(grouped):
            numbers = set(numbers)
            here = [g for g in of_pair if g.prompt in numbers]
            if here:
                found.append(
                    {
                        "model": a,
                        "other": b,
                        "category": category,
                        **pairwise.win_rate(here, seed),
                        "length_controlled": pairwise.length_controlled(here, seed) if place == 0 else None,
                    }
                )
    for row, adjusted in zip(found, stats.holm([row["p"] for row in found])):
        row["holm"] = adjusted
    rows = [
        [
            f["model"],
            f["other"],
            comparison.category_name(f["category"]),
            f["prompts"],
            f["won"],
            f["tied"],
            f["lost"],
            _cell(f),
            f["p"],
            f["holm"],
            _cell(f["length_controlled"]),
        ]
        for f in found
    ]
    notes = [
        both(
            "Ties count half; .5 = equally good. p: flipping the signs of prompts, two-sided; Holm: adjusted for the "
            f"{len(found)} comparisons of this table.",
            "무승부는 반으로 셈하며 .5는 대등함을 뜻합니다. p는 프롬프트의 부호를 뒤집는 양측 검정이고, p (홀름)은 이 표의 비교 "
            f"{len(found)}개에 맞춰 보정한 값입니다.",
        ),
        both(
            "Length-controlled: the win rate with answers of equal length, by a logistic fit; – where one model's answers are nearly "
            "always the longer ones, since nothing can be told then.",
            "길이 보정은 두 답변의 길이가 같다고 할 때의 승률입니다(로지스틱 회귀). 한 모델의 답변이 거의 언제나 더 길면 알 수 없으므로 –로 둡니다.",
        ),
    ]
    if rows:
        result.table(
            both("Win rates", "승률"),
            [
                column("model", "모델"),
                column("against", "상대"),
                column("category", "범주"),
                column("prompts", "프롬프트"),
                column("won", "승"),
                column("tied", "무"),
                column("lost", "패"),
                column("win rate", "승률"),
                column("p", "p", 4),
                column("p (Holm)", "p (홀름)", 4),
                column("length-controlled", "길이 보정"),
            ],
            rows,
            notes,
        )
    return found


def places(result, judge, games, names, seed):
    """How much the judge goes by the place of an answer: table, and the warning that stands above all others. Returns its figures."""
    groups = [(f"{a} − {b}", between(games, a, b)) for a, b in comparison.pairs(names)]
    groups = [(comparison.ALL, games), *groups] if len(groups) > 1 else groups
    found = [(label, pairwise.place_preference(here, seed)) for label, here in groups]
    rows = [[label, m["asked"], _cell(m["first"]), m["disagree"], m["opposite"]] for label, m in found if m]
    if not rows:
        return None
    result.table(
        both("The judge's preference for a place", "심판의 자리 선호"),
        [
            column("pair", "맞대결"),
            column("pairs of answers", "답변 쌍"),
            column("the first place wins", "먼저 놓인 답변의 승률"),
            column("orders disagree", "순서에 따라 판정이 다름"),
            column("name opposite answers", "서로 반대 답변을 고름"),
        ],
        rows,
        [
            both(
                "The first place wins: among questions with a winner; .5 = no preference. Orders disagree: share of the pairs.",
                "먼저 놓인 답변의 승률은 승부가 난 물음만 셈하며 .5는 선호가 없음을 뜻합니다. 판정이 다른 비율은 답변 쌍 가운데의 비율입니다.",
            )
        ],
    )
    _warn_of_place(result, judge, found[0][1])
    return found[0][1]


def _warn_of_place(result, judge, m):
    """Warn if the first place wins significantly more, or less, than half of the questions."""
    first = m["first"]
    if first is None or first["low"] <= 0.5 <= first["high"]:
        return
    en, ko = ("first", "먼저") if first["mean"] > 0.5 else ("second", "나중에")
    share = max(first["mean"], 1 - first["mean"])
    strong = both("", "")
    if share - 0.5 > STRONG or m["opposite"] > 0.5:
        strong = both(
            " That is most of what it does: the win rates say little about the answers; take another judge",
            " 판정이 거의 자리에 따라 갈리므로 승률로는 답변의 우열을 알기 어렵습니다. 다른 심판을 쓰세요",
        )
    result.warn(
        f"the judge {judge.name} prefers the answer in the {en} place: it wins {share:.1%} of {first['n']} decided questions, and "
        f"for {m['disagree']:.1%} of {m['asked']} pairs the two orders give different verdicts, which count as ties.{strong['en']}",
        f"심판 {judge.name}은(는) {ko} 놓인 답변을 더 좋아합니다. 승부가 난 물음 {first['n']}개 가운데 {share:.1%}에서 그 답변을 골랐고, 답변 "
        f"{m['asked']}쌍 가운데 {m['disagree']:.1%}는 순서에 따라 판정이 달라 무승부로 셉니다.{strong['ko']}",
        first=True,
    )


def lengths(result, judge, games, names, found, seed):
    """How much the judge goes by length: table and warnings. found: figures of win_rates. Returns its figures."""
    rows = []
    for a, b in comparison.pairs(names):
        here = between(games, a, b)
        if here:
            rows.append(
                [f"{a} − {b}", sum(g.longer for g in here) / len(here), _cell(pairwise.length_preference(here, seed))]
            )
    preference = pairwise.length_preference(games, seed)
    if len(rows) > 1:
        rows.insert(0, [comparison.ALL, None, _cell(preference)])
    if rows:
        result.table(
            both("The judge's preference for length", "심판의 길이 선호"),
            [
                column("pair", "맞대결"),
                column("characters more", "더 긴 글자 수", 1),
                column("the longer answer's win rate", "더 긴 답변의 승률"),
            ],
            rows,
            [
                both(
                    "Characters more: of the first model's answers, on average. A judge that prefers longer answers and a better "
                    "model that writes longer ones look the same here; the length-controlled win rate tells them apart in part.",
                    "더 긴 글자 수는 앞 모델의 답변이 평균 몇 자 더 긴지를 나타냅니다. 심판이 긴 답변을 좋아하는 것과 더 나은 모델이 길게 쓰는 것은 이 표만으로 "
                    "가려낼 수 없고, 길이 보정 승률로도 일부만 가려낼 수 있습니다.",
                )
            ],
        )
    if preference and not preference["low"] <= 0.5 <= preference["high"] and abs(preference["mean"] - 0.5) > STRONG / 2:
        en, ko = ("longer", "긴") if preference["mean"] > 0.5 else ("shorter", "짧은")
        share = max(preference["mean"], 1 - preference["mean"])
        result.warn(
            f"the judge {judge.name} mostly prefers the {en} answer: its win rate is {share:.1%} over {preference['n']} pairs of "
            "different length; see the length-controlled win rates",
            f"심판 {judge.name}은(는) 대체로 더 {ko} 답변을 좋아합니다. 길이가 다른 {preference['n']}쌍에서 더 {ko} 답변의 승률은 {share:.1%}입니다. "
            "길이 보정 승률을 함께 보세요",
        )
    for f in found:
        if f["category"] == found[0]["category"] and f["p"] < 0.05:
            _warn_of_length(result, f)
    return preference


def _warn_of_length(result, f):
    """Warn of a win rate that is no draw, if length may be the reason."""
    controlled, en, ko = f["length_controlled"], f"{f['model']} against {f['other']}", f"{f['model']} 대 {f['other']}"
    if controlled is None:
        result.warn(
            f"{en}: one model's answers are nearly always the longer ones, so the win rate {f['mean']:.3f} cannot be told from a "
            "preference for length",
            f"{ko}: 한 모델의 답변이 거의 언제나 더 길어서, 승률({f['mean']:.3f})이 길이에 대한 선호 때문인지 가려낼 수 없습니다",
        )
    elif controlled["low"] <= 0.5 <= controlled["high"]:
        told = f"{controlled['mean']:.3f}, {controlled['low']:.3f}–{controlled['high']:.3f}"
        result.warn(
            f"{en}: with length controlled the win rate {f['mean']:.3f} is not to be told from a draw ({told})",
            f"{ko}: 승률은 {f['mean']:.3f}이지만, 길이를 보정하면 무승부와 구별되지 않습니다({told})",
        )


def ranking(result, games, names, found, seed):
    """Win matrix and Bradley-Terry strengths of more than two models, and circles of three that beat each other. Returns the strengths."""
    overall = {(f["model"], f["other"]): f["mean"] for f in found if f["category"] == found[0]["category"]}
    clear = {
        (f["model"], f["other"]): f["mean"] for f in found if f["category"] == found[0]["category"] and f["p"] < 0.05
    }
    rates = {**overall, **{(b, a): 1 - mean for (a, b), mean in overall.items()}}
    result.table(
        both("Win rate of the row against the column", "행의 모델이 열의 모델을 이긴 비율"),
        [column("model", "모델"), *(column(n, n) for n in names)],
        [[a, *(rates.get((a, b)) for b in names)] for a in names],
    )
    strengths = pairwise.strengths(
        [name for name in names if any(name in (g.first, g.second) for g in games)], games, seed
    )
    order = sorted(names, key=lambda name: -strengths[name]["mean"] if name in strengths else math.inf)
    circles = [
        both(
            f"In a circle: {' beats '.join([*circle, circle[0]])}. One number a model cannot show that.",
            f"물고 물리는 관계: {' > '.join([*circle, circle[0]])}. 모델마다 하나인 숫자로는 나타낼 수 없습니다.",
        )
        for circle in pairwise.cycles(names, clear)
    ]
    result.table(
        both("Bradley-Terry strengths", "브래들리-테리 강도"),
        [column("model", "모델"), column("strength", "강도", 2)],
        [[name, _strength(strengths.get(name))] for name in order],
        [
            both(
                "In logits, their mean 0: a model that is 1 stronger wins 73 %. 95 % intervals: bootstrap over prompts; each pair "
                "is taken to have drawn half a game more.",
                "로짓 단위이고 평균은 0입니다. 1만큼 강한 모델은 73 %를 이깁니다. 95 % 구간은 프롬프트 부트스트랩이며, 맞대결마다 무승부 반 판을 더했습니다.",
            ),
            *circles,
        ],
    )
    return strengths


def protocol(result, judge, of_category, games):
    """How it was measured."""
    result.protocol["judge"] = judge.protocol(choosing=True)
    for category, r in of_category.items():
        file = f"{r.file} (sha256 {r.sha256[:12]})"
        result.protocol[f"rubric of {category}"] = both(
            f"{file}, its criteria without the scale", f"{file}, 척도 없이 기준만"
        )
    result.protocol["verdicts by"] = comparison.methods([g.verdict for g in games], "pairs", "쌍")
    result.protocol["order"] = both(
        "none: the higher score wins, equal scores are a tie", "없음: 점수가 높은 쪽이 이기고, 같으면 무승부"
    )
    if of_category:
        result.protocol["order"] = both(
            "both, in two questions: an answer wins if both name it, else it is a tie; with token probabilities the win rate is the mean "
            "of both, a tie half",
            "두 순서로 한 번씩 물음. 두 번 모두 고른 답변이 이기고, 아니면 무승부. 토큰 확률이 있으면 승률은 두 순서의 평균이며 무승부는 반으로 셈",
        )
    result.protocol["pairing"] = both(
        "the same prompt, the k-th answer of one model with the k-th of the other; equal answers are a tie and not asked about",
        "같은 프롬프트에서 한 모델의 k번째 답변과 다른 모델의 k번째 답변. 똑같은 답변은 묻지 않고 무승부로 셈",
    )
    few = pairwise.LENGTH_RESAMPLES
    result.protocol["interval"] = both(
        f"95 %, percentile bootstrap over prompts, {stats.RESAMPLES:,} resamples ({few} for length-controlled rates and strengths); Wilson's "
        "where all prompts are alike",
        f"95 %, 프롬프트 부트스트랩 {stats.RESAMPLES:,}회(길이 보정 승률과 강도는 {few}회). 모든 프롬프트의 결과가 같으면 윌슨 구간",
    )


def rows(found, answered, verdicts):
    """Lines that show answers, each with its results against the other models, and all comparisons of the prompt."""
    against = {name: [[{} for _ in replies] for replies in of_model] for name, of_model in answered.items()}
    comparisons = [[] for _ in found]
    for (a, b), of_pair in verdicts.items():
        for (i, k), verdict in of_pair.items():
            failed = isinstance(verdict, Failure)
            against[a][i][k][b] = None if failed else SEEN[verdict.verdict]
            against[b][i][k][a] = None if failed else SEEN[1 - verdict.verdict]
            comparisons[i].append({"first": a, "second": b, "answer": k, **_shown(verdict)})
    return [
        {**row, "comparisons": of_row}
        for row, of_row in zip(evaluation.rows(found, answered, against=against), comparisons)
    ]


def _shown(verdict):
    if isinstance(verdict, Failure):
        return {"failed": f"{verdict.kind}: {verdict.reason}"}
    return {
        "verdict": VERDICTS[verdict.verdict],
        "result": round(verdict.result, DIGITS),
        "orders": [PLACES[p] for p in verdict.picks],
    }


def main(argv=None):
    files, args, answer_flags, judge_flags, sampler, llm_flags = parse(argv)
    found = prompts(answer_flags.data_path, answer_flags.max_prompts, files.seed)
    grouped = comparison.groups(found)
    reward = judges.read_name(judge_flags.judge).kind == "reward_model"
    of_category = (
        {} if reward else rubrics.for_categories(args.rubric, list(dict.fromkeys(r["category"] for r in found)))
    )
    settings = [files, args, answer_flags, judge_flags, sampler, llm_flags]
    with (
        evaluation.Result(
            "win_rate", files.output_dir, settings, [*answer_flags.data_path, *judges.inputs(judge_flags.judge)]
        ) as result,
        evaluation.open_cache(llm_flags, files.output_dir) as cache,
    ):
        judge = judges.open_judge(judge_flags, sampler, llm_flags, cache, result.usage)
        answered = evaluation.answers(result, found, answer_flags, sampler, llm_flags, cache)
        names = list(answered)
        verdicts = compare(judge, of_category, found, answered)
        games = games_of(verdicts, answered)
        for line in [*conflicts.of(judge, result.figures["responders"]), *judge.warnings(), comparison.few(grouped)]:
            if line:
                result.warn(**line)
        for (a, b), of_pair in verdicts.items():
            result.attempted += len(of_pair)
            result.lost(
                both(f"judge on {a} against {b}", f"{a} 대 {b}의 판정"),
                [v for v in of_pair.values() if isinstance(v, Failure)],
            )
        protocol(result, judge, of_category, games)
        result.figures["win_rates"] = win_rates(result, games, grouped, names, files.seed)
        result.figures["place"] = places(result, judge, games, names, files.seed)
        result.figures["longer"] = lengths(result, judge, games, names, result.figures["win_rates"], files.seed)
        if len(names) > 2 and games:
            result.figures["strengths"] = ranking(result, games, names, result.figures["win_rates"], files.seed)
        result.rows = rows(found, answered, verdicts)
    return result.code(answer_flags.max_failed)


if __name__ == "__main__":
    program.run(main, "stopped; start the same command again to resume: answers that arrived are in the cache")
