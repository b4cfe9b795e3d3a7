"""Tables of reward models, from the figures of reward.py, and what a reader must hear before them."""

from itertools import combinations

from korlhf.core.tables import estimate
from korlhf.data.terms import licence_of
from korlhf.eval import reward
from korlhf.eval.reward import significant
from korlhf.eval.session import template_line, template_of
from korlhf.eval.texts import columns, named, rule_name, say, table
from korlhf.korean import trivial_rules
from korlhf.korean.ngram_classifier import LEAST_PAIRS

FOLLOWS_LENGTH = 0.5  # Spearman of score differences and length differences
WIDE = 0.1  # half an interval
EQUAL = 0.05  # share of the pairs with equal scores
COMMONEST = 0.1  # share of the answers with the same score


def _cell(share):
    """A share with its interval, as a cell; None stays."""
    return share and estimate(share["mean"], *share["interval"])


def _told(share):
    return f"{share['mean']:.3f} (n = {share['n']})"


def _difference(c):
    return estimate(c["difference"], c["low"], c["high"])


def models(result, pairs, scores):
    """Figures of the models by themselves, their accuracy as a table; warns where they are not what they seem."""
    groups, figures, rows, by_margin = pairs["prompt_id"], {}, [], []
    for name, s in scores.items():
        margins = reward.margins_of(s)
        f = figures[name] = {
            "accuracy": reward.accuracy(pairs, margins),
            "length": reward.length(pairs, s),
            "calibration": reward.calibration(margins, groups),
            "spread": reward.spread(pairs, s),
            "by_margin": reward.by_label_margin(pairs, margins),
        }
        by_margin.append((name, f["by_margin"]))
        warn_of_length(result, name, f["length"])
        _warn_of_spread(result, name, f["spread"])
        categories, whole = f["accuracy"]["by_category"], f["accuracy"]["all"]
        categories = categories if len(categories) > 1 else {}
        _warn_of_chance(result, name, whole, categories)
        for category, part in [*categories.items(), (say("comparison.all"), whole)]:
            rows.append([name, category, _cell(part), part["n"], part["prompts"], part["mean_margin"]])
    low, high = whole["interval"]
    if (high - low) / 2 >= WIDE:
        result.warn(say("reward.few", n=whole["n"], low=low, high=high))
    result.figures["models"] = figures
    table(result, "reward.accuracy", "model category accuracy pairs prompts margin", rows)
    _margin_table(result, by_margin)


def _margin_table(result, found):
    """Accuracy from the smallest margins of the labels to the largest. found: [(model, reward.by_label_margin)]"""
    rows, notes = [], [say("reward.by_margin.note")]
    for name, of in found:
        for b in of["bins"] if of else ():
            rows.append([name, f"{b['from']:.3g}–{b['to']:.3g}", estimate(b["accuracy"], *b["ci95"]), b["n"]])
        if of and (c := of["ceiling"]):
            values = {key: c[key] for key in ("ceiling", "low", "high")}
            notes.append(say("reward.by_margin.ceiling", name=name, **values))
    table(result, "reward.by_margin", "model label_margin accuracy pairs", rows, notes)


def baselines(result, fitted, pairs, scores):
    """Models, classifier and rules on the same pairs, over all and by category; warns where a model does not beat them.

    fitted: (fit, where) of reward_pairs.to_fit, and the pairs that no model scored.
    """
    (fit, where, left_out), seed, groups = fitted, result.settings["seed"], pairs["prompt_id"]
    rights = {name: reward.results(reward.margins_of(s)) for name, s in scores.items()}
    own, found = {name: reward.share(right, groups) for name, right in rights.items()}, []
    for b in reward.baselines(fit, pairs, left_out, seed):
        right = b.pop("right")
        against = {name: reward.compare(of, right, groups) for name, of in rights.items()}
        by_category = _by_category(right, pairs)
        found.append({**b, **reward.share(right, groups), "by_category": by_category, "against": against})
    # the classifier, the best rule of each category, and the rule that was best where it was fitted
    chosen = [b for b in found if b["rule"] in (None, trivial_rules.EACH)]
    chosen.append(next(b for b in found if b not in chosen))
    for name in own:
        for b in chosen:
            if not significant(b["against"][name]):
                _warn_of_unbeaten(result, name, own[name], b)
    if found[0]["rule"] is not None:
        result.warn(say("reward.no_classifier", n=len(fit), least=LEAST_PAIRS))
    rows = [[name, _cell(f), f["n"], None, None, *[None] * (2 * len(own))] for name, f in own.items()]
    for b in sorted(found, key=lambda b: (b["rule"] is not None, -b["mean"])):
        differences = [cell for c in b["against"].values() for cell in (_difference(c), c["p"])]
        rows.append([rule_name(b["rule"] or ""), _cell(b), b["n"], b["with_left_out"], b["fitted"], *differences])
    head = columns("what accuracy pairs with_left_out fitted") + [
        c for name in own for c in columns("minus p:4", name=name)
    ]
    notes = [where, *([say("reward.with_left_out", k=len(left_out))] if len(left_out) else []), say("reward.mcnemar")]
    table(result, "reward.baselines", head, rows, notes)
    _category_table(result, pairs, rights, found, left_out)
    result.figures["beside"] = {"models": own, "baselines": found}


def _by_category(right, pairs):
    categories = pairs["category"].to_numpy()
    of = {c: categories == c for c in sorted(set(categories))}
    return {c: reward.share(right[here], pairs["prompt_id"][here]) for c, here in of.items()}


def _category_table(result, pairs, rights, found, left_out):
    """Each category's models, classifier and best rule on the same pairs, and how many pairs of it are left out."""
    each = next((b for b in found if b["rule"] == trivial_rules.EACH), None)
    if each is None:
        return
    of_models = {name: _by_category(right, pairs) for name, right in rights.items()}
    classifier = next((b for b in found if b["rule"] is None), None)
    rows = []
    for category, rule in each["of_category"].items():
        known = [of.get(category) for of in of_models.values()]
        of_rule = each["by_category"].get(category)
        ngrams = classifier and classifier["by_category"].get(category)
        counts = of_rule["n"] if of_rule else 0, int((left_out["category"] == category).sum())
        rows.append([category, *map(_cell, known), rule_name(rule), _cell(of_rule), _cell(ngrams), *counts])
    head = columns("category") + named(of_models) + columns("best_rule accuracy classifier pairs left_out")
    table(result, "reward.by_category", head, rows)


def tables(result, pairs, scores):
    """Length, calibration, and how far every two models agree."""
    rows, bins, notes = [], [], []
    for name, f in result.figures["models"].items():
        of, c = f["length"], f["calibration"]
        parts = [cell for part in (of["longer"], of["shorter"]) for cell in (_cell(part), part["n"] if part else 0)]
        rows.append([name, *(of[k] for k in ("answers", "differences", "prefers_longer", "chosen_longer")), *parts])
        for b in c["bins"]:
            ends = f"{b['from']:.2f}–{b['to']:.2f}"
            bins.append([name, ends, b["predicted"], estimate(b["won"], *b["interval"]), b["n"]])
        told = say(f"reward.confidence.{c['confidence']}")
        values = {key: c[key] for key in ("error", "predicted", "won")}
        notes.append(say("reward.calibration.note", name=name, told=told, **values))
    head = "model score_length their_differences prefers_longer longer_better if_longer pairs if_shorter pairs"
    table(result, "reward.length", head, rows)
    table(result, "reward.calibration", "model sigmoid mean right pairs", bins, notes)
    result.figures["agreement"] = agreements = [
        {"first": a, "second": b, **reward.agreement(pairs, scores[a], scores[b])} for a, b in combinations(scores, 2)
    ]
    keys = ("first", "second", "alike", "kappa", "spearman", "only_first", "only_second")
    rows = [[*(f[key] for key in keys), _difference(f), f["p"], f["n"]] for f in agreements]
    head = "first second alike kappa spearman first_better second_better accuracy_difference p:4 pairs"
    table(result, "reward.agreement", head, rows, [say("reward.agreement.note"), say("reward.mcnemar")])


def note_protocol(result, data_path, models, kept):
    names, prompts = ", ".join(data_path), kept["prompt_id"].nunique()
    result.protocol |= {
        "pairs": say("reward.pairs", n=len(kept), names=names, prompts=prompts),
        "intervals": say("reward.intervals"),
        "template": template_line({name: template_of(judge.codec) for name, judge in models.items()}),
        "precision": ", ".join(f"{name}: {j.dtype}, {j.device.type}" for name, j in models.items()),
        "seed": result.settings["seed"],
        **{f"licence of {name}": licence for name in data_path if (licence := licence_of(name))},
    }
    result.figures["reward_models"] = {
        name: {"path": j.path, "fingerprint": j.fingerprint, "dtype": j.dtype} for name, j in models.items()
    }


def _warn_of_chance(result, name, whole, categories):
    if whole["interval"][0] <= 0.5:
        result.warn(say("reward.coin", name=name, accuracy=_told(whole)))
    if below := [f"{category} {_told(f)}" for category, f in categories.items() if f["interval"][1] < 0.5]:
        result.warn(say("reward.below_chance", name=name, categories=", ".join(below)))


def _warn_of_unbeaten(result, name, own, b):
    c = b["against"][name]
    what = say("reward.the_rule", rule=rule_name(b["rule"])) if b["rule"] else say("reward.the_classifier")
    verb = say("reward.is_worse" if c["p"] < reward.ALPHA and c["high"] < 0 else "reward.is_not_better")
    figures = (
        f"{own['mean']:.3f} : {b['mean']:.3f}, {c['difference']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}], "
        f"n = {c['n']}, McNemar p = {c['p']:.2g}"
    )
    result.warn(say("reward.not_beaten", name=name, verb=verb, what=what, figures=figures))


def warn_of_length(result, name, length):
    """Warn of a model whose scores follow length and that is not right where length misleads."""
    rho = length["differences"]
    likes, other = ("long", "shorter") if rho > 0 else ("short", "longer")
    against = length[other]
    if abs(rho) < FOLLOWS_LENGTH or (against and against["interval"][0] > 0.5):
        return
    values = {"kind": say(f"reward.{other}"), **({"accuracy": _told(against)} if against else {})}
    right = say("reward.right_in_only" if against else "reward.no_such_pair", **values)
    result.warn(say("reward.counts_characters", name=name, kind=say(f"reward.{likes}"), rho=rho, right=right))


def _warn_of_spread(result, name, spread):
    if spread["low"] == spread["high"]:
        result.warn(say("reward.one_score", name=name, score=spread["low"]))
    elif spread["commonest"] > COMMONEST or spread["equal"] > EQUAL:
        result.warn(say("reward.saturated", name=name, commonest=spread["commonest"], equal=spread["equal"]))
