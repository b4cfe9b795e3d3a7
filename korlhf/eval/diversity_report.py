"""Tables, differences and warnings of how varied answers are; the figures themselves are in diversity.py."""

from statistics import fmean, median

from korlhf.core import stats
from korlhf.core.errors import InputError
from korlhf.core.tables import estimate
from korlhf.eval import diversity, session
from korlhf.eval.texts import columns, say
from korlhf.korean.speech_level import words
from korlhf.llm.protocol import Failure

ALPHA = 0.05
MUCH_FALL, MUCH_SENTENCE, MUCH_SAME, MUCH_LONGER = 0.1, 0.1, 0.05, 0.5
COLLAPSED = 0.5  # distinct word pairs below this share of the reference's
OFTEN = 3  # answers, for a sentence that is warned of
LENGTHS = ("words", "characters", "tokens")
SHARES = ("looping", "empty", "not_korean", "ended", "cut")
WORSE = {"repetition": 1, "looping": 1, "empty": 1, "not_korean": 1, "ended": -1}  # which way is bad
COMPARED = ("words", "characters", "repetition", *SHARES)  # tokens of two tokenizers do not compare


def measure_name(key):
    return say(f"diversity.measures.{key}")


def rows(s):
    """Lines that show answers, each with its repetition, and whether it goes in circles."""

    def shown(key):
        return {
            name: [
                [None if isinstance(r, Failure) else diversity.of_answer(r)[key] for r in of_prompt]
                for of_prompt in by_record
            ]
            for name, by_record in s.answers.items()
        }

    return session.rows(s, repetition=shown("repetition"), looping=shown("looping"))


def tables(result, answers, reference):
    """Everything that texts tell: tables, figures, warnings. answers: of session.Session; reference:
    reference.Reference."""
    models, seed = diversity.collect(answers), result.settings["seed"]
    if reference.answers and reference.name not in models:
        raise InputError(
            f"--reference {reference.name}: none of its answers arrived; start again, or give another reference"
        )
    parts = [part(result, models, reference) for part in (_distinct_table, _phrases_table, _frequent_table)]
    parts.append(_answer_tables(result, models, seed))
    within = _within_table(result, models, seed)
    figures = {
        "models": {name: {key: value for part in parts for key, value in part[name].items()} for name in models},
        "differences": _difference_table(result, models, reference, seed),
        "within_prompt": within,
    }
    result.figures.update(figures)
    for name, figures_of in figures["models"].items():
        _warn_of_phrases(result, name, figures_of, reference)
        if name in reference.later and reference.answers:
            _warn_of_collapse(result, name, figures_of["distinct_2"], reference.name)
            _warn_of_drift(result, name, figures["differences"][name], reference.name)


def cell(of):
    """A stats.Estimate as a table's cell; None stays."""
    return of and estimate(of.mean, of.low, of.high)


def how_sure(difference, p):
    """A difference, its interval and p-value in the words of a warning."""
    return say("diversity.how_sure", p=p, **difference)


def _compared(spreads, reference, name):
    """[difference, p] of a model's Spread and the reference's, as cells. spreads: {name: Spread or None}."""
    mine, other = spreads[name], spreads.get(reference.name) if name in reference.others([name]) else None
    if mine is None or other is None:
        return [None, None]
    value, p = diversity.difference(mine, other)
    return [cell(value), p]


def _distinct_table(result, models, reference):
    """Distinct 1-, 2- and 3-grams, of all and on an equal budget. Returns {name: {"distinct_1": {...}, ...}}."""
    figures, rows = {name: {} for name in models}, []
    for n in (1, 2, 3):
        grams = {name: a.items(lambda text, n=n: diversity.ngrams(words(text), n)) for name, a in models.items()}
        size = diversity.budget(grams.values())
        equal = {name: diversity.equal_distinct(by_prompt, size) for name, by_prompt in grams.items()}
        for name, by_prompt in grams.items():
            every = [gram for of_prompt in by_prompt for gram in of_prompt]
            difference, p = _compared(equal, reference, name)
            figures[name][f"distinct_{n}"] = f = {
                "n": len(every),
                "all": diversity.distinct(every),
                "budget": size,
                "equal": cell(diversity.estimate(equal[name])) if equal[name] else None,
                "difference": difference,
                "p": p,
            }
            rows.append([f"distinct-{n}", name, *f.values()])
    head = columns("figure model ngrams of_all budget of_budget") + reference.column() + columns("p:4")
    result.table(say("diversity.distinct.title"), head, rows, [say("diversity.distinct.note")])
    return figures


def _phrases_table(result, models, reference):
    """Answers and phrases that occur under other prompts too. Returns {name: {"same": {...}, "shared": {...}}}."""
    kinds = {
        "same": lambda text: list(filter(None, [diversity.plain(text)])),
        "shared": lambda text: diversity.ngrams(words(text), diversity.PHRASE),
    }
    figures, rows = {name: {} for name in models}, []
    for key, of_text in kinds.items():
        spreads = {name: diversity.shared(a.items(of_text)) for name, a in models.items()}
        for name, spread in spreads.items():
            difference, p = _compared(spreads, reference, name)
            figures[name][key] = f = {
                "n": spread.n if spread else 0,
                "share": cell(diversity.estimate(spread)) if spread else None,
                "difference": difference,
                "p": p,
            }
            rows.append([say(f"diversity.phrases.{key}"), name, *f.values()])
    head = columns("what_is model n shared") + reference.column() + columns("p:4")
    result.table(say("diversity.phrases.title"), head, rows, [say("diversity.phrases.note")])
    return figures


def _frequent_table(result, models, reference):
    """The sentence and the opening that the most answers have. Returns {name: {"sentence": {...}, "opening":
    {...}}}."""
    kinds = {"sentence": diversity.sentences, "opening": lambda text: list(filter(None, [diversity.opening(text)]))}
    figures, rows = {name: {} for name in models}, []
    for key, of_text in kinds.items():
        having = {name: [set(of_text(text)) for text in a.texts()] for name, a in models.items()}
        for name, a in models.items():
            top = diversity.most_frequent([of_text(text) for text in a.texts()])
            if top is None:
                continue
            text, count = top
            other = having.get(reference.name) if reference.answers else None
            figures[name][key] = f = {
                "text": text,
                "answers": count,
                "n": len(a.texts()),
                "share": _share([[text in set(of_text(r.text)) for r in replies] for replies in a.replies]),
                "share_of_reference": fmean(text in of_answer for of_answer in other) if other else None,
            }
            shown = text if count > 1 else say("diversity.frequent.none_twice")
            rows.append([say(f"diversity.frequent.{key}"), name, shown, *list(f.values())[1:]])
    head = columns("what_is model text answer_count of share in_reference", reference=reference.name)
    result.table(say("diversity.frequent.title"), head, rows, [say("diversity.frequent.note")])
    return figures


def _share(by_prompt):
    """A share as a cell: the mean over prompts of the share of their answers, with Wilson's interval over prompts. None
    without any."""
    means = [fmean(values) for values in by_prompt if values]
    return estimate(fmean(means), *stats.wilson(sum(means), len(means))) if means else None


def _answer_tables(result, models, seed):
    """Means over single answers, and lengths. Returns {name: {measure: cell, or None if not known}}, with "median_..."
    of lengths."""
    measures = (*LENGTHS, "repetition", *SHARES)
    figures = {name: {key: _mean(a, key, seed) for key in measures} for name, a in models.items()}
    for name, a in models.items():
        for key in LENGTHS:
            known = [value for values in a.known(key).values() for value in values]
            figures[name][f"median_{key}"] = median(known) if known else None
    n = {name: len(a.texts()) for name, a in models.items()}
    single = ("repetition", *SHARES)
    result.table(
        say("diversity.single.title"),
        columns("model answer_count") + [{**measure_name(key), "digits": 3} for key in single],
        [[name, n[name], *(f[key] for key in single)] for name, f in figures.items()],
        [say("diversity.single.note")],
    )
    head = [c for key in LENGTHS for c in columns("mean_of:1 median:1", what=measure_name(key))]
    result.table(
        say("diversity.lengths.title"),
        columns("model answer_count") + head,
        [[name, n[name], *(f[f"{m}{key}"] for key in LENGTHS for m in ("", "median_"))] for name, f in figures.items()],
        [say("diversity.lengths.note")],
    )
    return figures


def _mean(answers, key, seed):
    """A measure's mean over answers as a cell, with its interval over prompts."""
    known = answers.known(key)
    if key in SHARES:
        return _share(known.values())
    pairs = [(value, i) for i, values in known.items() for value in values]
    return cell(stats.mean_interval(*zip(*pairs), seed)) if pairs else None


def _difference_table(result, models, reference, seed):
    """Paired differences from the reference over the prompts that both answered. Returns {name: {measure: {...}}}."""
    figures = {name: {} for name in reference.others(models)}
    for name in figures:
        for key in COMPARED:
            if f := _difference(models[name].means(key), models[reference.name].means(key), seed):
                figures[name][key] = f
    every = [(name, key, f) for name, by_key in figures.items() for key, f in by_key.items()]
    for (*_, f), adjusted in zip(every, stats.holm([f["p"] for *_, f in every])):
        f["holm"] = adjusted
    rows = [
        [name, measure_name(key), *(f[k] for k in ("n", "reference", "mean", "difference", "p", "holm"))]
        for name, key, f in every
        if f["difference"]["low"] or f["difference"]["high"]
    ]
    if rows:
        names = {"reference": reference.name}
        head = columns("model measure prompts reference_mean model_mean difference p:4 holm:4", **names)
        result.table(say("diversity.paired.title", **names), head, rows, [say("diversity.paired.note")])
    return figures


def _difference(mine, others, seed):
    """{"n", "mean", "reference", "difference", "p"} over the prompts that both have; None without any."""
    common = sorted(set(mine) & set(others))
    if not common:
        return None
    a, b = [mine[i] for i in common], [others[i] for i in common]
    value, p = stats.paired_difference(a, b, seed=seed)
    return {"n": len(common), "mean": fmean(a), "reference": fmean(b), "difference": cell(value), "p": p}


def _within_table(result, models, seed):
    """How far answers to one prompt differ, if there are several. Returns {name: {...}}."""
    figures = {}
    for name, a in models.items():
        several = [[r.text for r in replies] for replies in a.replies if len(replies) > 1]
        if several:
            different = [len(set(map(diversity.plain, texts))) / len(texts) for texts in several]
            figures[name] = {
                "n": len(several),
                "overlap": cell(stats.mean_interval([diversity.overlap(texts) for texts in several], seed=seed)),
                "different": cell(stats.mean_interval(different, seed=seed)),
            }
    if figures:
        rows = [[name, *f.values()] for name, f in figures.items()]
        head = columns("model prompts pairs_in_common different_answers")
        result.table(say("diversity.within.title"), head, rows, [say("diversity.within.note")])
    return figures


def _warn_of_phrases(result, name, figures, reference):
    top, same = figures.get("sentence"), figures["same"]["share"]
    if top and top["share"]["mean"] > MUCH_SENTENCE and top["answers"] >= OFTEN:
        other = top["share_of_reference"]
        known = reference.name != name and other is not None
        told = f" ({reference.name}: {other:.0%})" if known else ""
        result.warn(
            say("diversity.one_sentence", name=name, share=top["share"]["mean"], text=top["text"], reference=told)
        )
    if same and same["mean"] > MUCH_SAME:
        result.warn(say("diversity.word_for_word", name=name, share=same["mean"]))


def _warn_of_collapse(result, name, distinct, reference):
    value, difference = distinct["equal"], distinct["difference"]
    if difference is None or distinct["p"] >= ALPHA or difference["high"] >= 0:
        return
    before = value["mean"] - difference["mean"]
    if -difference["mean"] > MUCH_FALL * before:
        collapsed = value["mean"] < COLLAPSED * before
        result.warn(
            say(
                "diversity.less_varied",
                name=name,
                how=say("diversity.collapsed" if collapsed else "diversity.less"),
                budget=distinct["budget"],
                now=value["mean"],
                before=before,
                reference=reference,
                sure=how_sure(difference, distinct["p"]),
            )
        )


def _warn_of_drift(result, name, differences, reference):
    values = {"name": name, "reference": reference}
    for key, way in WORSE.items():
        f = differences.get(key)
        if f and f["holm"] < ALPHA and way * f["difference"]["mean"] > 0:
            means = {"now": f["mean"], "before": f["reference"]}
            result.warn(say("diversity.drift", what=measure_name(key), p=f["holm"], **means, **values))
    length = differences.get("characters")
    if length and abs(length["mean"] - length["reference"]) > MUCH_LONGER * length["reference"]:
        result.warn(say("diversity.length", now=length["mean"], before=length["reference"], **values))
