"""Chat benchmarks: models answer scripted turns, and a judge reads what they say (korlhf/eval/chat_benchmarks.yaml).

Three kinds: one score a turn; scores of a whole conversation by criteria; two answers side by side with five verdicts.
A score of a turn is asked for as a lettered choice, so that a scale to 10 is one token, for servers and local judges
alike; it is the expected value where there are probabilities. The judge sees the benchmark's references, and rubrics of
this project: the owners' judge prompts are not copied, so figures compare models with each other here, not with
published tables. A judge that fails is a Failure, never a 0. Left out: words of the judge before its score, and several
judges at once.
"""

import math
import re
from dataclasses import replace

import pandas as pd

from korlhf.eval import comparison, win_rate
from korlhf.eval.chat_questions import CONVERSATION, TURN, read_answers
from korlhf.eval.win_rate import EQUAL, Verdict
from korlhf.judges import choice, form
from korlhf.judges.choice import Choice
from korlhf.judges.form import Item
from korlhf.judges.geval import Score
from korlhf.korean.friendly import HANGUL
from korlhf.llm import scripted
from korlhf.llm.protocol import Failure, Reply

OVERALL = (
    "이번에는 기준마다 따로 매기지 않고, 모든 기준을 아울러 답변 하나에 점수 하나를 매깁니다. "
    "아래 기준에 점수 이야기가 나오면 그만큼 부족한 답변이라는 뜻으로만 읽습니다."
)
ASK_SCORE = (
    "위 대화의 마지막 말에 대한 답변에 {low}점부터 {high}점까지 가운데 몇 점을 주겠습니까? "
    "{high}점은 흠잡을 데가 없는 답변, {low}점은 아무 도움이 되지 않거나 틀린 답변입니다."
)
FIVE = (
    "답변 A가 훨씬 더 좋다.",
    "답변 A가 조금 더 좋다.",
    "두 답변의 수준이 비슷해서 우열을 가리기 어렵다.",
    "답변 B가 조금 더 좋다.",
    "답변 B가 훨씬 더 좋다.",
)
NAMES = ("much_better", "better", "tie", "worse", "much_worse")  # of FIVE, seen from the answer in the first place
WEIGHTS = (3, 1, 1, 1, 3)  # a clear verdict counts as three, as in Arena-Hard (Li et al. 2024, arXiv 2406.11939)
POINTS = (1.0, 1.0, 0.5, 0.0, 0.0)

_NO_WORDS = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|https?://\S+", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{2,}")  # a letter by itself is a variable
LEAST_HANGUL = 0.3  # of all letters; a syllable is written with two or three Latin ones
FEW_LETTERS = 10  # a formula or a number, which is no language


def in_korean(text):
    """Whether a text is Korean, or too short to tell; code, formulas and addresses do not count."""
    letters = "".join(_WORD.findall(_NO_WORDS.sub(" ", text)))
    return len(letters) < FEW_LETTERS or len(HANGUL.findall(letters)) >= LEAST_HANGUL * len(letters)


def answering(benchmark):
    """What session.session takes as `answer`: models turn after turn, files by the question's id."""

    def answer(who, questions, setup, system=""):
        files = {r.name: read_answers(r, questions, benchmark.columns["id"]) for r in who if r.kind == "file"}
        models = [r for r in who if r.kind != "file"]
        found, how = scripted.answers(models, [one["turns"] for one in questions], setup, system)
        found |= files
        how |= {r.name: {"kind": r.kind, "model": r.model} for r in who if r.kind == "file"}
        return {r.name: found[r.name] for r in who}, {r.name: how[r.name] for r in who}

    return answer


def places(benchmark, s):
    """[(model, number of the question, of the turn)] that are judged: of a conversation its last turn, if all turns
    have an answer."""
    there = comparison.places(s.answers)
    if benchmark.kind != CONVERSATION:
        return there
    last = [(name, i, k) for name, i, k in there if k == len(s.records[i]["turns"]) - 1]
    return [(name, i, k) for name, i, k in last if all(isinstance(one, Reply) for one in s.answers[name][i])]


def conversation(s, place):
    """(messages up to the user's turn at a place, the answer to it)."""
    name, i, k = place
    said = [reply.text for reply in s.answers[name][i][: k + 1]]
    return scripted.dialogue(s.records[i]["turns"], said[:k]), said[k]


def score(benchmark, judge, s, chosen, **again):
    """{place: Score or the judge's Failure}, before what is not in Korean is marked down."""
    asked = [(s.records[i], k, *conversation(s, (name, i, k))) for name, i, k in chosen]
    if judge.kind == "reward_model" or benchmark.kind == CONVERSATION:
        reads = judge.kind != "reward_model"
        items = [
            Item(q["rubric"], messages, (text,), "\n".join(dict.fromkeys(filter(None, q["shown"]))))
            if reads
            else Item(None, messages, (text,))
            for q, _, messages, text in asked
        ]
        return {place: one for place, (one,) in zip(chosen, judge.rate(items, **again))}
    questions = [score_question(benchmark, q, k, messages, text) for q, k, messages, text in asked]
    return {place: _points(benchmark, one) for place, one in zip(chosen, judge.choose(questions, **again))}


def score_question(benchmark, question, turn, messages, answer):
    """The choice.Question about the answer to one turn; the highest score is A."""
    (low, high), rubric = benchmark.scale, question["rubric"]
    system = "\n".join([rubric.system, "", OVERALL, "", "[기준]", *win_rate.criteria(rubric)])
    lines = [*form.framed(messages, (answer,)), *form.aside(question["shown"][turn]), ""]
    options = tuple(f"{points}점" for points in range(high, low - 1, -1))
    return choice.Question(system, "\n".join([*lines, ASK_SCORE.format(low=low, high=high)]), options)


def _points(benchmark, one):
    if isinstance(one, Failure):
        return one
    return Score({}, sum(p * (benchmark.scale[1] - i) for i, p in enumerate(one.probabilities)), one.method, 1)


def not_korean(benchmark, s, chosen):
    """The places among `chosen` whose answer is not in Korean, though its question asks for no other language."""
    asked = [(name, i, k) for name, i, k in chosen if s.records[i]["id"] not in benchmark.any_language]
    return {(name, i, k) for name, i, k in asked if not in_korean(s.answers[name][i][k].text)}


def marked_down(benchmark, scored, places):
    """The scores, those at `places` by the benchmark's rule for answers that are not in Korean."""
    rule = {"zero": lambda score: 0.0, "square_root": math.sqrt, "": float}[benchmark.not_korean]
    return {
        place: replace(one, score=rule(one.score)) if place in places and isinstance(one, Score) else one
        for place, one in scored.items()
    }


def scale(benchmark, judge, records):
    """The least and the largest score that is possible; None of a reward model."""
    if judge.kind == "reward_model":
        return None
    if benchmark.kind != TURN:
        return comparison.scale({one["id"]: one["rubric"] for one in records})
    return (0 if benchmark.not_korean == "zero" else benchmark.scale[0], benchmark.scale[1])


def play(judge, s, first, chosen=None, **again):
    """{(model, the baseline `first`, question): (win_rate.Verdict, (Choice, Choice)), or Failure}. The two Choices of
    FIVE are those of both orders, () if nobody was asked: equal answers, or a reward model. chosen: keys, None = all.
    """
    there = set(comparison.places(s.answers))
    if chosen is None:
        chosen = [(name, first, i) for name, i, _ in sorted(there) if name != first and (first, i, 0) in there]
    if judge.kind == "reward_model":
        items = [Item(None, *_two(s, key)) for key in chosen]
        verdicts = [win_rate.of_scores(*scores) for scores in judge.rate(items)]
        return {key: v if isinstance(v, Failure) else (v, ()) for key, v in zip(chosen, verdicts)}
    asked = [key for key in chosen if len(set(_two(s, key)[1])) > 1]
    questions = [
        win_rate.question(s.records[key[2]]["rubric"], messages, *texts, FIVE)
        for key in asked
        for messages, (a, b) in [_two(s, key)]
        for texts in ((a, b), (b, a))
    ]
    choices = iter(judge.choose(questions, **again))
    verdicts = {key: _of_orders(next(choices), next(choices)) for key in asked}
    return {key: verdicts.get(key, (EQUAL, ())) for key in chosen}


def _two(s, key):
    """(messages, (the model's answer, the baseline's)) of a pair."""
    name, first, i = key
    messages, answer = conversation(s, (name, i, 0))
    return messages, (answer, conversation(s, (first, i, 0))[1])


def _of_orders(given, reverse):
    verdict = win_rate.of_orders(*(_collapsed(one) for one in (given, reverse)))
    return verdict if isinstance(verdict, Failure) else (verdict, (given, reverse))


def _collapsed(one):
    """Of five verdicts the three of win_rate."""
    if isinstance(one, Failure):
        return one
    a, b, tie, c, d = one.probabilities
    return Choice((a + b, c + d, tie), one.method)


def shares(choices):
    """(probability of each of FIVE, seen from the model's answer, of both orders together): they sum to 2."""
    given, reverse = choices
    return tuple(p + q for p, q in zip(given.probabilities, reversed(reverse.probabilities)))


def games(played, s):
    """The DataFrame of win_rate, and of each game its "weights" and "points" as Arena-Hard counts them."""
    rows = []
    for (name, first, i), one in played.items():
        if isinstance(one, Failure):
            continue
        verdict, choices = one
        of_five = shares(choices) if choices else None
        weights = sum(p * w for p, w in zip(of_five, WEIGHTS)) if of_five else 2.0
        points = sum(p * w * x for p, w, x in zip(of_five, WEIGHTS, POINTS)) if of_five else 2 * verdict.result
        longer = len(s.answers[name][i][0].text) - len(s.answers[first][i][0].text)
        rows.append((name, first, i, longer, *vars(verdict).values(), weights, points))
    head = ["model", "other", "prompt", "longer", *Verdict.__annotations__, "weights", "points"]
    return pd.DataFrame(rows, columns=head)
