"""Tables of reward models, from the figures of reward.py, and what a reader must hear before them."""

from itertools import combinations

from korlhf.core.tables import estimate
from korlhf.eval import reward
from korlhf.eval.ngram_classifier import LEAST_PAIRS
from korlhf.eval.reward import significant, wider
from korlhf.eval.session import template_line, template_of
from korlhf.eval.texts import columns, rule_name, say

FOLLOWS_LENGTH = 0.5  # Spearman of score differences and length differences
WIDE = 0.1  # half an interval
EQUAL = 0.05  # share of the pairs with equal scores
COMMONEST = 0.1  # share of the answers with the same score
NEAR = 0.01  # share of the prompts


def _cell(share):
    """A share with its Wilson interval, as a cell; None stays."""
    return share and estimate(share["mean"], *share["wilson"])


def _told(share):
    return f"{share['mean']:.3f} (n = {share['n']})"


def measure(result, pairs, scores, seed):
    """Figures of the models by themselves, their accuracy as a table; warns where they are not what they seem. Returns
    {name: figures}."""
    figures = {}
    for name, s in scores.items():
        margins = s[:, 0] - s[:, 1]
        of = figures[name] = {
            "accuracy": reward.accuracy(pairs, margins, seed),
            "length": reward.length(pairs, s, seed),
            "calibration": reward.calibration(margins, [p.prompt_id for p in pairs], seed),
            "spread": reward.spread(pairs, s),
        }
        _warn_of_length(result, name, of["length"])
        _warn_of_spread(result, name, of["spread"])
        _warn_of_chance(result, name, of["accuracy"])
    whole = of["accuracy"]["all"]
    low, high = wider(whole)
    if (high - low) / 2 >= WIDE:
        result.warn(say("reward.few", n=whole["n"], low=low, high=high))
    result.figures["models"] = figures
    _accuracy_table(result, figures)
    return figures


def _accuracy_table(result, figures):
    rows = []
    for name, of in figures.items():
        categories = of["accuracy"]["by_category"]
        parts = [*(categories.items() if len(categories) > 1 else ()), (say("comparison.all"), of["accuracy"]["all"])]
        for category, f in parts:
            low, high = f["bootstrap"]
            rows.append([name, category, _cell(f), f"[{low:.3f}, {high:.3f}]", f["n"], f["prompts"], f["mean_margin"]])
    head = columns("model category accuracy over_prompts pairs prompts margin")
    result.table(say("reward.accuracy.title"), head, rows, [say("reward.accuracy.note")])


def baselines_table(result, fit, pairs, scores, seed):
    """Models, classifier and rules on the same pairs; warns where a model does not beat them. fit: reward_pairs.Fit."""
    groups = [p.prompt_id for p in pairs]
    rights = {name: reward.results(s[:, 0] - s[:, 1]) for name, s in scores.items()}
    baselines = [
        (b, reward.share(b.of, groups, seed)) for b in reward.baselines(fit.pairs, [p.texts for p in pairs], seed)
    ]
    against = {
        name: [reward.compare(right, b.of, groups, seed) for b, _ in baselines] for name, right in rights.items()
    }
    own = {name: reward.share(right, groups, seed) for name, right in rights.items()}
    for name in rights:
        _warn_of_unbeaten(result, name, own[name], baselines, against[name])
    if baselines[0][0].name:
        result.warn(say("reward.no_classifier", n=len(fit.pairs), least=LEAST_PAIRS))
    rows = [[name, _cell(f), f["n"], None, *[None] * (2 * len(own))] for name, f in own.items()]
    for k in sorted(range(len(baselines)), key=lambda k: (baselines[k][0].name != "", -baselines[k][1]["mean"])):
        b, f = baselines[k]
        differences = [cell for c in (against[n][k] for n in own) for cell in (_difference(c), c["p"])]
        rows.append([rule_name(b.name), _cell(f), f["n"], b.fitted, *differences])
    head = columns("what accuracy pairs fitted") + [c for name in own for c in columns("minus p:4", name=name)]
    result.table(say("reward.baselines.title"), head, rows, [fit.where, say("reward.mcnemar")])
    result.figures["beside"] = {
        "models": own,
        "baselines": [
            {"rule": b.name or None, "fitted": b.fitted, **f, "against": {name: against[name][k] for name in own}}
            for k, (b, f) in enumerate(baselines)
        ],
    }


def _difference(c):
    return estimate(c["difference"], c["low"], c["high"])


def length_table(result, figures):
    rows = []
    for name, of in figures.items():
        f = of["length"]
        parts = [cell for part in ("longer", "shorter") for cell in (_cell(f[part]), f[part]["n"] if f[part] else 0)]
        rows.append([name, f["answers"], f["differences"], f["prefers_longer"], f["chosen_longer"], *parts])
    head = columns("model score_length their_differences prefers_longer longer_better if_longer pairs if_shorter pairs")
    result.table(say("reward.length.title"), head, rows, [say("reward.length.note")])


def calibration_table(result, figures):
    rows, notes = [], []
    for name, of in figures.items():
        f = of["calibration"]
        rows += [
            [name, f"{b['from']:.2f}–{b['to']:.2f}", b["predicted"], estimate(b["won"], *b["interval"]), b["n"]]
            for b in f["bins"]
        ]
        told = say(f"reward.confidence.{f['confidence']}")
        values = {key: f[key] for key in ("error", "predicted", "won")}
        notes.append(say("reward.calibration.note", name=name, told=told, **values))
    result.table(say("reward.calibration.title"), columns("model sigmoid mean right pairs"), rows, notes)


def agreement_table(result, pairs, scores, seed):
    """How far every two models agree."""
    agreements = [
        {"first": a, "second": b, **reward.agreement(pairs, scores[a], scores[b], seed)}
        for a, b in combinations(scores, 2)
    ]
    result.figures["agreement"] = agreements
    keys = ("first", "second", "alike", "kappa", "spearman", "only_first", "only_second")
    rows = [[*(f[key] for key in keys), _difference(f), f["p"], f["n"]] for f in agreements]
    if rows:
        head = columns("first second alike kappa spearman first_better second_better accuracy_difference p:4 pairs")
        notes = [say("reward.agreement.note"), say("reward.mcnemar")]
        result.table(say("reward.agreement.title"), head, rows, notes)


def note_protocol(result, data_path, models, kept, seed):
    """How it was measured."""
    prompts = len({p.prompt_id for p in kept})
    result.protocol.update(
        {
            "pairs": say("reward.pairs", n=len(kept), names=", ".join(data_path), prompts=prompts),
            "intervals": say("reward.intervals"),
            "template": template_line({name: template_of(judge.codec) for name, judge in models.items()}),
            "precision": ", ".join(f"{name}: {j.dtype}, {j.device.type}" for name, j in models.items()),
            "seed": seed,
        }
    )
    result.figures["reward_models"] = {
        name: {"path": j.path, "fingerprint": j.fingerprint, "dtype": j.dtype} for name, j in models.items()
    }


def warn_of_seen(result, name, counts, left_out):
    """counts: {"n": prompts, "same", "near": how many of them are in the training data, or near one there; the accuracy
    on their pairs, None without pairs: "on_same", "on_near", "on_new" (all but the same), "on_rest" (neither)};
    left_out: the same ones are in no figure."""
    told = {key: "–" if value is None else f"{value:.3f}" for key, value in counts.items() if key.startswith("on_")}
    values = {"name": name, **counts, **told}
    if counts["same"]:
        result.warn(say("reward.seen_left_out" if left_out else "reward.seen_all", **values))
    if counts["near"] > NEAR * counts["n"]:
        result.warn(say("reward.seen_near", **values))


def _warn_of_chance(result, name, accuracy):
    categories = accuracy["by_category"] if len(accuracy["by_category"]) > 1 else {}
    below = [f"{c} {_told(f)}" for c, f in categories.items() if wider(f)[1] < 0.5]
    unclear = [f"{c} {_told(f)}" for c, f in categories.items() if wider(f)[0] <= 0.5 <= wider(f)[1]]
    if wider(accuracy["all"])[0] <= 0.5:
        result.warn(say("reward.coin", name=name, accuracy=_told(accuracy["all"])))
    if below:
        result.warn(say("reward.below_chance", name=name, categories=", ".join(below)))
    if unclear:
        result.warn(say("reward.no_better", name=name, categories=", ".join(unclear)))


def _warn_of_unbeaten(result, name, own, baselines, against):
    """own: the model's share; baselines: [(Baseline, its share)], the rules best where they were fitted first; against:
    [compare with each].

    The classifier and the rule that was best where it was fitted are chosen without a look at these pairs. The rule
    that happens to be best on them is named only if the model is not above it.
    """
    rules = [k for k, (b, _) in enumerate(baselines) if b.name]
    chosen = [k for k, (b, _) in enumerate(baselines) if not b.name] + rules[:1]
    for k in chosen:
        if not significant(against[k]):
            _warn_of_one_unbeaten(result, name, own, *baselines[k], against[k])
    best = max(rules, key=lambda k: baselines[k][1]["mean"])
    if best not in chosen and against[best]["difference"] <= 0:
        b, f = baselines[best]
        values = {"mean": own["mean"], "rule": rule_name(b.name), "of_rule": f["mean"]}
        result.warn(say("reward.best_rule", name=name, n=f["n"], rules=len(rules), **values))


def _warn_of_one_unbeaten(result, name, own, baseline, f, c):
    what = say("reward.the_rule", rule=rule_name(baseline.name)) if baseline.name else say("reward.the_classifier")
    if not c["only_first"] + c["only_second"]:
        least = say("reward.all_alike")
    elif c["visible"] is None:
        least = say("reward.too_few_differ")
    else:
        least = say("reward.least_visible", visible=c["visible"])
    verb = say("reward.is_worse" if c["p"] < 0.05 and c["high"] < 0 else "reward.is_not_better")
    figures = (
        f"{own['mean']:.3f} : {f['mean']:.3f}, {c['difference']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}], "
        f"n = {c['n']}, McNemar p = {c['p']:.2g}"
    )
    result.warn(say("reward.not_beaten", name=name, verb=verb, what=what, figures=figures, least=least))


def _warn_of_length(result, name, length):
    rho, against = length["differences"], length["shorter" if length["differences"] > 0 else "longer"]
    if abs(rho) < FOLLOWS_LENGTH or (against and wider(against)[0] > 0.5):
        return
    kinds = [say("reward.long"), say("reward.shorter")] if rho > 0 else [say("reward.short"), say("reward.longer")]
    accuracy = {"accuracy": _told(against)} if against else {}
    right = say("reward.right_in_only" if against else "reward.no_such_pair", kind=kinds[1], **accuracy)
    result.warn(say("reward.counts_characters", name=name, kind=kinds[0], rho=rho, right=right))


def _warn_of_spread(result, name, spread):
    if spread["low"] == spread["high"]:
        result.warn(say("reward.one_score", name=name, score=spread["low"]))
    elif spread["commonest"] > COMMONEST or spread["equal"] > EQUAL:
        result.warn(say("reward.saturated", name=name, commonest=spread["commonest"], equal=spread["equal"]))
