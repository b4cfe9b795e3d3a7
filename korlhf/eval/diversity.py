"""How varied the answers of a model are, over all prompts, within one answer and within one prompt. Texts only: no
model is needed.

Words are eojeol without the punctuation at their edges (speech_level.words), so that figures of models with different
tokenizers compare. A figure of a whole set of answers (distinct-n, phrases that come again) is no mean over answers,
and answers drawn twice by a bootstrap would count as repetition; its interval is the jackknife's, leaving out one
prompt at a time (Efron and Tibshirani 1993, chapter 11). Left out: similarity by embeddings or morphemes (a second
model to trust).
"""

from collections import Counter
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, t

from korlhf.core.stats import Estimate, wilson
from korlhf.data.ngrams import repetition
from korlhf.korean import friendly
from korlhf.korean.speech_level import SENTENCES, words
from korlhf.llm.protocol import Failure

FEWEST = 100  # n-grams, for a figure on an equal budget
OPENING = 2  # words
PHRASE = 3  # words of a phrase that is looked for in answers to other prompts


@dataclass(frozen=True)
class Spread:
    """A share over a whole set of answers. value: of all n items; without: (prompts,), of all but those of one."""

    value: float
    without: np.ndarray
    n: int


def ngrams(text, n):
    """The n-grams of a text's words, as tuples."""
    split = words(text)
    return list(zip(*(split[i:] for i in range(n))))


def sentences(text):
    """The sentences of an answer as words with single spaces; those of one short word ("네.") are left out."""
    split = (words(part) for part in SENTENCES.findall(text))
    return [
        " ".join(part)
        for part in split
        if len(part) >= friendly.MIN_WORDS or len(friendly.HANGUL.findall("".join(part))) >= friendly.MIN_HANGUL
    ]


def openings(text):
    """[the first OPENING words of an answer], [] if it has fewer."""
    return [" ".join(gram) for gram in ngrams(text, OPENING)[:1]]


def plain(text):
    """[a text without the differences of spacing that do not count when answers are compared], [] of an empty one."""
    return list(filter(None, [" ".join(text.split())]))


def budget(models):
    """How many n-grams every model's distinct-n is taken over: half of the fewest that a model has; 0 if all have fewer
    than FEWEST.

    models: of each, for each prompt its list of n-grams. Models with fewer than FEWEST do not count.
    """
    sizes = [[len(grams) for grams in by_prompt] for by_prompt in models]
    return min((min(sum(n) // 2, sum(n) - max(n)) for n in sizes if sum(n) >= FEWEST), default=0)


def equal_distinct(by_prompt, size):
    """Spread of the distinct n-grams expected among `size` of a model's n-grams drawn without replacement, / size
    (Hurlbert 1971).

    by_prompt: for each prompt its list of n-grams. None if there are fewer than FEWEST, or fewer than `size` without
    some prompt.
    """
    n = sum(map(len, by_prompt))
    if n < max(FEWEST, size) or not size or n - max(map(len, by_prompt)) < size:
        return None

    def expected(total, _):
        kinds = np.bincount(total)  # kinds[c]: n-grams that occur c times
        often = np.flatnonzero(kinds)
        return kinds[often] @ (1 - hypergeom.pmf(0, total.sum(), often, size)) / size

    return _jackknife(by_prompt, expected)


def shared(by_prompt):
    """Spread of the share of items (answers, or their n-grams) that also occur in an answer to another prompt. None
    without items."""
    return (
        _jackknife(by_prompt, lambda total, prompts: total[prompts > 1].sum() / total.sum()) if any(by_prompt) else None
    )


def _jackknife(by_prompt, figure):
    """Spread of figure(how often each item occurs, under how many prompts)."""
    number = {item: k for k, item in enumerate(dict.fromkeys(chain.from_iterable(by_prompt)))}

    def counts(items):
        return np.bincount([number[item] for item in items], minlength=len(number))

    total, prompts = counts(chain.from_iterable(by_prompt)), counts(chain.from_iterable(map(set, by_prompt)))
    value, n, without = float(figure(total, prompts)), int(total.sum()), []
    for items in by_prompt:
        own = counts(items)
        without.append(figure(total - own, prompts - (own > 0)) if 0 < len(items) < n else value)
    return Spread(value, np.array(without, dtype=float), n)


def estimate(a, b=None):
    """(stats.Estimate of a Spread's value, or of a - b over the same prompts; p-value of 0), by the jackknife and
    Student's t; the interval is within the values that are possible.

    Where no prompt matters (shares of 0 and 1) there is no such interval: Wilson's, or Newcombe's (1998) of a
    difference, whose p is that of the sign test over prompts.
    """
    groups = len(a.without)
    value, without, n = (a.value, a.without, a.n) if b is None else (a.value - b.value, a.without - b.without, a.n)
    error = float(np.sqrt((groups - 1) * without.var()))
    low, high, p = -np.inf, np.inf, 1.0
    if error > 1e-12:
        half = t.ppf(0.975, groups - 1) * error
        low, high, p = value - half, value + half, float(2 * t.sf(abs(value) / error, groups - 1))
    elif groups > 1 and b is None:
        low, high = wilson(value * groups, groups)
    elif groups > 1 and abs(value) > 1e-12:
        from statsmodels.stats.proportion import confint_proportions_2indep

        low, high = confint_proportions_2indep(a.value * groups, groups, b.value * groups, groups, method="newcomb")
        p = 2.0 ** (1 - groups)
    elif groups > 1:
        low = high = value
    least = 0.0 if b is None else -1.0
    return Estimate(value, max(least, float(low)), min(1.0, float(high)), n if b is None else min(n, b.n), groups), p


def overlap(texts):
    """Mean over pairs of answers to one prompt: the share of word pairs that the two have in common (F1, as ROUGE-2 has
    it).

    0 = no two have one in common, 1 = all are the same. Of answers without a word pair the texts are compared.
    """
    return float(np.mean([_common(*pair) for pair in combinations(texts, 2)]))


def _common(first, second):
    a, b = (Counter(ngrams(text, 2)) for text in (first, second))
    return 2 * (a & b).total() / (a.total() + b.total()) if a or b else float(plain(first) == plain(second))


def of_answer(reply):
    """Figures of one llm.Reply: {"words", "characters", "tokens", "repetition", "looping", "empty", "not_korean",
    "ended", "cut"}.

    Shares are 0.0 or 1.0, repetition the share of word 3-grams that occurred before in the answer. None is what the
    responder does not tell: tokens, and of a file whether the answer ended by itself.
    """
    text, split, reason = reply.text, words(reply.text), reply.finish_reason
    return {
        "words": float(len(split)),
        "characters": float(len(text)),
        "tokens": float(reply.answer_tokens) if reply.answer_tokens else None,
        "repetition": repetition(split),
        "looping": float(friendly.is_looping(text)),
        "empty": float(not text.strip()),
        "not_korean": float(bool(text.strip()) and not friendly.is_korean(text)),
        "ended": None if reason is None else float(reason == "stop"),
        "cut": None if reason is None else float(reason == "length"),
    }


def frames(answers):
    """{name: DataFrame of its answers: "prompt" (number), "text", and of_answer's figures, NaN where not told}, of the
    models that gave any. answers: of session.Session; failures are left out."""
    rows = {
        name: [
            {"prompt": i, "text": r.text, **of_answer(r)}
            for i, replies in enumerate(by_record)
            for r in replies
            if not isinstance(r, Failure)
        ]
        for name, by_record in answers.items()
    }
    return {name: pd.DataFrame(of_model).fillna(np.nan) for name, of_model in rows.items() if of_model}


def items(frame, prompts, of_text):
    """For each of the `prompts` (their number) the items of all its answers. of_text: function of a text -> list."""
    out = [[] for _ in range(prompts)]
    for prompt, text in zip(frame["prompt"], frame["text"]):
        out[prompt] += of_text(text)
    return out
