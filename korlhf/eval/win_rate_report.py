"""The tables and warnings of win rates: by category, with the judge's preference for a place and for length, and
strengths of many models."""

import math

from korlhf.core import stats
from korlhf.eval import comparison, session, win_rate
from korlhf.eval.comparison import category_name, cell
from korlhf.eval.texts import columns, named, say
from korlhf.llm.protocol import Failure

DIGITS = 6  # of a result in the rows
STRONG = 0.25  # farther than this from one half is no slight preference
VERDICTS = {1.0: "first", 0.5: "tie", 0.0: "second"}
SEEN = {1.0: "won", 0.5: "tie", 0.0: "lost"}
PLACES = ("first place", "second place", "tie")


def _between(games, a, b):
    return [g for g in games if (g.first, g.second) == (a, b)]


def _preferred(rate):
    """Whether a rate is significantly more, or less, than one half."""
    return rate is not None and not rate["low"] <= 0.5 <= rate["high"]


def rates_table(result, games, grouped, names, seed):
    """Win rates by category; their p-values are adjusted for the number of rows. Returns the figures."""
    figures = []
    for a, b in comparison.pairs(names):
        for place, (category, numbers) in enumerate(grouped):
            here = [g for g in _between(games, a, b) if g.prompt in set(numbers)]
            if here:
                controlled = win_rate.length_controlled(here, seed) if place == 0 else None
                row = {"model": a, "other": b, "category": category, **win_rate.win_rate(here, seed)}
                figures.append({**row, "length_controlled": controlled})
    for row, adjusted in zip(figures, stats.holm([row["p"] for row in figures])):
        row["holm"] = adjusted
    rows = [
        [
            *(f["model"], f["other"], category_name(f["category"])),
            *(f[key] for key in ("prompts", "won", "tied", "lost")),
            *(cell(f), f["p"], f["holm"], cell(f["length_controlled"])),
        ]
        for f in figures
    ]
    if rows:
        result.table(
            say("win_rate.rates.title"),
            columns("model against category prompts won tied lost win_rate p:4 holm:4 length_controlled"),
            rows,
            [say("win_rate.rates.note", n=len(rows)), say("win_rate.rates.controlled")],
        )
    return figures


def place_table(result, judge, games, names, seed):
    """How much the judge goes by the place of an answer, and the warning that stands above all others. Returns the
    figures."""
    groups = [(f"{a} − {b}", _between(games, a, b)) for a, b in comparison.pairs(names)]
    groups = [(say("comparison.all"), games), *groups] if len(groups) > 1 else groups
    figures = [(label, win_rate.place_preference(here, seed)) for label, here in groups]
    rows = [[label, f["asked"], cell(f["first"]), f["disagree"], f["opposite"]] for label, f in figures if f]
    if not rows:
        return None
    head = columns("pair answer_pairs first_wins orders_disagree opposite")
    result.table(say("win_rate.place.title"), head, rows, [say("win_rate.place.note")])
    preference = figures[0][1]
    if _preferred(first := preference["first"]):
        share = max(first["mean"], 1 - first["mean"])
        strong = share - 0.5 > STRONG or preference["opposite"] > 0.5
        line = say(
            "win_rate.place.warning",
            judge=judge.name,
            place=say("win_rate.place.first" if first["mean"] > 0.5 else "win_rate.place.second"),
            share=share,
            decided=first["n"],
            disagree=preference["disagree"],
            asked=preference["asked"],
            strong=say("win_rate.place.strong") if strong else "",
        )
        result.warn(line, first=True)
    return preference


def length_table(result, judge, games, names, figures, seed):
    """How much the judge goes by length, with warnings. figures: of rates_table. Returns the preference over all
    pairs."""
    rows = []
    for a, b in comparison.pairs(names):
        if here := _between(games, a, b):
            more = sum(g.longer for g in here) / len(here)
            rows.append([f"{a} − {b}", more, cell(win_rate.length_preference(here, seed))])
    preference = win_rate.length_preference(games, seed)
    if len(rows) > 1:
        rows.insert(0, [say("comparison.all"), None, cell(preference)])
    if rows:
        head = columns("pair characters_more:1 longer_wins")
        result.table(say("win_rate.length.title"), head, rows, [say("win_rate.length.note")])
    if _preferred(preference) and abs(preference["mean"] - 0.5) > STRONG / 2:
        kind = say("win_rate.length.longer" if preference["mean"] > 0.5 else "win_rate.length.shorter")
        share = max(preference["mean"], 1 - preference["mean"])
        result.warn(say("win_rate.length.warning", judge=judge.name, kind=kind, share=share, n=preference["n"]))
    for f in figures:
        if f["category"] == figures[0]["category"] and f["p"] < 0.05:
            _warn_of_length(result, f)
    return preference


def _warn_of_length(result, f):
    """Warn of a win rate that is no draw, if length may be the reason."""
    names, controlled = {"model": f["model"], "other": f["other"], "rate": f["mean"]}, f["length_controlled"]
    if controlled is None:
        result.warn(say("win_rate.length.untold", **names))
    elif controlled["low"] <= 0.5 <= controlled["high"]:
        result.warn(say("win_rate.length.draw", **names, **controlled))


def strength_tables(result, games, names, figures, seed):
    """Win matrix and Bradley-Terry strengths of more than two models, and circles of three that beat each other.
    Returns the strengths."""
    overall = {(f["model"], f["other"]): f for f in figures if f["category"] == figures[0]["category"]}
    means = {pair: f["mean"] for pair, f in overall.items()}
    clear = {pair: f["mean"] for pair, f in overall.items() if f["p"] < 0.05}
    rates = {**means, **{(b, a): 1 - mean for (a, b), mean in means.items()}}
    result.table(
        say("win_rate.matrix.title"),
        columns("model") + named(names),
        [[a, *(rates.get((a, b)) for b in names)] for a in names],
    )
    played = [name for name in names if any(name in (g.first, g.second) for g in games)]
    strengths = win_rate.strengths(played, games, seed)
    order = sorted(names, key=lambda name: -strengths[name]["mean"] if name in strengths else math.inf)
    circles = [[*circle, circle[0]] for circle in win_rate.cycles(names, clear)]
    notes = [say("win_rate.strengths.circle", beats=" > ".join(circle)) for circle in circles]
    result.table(
        say("win_rate.strengths.title"),
        columns("model strength:2"),
        [[name, _strength(strengths.get(name))] for name in order],
        [say("win_rate.strengths.note"), *notes],
    )
    return strengths


def _strength(m):
    """Without an interval where all games ended alike: resampled prompts then show no spread, which does not make the
    strength certain."""
    return m and (m["mean"] if m["low"] == m["high"] else cell(m))


def note_protocol(result, judge, rubrics, games):
    """How it was measured."""
    result.protocol["judge"] = judge.protocol(choosing=True)
    for category, r in rubrics.items():
        file = f"{r.file} (sha256 {r.sha256[:12]})"
        result.protocol[f"rubric of {category}"] = say("win_rate.rubric", file=file)
    result.protocol["verdicts by"] = comparison.methods([g.verdict for g in games], "pairs")
    result.protocol["order"] = say("win_rate.both_orders" if rubrics else "win_rate.no_order")
    result.protocol["pairing"] = say("win_rate.pairing")
    result.protocol["interval"] = say("win_rate.interval", resamples=stats.RESAMPLES, few=win_rate.RESAMPLES)


def rows(s, verdicts):
    """Lines that show answers, each with its results against the other models, and all comparisons of the prompt."""
    against = {name: [[{} for _ in replies] for replies in by_record] for name, by_record in s.answers.items()}
    comparisons = [[] for _ in s.records]
    for (a, b), of_pair in verdicts.items():
        for (i, k), verdict in of_pair.items():
            failed = isinstance(verdict, Failure)
            against[a][i][k][b] = None if failed else SEEN[verdict.verdict]
            against[b][i][k][a] = None if failed else SEEN[1 - verdict.verdict]
            comparisons[i].append({"first": a, "second": b, "answer": k, **_shown(verdict)})
    lines = session.rows(s, against=against)
    return [{**line, "comparisons": of_prompt} for line, of_prompt in zip(lines, comparisons)]


def _shown(verdict):
    if isinstance(verdict, Failure):
        return {"failed": f"{verdict.kind}: {verdict.reason}"}
    orders = [PLACES[p] for p in verdict.picks]
    return {"verdict": VERDICTS[verdict.verdict], "result": round(verdict.result, DIGITS), "orders": orders}
