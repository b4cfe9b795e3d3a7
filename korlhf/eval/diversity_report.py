"""Tables, differences and warnings of how varied answers are; the figures themselves are in diversity.py.

Ancestors of the reference (base, of sft) are compared with it like all others, but no warning says that they have drifted.
"""

from dataclasses import dataclass
from statistics import fmean, median

from korlhf.core import stats
from korlhf.core.tables import both, column, estimate
from korlhf.eval import diversity
from korlhf.korean.speech_level import words
from korlhf.llm.client import Failure

ALPHA = 0.05
MUCH_FALL, MUCH_SENTENCE, MUCH_SAME, MUCH_LONGER = 0.1, 0.1, 0.05, 0.5
COLLAPSED = 0.5  # distinct word pairs below this share of the reference's
OFTEN = 3  # answers, for a sentence that is warned of
SHARES = ("looping", "empty", "not_korean", "ended", "cut")
WORSE = {"repetition": 1, "looping": 1, "empty": 1, "not_korean": 1, "ended": -1}  # which way is bad
COMPARED = ("words", "characters", "repetition", *SHARES)  # tokens of two tokenizers do not compare
NAMES = {
    "words": both("words", "어절 수"),
    "characters": both("characters", "글자 수"),
    "tokens": both("tokens", "토큰 수"),
    "repetition": both("repeated 3-grams", "되풀이된 3-gram"),
    "looping": both("going in circles", "같은 말을 맴돎"),
    "empty": both("empty", "빈 답변"),
    "not_korean": both("not Korean", "한국어 아님"),
    "ended": both("ended by itself (EOS)", "스스로 끝냄(EOS)"),
    "cut": both("cut off", "중간에 잘림"),
}
MODEL, P_VALUE = column("model", "모델"), column("p", "p", 4)


@dataclass(frozen=True)
class Comparison:
    """reference: the model that the others are compared with; answers: whether it is among the responders; later: those that may have
    drifted from it."""

    reference: str
    answers: bool
    later: tuple[str, ...]

    def others(self, names):
        """The names that are compared with the reference by their answers."""
        return [name for name in names if name != self.reference] if self.answers else []


@dataclass(frozen=True)
class Answers:
    """The answers of one model. replies: for each prompt its llm.Replies, failures left out; values: diversity.of_answer of each."""

    replies: list
    values: list

    def items(self, of_text):
        """For each prompt the items of all its answers. of_text: function of an answer's text -> list of items."""
        return [[item for reply in replies for item in of_text(reply.text)] for replies in self.replies]

    def texts(self):
        return [reply.text for replies in self.replies for reply in replies]

    def means(self, name):
        """{number of the prompt: mean of a value over its answers}, of the prompts where it is known."""
        known = {i: [v[name] for v in values if v[name] is not None] for i, values in enumerate(self.values)}
        return {i: fmean(of_prompt) for i, of_prompt in known.items() if of_prompt}


def collect(answered):
    """{name: Answers} of evaluation.answers."""
    replies = {
        name: [[r for r in of_prompt if not isinstance(r, Failure)] for of_prompt in of_model]
        for name, of_model in answered.items()
    }
    return {
        name: Answers(of_model, [[diversity.of_answer(r) for r in of_prompt] for of_prompt in of_model])
        for name, of_model in replies.items()
        if any(of_model)
    }


def beside(answered, key):
    """A value of diversity.of_answer in the form that evaluation.rows takes."""
    return {
        name: [
            [None if isinstance(r, Failure) else diversity.of_answer(r)[key] for r in of_prompt]
            for of_prompt in of_model
        ]
        for name, of_model in answered.items()
    }


def cell(found):
    """A stats.Estimate as a table's cell; None stays."""
    return None if found is None else estimate(found.mean, found.low, found.high)


def in_words(difference, p):
    """A difference, its interval and p-value in the words of a warning."""
    value, low, high = (f"{difference[key]:.3f}" for key in ("mean", "low", "high"))
    return both(f"difference {value}, {low} to {high}, p = {p:.2g}", f"차이 {value}, 구간 [{low}, {high}], p = {p:.2g}")


def compared(found, comparison, name):
    """[difference, p] of a model's Spread and the reference's, as cells. found: {name: Spread or None}."""
    mine, others = (
        found[name],
        found.get(comparison.reference) if comparison.answers and name != comparison.reference else None,
    )
    if mine is None or others is None:
        return [None, None]
    value, p = diversity.difference(mine, others)
    return [cell(value), p]


def difference_column(comparison):
    return column(f"difference from {comparison.reference}", f"{comparison.reference} 대비 차이")


def distinct_table(result, models, comparison):
    """Distinct 1-, 2- and 3-grams, of all and on an equal budget. Returns {name: {"distinct_1": {...}, ...}}."""
    figures, rows = {name: {} for name in models}, []
    for n in (1, 2, 3):
        grams = {name: a.items(lambda text: diversity.ngrams(words(text), n)) for name, a in models.items()}
        size = diversity.budget(grams.values())
        equal = {name: diversity.equal_distinct(by_prompt, size) for name, by_prompt in grams.items()}
        for name, by_prompt in grams.items():
            every = [gram for of_prompt in by_prompt for gram in of_prompt]
            value = cell(diversity.estimate(equal[name])) if equal[name] else None
            difference, p = compared(equal, comparison, name)
            figures[name][f"distinct_{n}"] = {
                "n": len(every),
                "all": diversity.distinct(every),
                "budget": size,
                "equal": value,
                "difference": difference,
                "p": p,
            }
            rows.append([f"distinct-{n}", name, len(every), diversity.distinct(every), size, value, difference, p])
    result.table(
        both("Distinct n-grams over all of a model's answers", "모델의 답변 전체에서 서로 다른 n-gram의 비율"),
        [
            column("figure", "지표"),
            MODEL,
            column("n-grams", "n-gram 수"),
            column("of all", "전체에서"),
            column("budget", "기준 개수"),
            column("of the budget", "기준 개수에서"),
            difference_column(comparison),
            P_VALUE,
        ],
        rows,
        [
            both(
                "Higher = more varied. 'Of all' falls with the number of n-grams. 'Of the budget' is the share expected among "
                "equally many n-grams of each model, drawn without replacement: it compares, within this table. Words count without "
                "the punctuation at their edges. p is not adjusted for the number of rows.",
                "높을수록 다양합니다. ‘전체에서’는 n-gram이 많을수록 낮아지므로, 모델마다 같은 개수를 비복원으로 뽑을 때 기대되는 "
                "‘기준 개수에서’로, 이 표 안에서 비교하세요. n-gram은 양 끝의 문장 부호를 뗀 어절로 셉니다. "
                "p는 줄 수에 맞추어 보정하지 않은 값입니다.",
            )
        ],
    )
    return figures


def phrases_table(result, models, comparison):
    """Answers and phrases that occur under other prompts too. Returns {name: {"same": {...}, "shared": {...}}}."""
    kinds = {
        "same": (both("whole answers", "답변 전체"), lambda text: list(filter(None, [diversity.plain(text)]))),
        "shared": (
            both("their 3-grams", "답변의 3-gram"),
            lambda text: diversity.ngrams(words(text), diversity.PHRASE),
        ),
    }
    figures, rows = {name: {} for name in models}, []
    for key, (title, of_text) in kinds.items():
        found = {name: diversity.shared(a.items(of_text)) for name, a in models.items()}
        for name, spread in found.items():
            value = cell(diversity.estimate(spread)) if spread else None
            difference, p = compared(found, comparison, name)
            figures[name][key] = {"n": spread.n if spread else 0, "share": value, "difference": difference, "p": p}
            rows.append([title, name, figures[name][key]["n"], value, difference, p])
    result.table(
        both("The same again under other prompts", "다른 프롬프트에도 똑같이 나오는 말"),
        [
            column("what", "대상"),
            MODEL,
            column("n", "개수"),
            column("share found in an answer to another prompt", "다른 프롬프트의 답변에도 있는 비율"),
            difference_column(comparison),
            P_VALUE,
        ],
        rows,
        [
            both(
                "Lower = more varied. It rises with the number of prompts, the same for every model, and of 3-grams with the length "
                "of the answers. Empty answers are left out. p is not adjusted for the number of rows.",
                "낮을수록 다양합니다. 프롬프트가 많을수록 높아지며(프롬프트는 모든 모델에 똑같음), 3-gram의 비율은 답변이 길수록 높아집니다. "
                "빈 답변은 빼고 셉니다. p는 줄 수에 맞추어 보정하지 않은 값입니다.",
            )
        ],
    )
    return figures


def frequent_table(result, models, comparison):
    """The sentence and the opening that the most answers have. Returns {name: {"sentence": {...}, "opening": {...}}}."""
    kinds = {
        "sentence": (both("sentence", "문장"), diversity.sentences),
        "opening": (both("first two words", "첫 두 어절"), lambda text: list(filter(None, [diversity.opening(text)]))),
    }
    figures, rows = {name: {} for name in models}, []
    for key, (title, of_text) in kinds.items():
        having = {name: [set(of_text(text)) for text in a.texts()] for name, a in models.items()}
        for name, a in models.items():
            top = diversity.most_frequent([of_text(text) for text in a.texts()])
            if top is None:
                continue
            text, count = top
            share = share_of_prompts([[text in set(of_text(r.text)) for r in replies] for replies in a.replies])
            other = having.get(comparison.reference) if comparison.answers else None
            of_reference = fmean(text in found for found in other) if other else None
            n, shown = len(a.texts()), text if count > 1 else both("(none twice)", "(두 번 나온 것 없음)")
            figures[name][key] = {
                "text": text,
                "answers": count,
                "n": n,
                "share": share,
                "share_of_reference": of_reference,
            }
            rows.append([title, name, shown, count, n, share, of_reference])
    result.table(
        both("What the most answers say", "가장 많은 답변에 나오는 말"),
        [
            column("what", "대상"),
            MODEL,
            column("text", "내용"),
            column("answers", "답변 수"),
            column("of", "전체"),
            column("share", "비율"),
            column(f"in {comparison.reference}'s answers", f"{comparison.reference}의 답변에서"),
        ],
        rows,
        [
            both(
                "The most frequent one of each model, so its share is a little high by choice.",
                "모델마다 가장 잦은 것을 골랐으므로 비율이 실제보다 조금 높게 나옵니다.",
            )
        ],
    )
    return figures


def share_of_prompts(by_prompt):
    """A share as a cell: the mean over prompts of the share of their answers, with Wilson's interval over prompts. None without any."""
    means = [fmean(flags) for flags in by_prompt if flags]
    return estimate(fmean(means), *stats.wilson(sum(means), len(means))) if means else None


def answer_tables(result, models, seed):
    """Means over single answers, and lengths. Returns {name: {measure: cell, or None if not known}}, with "median_..." of lengths."""
    figures = {name: {key: _mean(a, key, seed) for key in NAMES} for name, a in models.items()}
    for name, a in models.items():
        for key in ("words", "characters", "tokens"):
            known = [v[key] for values in a.values for v in values if v[key] is not None]
            figures[name][f"median_{key}"] = median(known) if known else None
    n = {name: len(a.texts()) for name, a in models.items()}
    result.table(
        both("Single answers", "답변 하나하나"),
        [
            MODEL,
            column("answers", "답변 수"),
            *(column(NAMES[k]["en"], NAMES[k]["ko"]) for k in ("repetition", *SHARES)),
        ],
        [[name, n[name], *(of_model[k] for k in ("repetition", *SHARES))] for name, of_model in figures.items()],
        [
            both(
                "Repeated 3-grams: of words, within one answer. Going in circles: a run of words three times in a row, or half of "
                "the word pairs said before. A dash: the responder does not tell.",
                "되풀이된 3-gram은 한 답변 안의 어절로 셉니다. 같은 말을 맴돎: 같은 어절 묶음이 세 번 이어지거나 어절 쌍의 절반 이상이 이미 "
                "나온 것입니다. –는 응답자가 알려 주지 않은 값입니다.",
            )
        ],
    )
    result.table(
        both("Length of the answers", "답변의 길이"),
        [
            MODEL,
            column("answers", "답변 수"),
            *(
                column(*texts, 1)
                for k in ("words", "characters", "tokens")
                for texts in ((f"{NAMES[k]['en']}, mean", f"{NAMES[k]['ko']} 평균"), ("median", "중앙값"))
            ),
        ],
        [
            [name, n[name], *(of_model[f"{m}{k}"] for k in ("words", "characters", "tokens") for m in ("", "median_"))]
            for name, of_model in figures.items()
        ],
        [
            both(
                "Tokens (with the one that ends the answer) compare only between models of one tokenizer.",
                "토큰 수(답변을 끝내는 토큰 포함)는 토크나이저가 같은 모델끼리만 비교할 수 있습니다.",
            )
        ],
    )
    return figures


def _mean(answers, key, seed):
    """A measure's mean over answers as a cell, with its interval over prompts."""
    if key in SHARES:
        return share_of_prompts([[v[key] for v in values if v[key] is not None] for values in answers.values])
    pairs = [(v[key], i) for i, values in enumerate(answers.values) for v in values if v[key] is not None]
    return cell(stats.mean_interval(*zip(*pairs), seed)) if pairs else None


def difference_table(result, models, comparison, seed):
    """Paired differences from the reference over the prompts that both answered. Returns {name: {measure: {...}}}."""
    found = [
        (name, key, _difference(models[name].means(key), models[comparison.reference].means(key), seed))
        for name in comparison.others(models)
        for key in COMPARED
    ]
    found = [(name, key, of_one) for name, key, of_one in found if of_one]
    for (*_, of_one), adjusted in zip(found, stats.holm([of_one["p"] for *_, of_one in found])):
        of_one["holm"] = adjusted
    rows = [
        [name, NAMES[key], f["n"], f["reference"], f["mean"], f["difference"], f["p"], f["holm"]]
        for name, key, f in found
        if f["difference"]["low"] or f["difference"]["high"]
    ]
    if rows:
        result.table(
            both(
                f"Paired differences from {comparison.reference}, the same prompts",
                f"같은 프롬프트에서 {comparison.reference} 대비 짝지은 차이",
            ),
            [
                MODEL,
                column("measure", "항목"),
                column("prompts", "프롬프트"),
                column(f"mean of {comparison.reference}", f"{comparison.reference} 평균"),
                column("mean of the model", "모델 평균"),
                column("difference", "차이"),
                P_VALUE,
                column("p (Holm)", "p (홀름)", 4),
            ],
            rows,
            [
                both(
                    "p (Holm): adjusted for the number of comparisons. Measures without any difference are left out.",
                    "p (홀름)은 비교 횟수에 맞추어 보정한 값입니다. 차이가 전혀 없는 항목은 뺐습니다.",
                )
            ],
        )
    return {name: {key: of_one for who, key, of_one in found if who == name} for name in comparison.others(models)}


def _difference(mine, others, seed):
    """{"n", "mean", "reference", "difference", "p"} over the prompts that both have; None without any."""
    common = sorted(set(mine) & set(others))
    if not common:
        return None
    a, b = [mine[i] for i in common], [others[i] for i in common]
    value, p = stats.paired_difference(a, b, seed=seed)
    return {"n": len(common), "mean": fmean(a), "reference": fmean(b), "difference": cell(value), "p": p}


def within_table(result, models, seed):
    """How far answers to one prompt differ, if there are several. Returns {name: {...}}."""
    figures, rows = {}, []
    for name, a in models.items():
        several = [[r.text for r in replies] for replies in a.replies if len(replies) > 1]
        if not several:
            continue
        overlap = stats.mean_interval([diversity.overlap(texts) for texts in several], seed=seed)
        different = stats.mean_interval(
            [len(set(map(diversity.plain, texts))) / len(texts) for texts in several], seed=seed
        )
        figures[name] = {"n": len(several), "overlap": cell(overlap), "different": cell(different)}
        rows.append([name, len(several), cell(overlap), cell(different)])
    if rows:
        result.table(
            both("Several answers to one prompt", "한 프롬프트에 대한 여러 답변"),
            [
                MODEL,
                column("prompts", "프롬프트"),
                column("word pairs in common", "공통 어절 쌍"),
                column("different answers", "서로 다른 답변"),
            ],
            rows,
            [
                both(
                    "Word pairs in common of two answers: 0 = none, 1 = the same text. Lower = more varied.",
                    "두 답변에 함께 나오는 어절 쌍의 비율입니다. 0은 전혀 없음, 1은 같은 글이며, 낮을수록 다양합니다.",
                )
            ],
        )
    return figures


def warn(result, figures, comparison):
    """Warnings of figures["models"] and figures["differences"], which the functions above returned."""
    for name, of_model in figures["models"].items():
        _warn_phrases(result, name, of_model, comparison)
        if name in comparison.later and comparison.answers:
            _warn_collapse(result, name, of_model["distinct_2"], comparison.reference)
            _warn_drift(result, name, figures["differences"][name], comparison.reference)


def _warn_phrases(result, name, figures, comparison):
    top, same = figures.get("sentence"), figures["same"]["share"]
    if top and top["share"]["mean"] > MUCH_SENTENCE and top["answers"] >= OFTEN:
        other = top["share_of_reference"]
        known = comparison.reference != name and other is not None
        other = f" ({comparison.reference}: {other:.0%})" if known else ""
        result.warn(
            f'{name}: one sentence is in {top["share"]["mean"]:.0%} of its answers: "{top["text"]}"{other}',
            f"{name}: 같은 문장이 답변의 {top['share']['mean']:.0%}에 나옵니다: “{top['text']}”{other}",
        )
    if same and same["mean"] > MUCH_SAME:
        result.warn(
            f"{name}: {same['mean']:.0%} of its answers are word for word an answer to another prompt",
            f"{name}: 답변의 {same['mean']:.0%}가 다른 프롬프트에 대한 답변과 글자까지 똑같습니다",
        )


def _warn_collapse(result, name, found, reference):
    value, difference = found["equal"], found["difference"]
    if difference is None or found["p"] >= ALPHA or difference["high"] >= 0:
        return
    before = value["mean"] - difference["mean"]
    if -difference["mean"] > MUCH_FALL * before:
        how_sure = in_words(difference, found["p"])
        how = (
            both("its answers have collapsed", "답변이 획일화되었습니다")
            if value["mean"] < COLLAPSED * before
            else both("its answers have become less varied", "답변이 덜 다양해졌습니다")
        )
        result.warn(
            f"{name}: {how['en']}: among {found['budget']} word pairs {value['mean']:.0%} are distinct, "
            f"{before:.0%} with {reference} ({how_sure['en']})",
            f"{name}: {how['ko']}. 어절 쌍 {found['budget']}개 가운데 서로 다른 것이 {value['mean']:.0%}이며, "
            f"{reference}에서는 {before:.0%}입니다 ({how_sure['ko']})",
        )


def _warn_drift(result, name, differences, reference):
    for key, way in WORSE.items():
        found = differences.get(key)
        if found and found["holm"] < ALPHA and way * found["difference"]["mean"] > 0:
            shares = f"{found['mean']:.1%}", f"{found['reference']:.1%}"
            result.warn(
                f"{name}: {NAMES[key]['en']}: {shares[0]}, {shares[1]} with {reference} (p = {found['holm']:.2g}, Holm)",
                f"{name}: {NAMES[key]['ko']}: {shares[0]}, {reference}에서는 {shares[1]} (p = {found['holm']:.2g}, 홀름 보정)",
            )
    length = differences.get("characters")
    if length and abs(length["mean"] - length["reference"]) > MUCH_LONGER * length["reference"]:
        result.warn(
            f"{name}: its answers have {length['mean']:.0f} characters on average, {reference}'s {length['reference']:.0f}: "
            "a difference of more than half",
            f"{name}: 답변이 평균 {length['mean']:.0f}자로, {reference}의 {length['reference']:.0f}자와 절반 넘게 차이 납니다",
        )
