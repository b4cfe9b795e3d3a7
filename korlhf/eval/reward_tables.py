"""The tables of reward models in two languages, from the figures of korlhf/eval/reward_figures.py."""

from korlhf.core.tables import both, column, estimate

RULES = {
    "longer": "더 긺",
    "shorter": "더 짧음",
    "trailing space": "끝에 빈칸 있음",
    "no trailing space": "끝에 빈칸 없음",
    "ends with punctuation": "문장 부호로 끝남",
    "ends without punctuation": "문장 부호 없이 끝남",
    "polite ending": "공손한 어미로 끝남",
    "no polite ending": "공손한 어미로 끝나지 않음",
    "more sentences": "문장 더 많음",
    "fewer sentences": "문장 더 적음",
    "more overlap with the prompt": "프롬프트와 겹치는 낱말 더 많음",
    "less overlap with the prompt": "프롬프트와 겹치는 낱말 더 적음",
}
STARTS = {
    "more ": "{} 더 많음",
    "fewer ": "{} 더 적음",
    "no word ": "낱말 '{}' 없음",
    "word ": "낱말 '{}' 있음",
    "no last syllable ": "끝 글자가 '{}' 아님",
    "last syllable ": "끝 글자가 '{}'",
}
CONFIDENCE = {
    "over": both("it is too sure of itself", "스스로를 과신합니다"),
    "under": both("it is not sure enough of itself", "스스로를 과소평가합니다"),
    "fair": both(
        "neither too sure nor too unsure, as far as these pairs tell",
        "이 쌍들로 보아서는 지나치지도 모자라지도 않습니다",
    ),
}
INTERVALS = both(
    "Behind an accuracy: 95 % Wilson interval, as if pairs were independent; over prompts: the same by a bootstrap that draws "
    "whole prompts. Where prompts have several pairs, go by the second. Equal scores are half right.",
    "정확도 뒤 괄호: 쌍이 서로 독립이라고 본 95 % 윌슨 구간. 프롬프트 기준: 프롬프트를 통째로 다시 뽑는 부트스트랩 95 % 구간. 한 프롬프트에 쌍이 "
    "여럿이면 뒤의 구간을 보세요. 점수가 같으면 절반만 맞은 것으로 셉니다.",
)
MCNEMAR = both(
    "p: McNemar's exact test, two-sided, on the pairs where one did better than the other (right against wrong, or either "
    "against a tie; a rule that says nothing of a pair is half right); as if pairs were independent, and not adjusted for the "
    "number of rows. Difference: 95 % bootstrap interval over prompts.",
    "p: 한쪽이 더 잘한 쌍(맞음 대 틀림, 또는 둘 중 하나와 무승부)만 센 맥니마 정확 검정, 양측. 규칙이 아무 말도 하지 못한 쌍은 절반만 맞은 것으로 "
    "셉니다. 쌍이 서로 독립이라고 보며 줄 수에 맞춘 보정은 하지 않았습니다. 차이: 프롬프트 부트스트랩 95 % 구간.",
)


def baseline_label(name):
    """A rule of korlhf/korean/trivial_rules.py, or "" for the classifier, in both languages."""
    if not name:
        return both("classifier: bag of words and character n-grams", "분류기: 낱말과 글자 n-gram 주머니")
    if name in RULES:
        return both(name, RULES[name])
    start = next(s for s in STARTS if name.startswith(s))
    return both(name, STARTS[start].format(name.removeprefix(start)))


def shown(share):
    """A share with its Wilson interval, as a cell; None stays."""
    return None if share is None else estimate(share["mean"], *share["wilson"])


def _over_prompts(share):
    low, high = share["bootstrap"]
    return f"[{low:.3f}, {high:.3f}]"


def accuracy(result, of_models):
    """of_models: {name: reward_figures.accuracy}"""
    rows = []
    for name, of in of_models.items():
        categories = of["by_category"].items() if len(of["by_category"]) > 1 else ()
        for category, f in [*categories, (both("all", "전체"), of["all"])]:
            rows.append([name, category, shown(f), _over_prompts(f), f["n"], f["prompts"], f["mean_margin"]])
    result.table(
        both("Accuracy by category", "범주별 정확도"),
        [
            column("model", "모델"),
            column("category", "범주"),
            column("accuracy", "정확도"),
            column("over prompts", "프롬프트 기준"),
            column("pairs", "쌍"),
            column("prompts", "프롬프트"),
            column("mean margin", "평균 점수 차"),
        ],
        rows,
        [INTERVALS],
    )


def beside(result, of_models, found, compared, fitted_on):
    """Models and what knows nothing on the same pairs.

    of_models: {name: share}; found: [(reward_figures.Baseline, its share)]; compared: {name: [compare with each]}; fitted_on: `both`.
    """
    names = list(of_models)
    rows = [[name, shown(f), f["n"], None, *[None] * (2 * len(names))] for name, f in of_models.items()]
    order = sorted(range(len(found)), key=lambda k: (found[k][0].name != "", -found[k][1]["mean"]))
    for k in order:
        baseline, f = found[k]
        against = [
            cell
            for name in names
            for c in (compared[name][k],)
            for cell in (estimate(c["difference"], c["low"], c["high"]), c["p"])
        ]
        rows.append([baseline_label(baseline.name), shown(f), f["n"], baseline.fitted, *against])
    columns = [
        column("what", "상대"),
        column("accuracy", "정확도"),
        column("pairs", "쌍"),
        column("on what it was fitted to", "맞춘 데이터에서"),
    ]
    for name in names:
        columns += [column(f"{name} minus it", f"{name} − 상대"), column("p", "p", 4)]
    result.table(
        both(
            "Beside what knows nothing: trivial rules, and a bag of words",
            "아무것도 모르는 상대와 나란히: 단순 규칙과 낱말 주머니",
        ),
        columns,
        rows,
        [fitted_on, MCNEMAR],
    )


def length(result, of_models):
    """of_models: {name: reward_figures.length}"""
    rows = [
        [
            name,
            f["answers"],
            f["differences"],
            f["prefers_longer"],
            f["chosen_longer"],
            shown(f["longer"]),
            _n(f["longer"]),
            shown(f["shorter"]),
            _n(f["shorter"]),
        ]
        for name, f in of_models.items()
    ]
    result.table(
        both("Score and length", "점수와 길이"),
        [
            column("model", "모델"),
            column("score and length", "점수와 길이"),
            column("their differences", "점수 차와 길이 차"),
            column("prefers the longer", "긴 쪽을 택함"),
            column("the longer is better", "긴 쪽이 좋음"),
            column("right if the longer is better", "긴 쪽이 좋을 때 정확도"),
            column("pairs", "쌍"),
            column("right if the shorter is better", "짧은 쪽이 좋을 때 정확도"),
            column("pairs", "쌍"),
        ],
        rows,
        [
            both(
                "Lengths in characters. The first two are Spearman's rank correlations: of all answers, and of the pairs' "
                "differences, better minus worse.",
                "길이는 글자 수입니다. 앞의 두 값은 스피어먼 순위 상관으로, 차례로 모든 답변과 쌍의 차이(좋은 답변 − 나쁜 답변)에서 쟀습니다.",
            )
        ],
    )


def _n(share):
    return share["n"] if share else 0


def calibration(result, of_models):
    """of_models: {name: reward_figures.calibration}"""
    rows, notes = [], []
    for name, f in of_models.items():
        rows += [
            [name, f"{b['from']:.2f}–{b['to']:.2f}", b["predicted"], estimate(b["won"], *b["interval"]), b["n"]]
            for b in f["bins"]
        ]
        told = CONFIDENCE[f["confidence"]]
        notes.append(
            both(
                f"{name}: expected calibration error {f['error']:.3f}; mean probability {f['predicted']:.3f}, "
                f"right {f['won']:.3f}: {told['en']}.",
                f"{name}: 기대 보정 오차 {f['error']:.3f}. 확률의 평균 {f['predicted']:.3f}, 실제로 맞은 비율 {f['won']:.3f}. {told['ko']}.",
            )
        )
    result.table(
        both(
            "Calibration: the probability that a score difference stands for, and what is so",
            "보정: 점수 차가 뜻하는 확률과 실제",
        ),
        [
            column("model", "모델"),
            column("sigmoid(difference)", "sigmoid(점수 차)"),
            column("mean", "평균"),
            column("right", "맞은 비율"),
            column("pairs", "쌍"),
        ],
        rows,
        notes,
    )


def agreement(result, of_pairs):
    """of_pairs: {(name, name): reward_figures.agreement}"""
    rows = [
        [
            a,
            b,
            f["alike"],
            f["kappa"],
            f["spearman"],
            f["only_first"],
            f["only_second"],
            estimate(f["difference"], f["low"], f["high"]),
            f["p"],
            f["n"],
        ]
        for (a, b), f in of_pairs.items()
    ]
    result.table(
        both("Agreement of the reward models", "보상 모델끼리의 일치"),
        [
            column("first", "첫째"),
            column("second", "둘째"),
            column("ordered alike", "같은 순서"),
            column("Cohen's kappa", "코헨의 카파"),
            column("Spearman of scores", "점수의 스피어먼 상관"),
            column("first did better", "첫째가 나음"),
            column("second did better", "둘째가 나음"),
            column("difference of accuracy", "정확도 차"),
            column("p", "p", 4),
            column("pairs", "쌍"),
        ],
        rows,
        [
            both(
                "Kappa: agreement on which pairs they get right, beyond what their accuracies bring by themselves.",
                "카파는 어느 쌍을 맞히는지가 두 정확도만으로 생기는 몫을 빼고도 얼마나 일치하는지를 나타냅니다.",
            ),
            MCNEMAR,
        ],
    )
