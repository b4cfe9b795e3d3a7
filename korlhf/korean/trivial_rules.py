"""Trivial rules that tell the better of two answers without understanding either.

A reward model is worth something only where it beats these: its accuracy is always printed beside the best of them on
the same pairs. A rule is a number read off one answer (its length, its question marks, ...); the answer with the larger
number wins, or the one with the smaller, whichever was right more often on the training pairs. Direction, single word
and single syllable are chosen on the training pairs alone, so that the figure on test pairs is an honest one.

A pair is (prompt, chosen, rejected). Left out: rules that weigh several words; those are small models, not rules.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

Pair = tuple[str, str, str]
Rule = Callable[[str, str, str], bool | None]
Feature = Callable[[str, str], float]

MARKS = (".", "!", "?", "~", ",")
SENTENCE_END = re.compile(r"[.!?~…]+")
EDGE_MARKS = ".,!?~…\"'()[]{}:;“”‘’·"


def words(text: str) -> list[str]:
    """Split into eojeol (space-separated words) with the punctuation at their edges stripped; empty ones are dropped."""
    return [word for word in (raw.strip(EDGE_MARKS) for raw in text.split()) if word]


def polite_ending(answer: str) -> bool:
    """Tell whether the last word has a polite final form: ...요, ...죠, ...니다, ...니까 (after ㅂ), ...시오."""
    last = words(answer)[-1:] or [""]
    return polite_word(last[0])


def polite_word(word: str) -> bool:
    """Tell whether one word, punctuation stripped, closes a sentence in 해요체, 합니다체 or 하십시오체."""
    if word.endswith(("요", "죠", "시오")):
        return True
    if len(word) < 3 or not word.endswith(("니다", "니까")):
        return False
    stem = ord(word[-3]) - 0xAC00
    return 0 <= stem < 11172 and stem % 28 == 17  # 17: the final consonant ㅂ, as in 합니다; 그러니까 has none


def last_syllable(answer: str) -> str:
    """Return the last character of the last word, punctuation stripped; "" for an answer without words."""
    last = words(answer)[-1:] or [""]
    return last[0][-1:]


def _length(prompt: str, answer: str) -> float:
    return len(answer)


def _count(mark: str, prompt: str, answer: str) -> float:
    return answer.count(mark)


def _trailing_space(prompt: str, answer: str) -> float:
    return answer != answer.rstrip()


def _ends_with_punctuation(prompt: str, answer: str) -> float:
    return answer.rstrip().endswith((".", "!", "?", "~", "…"))


def _polite(prompt: str, answer: str) -> float:
    return polite_ending(answer)


def _overlap(prompt: str, answer: str) -> float:
    return len(set(words(prompt)) & set(words(answer)))


def _sentences(prompt: str, answer: str) -> float:
    return sum(1 for part in SENTENCE_END.split(answer) if part.strip())


def _has_word(word: str, prompt: str, answer: str) -> float:
    return word in words(answer)


def _has_last_syllable(syllable: str, prompt: str, answer: str) -> float:
    return last_syllable(answer) == syllable


FEATURES: dict[
    tuple[str, str], Feature
] = {  # (name if the larger number wins, name if the smaller does) -> number of an answer
    ("longer", "shorter"): _length,
    **{(f"more {mark}", f"fewer {mark}"): partial(_count, mark) for mark in MARKS},
    ("trailing space", "no trailing space"): _trailing_space,
    ("ends with punctuation", "ends without punctuation"): _ends_with_punctuation,
    ("polite ending", "no polite ending"): _polite,
    ("more sentences", "fewer sentences"): _sentences,
    ("more overlap with the prompt", "less overlap with the prompt"): _overlap,
}


def _prefer(feature: Feature, sign: int, prompt: str, a: str, b: str) -> bool | None:
    difference = sign * (feature(prompt, a) - feature(prompt, b))
    return None if difference == 0 else difference > 0


def accuracy(rule: Rule, pairs: list[Pair]) -> float:
    """Return the share of pairs where the rule prefers the chosen answer; a tie (None) counts one half.

    Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("accuracy of a rule needs at least one pair")
    verdicts = [rule(prompt, chosen, rejected) for prompt, chosen, rejected in pairs]
    return sum(0.5 if verdict is None else float(verdict) for verdict in verdicts) / len(pairs)


def _last_syllables(answer: str) -> set[str]:
    return {last_syllable(answer)} - {""}


def _word_set(answer: str) -> set[str]:
    return set(words(answer))


def _best_presence(pairs: list[Pair], parts: Callable[[str], set[str]]) -> str:
    """Return the part (word or syllable) found in one answer but not the other most one-sidedly; ties: the earlier in code-point order."""
    balance: Counter[str] = Counter()
    for _, chosen, rejected in pairs:
        in_chosen, in_rejected = parts(chosen), parts(rejected)
        balance.update(in_chosen - in_rejected)
        balance.subtract(in_rejected - in_chosen)
    # accuracy with ties at one half is 1/2 + balance / (2 * pairs): the largest absolute balance separates best
    return min(balance, key=lambda part: (-abs(balance[part]), part), default="")


def trivial_rules(pairs_train: list[Pair]) -> dict[str, Rule]:
    """Return name -> rule(prompt, a, b), which says True (a is better), False (b is) or None (a tie).

    Each feature gives one rule, in the direction that is right more often on `pairs_train` (ties at one half; if both
    directions are even, the first: "longer", "more ..."). "word ..." and "last syllable ..." are the single eojeol and
    the single final syllable whose presence separates `pairs_train` best. Raises ValueError without pairs.
    """
    features = dict(FEATURES)
    word = _best_presence(pairs_train, _word_set)
    features[(f"word {word}", f"no word {word}")] = partial(_has_word, word)
    syllable = _best_presence(pairs_train, _last_syllables)
    features[(f"last syllable {syllable}", f"no last syllable {syllable}")] = partial(_has_last_syllable, syllable)
    rules = {}
    for (name, opposite), feature in features.items():
        rule = partial(_prefer, feature, 1)
        if accuracy(rule, pairs_train) >= 0.5:
            rules[name] = rule
        else:
            rules[opposite] = partial(_prefer, feature, -1)
    return rules


def best_trivial_rules(train_pairs: list[Pair], test_pairs: list[Pair]) -> dict[str, float]:
    """Return rule name -> accuracy on `test_pairs`, best first; everything about the rules is chosen on `train_pairs`.

    Ties count one half, so a rule that never speaks scores .5, and a figure below .5 means that the direction found in
    training did not hold. Raises ValueError when either list is empty.
    """
    table = {name: accuracy(rule, test_pairs) for name, rule in trivial_rules(train_pairs).items()}
    return dict(sorted(table.items(), key=lambda item: -item[1]))
