"""The tables of chat benchmarks: scores by category, turn and criterion, answers that are not in Korean, five verdicts,
the judge's own noise."""

import time
from functools import partial

import numpy as np

from korlhf.core import stats
from korlhf.eval import chat_benchmark, comparison, geval, session, talk_checks, win_rate_report
from korlhf.eval.chat_questions import CONVERSATION, TURN, sha256
from korlhf.eval.comparison import cell, usable
from korlhf.eval.texts import cell as interval
from korlhf.eval.texts import columns, named, say, table
from korlhf.llm.protocol import Failure


def scores(s, benchmark, judge, baseline, share):
    """Judge, and show what came of it; of the kinds turn and conversation. share: of what is judged again. Returns
    {place: Score or Failure}."""
    result, grouped = s.result, comparison.groups(s.records)
    chosen = chat_benchmark.places(benchmark, s)
    judged = partial(chat_benchmark.score, benchmark, judge, s)
    raw = judged(chosen)
    comparison.judged(s, judge, raw, grouped)
    if judge.kind == "reward_model" and benchmark.kind == CONVERSATION:
        result.warn(say("chat_benchmark.no_rubric", title=benchmark.title))
    scale, rubrics = chat_benchmark.scale(benchmark, judge, s.records), {}
    foreign = chat_benchmark.not_korean(benchmark, s, chosen) if benchmark.not_korean and scale else set()
    scored = chat_benchmark.marked_down(benchmark, raw, foreign)
    result.figures["means"] = geval.means_table(s, scored, grouped, scale)
    if benchmark.kind == TURN:
        result.figures["turns"] = turns_table(s, scored, scale)
    elif scale:
        rubrics = dict.fromkeys([one["category"] for one in s.records], benchmark.read_rubric())
        result.figures["criteria"] = geval.criteria_tables(s, scored, grouped[:1], rubrics)
    if benchmark.not_korean and scale:
        result.figures["not_korean"] = foreign_table(s, raw, foreign, scale)
    noise, result.figures["noise"] = geval.noise_table(s, judge, rubrics, raw, share, judged)
    unit = None if scale else (baseline, geval.spread(scored, baseline))
    result.figures["differences"] = geval.differences_table(s, scored, grouped, baseline, unit, noise, scale)
    note_protocol(s, benchmark, judge, usable(scored).values(), "answers")
    if benchmark.checks:
        result.figures["checks"] = talk_checks.tables(s, benchmark.checks)
    result.rows = rows(s, benchmark, partial(_score_of, usable(scored), foreign))
    return scored


def turns_table(s, scored, scale):
    figures, names = [], list(s.answers)
    turns = range(max(len(one["turns"]) for one in s.records))
    for turn in turns:
        of_turn = {place: one for place, one in scored.items() if place[2] == turn}
        by_prompt = comparison.by_prompt(of_turn, names)
        for name in names:
            found = comparison.mean(by_prompt[name], range(len(s.records)), scale)
            figures.append({"model": name, "turn": turn + 1, **(found or {"n": 0})})
    cells = [[turn + 1, *(f["n"] and cell(f) for f in figures if f["turn"] == turn + 1)] for turn in turns]
    table(s.result, "chat_benchmark.turns", columns("turn") + named(names, 2), cells)
    return figures


def foreign_table(s, raw, foreign, scale):
    """How many answers are not in Korean, and the mean without the rule for them."""
    figures = []
    for name, by_prompt in comparison.by_prompt(raw, s.answers).items():
        n = sum(place[0] == name for place in raw)
        found = comparison.mean(by_prompt, range(len(s.records)), scale)
        figures.append({"model": name, "answers": n, "not_korean": sum(place[0] == name for place in foreign)})
        figures[-1]["as_judged"] = found
    cells = [[f["model"], f["answers"], f["not_korean"], cell(f["as_judged"])] for f in figures]
    table(s.result, "chat_benchmark.not_korean", "model answer_count not_korean as_judged:2", cells)
    return figures


def pairs(s, benchmark, judge, baseline, share):
    """Judge, and show what came of it; of the kind pair."""
    result, grouped = s.result, comparison.groups(s.records)
    played = chat_benchmark.play(judge, s, baseline)
    games = chat_benchmark.games(played, s)
    win_rate_report.judged(s, judge, played, grouped, baseline)
    figures = result.figures
    figures["arena"] = arena_table(s, games)
    figures["win_rates"] = win_rate_report.rates_table(s, games, grouped)
    figures["verdicts"] = verdicts_table(s, played)
    figures["place"] = win_rate_report.place_table(s, judge, games)
    figures["longer"] = win_rate_report.length_table(s, judge, games, figures["win_rates"])
    figures["noise"] = verdict_noise(s, judge, played, share)
    note_protocol(s, benchmark, judge, games.itertuples(), "pairs")
    result.protocol["order"] = say("chat_benchmark.both_orders")
    result.rows = rows(s, benchmark, partial(_verdict_of, played, baseline))


def arena_table(s, games):
    """The win rate in which a clear verdict counts three times, as Arena-Hard has it."""
    figures = []
    for (name, other), here in games.groupby(["model", "other"], sort=False):
        found = stats.ratio_interval(here.points, here.weights, stats.UNIT)
        figures.append({"model": name, "other": other, "n": found.groups, **interval(found)})
    cells = [[f["model"], f["other"], f["n"], cell(f)] for f in figures]
    table(s.result, "chat_benchmark.arena", "model against prompts arena_score", cells)
    return figures


def verdicts_table(s, played):
    """How often each of the five verdicts was given, over both orders."""
    figures = {}
    for (name, *_), one in played.items():
        if not isinstance(one, Failure) and one[1]:
            given, reverse = one[1]
            of_model = figures.setdefault(name, dict.fromkeys(chat_benchmark.NAMES, 0))
            of_model[chat_benchmark.NAMES[given.best]] += 1
            of_model[chat_benchmark.NAMES[-1 - reverse.best]] += 1
    cells = [[name, *of_model.values()] for name, of_model in figures.items()]
    table(s.result, "chat_benchmark.verdicts", f"model {' '.join(chat_benchmark.NAMES)}", cells)
    return figures


def verdict_noise(s, judge, played, share):
    """Judge some pairs again: how many verdicts stay, and how far the results move."""
    if judge.repeats:
        s.result.protocol["judge's noise"] = say("geval.noise.repeats")
    asked = [key for key, one in played.items() if not isinstance(one, Failure) and one[1]]
    if judge.repeats or share == 0 or not asked:
        return None
    drawn = comparison.redrawn(asked, share, s.seed)
    again = chat_benchmark.play(judge, s, drawn[0][1], drawn, desc="judging again", again=True)
    s.result.lost(say("geval.noise.second"), list(again.values()))
    both = [(played[key][0], one[0]) for key, one in again.items() if not isinstance(one, Failure)]
    if not both:
        return None
    same = stats.mean_interval([float(a.verdict == b.verdict) for a, b in both], bounds=stats.UNIT)
    changes = np.array([b.result - a.result for a, b in both])
    sd = float(changes.std(ddof=1)) if len(changes) > 1 else 0.0
    cells = [[interval(same), sd, float(changes.mean()), len(both)]]
    table(s.result, "chat_benchmark.noise", "same_verdict change_sd change_mean pairs", cells)
    return {"same": same.mean, "low": same.low, "high": same.high, "sd": sd, "n": len(both)}


def note_protocol(s, benchmark, judge, judgements, what):
    rubric, protocol = benchmark.read_rubric(), s.result.protocol
    protocol["benchmark"] = say("chat_benchmark.data", title=benchmark.title, license=benchmark.license)
    names = ", ".join(s.result.settings["data_path"]) or benchmark.data
    protocol["prompts"] = say("result.prompts", n=len(s.records), names=names)
    protocol["questions"] = f"sha256 {sha256(s.records)[:12]}"
    protocol["judge"] = judge.protocol(choosing=benchmark.kind != CONVERSATION)
    protocol["judged on"] = time.strftime("%Y-%m-%d")
    protocol["scores by" if what == "answers" else "verdicts by"] = comparison.methods(judgements, what)
    if judge.kind != "reward_model":
        protocol["rubric"] = f"{rubric.file} (sha256 {rubric.sha256[:12]})"
        if rubric.category != benchmark.name:
            protocol["prompt of the judge"] = say("chat_benchmark.own_prompt")
    if benchmark.kind == TURN and judge.kind != "reward_model":
        low, high = benchmark.scale
        protocol["scale"] = say(f"chat_benchmark.scale.{benchmark.not_korean or 'as_judged'}", low=low, high=high)
    protocol["pairing"] = say("chat_benchmark.pairing")
    protocol["interval"] = say("geval.interval")


def rows(s, benchmark, more):
    """A line per turn: the user's turns up to it, and what every model answered. more: (place) -> what is said of an
    answer."""
    out = []
    for i, question in enumerate(s.records):
        for k in range(len(question["turns"])):
            shown = {name: [session.shown(said[i][k]) | more((name, i, k))] for name, said in s.answers.items()}
            messages = [{"role": "user", "content": turn} for turn in question["turns"][: k + 1]]
            key = f"{benchmark.name}/{question['id']}/{k + 1}"
            out.append({"id": key, "category": question["category"], "messages": messages, "answers": shown})
    return out


def _score_of(scores, foreign, place):
    if place not in scores:
        return {}
    found = geval.shown(scores[place])
    return found | ({"language": "not Korean"} if place in foreign else {})


def _verdict_of(played, baseline, place):
    one = played.get((place[0], baseline, place[1]))
    if one is None or isinstance(one, Failure):
        return {}
    verdict, choices = one
    orders = [chat_benchmark.NAMES[choices[0].best], chat_benchmark.NAMES[-1 - choices[1].best]] if choices else []
    return {"against": {baseline: win_rate_report.SEEN[verdict.verdict]}, "orders": orders}
