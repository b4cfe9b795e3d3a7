"""What a reader must hear before the figures of a reward model, in two languages."""

from korlhf.core.tables import both
from korlhf.eval.bag import LEAST_PAIRS
from korlhf.eval.reward_figures import significant, wider
from korlhf.eval.reward_tables import baseline_label

FOLLOWS_LENGTH = 0.5  # Spearman of score differences and length differences
WIDE = 0.1  # half an interval
EQUAL = 0.05  # share of the pairs with equal scores
COMMONEST = 0.1  # share of the answers with the same score
NEAR = 0.01  # share of the prompts


def unscored(result, name, failures, answers):
    """failures: llm.Failures among so many answers."""
    if failures:
        reason = f"{failures[0].kind}: {failures[0].reason}"
        result.warn(
            f"{name}: {len(failures)} of {answers} answers have no score, e.g. {reason}",
            f"{name}: 답변 {answers}개 가운데 {len(failures)}개는 점수를 매기지 못했습니다. 예: {reason}",
        )


def seen(result, name, found, left_out):
    """found: {"n": prompts, "same", "near": how many of them are in the training data, or near one there; the accuracy on their pairs, None
    without pairs: "on_same", "on_near", "on_new" (all but the same), "on_rest" (neither)}; left_out: the same ones are in no figure."""
    if found["same"] and left_out:
        result.warn(
            f"{name}: {found['same']} of {found['n']} prompts are in its training data; their pairs are in no figure "
            f"(accuracy there {_number(found['on_same'])}, on the others {_number(found['on_new'])})",
            f"{name}: 프롬프트 {found['n']}개 가운데 {found['same']}개가 학습 데이터에 있어, 그 쌍은 어떤 수치에도 넣지 않았습니다"
            f"(거기서의 정확도 {_number(found['on_same'])}, 나머지 {_number(found['on_new'])})",
        )
    elif found["same"]:
        result.warn(
            f"{name}: {found['same']} of {found['n']} prompts are in its training data, and none is new to all models: the "
            "figures say what it remembers, not what it is worth on new prompts",
            f"{name}: 프롬프트 {found['n']}개 가운데 {found['same']}개가 학습 데이터에 있고, 모든 모델에 새로운 프롬프트는 하나도 없습니다. 아래 수치는 "
            "모델이 외운 것을 보여 줄 뿐, 새로운 프롬프트에서의 실력이 아닙니다",
        )
    if found["near"] > NEAR * found["n"]:
        result.warn(
            f"{name}: {found['near']} of {found['n']} prompts differ little from one of its training data (accuracy there "
            f"{_number(found['on_near'])}, on the rest {_number(found['on_rest'])}): the figures may flatter it",
            f"{name}: 프롬프트 {found['n']}개 가운데 {found['near']}개가 학습 데이터의 프롬프트와 거의 같습니다(거기서의 정확도 "
            f"{_number(found['on_near'])}, 나머지 {_number(found['on_rest'])}). 실제보다 좋게 나왔을 수 있습니다",
        )


def unknown_training(result, name, why):
    """why: `both`"""
    result.warn(
        f"{name}: {why['en']}, so it is not known which of these prompts it has seen; give --train_data_path",
        f"{name}: {why['ko']} 이 가운데 어떤 프롬프트를 이미 보았는지 알 수 없습니다. --train_data_path를 주세요",
    )


def few(result, found):
    """found: the `share` of a model over all pairs."""
    low, high = wider(found)
    if (high - low) / 2 >= WIDE:
        result.warn(
            f"{found['n']} pairs are few: an accuracy over all of them has an interval from {low:.3f} to {high:.3f}",
            f"쌍 {found['n']}개는 적습니다. 전체 정확도의 구간이 {low:.3f}에서 {high:.3f}까지입니다",
        )


def chance(result, name, found):
    """found: reward_figures.accuracy"""
    categories = found["by_category"] if len(found["by_category"]) > 1 else {}
    below = {c: f for c, f in categories.items() if wider(f)[1] < 0.5}
    unclear = {c: f for c, f in categories.items() if wider(f)[0] <= 0.5 <= wider(f)[1]}
    if wider(found["all"])[0] <= 0.5:
        result.warn(
            f"{name}: its accuracy over all pairs, {_of(found['all'])}, is not above that of a coin (.500)",
            f"{name}: 전체 쌍에 대한 정확도 {_of(found['all'])}가 동전 던지기(.500)보다 높다고 할 수 없습니다",
        )
    if below:
        told = ", ".join(f"{c} {_of(f)}" for c, f in below.items())
        result.warn(
            f"{name}: below chance in {told}: it prefers the worse answer there",
            f"{name}: {told}에서 동전 던지기보다 못합니다. 거기서는 나쁜 답변을 더 좋아합니다",
        )
    if unclear:
        told = ", ".join(f"{c} {_of(f)}" for c, f in unclear.items())
        result.warn(
            f"{name}: no better than a coin, as far as these pairs tell, in {told}",
            f"{name}: 이 쌍들로 보아서는 {told}에서 동전 던지기보다 낫다고 할 수 없습니다",
        )


def beaten(result, name, own, found, compared):
    """own: the model's share; found: [(Baseline, its share)], the rules best where they were fitted first; compared: [compare with each].

    The classifier and the rule that was best where it was fitted are chosen without a look at these pairs. The rule that happens to be
    best on them is named only if the model is not above it.
    """
    chosen = [k for k, (b, _) in enumerate(found) if not b.name] + [k for k, (b, _) in enumerate(found) if b.name][:1]
    for k in chosen:
        if not significant(compared[k]):
            _not_beaten(result, name, own, *found[k], compared[k])
    rules = [k for k, (b, _) in enumerate(found) if b.name]
    best = max(rules, key=lambda k: found[k][1]["mean"])
    if best not in chosen and compared[best]["difference"] <= 0:
        label, f = baseline_label(found[best][0].name), found[best][1]
        result.warn(
            f"{name}: {own['mean']:.3f} is not above the trivial rule '{label['en']}', {f['mean']:.3f} on the same {f['n']} pairs "
            f"(the best of {len(rules)} rules on these very pairs, which flatters the rule)",
            f"{name}: 정확도({own['mean']:.3f})가 같은 {f['n']}쌍에서 단순 규칙 '{label['ko']}'의 정확도({f['mean']:.3f})를 넘지 못합니다"
            f"(규칙 {len(rules)}개 가운데 바로 이 쌍들에서 가장 나은 것이라 규칙에 유리한 비교)",
        )


def _not_beaten(result, name, own, baseline, f, c):
    label = baseline_label(baseline.name)
    what = both(
        f"the trivial rule '{label['en']}'" if baseline.name else "the classifier of words and character n-grams",
        f"단순 규칙 '{label['ko']}'" if baseline.name else "낱말과 글자 n-gram 분류기",
    )
    if not c["only_first"] + c["only_second"]:
        least = both("they do not differ on a single pair", "둘의 결과가 다른 쌍이 하나도 없습니다")
    elif c["visible"] is None:
        least = both(
            "they differ on too few pairs to tell any difference",
            "서로 다른 쌍이 너무 적어 어떤 차이도 가려낼 수 없습니다",
        )
    else:
        least = both(
            f"with these pairs a difference under {c['visible']:.3f} cannot be told from chance",
            f"이 쌍들로는 {c['visible']:.3f}보다 작은 차이를 우연과 구별할 수 없습니다",
        )
    verb = (
        both("is worse than", "보다 못합니다")
        if c["p"] < 0.05 and c["high"] < 0
        else both("does not significantly beat", "보다 유의하게 낫다고 할 수 없습니다")
    )
    figures = (
        f"{own['mean']:.3f} : {f['mean']:.3f}, {c['difference']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}], n = {c['n']}, "
        f"McNemar p = {c['p']:.2g}"
    )
    result.warn(
        f"{name} {verb['en']} {what['en']}: {figures}; {least['en']}",
        f"{name}: {what['ko']}{verb['ko']}. {figures}. {least['ko']}",
    )


def no_classifier(result, pairs):
    result.warn(
        f"no classifier beside: only {pairs} pairs to fit it to, and {LEAST_PAIRS} are needed; give --train_data_path",
        f"분류기와 견주지 못했습니다. 맞출 쌍이 {pairs}개뿐이고 {LEAST_PAIRS}개는 있어야 합니다. --train_data_path를 주세요",
    )


def nothing_beside(result):
    result.warn(
        "no trivial rules and no classifier beside: they need two different prompts or more, or --train_data_path",
        "단순 규칙, 분류기와 견주지 못했습니다. 서로 다른 프롬프트가 둘 이상 있거나 --train_data_path가 있어야 합니다",
    )


def length(result, name, found):
    """found: reward_figures.length"""
    rho, against = found["differences"], found["shorter" if found["differences"] > 0 else "longer"]
    if abs(rho) < FOLLOWS_LENGTH or (against and wider(against)[0] > 0.5):
        return
    likes, other = (
        (both("long", "긴"), both("shorter", "짧은")) if rho > 0 else (both("short", "짧은"), both("longer", "긴"))
    )
    right = (
        both(
            f"where the {other['en']} answer is the better one it is right in only {_of(against)}",
            f"{other['ko']} 답변이 더 좋은 쌍에서는 정확도가 {_of(against)}에 그칩니다",
        )
        if against
        else both(
            f"no pair here has the {other['en']} answer as the better one, which alone could show more",
            f"{other['ko']} 답변이 더 좋은 쌍이 하나도 없어 그 이상은 알 수 없습니다",
        )
    )
    result.warn(
        f"{name} mostly counts characters: it likes {likes['en']} answers (Spearman of score and length differences {rho:+.2f}), "
        f"and {right['en']}",
        f"{name}: 글자 수를 세는 것이나 다름없습니다. {likes['ko']} 답변을 좋아하고(점수 차와 길이 차의 스피어먼 상관 {rho:+.2f}), {right['ko']}",
    )


def spread(result, name, found):
    """found: reward_figures.spread"""
    if found["low"] == found["high"]:
        result.warn(
            f"{name}: every answer has the same score, {found['low']:g}: the model says nothing",
            f"{name}: 모든 답변의 점수가 {found['low']:g}(으)로 같습니다. 아무것도 가려내지 못하는 모델입니다",
        )
        return
    if found["commonest"] > COMMONEST or found["equal"] > EQUAL:
        result.warn(
            f"{name}: its scores are saturated: {found['commonest']:.1%} of the answers have one and the same score, "
            f"{found['equal']:.1%} of the pairs equal ones (each counts as half right)",
            f"{name}: 점수가 포화되어 있습니다. 답변의 {found['commonest']:.1%}가 똑같은 점수이고, 쌍의 {found['equal']:.1%}는 두 점수가 같습니다"
            "(절반만 맞은 것으로 셈)",
        )


def _of(share):
    return f"{share['mean']:.3f} (n = {share['n']})"


def _number(value):
    return "–" if value is None else f"{value:.3f}"
