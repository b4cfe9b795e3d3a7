"""The tables and warnings of win rates: by category, with the judge's preference for a place and for length, and
strengths of many models. games: of korlhf/eval/win_rate.py."""

import math

from korlhf.core import stats
from korlhf.eval import comparison, session, win_rate
from korlhf.eval.comparison import category_name, cell
from korlhf.eval.texts import columns, named, say, table
from korlhf.llm.protocol import Failure

DIGITS = 6  # of a result in the rows
STRONG = 0.25  # farther than this from one half is no slight preference
VERDICTS = {1.0: "first", 0.5: "tie", 0.0: "second"}
SEEN = {1.0: "won", 0.5: "tie", 0.0: "lost"}
PLACES = ("first place", "second place", "tie")


def judged(s, judge, verdicts, grouped, baseline=""):
    """Count what was judged of every two models, and warn of all that makes it doubtful. verdicts: {(model, other,
    ...): verdict or Failure}."""
    s.warn_of(judge)
    comparison.warn_of_few(s.result, grouped)
    for pair in comparison.pairs(s.answers, baseline):
        of_pair = [verdict for place, verdict in verdicts.items() if place[:2] == pair]
        s.result.lost(say("win_rate.judge_on", model=pair[0], other=pair[1]), of_pair)


def _by_pair(games):
    """[("model − other", games)] of every two models, before them those of all if there are several."""
    pairs = [(f"{a} − {b}", here) for (a, b), here in games.groupby(["model", "other"], sort=False)]
    return pairs if len(pairs) == 1 else [(say("comparison.all"), games), *pairs]


def _preferred(rate):
    """Whether a rate is significantly more, or less, than one half."""
    return rate is not None and not rate["low"] <= 0.5 <= rate["high"]


def rates_table(s, games, grouped):
    """Win rates by category; their p-values are adjusted for the number of rows. Returns the figures."""
    figures = []
    for (a, b), of_pair in games.groupby(["model", "other"], sort=False):
        for place, (category, numbers) in enumerate(grouped):
            here = of_pair[of_pair.prompt.isin(numbers)]
            if len(here):
                controlled = win_rate.length_controlled(here, s.seed) if place == 0 else None
                row = {"model": a, "other": b, "category": category, **win_rate.win_rate(here, s.seed)}
                figures.append({**row, "length_controlled": controlled})
    rows = []
    for f, f["holm"] in zip(figures, stats.holm([f["p"] for f in figures])):
        rows.append(
            [f["model"], f["other"], category_name(f["category"]), f["prompts"], f["won"], f["tied"], f["lost"]]
            + [cell(f), f["p"], f["holm"], cell(f["length_controlled"])]
        )
    head = "model against category prompts won tied lost win_rate p:4 holm:4 length_controlled"
    notes = [say("win_rate.rates.note", n=len(rows)), say("win_rate.rates.controlled")]
    table(s.result, "win_rate.rates", head, rows, notes)
    return figures


def place_table(s, judge, games):
    """How much the judge goes by the place of an answer, and the warning that stands above all others. Returns the
    figures."""
    figures = [(label, win_rate.place_preference(here)) for label, here in _by_pair(games)]
    rows = [[label, f["asked"], cell(f["first"]), f["disagree"], f["opposite"]] for label, f in figures if f]
    if not rows:
        return None
    table(s.result, "win_rate.place", "pair answer_pairs first_wins orders_disagree opposite", rows)
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
        s.result.warn(line, first=True)
    return preference


def length_table(s, judge, games, figures):
    """How much the judge goes by length, with warnings. figures: of rates_table. Returns the preference over all
    pairs."""
    found = [(label, here, win_rate.length_preference(here)) for label, here in _by_pair(games)]
    rows = [[label, float(here.longer.mean()), cell(preference)] for label, here, preference in found]
    if len(rows) > 1:
        rows[0][1] = None
    if games.empty:
        return None
    table(s.result, "win_rate.length", "pair characters_more:1 longer_wins", rows)
    preference = found[0][2]
    if _preferred(preference) and abs(preference["mean"] - 0.5) > STRONG / 2:
        kind = say("win_rate.length.longer" if preference["mean"] > 0.5 else "win_rate.length.shorter")
        share = max(preference["mean"], 1 - preference["mean"])
        s.result.warn(say("win_rate.length.warning", judge=judge.name, kind=kind, share=share, n=preference["n"]))
    for f in figures:  # win rates that are no draw, if length may be the reason
        names, controlled = {"model": f["model"], "other": f["other"], "rate": f["mean"]}, f["length_controlled"]
        if f["category"] == figures[0]["category"] and f["p"] < 0.05:
            if controlled is None:
                s.result.warn(say("win_rate.length.untold", **names))
            elif not _preferred(controlled):
                s.result.warn(say("win_rate.length.draw", **names, **controlled))
    return preference


def strength_tables(s, games, figures):
    """Win matrix and Bradley-Terry strengths of more than two models. Returns the strengths."""
    names, overall = list(s.answers), [f for f in figures if f["category"] == figures[0]["category"]]
    rates = {(f["model"], f["other"]): f["mean"] for f in overall}
    rates |= {(b, a): 1 - mean for (a, b), mean in rates.items()}
    matrix = [[a, *(rates.get((a, b)) for b in names)] for a in names]
    table(s.result, "win_rate.matrix", columns("model") + named(names), matrix, [])
    strengths = win_rate.strengths([name for name in names if name in {*games.model, *games.other}], games, s.seed)
    order = sorted(names, key=lambda name: -strengths[name]["mean"] if name in strengths else math.inf)
    rows = [[name, _strength(strengths.get(name))] for name in order]
    table(s.result, "win_rate.strengths", "model strength:2", rows)
    return strengths


def _strength(m):
    """Without an interval where all games ended alike: resampled prompts then show no spread, which does not make the
    strength certain."""
    return m and (m["mean"] if m["low"] == m["high"] else cell(m))


def note_protocol(result, judge, rubrics, games):
    result.protocol["judge"] = judge.protocol(choosing=True)
    for category, r in rubrics.items():
        file = f"{r.file} (sha256 {r.sha256[:12]})"
        result.protocol[f"rubric of {category}"] = say("win_rate.rubric", file=file)
    result.protocol["verdicts by"] = comparison.methods(games.itertuples(), "pairs")
    result.protocol["order"] = say("win_rate.both_orders" if rubrics else "win_rate.no_order")
    result.protocol["pairing"] = say("win_rate.pairing")
    result.protocol["interval"] = say("win_rate.interval", few=win_rate.RESAMPLES)


def rows(s, verdicts):
    """Lines that show answers, each with its results against the other models, and all comparisons of the prompt."""
    against, comparisons = {}, [[] for _ in s.records]
    for (a, b, i, k), verdict in verdicts.items():
        failed = isinstance(verdict, Failure)
        against.setdefault((a, i, k), {})[b] = None if failed else SEEN[verdict.verdict]
        against.setdefault((b, i, k), {})[a] = None if failed else SEEN[1 - verdict.verdict]
        comparisons[i].append({"first": a, "second": b, "answer": k, **_shown(verdict)})
    lines = session.rows(s, lambda place: {"against": against.get(place, {})})
    return [{**line, "comparisons": of_prompt} for line, of_prompt in zip(lines, comparisons)]


def _shown(verdict):
    if isinstance(verdict, Failure):
        return {"failed": f"{verdict.kind}: {verdict.reason}"}
    orders = [PLACES[p] for p in verdict.picks]
    return {"verdict": VERDICTS[verdict.verdict], "result": round(verdict.result, DIGITS), "orders": orders}
