"""Tables, differences and warnings of how varied answers are; the figures themselves are in diversity.py."""

from collections import Counter
from functools import partial
from itertools import chain

from korlhf.core import stats
from korlhf.core.errors import InputError
from korlhf.core.tables import estimate
from korlhf.eval import diversity, session
from korlhf.eval.texts import cell, columns, say, table
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
    shown = {
        key: {
            name: [[None if isinstance(r, Failure) else diversity.of_answer(r)[key] for r in of] for of in by_record]
            for name, by_record in s.answers.items()
        }
        for key in ("repetition", "looping")
    }
    return session.rows(s, **shown)


def tables(result, answers, reference):
    """Everything that texts tell: tables, figures, warnings. answers: of session.Session; reference:
    reference.Reference."""
    models, seed = diversity.frames(answers), result.settings["seed"]
    if reference.answers and reference.name not in models:
        raise InputError(
            f"--reference {reference.name}: none of its answers arrived; start again, or give another reference"
        )
    prompts = len(next(iter(answers.values())))
    figures = {name: {} for name in models}
    _distinct_table(result, figures, models, prompts, reference)
    _phrases_table(result, figures, models, prompts, reference)
    _frequent_table(result, figures, models, reference)
    _answer_tables(result, figures, models, seed)
    within = _within_table(result, models, seed)
    differences = _difference_table(result, models, reference, seed)
    result.figures.update({"models": figures, "differences": differences, "within_prompt": within})
    for name, of_model in figures.items():
        _warn_of_phrases(result, name, of_model, reference)
        if name in reference.later and reference.answers:
            _warn_of_collapse(result, name, of_model["distinct_2"], reference.name)
            _warn_of_drift(result, name, differences[name], reference.name)


def how_sure(difference, p):
    """A difference, its interval and p-value in the words of a warning."""
    return say("diversity.how_sure", p=p, **difference)


def _compared(spreads, reference, key):
    """{name: {key: the Spread's value, "difference": from the reference, "p"}}, None what cannot be had. spreads:
    {name: Spread or None}."""
    out, base = {}, spreads.get(reference.name)
    others = reference.others(spreads)
    for name, spread in spreads.items():
        gap, p = diversity.estimate(spread, base) if name in others and spread and base else (None, None)
        out[name] = {key: spread and cell(diversity.estimate(spread)[0]), "difference": cell(gap), "p": p}
    return out


def _distinct_table(result, figures, models, prompts, reference):
    """Distinct 1-, 2- and 3-grams, of all and on an equal budget."""
    rows = []
    for n in (1, 2, 3):
        grams = {name: diversity.items(a, prompts, partial(diversity.ngrams, n=n)) for name, a in models.items()}
        size = diversity.budget(grams.values())
        equal = {name: diversity.equal_distinct(by_prompt, size) for name, by_prompt in grams.items()}
        for name, compared in _compared(equal, reference, "equal").items():
            every = list(chain.from_iterable(grams[name]))
            share = len(set(every)) / len(every) if every else None
            figures[name][f"distinct_{n}"] = f = {"n": len(every), "all": share, "budget": size, **compared}
            rows.append([f"distinct-{n}", name, *f.values()])
    head = columns("figure model ngrams of_all budget of_budget") + reference.column() + columns("p:4")
    table(result, "diversity.distinct", head, rows)


def _phrases_table(result, figures, models, prompts, reference):
    """Answers and phrases that occur under other prompts too."""
    rows = []
    for key, of_text in (("same", diversity.plain), ("shared", partial(diversity.ngrams, n=diversity.PHRASE))):
        spreads = {name: diversity.shared(diversity.items(a, prompts, of_text)) for name, a in models.items()}
        for name, compared in _compared(spreads, reference, "share").items():
            figures[name][key] = f = {"n": spreads[name].n if spreads[name] else 0, **compared}
            rows.append([say(f"diversity.phrases.{key}"), name, *f.values()])
    head = columns("what_is model n shared") + reference.column() + columns("p:4")
    table(result, "diversity.phrases", head, rows)


def _frequent_table(result, figures, models, reference):
    """The sentence and the opening that the most answers have."""
    rows = []
    for key, of_text in (("sentence", diversity.sentences), ("opening", diversity.openings)):
        parts = {name: a["text"].map(of_text) for name, a in models.items()}
        for name, of_model in parts.items():
            for text, count in Counter(chain.from_iterable(map(dict.fromkeys, of_model))).most_common(1):
                having = {
                    one: parts[one].map(lambda of, text=text: text in of) for one in {name, reference.name} & {*parts}
                }
                figures[name][key] = f = {
                    "text": text,
                    "answers": count,
                    "n": len(of_model),
                    "share": _share(having[name].groupby(models[name]["prompt"]).mean()),
                    "share_of_reference": float(having[reference.name].mean()) if reference.answers else None,
                }
                shown = text if count > 1 else say("diversity.frequent.none_twice")
                rows.append([say(f"diversity.frequent.{key}"), name, shown, *list(f.values())[1:]])
    head = "what_is model text answer_count of share in_reference"
    table(result, "diversity.frequent", head, rows, reference=reference.name)


def _share(by_prompt):
    """A share as a cell: the mean over prompts, with Wilson's interval over them. None without any."""
    known = by_prompt.dropna()
    return estimate(float(known.mean()), *stats.wilson(known.sum(), len(known))) if len(known) else None


def _answer_tables(result, figures, models, seed):
    """Means over single answers with their intervals over prompts, and lengths with their medians."""
    single = ("repetition", *SHARES)
    for name, a in models.items():
        for key in (*LENGTHS, "repetition"):
            known = a[a[key].notna()]
            mean = stats.mean_interval(known[key], known["prompt"]) if len(known) else None
            figures[name][key] = cell(mean)
        figures[name] |= {key: _share(a.groupby("prompt")[key].mean()) for key in SHARES}
        figures[name] |= {f"median_{key}": float(a[key].median()) if figures[name][key] else None for key in LENGTHS}
    counted = [(name, len(a), figures[name]) for name, a in models.items()]
    head = columns("model answer_count") + [{**measure_name(key), "digits": 3} for key in single]
    table(result, "diversity.single", head, [[name, n, *map(f.get, single)] for name, n, f in counted])
    head = [c for key in LENGTHS for c in columns("mean_of:1 median:1", what=measure_name(key))]
    both = [f"{kind}{key}" for key in LENGTHS for kind in ("", "median_")]
    rows = [[name, n, *map(f.get, both)] for name, n, f in counted]
    table(result, "diversity.lengths", columns("model answer_count") + head, rows)


def _difference_table(result, models, reference, seed):
    """Paired differences from the reference over the prompts that both answered. Returns {name: {measure: {...}}}."""
    means = {name: a.groupby("prompt")[list(COMPARED)].mean() for name, a in models.items()}
    figures, every = {name: {} for name in reference.others(models)}, []
    for name in figures:
        for key in COMPARED:
            both = means[name][[key]].join(means[reference.name][[key]], rsuffix="_reference", how="inner").dropna()
            if len(both):
                a, b = both.to_numpy().T
                gap, p = stats.paired_difference(a, b, seed=seed)
                values = {"n": len(both), "mean": float(a.mean()), "reference": float(b.mean())}
                figures[name][key] = f = {**values, "difference": cell(gap), "p": p}
                every.append((name, key, f))
    for (*_, f), adjusted in zip(every, stats.holm([f["p"] for *_, f in every])):
        f["holm"] = adjusted
    rows = [
        [name, measure_name(key), *(f[k] for k in ("n", "reference", "mean", "difference", "p", "holm"))]
        for name, key, f in every
        if f["difference"]["low"] or f["difference"]["high"]
    ]
    head = "model measure prompts reference_mean model_mean difference p:4 holm:4"
    table(result, "diversity.paired", head, rows, reference=reference.name)
    return figures


def _within_table(result, models, seed):
    """How far answers to one prompt differ, if there are several. Returns {name: {...}}."""
    figures = {}
    for name, a in models.items():
        several = [texts for _, texts in a.groupby("prompt")["text"] if len(texts) > 1]
        if several:
            different = [len(set(map(tuple, map(diversity.plain, texts)))) / len(texts) for texts in several]
            measured = {"overlap": [diversity.overlap(texts) for texts in several], "different": different}
            cells = {key: cell(stats.mean_interval(values, bounds=stats.UNIT)) for key, values in measured.items()}
            figures[name] = {"n": len(several), **cells}
    rows = [[name, *f.values()] for name, f in figures.items()]
    table(result, "diversity.within", "model prompts pairs_in_common different_answers", rows)
    return figures


def _warn_of_phrases(result, name, figures, reference):
    top, same = figures.get("sentence"), figures["same"]["share"]
    if top and top["share"]["mean"] > MUCH_SENTENCE and top["answers"] >= OFTEN:
        other = top["share_of_reference"]
        told = "" if other is None or reference.name == name else f" ({reference.name}: {other:.0%})"
        values = {"share": top["share"]["mean"], "text": top["text"], "reference": told}
        result.warn(say("diversity.one_sentence", name=name, **values))
    if same and same["mean"] > MUCH_SAME:
        result.warn(say("diversity.word_for_word", name=name, share=same["mean"]))


def _warn_of_collapse(result, name, distinct, reference):
    value, gap = distinct["equal"], distinct["difference"]
    if gap is None or distinct["p"] >= ALPHA or gap["high"] >= 0:
        return
    now, before = value["mean"], value["mean"] - gap["mean"]
    if before - now > MUCH_FALL * before:
        how = say("diversity.collapsed" if now < COLLAPSED * before else "diversity.less")
        values = {"now": now, "before": before, "reference": reference, "sure": how_sure(gap, distinct["p"])}
        result.warn(say("diversity.less_varied", name=name, how=how, budget=distinct["budget"], **values))


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
