"""Best of N: the answer of N that a reward model scores highest, against one answer, in the eyes of another judge.

The gate before PPO: what the reward model picks has to win more often, and the judge's score to rise, as N grows.
Estimates are unbiased over all subsets of the M answers to a prompt: with its answers in the order of the reward model,
the r-th lowest of M is the best of a random N with probability C(r - 1, N - 1) / C(M, N) (as pass@k of Chen et al.
2021, arXiv 2107.03374). The one answer it meets is not among the N, so N is at most M - 1. Each prompt is a value, and
intervals are over prompts. The KL between best of N and the policy is at most log N - (N - 1) / N nats (Beirami et al.
2024, arXiv 2401.01879).
"""

import math
from dataclasses import replace

import numpy as np

from korlhf.core import stats
from korlhf.core.errors import InputError
from korlhf.core.tables import both
from korlhf.data import record
from korlhf.eval import comparison, session, texts
from korlhf.eval.comparison import cell
from korlhf.eval.texts import say
from korlhf.judges.geval import Score
from korlhf.rl.reward_kinds import RULES
from korlhf.rl.rewards import Prompt

PICTURE = "best_of_n.png"


class RulesJudge:
    """A rule of --reward as the judge of answers. fingerprint "": it is no model."""

    kind, repeats, fingerprint = "rules", True, ""

    def __init__(self, text):
        """Raises InputError if there is no such rule."""
        self.name = text
        self.rule = RULES.get(text.removeprefix("rules:"))
        if self.rule is None:
            names = ", ".join(f"rules:{name}" for name in RULES)
            raise InputError(f"--judge {text}: no such rule; give one of {names}")

    def score(self, s):
        """{place: Score}, as comparison.score."""
        chosen = comparison.places(s.answers)
        prompts = [Prompt([], tuple(record.messages(s.records[i])), s.records[i]["category"]) for _, i, _ in chosen]
        scores = self.rule(prompts, [s.answers[name][i][k].text for name, i, k in chosen])
        return {place: Score({}, score, "rule", 1) for place, score in zip(chosen, scores)}

    def protocol(self):
        return both(self.name, self.name)

    def warnings(self):
        return []


def sizes(most):
    """N of the curve: powers of two below `most` answers."""
    return [2**k for k in range(most.bit_length()) if 2**k < most]


def kl(n):
    """Nats, at most, from the policy to its best of n."""
    return math.log(n) - (n - 1) / n


def best_of(values, n):
    """The mean of `values` (M,), in ascending order of what picks, over the best of random n of them."""
    m = len(values)
    weights = [math.comb(r, n - 1) / math.comb(m, n) for r in range(m)]
    return float(np.dot(weights, values))


def wins(judged, n):
    """How often the best of random n of the answers wins against one that is not among them, a tie half. judged: the
    judge's scores (M,), in ascending order of what picks; n < M.
    """
    m = len(judged)
    result = 0.5 + 0.5 * np.sign(judged[:, None] - judged[None, :])  # of the row against the column
    rank = np.arange(m)[:, None] - (np.arange(m)[:, None] > np.arange(m)[None, :])  # of the row without the column
    picked = np.array([math.comb(r, n - 1) / math.comb(m - 1, n) for r in range(m)])[rank]
    np.fill_diagonal(picked, 0.0)
    return float((picked * result).sum() / m)


def by_prompt(answers, picking, judged):
    """{number of the record: (the answers' places in ascending order of what picks, their scores, the judge's)} of one
    responder: answers that both scored; of equal scores the earlier answer counts as the higher.

    picking, judged: of comparison.score.
    """
    found: dict[int, list] = {}
    for place in answers:
        if place in picking and place in judged:
            found.setdefault(place[1], []).append((picking[place].score, -place[2], judged[place].score, place))
    out = {}
    for i, of_prompt in found.items():
        picked, _, scores, places = zip(*sorted(of_prompt))
        out[i] = places, np.array(picked), np.array(scores)
    return out


def curve(of_prompts):
    """[{"n", "kl", "prompts", "win_rate", "reward", "judged"}] of `by_prompt`; those of prompts with enough answers."""
    out = []
    for n in sizes(max((len(of[0]) for of in of_prompts.values()), default=0)):
        enough = [of for of in of_prompts.values() if len(of[0]) > n]
        found = {
            "win_rate": stats.mean_interval([wins(judged, n) for _, _, judged in enough], bounds=stats.UNIT),
            "reward": stats.mean_interval([best_of(scores, n) for _, scores, _ in enough]),
            "judged": stats.mean_interval([best_of(judged, n) for _, _, judged in enough]),
        }
        told = {name: texts.cell(estimate) for name, estimate in found.items()}
        if n == 1:  # by symmetry, so nothing is estimated
            told["win_rate"] |= {"low": None, "high": None}
        out.append({"n": n, "kl": kl(n), "prompts": len(enough), **told})
    return out


def table(s, curves):
    """The figures of every responder, and the warning if what the reward model picks does not win."""
    rows = []
    for name, points in curves.items():
        for p in points:
            rows.append([name, p["n"], p["kl"], p["prompts"], *(cell(p[k]) for k in ("win_rate", "judged", "reward"))])
        rate = points[-1]["win_rate"] if points else {"low": None}
        if rate["low"] is not None and rate["low"] <= 0.5:
            s.result.warn(say("best_of_n.no_gain", name=name, n=points[-1]["n"], **rate), first=True)
    head = "model best_of kl_nats prompts win_rate judge_score reward_score"
    texts.table(s.result, "best_of_n", head, rows, [say("best_of_n.note"), say("best_of_n.kl")])


def rows(s, of_responders):
    """Lines that show of every model the first answer and the best of all."""
    shown, scores = {}, {}
    for name, by_record in s.answers.items():
        shown[name] = []
        for i, replies in enumerate(by_record):
            places, picking, judged = of_responders[name].get(i, ([], (), ()))
            known = {place[2]: (float(x), float(y)) for place, x, y in zip(places, picking, judged)}
            kept = list(dict.fromkeys([0, *(place[2] for place in places[-1:])]))
            scores |= {(name, i, k): known.get(of) for k, of in enumerate(kept)}
            shown[name].append([replies[of] for of in kept])

    def more(place):
        found = scores.get(place)
        of = f"best of {len(of_responders[place[0]][place[1]][0])}" if place[2] else "first"
        return {"picked": of, **({"reward": round(found[0], 6), "judge": round(found[1], 6)} if found else {})}

    return session.rows(replace(s, answers=shown), more)


def picture(path, curves, judge):
    """The win rates, with their intervals, by N."""
    from matplotlib.figure import Figure  # slow to import; without pyplot, which no file needs

    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for name, points in curves.items():
        n, rates = [p["n"] for p in points], [p["win_rate"] for p in points]
        (line,) = axes.plot(n, [rate["mean"] for rate in rates], marker="o", label=name)
        low, high = ([rate["mean"] if rate[end] is None else rate[end] for rate in rates] for end in ("low", "high"))
        axes.fill_between(n, low, high, alpha=0.2, color=line.get_color())
    axes.axhline(0.5, color="grey", linewidth=0.8)
    axes.set_xscale("log", base=2)
    longest = [p["n"] for p in max(curves.values(), key=len)]
    axes.set_xticks(longest, map(str, longest))
    axes.set(xlabel="N", ylabel=f"win rate against one answer\n(judge: {judge})", title="Best of N")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
