"""Tables of reward models, from the figures of reward.py, and what a reader must hear before them."""

from itertools import combinations

from korlhf.core.tables import estimate
from korlhf.eval import reward
from korlhf.eval.ngram_classifier import LEAST_PAIRS
from korlhf.eval.reward import significant, wider
from korlhf.eval.session import template_line, template_of
from korlhf.eval.show import table
from korlhf.eval.texts import columns, rule_name, say

FOLLOWS_LENGTH = 0.5  # Spearman of score differences and length differences
WIDE = 0.1  # half an interval
EQUAL = 0.05  # share of the pairs with equal scores
COMMONEST = 0.1  # share of the answers with the same score


def _cell(share):
    """A share with its Wilson interval, as a cell; None stays."""
    return share and estimate(share["mean"], *share["wilson"])


def _told(share):
    return f"{share['mean']:.3f} (n = {share['n']})"


def _difference(c):
    return estimate(c["difference"], c["low"], c["high"])


def models(result, pairs, scores):
    """Figures of the models by themselves, their accuracy as a table; warns where they are not what they seem."""
    seed, groups, figures, rows = result.settings["seed"], pairs["prompt_id"], {}, []
    for name, s in scores.items():
        margins = reward.margins_of(s)
        f = figures[name] = {
            "accuracy": reward.accuracy(pairs, margins, seed),
            "length": reward.length(pairs, s, seed),
            "calibration": reward.calibration(margins, groups, seed),
            "spread": reward.spread(pairs, s),
        }
        warn_of_length(result, name, f["length"])
        _warn_of_spread(result, name, f["spread"])
        categories, whole = f["accuracy"]["by_category"], f["accuracy"]["all"]
        categories = categories if len(categories) > 1 else {}
        _warn_of_chance(result, name, whole, categories)
        for category, part in [*categories.items(), (say("comparison.all"), whole)]:
            low, high = part["bootstrap"]
            counts = part["n"], part["prompts"], part["mean_margin"]
            rows.append([name, category, _cell(part), f"[{low:.3f}, {high:.3f}]", *counts])
    low, high = wider(whole)
    if (high - low) / 2 >= WIDE:
        result.warn(say("reward.few", n=whole["n"], low=low, high=high))
    result.figures["models"] = figures
    table(result, "reward.accuracy", "model category accuracy over_prompts pairs prompts margin", rows)


def baselines(result, fit, where, pairs, scores):
    """Models, classifier and rules on the same pairs; warns where a model does not beat them. fit, where: of
    reward_pairs.to_fit."""
    seed, groups = result.settings["seed"], pairs["prompt_id"]
    rights = {name: reward.results(reward.margins_of(s)) for name, s in scores.items()}
    own, found = {name: reward.share(right, groups, seed) for name, right in rights.items()}, []
    for b in reward.baselines(fit, reward.triples(pairs), seed):
        right = b.pop("right")
        against = {name: reward.compare(of, right, groups, seed) for name, of in rights.items()}
        found.append({**b, **reward.share(right, groups, seed), "against": against})
    chosen = found[: 1 + (found[0]["rule"] is None)]  # the classifier, and the rule that was best where it was fitted
    for name in own:
        for b in chosen:
            if not significant(b["against"][name]):
                _warn_of_unbeaten(result, name, own[name], b)
    if found[0]["rule"]:
        result.warn(say("reward.no_classifier", n=len(fit), least=LEAST_PAIRS))
    rows = [[name, _cell(f), f["n"], None, *[None] * (2 * len(own))] for name, f in own.items()]
    for b in sorted(found, key=lambda b: (b["rule"] is not None, -b["mean"])):
        differences = [cell for c in b["against"].values() for cell in (_difference(c), c["p"])]
        rows.append([rule_name(b["rule"] or ""), _cell(b), b["n"], b["fitted"], *differences])
    head = columns("what accuracy pairs fitted") + [c for name in own for c in columns("minus p:4", name=name)]
    table(result, "reward.baselines", head, rows, [where, say("reward.mcnemar")])
    result.figures["beside"] = {"models": own, "baselines": found}


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
        {"first": a, "second": b, **reward.agreement(pairs, scores[a], scores[b], result.settings["seed"])}
        for a, b in combinations(scores, 2)
    ]
    keys = ("first", "second", "alike", "kappa", "spearman", "only_first", "only_second")
    rows = [[*(f[key] for key in keys), _difference(f), f["p"], f["n"]] for f in agreements]
    head = "first second alike kappa spearman first_better second_better accuracy_difference p:4 pairs"
    table(result, "reward.agreement", head, rows, [say("reward.agreement.note"), say("reward.mcnemar")])


def note_protocol(result, data_path, models, kept):
    """How it was measured."""
    names, prompts = ", ".join(data_path), kept["prompt_id"].nunique()
    result.protocol |= {
        "pairs": say("reward.pairs", n=len(kept), names=names, prompts=prompts),
        "intervals": say("reward.intervals"),
        "template": template_line({name: template_of(judge.codec) for name, judge in models.items()}),
        "precision": ", ".join(f"{name}: {j.dtype}, {j.device.type}" for name, j in models.items()),
        "seed": result.settings["seed"],
    }
    result.figures["reward_models"] = {
        name: {"path": j.path, "fingerprint": j.fingerprint, "dtype": j.dtype} for name, j in models.items()
    }


def _warn_of_chance(result, name, whole, categories):
    if wider(whole)[0] <= 0.5:
        result.warn(say("reward.coin", name=name, accuracy=_told(whole)))
    if below := [f"{category} {_told(f)}" for category, f in categories.items() if wider(f)[1] < 0.5]:
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
    if abs(rho) < FOLLOWS_LENGTH or (against and wider(against)[0] > 0.5):
        return
    values = {"kind": say(f"reward.{other}"), **({"accuracy": _told(against)} if against else {})}
    right = say("reward.right_in_only" if against else "reward.no_such_pair", **values)
    result.warn(say("reward.counts_characters", name=name, kind=say(f"reward.{likes}"), rho=rho, right=right))


def _warn_of_spread(result, name, spread):
    if spread["low"] == spread["high"]:
        result.warn(say("reward.one_score", name=name, score=spread["low"]))
    elif spread["commonest"] > COMMONEST or spread["equal"] > EQUAL:
        result.warn(say("reward.saturated", name=name, commonest=spread["commonest"], equal=spread["equal"]))
