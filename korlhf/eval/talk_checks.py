"""What rules can tell of whole talks, next to what a judge says of them.

A check gives each talk 1.0, 0.0, or None where it does not hold or cannot tell. They know the surface alone: a right
speech level may be cold, a sentence said once may be stale, and a third of the refusals is not found
(korlhf/korean/refusals.py). None of them is a part of any score.
"""

import math
from collections import Counter

from korlhf.core import stats
from korlhf.core.tables import estimate
from korlhf.eval.chat_questions import EITHER, REPLY
from korlhf.eval.texts import columns, named, say, table
from korlhf.korean import refusals
from korlhf.korean.friendly import manners
from korlhf.korean.speech_level import SENTENCES, words
from korlhf.llm.protocol import Reply

LEVELS = {"haeyo": "polite", "hapsyo": "polite", "banmal": "banmal", "mixed": "mixed"}
STOCK = 3  # talks that a sentence must be in to be a stock one
SHORTEST = 2  # words of a sentence that can be one
UNKNOWN = (-math.inf, math.inf)  # of a share of talks whose values hang on each other
SHOWN = 3  # stock sentences of a model in the table


def speech_level(questions, talks):
    """Whether all answers of a talk are in the level that is right for their turn and, where both are, in one."""
    found = []
    for question, talk in zip(questions, talks):
        first, later = REPLY[question["reply"]]
        levels = [LEVELS.get(one.level) for one in manners(talk)]
        heard = [(level, later if k else first) for k, level in enumerate(levels) if level]
        right = all(level in wanted for level, wanted in heard)
        kept = later != EITHER or len({level for level, _ in heard}) == 1
        found.append(float(right and kept) if heard else None)
    return found


def sense(questions, talks):
    """Whether all answers of a talk make sense: Korean, of known morphemes, whole, no loop."""
    return [float(all(one.sense for one in manners(talk))) for talk in talks]


def own_words(questions, talks):
    """Whether no sentence of a talk is a stock one."""
    stock = stock_sentences(talks).keys()
    return [float(not said(talk) & stock) for talk in talks]


def welcomes(questions, talks):
    """Whether no answer refuses or accuses, of talks whose words only sound dangerous."""
    found = []
    for question, talk in zip(questions, talks):
        asked = zip(question["turns"], talk) if question["category"] == "twin" else ()
        verdicts = [refusals.verdict(turn, text, "lookalike")[0] for turn, text in asked]
        found.append(float(not set(verdicts) & set(refusals.OVER_REFUSALS)) if verdicts else None)
    return found


CHECKS = {check.__name__: check for check in (sense, speech_level, own_words, welcomes)}


def said(talk):
    """The different sentences of a talk, as words, without short ones."""
    found = {tuple(words(sentence)) for text in talk for sentence in SENTENCES.findall(text)}
    return {sentence for sentence in found if len(sentence) >= SHORTEST}


def stock_sentences(talks):
    """{sentence, as words: number of talks it is in} of those in STOCK talks or more, the commonest first."""
    counts = Counter(sentence for talk in talks for sentence in sorted(said(talk)))
    return {sentence: n for sentence, n in counts.most_common() if n >= STOCK}


def tables(s, checks):
    """The tables of a session.Session, over talks in which every turn has an answer. Returns the figures."""
    talks, figures = {}, {"shares": [], "stock": {}}
    for name, by_question in s.answers.items():
        there = [i for i, replies in enumerate(by_question) if all(isinstance(one, Reply) for one in replies)]
        talks[name] = [s.records[i] for i in there], [[reply.text for reply in by_question[i]] for i in there]
        figures["stock"][name] = [[" ".join(one), n] for one, n in stock_sentences(talks[name][1]).items()]
    rows = []
    for check in checks:
        of_models = {}
        for name, (questions, texts) in talks.items():
            values = [one for one in CHECKS[check](questions, texts) if one is not None]
            right, n = sum(values), len(values)
            ends = stats.wilson(right, n) if n and check != own_words.__name__ else UNKNOWN
            of_models[name] = estimate(right / n, *ends) if n else None
            figures["shares"].append({"check": check, "model": name, "n": n, **(of_models[name] or {})})
        counts = ", ".join(str(f["n"]) for f in figures["shares"] if f["check"] == check)
        rows.append([say(f"talk_checks.{check}"), counts, *of_models.values()])
    table(s.result, "talk_checks", columns("check talks") + named(s.answers, 2), rows)
    listed = [[name, sentence, n] for name, of_model in figures["stock"].items() for sentence, n in of_model[:SHOWN]]
    table(s.result, "talk_checks.stock", "model sentence talks", listed)
    return figures
