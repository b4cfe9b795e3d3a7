"""Trivial rules that tell the better of two answers without understanding either.

A reward model is worth something only where it beats these: its accuracy is always printed next to the best of them on
the same pairs. A rule is a number read off one answer (its length, its question marks, ...); the answer with the larger
number wins, or the one with the smaller, whichever was right more often on the training pairs. Direction, single word
and single syllable are chosen on the training pairs alone, so that the figure on test pairs is an honest one.

A Triple is (prompt, chosen, rejected), the answers with their blanks, as the data has them: a rule reads what a model
may never see. Left out: rules that weigh several words; those are small models, not rules.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

from korlhf.korean.speech_level import last_word, polite_ending, words

Triple = tuple[str, str, str]
Rule = Callable[[str, str, str], bool | None]
Feature = Callable[[str, str], float]

LEAST_PAIRS = 20  # of a category, to choose its rule on; else it gets the one that is best over all
EACH = "best rule of each category"

MARKS = (".", "!", "?", "~", ",")
SENTENCE_END = re.compile(r"[.!?~…]+")


def last_syllable(answer: str) -> str:
    """Return the last character of the last word, punctuation stripped; "" for an answer without words."""
    return last_word(answer)[-1:]


# (name if the larger number wins, name if the smaller does) -> number of an answer
FEATURES: dict[tuple[str, str], Feature] = {
    ("longer", "shorter"): lambda prompt, answer: len(answer),
    **{(f"more {mark}", f"fewer {mark}"): lambda prompt, answer, mark=mark: answer.count(mark) for mark in MARKS},
    ("trailing space", "no trailing space"): lambda prompt, answer: answer != answer.rstrip(),
    ("ends with punctuation", "ends without punctuation"): lambda prompt, answer: answer.rstrip().endswith(
        (".", "!", "?", "~", "…")
    ),
    ("polite ending", "no polite ending"): lambda prompt, answer: polite_ending(answer),
    ("more sentences", "fewer sentences"): lambda prompt, answer: sum(
        1 for part in SENTENCE_END.split(answer) if part.strip()
    ),
    ("more overlap with the prompt", "less overlap with the prompt"): lambda prompt, answer: len(
        set(words(prompt)) & set(words(answer))
    ),
}


def _prefer(feature: Feature, sign: int, prompt: str, a: str, b: str) -> bool | None:
    difference = sign * (feature(prompt, a) - feature(prompt, b))
    return None if difference == 0 else difference > 0


def accuracy(rule: Rule, pairs: list[Triple]) -> float:
    """Return the share of pairs where the rule prefers the chosen answer; a tie (None) counts one half.

    Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("accuracy of a rule needs at least one pair")
    return sum(results(rule, pairs)) / len(pairs)


def results(rule: Rule, pairs: list[Triple]) -> list[float]:
    """1 where the rule prefers the chosen answer, 0 where it prefers the rejected one, .5 where it says nothing."""
    return [0.5 if verdict is None else float(verdict) for verdict in (rule(*pair) for pair in pairs)]


def _best_presence(pairs: list[Triple], parts: Callable[[str], set[str]]) -> str:
    """Return the part (word or syllable) most one-sidedly in one answer but not the other; ties: by code points."""
    balance: Counter[str] = Counter()
    for _, chosen, rejected in pairs:
        in_chosen, in_rejected = parts(chosen), parts(rejected)
        balance.update(in_chosen - in_rejected)
        balance.subtract(in_rejected - in_chosen)
    # accuracy with ties at one half is 1/2 + balance / (2 * pairs): the largest absolute balance separates best
    return min(balance, key=lambda part: (-abs(balance[part]), part), default="")


def trivial_rules(pairs_train: list[Triple]) -> dict[str, Rule]:
    """Return name -> rule(prompt, a, b), which says True (a is better), False (b is) or None (a tie).

    Each feature gives one rule, in the direction that is right more often on `pairs_train` (ties at one half; if both
    directions are even, the first: "longer", "more ..."). "word ..." and "last syllable ..." are the single eojeol and
    the single final syllable whose presence separates `pairs_train` best. Raises ValueError without pairs.
    """
    features = dict(FEATURES)
    word = _best_presence(pairs_train, lambda answer: set(words(answer)))
    features[f"word {word}", f"no word {word}"] = lambda prompt, answer: word in words(answer)
    syllable = _best_presence(pairs_train, lambda answer: {last_syllable(answer)} - {""})
    ends = (f"last syllable {syllable}", f"no last syllable {syllable}")
    features[ends] = lambda prompt, answer: last_syllable(answer) == syllable
    rules = {}
    for (name, opposite), feature in features.items():
        right = accuracy(partial(_prefer, feature, 1), pairs_train) >= 0.5
        rules[name if right else opposite] = partial(_prefer, feature, 1 if right else -1)
    return rules


def best_trivial_rules(train_pairs: list[Triple], test_pairs: list[Triple]) -> dict[str, float]:
    """Return rule name -> accuracy on `test_pairs`, best first; everything about the rules is chosen on `train_pairs`.

    Ties count one half, so a rule that never speaks scores .5, and a figure below .5 means that the direction found in
    training did not hold. Raises ValueError when either list is empty.
    """
    table = {name: accuracy(rule, test_pairs) for name, rule in trivial_rules(train_pairs).items()}
    return dict(sorted(table.items(), key=lambda item: -item[1]))


def rules_of_each(
    train: dict[str, list[Triple]], pooled: dict[str, Rule] | None = None
) -> tuple[dict[str, tuple[str, Rule]], tuple[str, Rule]]:
    """The best rule of each category, chosen on its own pairs in `train`: ({category: (name, rule)}, the best of all).

    pooled: `trivial_rules` of all these pairs, if they are known already.

    A category with fewer than LEAST_PAIRS is not in it. One rule over all hides what each category has: where "longer"
    is right in most of one and wrong in most of another, it scores .5. Raises ValueError without pairs.
    """
    every = [pair for pairs in train.values() for pair in pairs]
    return {c: _best(pairs) for c, pairs in train.items() if len(pairs) >= LEAST_PAIRS}, _best(every, pooled)


def _best(pairs, rules=None):
    rules = rules or trivial_rules(pairs)
    name = max(rules, key=lambda n: accuracy(rules[n], pairs))
    return name, rules[name]
