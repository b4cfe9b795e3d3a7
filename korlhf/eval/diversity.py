"""How varied the answers of a model are, over all prompts, within one answer and within one prompt. Texts only: no
model is needed.

Words are eojeol without the punctuation at their edges (speech_level.words), so that figures of models with different
tokenizers compare. A figure of a whole set of answers (distinct-n, phrases that come again) is no mean over answers,
and answers drawn twice by a bootstrap would count as repetition; its interval is the jackknife's, leaving out one
prompt at a time (Efron and Tibshirani 1993, chapter 11). Left out: similarity by embeddings or morphemes (a second
model to trust).
"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain, combinations
from statistics import fmean

from scipy import stats as distributions

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
    """A share over a whole set of answers. value: of all n items; without: of all but those of one prompt, for each
    prompt."""

    value: float
    without: tuple[float, ...]
    n: int


def ngrams(tokens, n):
    """The n-grams of a list, as tuples."""
    return list(zip(*(tokens[i:] for i in range(n))))


def sentences(text):
    """The sentences of an answer as words with single spaces; those of one short word ("네.") are left out."""
    found = (words(part) for part in SENTENCES.findall(text))
    return [
        " ".join(part)
        for part in found
        if len(part) >= friendly.MIN_WORDS or len(friendly.HANGUL.findall("".join(part))) >= friendly.MIN_HANGUL
    ]


def opening(text):
    """The first OPENING words of an answer, or None if it has fewer."""
    found = words(text)[:OPENING]
    return " ".join(found) if len(found) == OPENING else None


def plain(text):
    """A text without the differences of spacing that do not count when answers are compared."""
    return " ".join(text.split())


def distinct(items):
    """Distinct items / items, of n-grams: distinct-n (Li et al. 2016). None without items. It falls with the number of
    items."""
    return len(set(items)) / len(items) if items else None


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
    own = [Counter(grams) for grams in by_prompt]
    total = Counter(chain.from_iterable(by_prompt))
    n = total.total()
    if n < max(FEWEST, size) or not size or n - max(c.total() for c in own) < size:
        return None
    often = Counter(total.values())
    without = []
    for of_prompt in own:
        left = Counter(often)
        for gram, count in of_prompt.items():
            left[total[gram]] -= 1
            left[total[gram] - count] += 1
        without.append(_expected_distinct(left, n - of_prompt.total(), size) / size)
    return Spread(_expected_distinct(often, n, size) / size, tuple(without), n)


def _expected_distinct(often, n, size):
    """often: {count: how many n-grams occur so often}, of `n` in all."""
    none = math.lgamma(n + 1) - math.lgamma(n - size + 1)
    return sum(
        kinds
        * (1 - (math.exp(math.lgamma(n - c + 1) - math.lgamma(n - c - size + 1) - none) if c <= n - size else 0.0))
        for c, kinds in often.items()
        if c > 0
    )


def shared(by_prompt):
    """Spread of the share of items (answers, or their n-grams) that also occur in an answer to another prompt. None
    without items."""
    own = [Counter(items) for items in by_prompt]
    total = Counter(chain.from_iterable(by_prompt))
    prompts = Counter(item for of_prompt in own for item in of_prompt)
    n, again = total.total(), sum(count for item, count in total.items() if prompts[item] > 1)
    if not n:
        return None
    without = []
    for of_prompt in own:
        lost = sum(count for item, count in of_prompt.items() if prompts[item] > 1)
        lost += sum(
            total[item] - count for item, count in of_prompt.items() if prompts[item] == 2
        )  # the other one is alone now
        left = n - of_prompt.total()
        without.append((again - lost) / left if left else again / n)
    return Spread(again / n, tuple(without), n)


def estimate(spread):
    """stats.Estimate of a Spread, its 95 % interval within 0 and 1; where no prompt matters (a share of 0 or 1)
    Wilson's over prompts."""
    groups, (half, _) = len(spread.without), _half_width(spread.value, spread.without)
    low, high = (spread.value - half, spread.value + half) if half else wilson(spread.value * groups, groups)
    return Estimate(spread.value, max(0.0, low), min(1.0, high), spread.n, groups)


def difference(a, b):
    """(stats.Estimate of a - b, p-value of "no difference") of two Spreads over the same prompts; the interval is
    within -1 and 1.

    Where the two differ and no prompt matters (shares of 0 and 1) the interval is Newcombe's (1998, method 10: from
    Wilson's of both), and p that of the sign test over prompts.
    """
    value, groups = a.value - b.value, len(a.without)
    half, p = _half_width(value, [x - y for x, y in zip(a.without, b.without, strict=True)])
    low, high = value - half, value + half
    if not half and not p:
        (a_low, a_high), (b_low, b_high) = (wilson(s.value * groups, groups) for s in (a, b))
        low, high = (
            value - math.hypot(a.value - a_low, b_high - b.value),
            value + math.hypot(a_high - a.value, b.value - b_low),
        )
        p = 2.0 ** (1 - groups)
    return Estimate(value, max(-1.0, low), min(1.0, high), min(a.n, b.n), groups), p


def _half_width(value, without):
    """Half of the 95 % interval, and the p-value of 0, by the jackknife and Student's t."""
    groups = len(without)
    if groups < 2:
        return math.inf, 1.0
    mean = sum(without) / groups
    error = math.sqrt((groups - 1) / groups * sum((x - mean) ** 2 for x in without))
    if error < 1e-12:
        return 0.0, float(abs(value) < 1e-12)
    return float(distributions.t.ppf(0.975, groups - 1)) * error, float(
        2 * distributions.t.sf(abs(value) / error, groups - 1)
    )


def most_frequent(by_answer):
    """(item, number of answers that have it) of the item in the most answers, the first of several; None without
    items."""
    counts = Counter(item for items in by_answer for item in dict.fromkeys(items))
    return max(counts.items(), key=lambda pair: pair[1], default=None)


def overlap(texts):
    """Mean over pairs of answers to one prompt: the share of word pairs that the two have in common (F1, as ROUGE-2 has
    it).

    0 = no two have one in common, 1 = all are the same. Of answers without a word pair the texts are compared. None for
    fewer than two.
    """
    pairs = [_common(*pair) for pair in combinations(texts, 2)]
    return sum(pairs) / len(pairs) if pairs else None


def _common(first, second):
    a, b = (Counter(ngrams(words(text), 2)) for text in (first, second))
    return 2 * (a & b).total() / (a.total() + b.total()) if a or b else float(plain(first) == plain(second))


def of_answer(reply):
    """Figures of one llm.Reply: {"words", "characters", "tokens", "repetition", "looping", "empty", "not_korean",
    "ended", "cut"}.

    Shares are 0.0 or 1.0, repetition the share of word 3-grams that occurred before in the answer. None is what the
    responder does not tell: tokens, and of a file whether the answer ended by itself.
    """
    text, split = reply.text, words(reply.text)
    reason = reply.finish_reason
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


@dataclass(frozen=True)
class Answers:
    """The answers of one model. replies: for each prompt its llm.Replies, failures left out; values:
    of_answer of each."""

    replies: list
    values: list

    def items(self, of_text):
        """For each prompt the items of all its answers. of_text: function of an answer's text -> list of items."""
        return [[item for reply in replies for item in of_text(reply.text)] for replies in self.replies]

    def texts(self):
        return [reply.text for replies in self.replies for reply in replies]

    def known(self, name):
        """{number of the prompt: a value of its answers}, of the prompts where it is known."""
        known = {i: [v[name] for v in values if v[name] is not None] for i, values in enumerate(self.values)}
        return {i: values for i, values in known.items() if values}

    def means(self, name):
        """{number of the prompt: mean of a value over its answers}, of the prompts where it is known."""
        return {i: fmean(values) for i, values in self.known(name).items()}


def collect(answers):
    """{name: Answers} of session.Session's answers."""
    replies = {
        name: [[r for r in of_prompt if not isinstance(r, Failure)] for of_prompt in by_record]
        for name, by_record in answers.items()
    }
    return {
        name: Answers(by_prompt, [[of_answer(r) for r in of_prompt] for of_prompt in by_prompt])
        for name, by_prompt in replies.items()
        if any(by_prompt)
    }
