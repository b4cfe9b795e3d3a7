"""Scored or labelled answers -> pairs, and what may decide them besides quality. The program is data_prep/rank.py."""

import json
import re
from collections import Counter, defaultdict

from korlhf.core import progress
from korlhf.core.errors import InputError
from korlhf.data import ranking
from korlhf.data import record as records
from korlhf.data.example import RowError
from korlhf.korean import trivial_rules

PREFERENCE = re.compile(r"(?P<category>[^:>]+):(?P<better>[^>]+)>(?P<worse>[^>]+)")
# How a judge was asked; what remains of `judge` is whose scale a score is on.
NO_SCALE = {"method", "samples", "orders", "structured"}
KEPT = ("id", "category", "source", "history", "prompt", "messages", "input")  # of a record, in a pair
SUSPICIOUS = 0.6  # accuracy of a trivial rule
ENOUGH = 5000  # pairs on which the rules are chosen, and as many to measure them on: a standard error of .007


def read_prompts(paths):
    """({id: (place, record)}, number of records that were added to an earlier one of the same prompt).

    Raises InputError with file and line for candidates that cannot be read.
    """
    found, merged = {}, 0
    for place, record in records.read(paths):
        record["candidates"] = record.get("candidates", [])
        try:
            ranking.read_answers(record["candidates"])
        except RowError as error:
            raise InputError(f"{place}: {error}") from error
        if record["id"] in found:
            found[record["id"]][1]["candidates"] += record["candidates"]
            merged += 1
        else:
            found[record["id"]] = place, record
    return found, merged


def strange_categories(args, preferences, prompts):
    """A line per category in a flag that no record has: a typo would rank by score what people should decide."""
    known = {record["category"] for _, record in prompts.values()}
    named = {"--prefer": preferences, "--people_only": args.people_only, "--leave_out": args.leave_out}
    return [
        f"WARNING: {flag} {category}: no record has this category; the input has {', '.join(sorted(known))}"
        for flag, categories in named.items()
        for category in categories
        if category not in known
    ]


def check_scale(place, record):
    """Refuse scores of different judges side by side."""
    scales = set()
    for candidate in record["candidates"]:
        if candidate.get("score") is not None:
            judge = candidate.get("judge")
            scale = {k: v for k, v in judge.items() if k not in NO_SCALE} if isinstance(judge, dict) else judge
            scales.add(json.dumps(scale, ensure_ascii=False, sort_keys=True))
    if len(scales) > 1:
        raise InputError(
            f"{place}: the answers to this prompt were scored on different scales "
            f"({' and '.join(sorted(scales))[:200]}), which cannot be compared; score them again with one judge"
        )


def read_preferences(texts, prompts):
    """--prefer -> {category: ((better, worse), ...)}. Raises InputError for one that is malformed or contradictory."""
    responders = defaultdict(set)
    for _, record in prompts.values():
        responders[record["category"]] |= {c["model"] for c in record["candidates"] if c.get("model")}
    found = defaultdict(tuple)
    for text in texts:
        match = PREFERENCE.fullmatch(text)
        if not match:
            raise InputError(f"--prefer {text}: write CATEGORY:BETTER>WORSE in quotes, e.g. 'translated:chatgpt>sft'")
        category, better, worse = (part.strip() for part in match.groups())
        if better == worse or (worse, better) in found[category]:
            raise InputError(f"--prefer {text}: {better} cannot be better and worse at once; delete one of the rules")
        for name in (better, worse):
            if responders[category] and name not in responders[category]:
                raise InputError(
                    f"--prefer {text}: {name!r} has answered no prompt of the category {category}; "
                    f"responders there: {', '.join(sorted(responders[category]))}"
                )
        found[category] += ((better, worse),)
    return dict(found)


def pair_record(record, pair):
    """The record of one pair: the prompt's own columns without its answers, and what decided."""
    return {
        **records.step({c: record[c] for c in KEPT if c in record}, "rank", by=pair.by),
        **pair.columns(),
        "by": pair.by,
    }


def rank_all(args, prompts, preferences, labels, out):
    """Write the pairs of all prompts and count what is left out -> [(record, Pair)]."""
    kept = []
    for place, record in progress.bar(prompts.values(), desc="ranking", unit="prompts"):
        category, shown = record["category"], {"id": record["id"], "prompt": records.prompt(record)}
        if category in args.leave_out:
            out.drop("prompt: its category is left out")
            continue
        if not record["candidates"] and record["id"] not in labels:
            out.drop("prompt: without answers", shown)
            continue
        check_scale(place, record)
        rules = ranking.Rules(
            best_worst=args.pairs == "best_worst",
            threshold=args.threshold,
            min_margin=args.min_margin,
            prefer=preferences.get(category, ()),
            people_only=category in args.people_only,
            max_pairs=args.max_pairs_per_prompt,
        )
        ranked = ranking.rank(record["candidates"], rules, labels.get(record["id"], ()))
        for what, reasons in (("answer", ranked.left_out), ("pair", ranked.dropped)):
            for reason in reasons.elements():
                out.drop(f"{what}: {reason}", shown)
        for pair in ranked.pairs:
            out.write(pair_record(record, pair))
            out.count(f"pairs by {pair.by}")
            if record["candidates"] and pair.chosen.place is None:
                out.count("of these edited by people")
            kept.append((record, pair))
    return kept


def share(wins):
    """{"share", "n"} of wins: True, False, or None for a tie, which counts one half. None without any."""
    if not wins:
        return None
    return {"share": round(sum(0.5 if win is None else win for win in wins) / len(wins), 4), "n": len(wins)}


def figures(pairs):
    """What may decide besides quality, over some pairs: responders, place in the list, length."""
    models = defaultdict(list)
    for pair in pairs:
        for name in set(pair.chosen.models) ^ set(pair.rejected.models):
            models[name].append(name in pair.chosen.models)
    places = [(pair.chosen.place, pair.rejected.place) for pair in pairs]
    lengths = [len(pair.chosen.text) - len(pair.rejected.text) for pair in pairs]
    return {
        "pairs": len(pairs),
        "wins_of_responder": {name: share(models[name]) for name in sorted(models)},
        "chosen_is_listed_first": share([a < b for a, b in places if None not in (a, b)]),
        "chosen_is_longer": share([None if d == 0 else d > 0 for d in lengths]),
    }


def trivial_rule(kept):
    """{"rule", "accuracy", "n"} of the best trivial rule on half of the prompts, chosen on the others; or None.

    Of large sets ENOUGH pairs in each half.
    """
    by_prompt = defaultdict(list)
    for record, pair in kept:
        by_prompt[record["id"]].append((records.prompt(record), pair.chosen.text, pair.rejected.text))
    ids = sorted(by_prompt)  # hashes, so every other one is a random half
    halves = [[pair for i in half for pair in by_prompt[i]][:ENOUGH] for half in (ids[::2], ids[1::2])]
    if not all(halves):
        return None
    name, accuracy = next(iter(trivial_rules.best_trivial_rules(*halves).items()))
    return {"rule": name, "accuracy": round(accuracy, 4), "n": len(halves[1])}


def summary(kept):
    """What the report says of the pairs that are kept, [(record, Pair)]."""
    table = defaultdict(Counter)
    for record, pair in kept:
        table[record["category"]][pair.by] += 1
    by = {who: [pair for _, pair in kept if pair.by == who] for who in ranking.WHO}
    return {
        "pairs": {category: dict(counts) for category, counts in sorted(table.items())},
        "decided_by": {who: figures(pairs) for who, pairs in by.items() if pairs},
        "best_trivial_rule": trivial_rule(kept),
    }


def describe(report):
    lines = [
        f"  {sum(by.values()):>9,}  {category}: {', '.join(f'{n:,} by {who}' for who, n in by.items())}"
        for category, by in report["pairs"].items()
    ]
    if not lines:
        return ["WARNING: no pairs are left; the reasons are above"]
    for who, f in report["decided_by"].items():
        longer, first = (
            "-" if part is None else f"{part['share']:.3f} of {part['n']}"
            for part in (f["chosen_is_longer"], f["chosen_is_listed_first"])
        )
        wins = ", ".join(f"{name} {w['share']:.3f} of {w['n']}" for name, w in f["wins_of_responder"].items())
        line = f"by {who}: {f['pairs']} pairs; chosen is the longer one {longer}, listed first {first}"
        lines.append(line + (f"; wins: {wins}" if wins else ""))
    if rule := report["best_trivial_rule"]:
        line = f"the trivial rule {rule['rule']!r} gets {rule['accuracy']:.3f} of {rule['n']} pairs right"
        suspicious = rule["accuracy"] > SUSPICIOUS
        lines.append(
            f"WARNING: {line}: a reward model may learn no more than that; see the audit" if suspicious else line
        )
    return lines
