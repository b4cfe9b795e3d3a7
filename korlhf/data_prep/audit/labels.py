"""What a label hangs on: surface features that tell chosen from rejected answers, and labels that look wrong.

A reward model takes the easiest way. Where "longer" or "has a trailing space" alone is right far more often than half
the time, its accuracy says little, and PPO will drive up whatever the rule measures.

A label looks wrong where a quick model, trained on other prompts, is sure of the opposite: logistic regression on the
difference of two answers' character 2-4-grams (TF-IDF), which knows words and endings, not sense. How sure it is, is
made honest by two numbers fitted to all its votes: a slope, and the share of labels that are wrong however clear the
pair is (a lapse rate, as psychometrics has it). Left out: reading the prompt (a difference of answers does not need
it), and larger models, which would learn the wrong labels by heart.
"""

import random
import re
from collections import Counter, defaultdict

import numpy as np

from korlhf.core.stats import Sums, share_interval, wilson
from korlhf.data_prep.audit.cleaning import find_tokens
from korlhf.data_prep.audit.passages import shortened
from korlhf.korean import trivial_rules
from korlhf.korean.ngram_classifier import Differences
from korlhf.korean.speech_level import polite_ending

LEAST_PAIRS = 40  # of a category, for trivial rules: 20 to choose on, 20 to measure on
CATEGORIES = 100  # further ones are counted together
OTHERS = "other categories"
ENDING = 100  # characters that hold the last word
NO_FORM = {"personal_data", "cut_off", "loop", "short_answer", "not_korean"}  # findings that a rule cannot see
FLIP_PAIRS = 200  # the least for label flips; more than MOST_PAIRS are sampled
MOST_PAIRS = 20_000
FOLDS = 5
FEATURES = 1 << 17
CHARACTERS = 300  # of an answer: its beginning and its end
SUSPICIOUS = 0.1  # probability of the label
BANDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_MARKDOWN = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|#{1,6}|>)\s+\S|\*\*[^*\n]+\*\*|```", re.MULTILINE)


def features(text, kinds):
    """The forms and leftovers that one answer has: a set of names. kinds: the set of findings in it."""
    bare = text.rstrip()
    if "special_token" in kinds:
        for spot in reversed(find_tokens(bare)):
            bare = (bare[: spot.start] + bare[spot.end :]).rstrip()
    tests = (
        ("line break", "\n" in bare),
        ("markdown", _MARKDOWN.search(bare)),
        ("emoji", _EMOJI.search(bare)),
        ("question mark", "?" in bare),
        ("exclamation mark", "!" in bare),
        ("no final mark", bare and not bare.endswith((".", "!", "?", "~", "…"))),
        ("polite ending", polite_ending(bare[-ENDING:])),
        ("begins with a quotation mark", bare.startswith(('"', "“", "'"))),
    )
    return {name.replace("_", " ") for name in kinds - NO_FORM} | {name for name, holds in tests if holds}


class Tally:
    """Counts over a stream of pairs, by category."""

    def __init__(self):
        self.lengths = defaultdict(Counter)  # category -> longer, shorter, equal, chosen, rejected (characters)
        self.only = defaultdict(Counter)  # feature -> chosen, rejected: pairs in which only that side has it
        self._longer = defaultdict(Sums)  # category -> by rows, of which several pairs are not independent
        self._all, self._where = Sums(), defaultdict(Sums)
        self._d = defaultdict(Counter)  # feature -> sums over rows of d = only chosen - only rejected: d * d, d * pairs
        self.responders = Counter()  # (chosen, rejected) names

    def add(self, category, pairs):
        """Count the pairs of one row: ((chosen, its features), (rejected, its features)) each."""
        category = category if category in self.lengths or len(self.lengths) < CATEGORIES else OTHERS
        right, only = 0.0, defaultdict(Counter)
        for (chosen, has), (rejected, has_not) in pairs:
            longer = "longer" if len(chosen) > len(rejected) else "shorter" if len(chosen) < len(rejected) else "equal"
            self.lengths[category].update({longer: 1, "chosen": len(chosen), "rejected": len(rejected)})
            right += {"longer": 1.0, "equal": 0.5, "shorter": 0.0}[longer]
            for name in has ^ has_not:
                only[name]["chosen" if name in has else "rejected"] += 1
        for sums in (self._longer[category], self._all):
            sums.add(right, len(pairs))
        for name, counts in only.items():
            self.only[name] += counts
            d = counts["chosen"] - counts["rejected"]
            self._d[name].update({"squares": d * d, "times pairs": d * len(pairs)})
            self._where[name].add(counts["chosen"], counts.total())

    @property
    def pairs(self):
        return sum(_pairs(counts) for counts in self.lengths.values())

    def length_table(self):
        """Per category and over all: n, how often the chosen answer is longer (a tie counts one half), mean lengths."""
        total = sum(self.lengths.values(), Counter())
        table = {name: _lengths(counts, self._longer[name]) for name, counts in sorted(self.lengths.items())}
        return {**table, "all": _lengths(total, self._all)}

    def form_table(self):
        """Per feature: pairs in which one side has it, and how often it alone is right, the better way; best first."""
        table = []
        for name, counts in self.only.items():
            chosen, rejected = counts["chosen"], counts["rejected"]
            right = (self.pairs + abs(chosen - rejected)) / 2
            most = max(chosen, rejected)
            table.append(
                {
                    "feature": name,
                    "only_chosen": chosen,
                    "only_rejected": rejected,
                    "prefers": "with" if chosen >= rejected else "without",
                    "right_alone": right / self.pairs,
                    "ci95": self._right_alone(name, chosen - rejected),
                    "where_it_differs": most / (chosen + rejected),
                    "where_it_differs_ci95": _turned(self._where[name].interval(), chosen < rejected),
                }
            )
        return sorted(table, key=lambda row: (-row["right_alone"], row["feature"]))

    def _right_alone(self, name, d):
        """The interval of how often a feature is right, the better way: of each row (pairs + d) / 2 are."""
        every, of = self._all, self._d[name]
        right2 = (every.n2 + 2 * of["times pairs"] + of["squares"]) / 4
        right_n = (every.n2 + of["times pairs"]) / 2
        found = Sums(every.groups, (every.n + d) / 2, every.n, right2, right_n, every.n2).interval()
        return _turned(found, d < 0)

    def responder_table(self):
        """Per two responders: how often each was chosen over the other; empty if the rows do not name them."""
        table = []
        for a, b in sorted({tuple(sorted(names)) for names in self.responders}):
            n, m = self.responders[a, b], self.responders[b, a]
            if a != b:
                found = {"a": a, "b": b, "a_chosen": n, "b_chosen": m}
                table.append({**found, "share": n / (n + m), "ci95": wilson(n, n + m)})
        return table


def _pairs(counts):
    return counts["longer"] + counts["shorter"] + counts["equal"]


def _turned(interval, other_way):
    """The interval of a share, or of 1 - the share."""
    low, high = interval
    return (1 - high, 1 - low) if other_way else (low, high)


def _lengths(counts, sums):
    n, right = _pairs(counts), counts["longer"] + counts["equal"] / 2
    return {
        "n": n,
        **{name: counts[name] for name in ("longer", "shorter", "equal")},
        "share_longer": right / n,
        "ci95": sums.interval(),
        "mean_chosen": counts["chosen"] / n,
        "mean_rejected": counts["rejected"] / n,
    }


def best_rules(pairs, seed):
    """The best trivial rule per category and over all pairs.

    pairs: list of (category, (prompt, chosen, rejected)). Rule, direction and word are chosen on a random half of the
    prompts and measured on the other. Returns category -> {"rule", "n", "accuracy", "ci95", "chosen_on"} or
    {"skipped": reason, "n"}.
    """
    by_category = defaultdict(list)
    for category, pair in pairs:
        by_category[category].append(pair)
    table = {name: _best_rule(found, f"{seed}:{name}") for name, found in sorted(by_category.items())}
    return {**table, "all": _best_rule([pair for _, pair in pairs], f"{seed}:all")}


def _best_rule(pairs, seed):
    prompts = sorted({prompt for prompt, _, _ in pairs})
    random.Random(seed).shuffle(prompts)
    first = set(prompts[: len(prompts) // 2])
    choose, measure = [p for p in pairs if p[0] in first], [p for p in pairs if p[0] not in first]
    if len(pairs) < LEAST_PAIRS or min(len(choose), len(measure)) < LEAST_PAIRS / 4:
        reason = f"{len(pairs)} pairs of {len(prompts)} prompts; at least {LEAST_PAIRS} are needed"
        return {"skipped": reason, "n": len(pairs)}
    rules = trivial_rules.trivial_rules(choose)
    name = max(rules, key=lambda n: trivial_rules.accuracy(rules[n], choose))
    right = trivial_rules.results(rules[name], measure)
    ends = share_interval(right, [prompt for prompt, _, _ in measure])
    accuracy = sum(right) / len(right)
    return {"rule": name, "n": len(right), "accuracy": accuracy, "ci95": ends, "chosen_on": len(choose)}


def flips(pairs, seed):
    """Judge SampledPairs by cross-validation -> ((n,) probability of their labels, figures), or a str: why not."""
    if len(pairs) < FLIP_PAIRS:
        return f"{len(pairs)} pairs; at least {FLIP_PAIRS} are needed"
    prompts = np.array([p.prompt_hash for p in pairs], np.uint64)
    different = len(np.unique(prompts))
    if different < FOLDS * 2:
        return f"{different} different prompts; at least {FOLDS * 2} are needed"
    votes = _votes(_differences(pairs), prompts, seed)
    slope, lapse = fit(votes)
    probability = 1 / (1 + np.exp(-slope * votes))
    sure = np.maximum(probability, 1 - probability)
    either_way = sure > 1 - SUSPICIOUS
    ends = share_interval((np.sign(votes) + 1) / 2, prompts.tolist())
    return probability, {
        "pairs": len(pairs),
        "prompts": different,
        "accuracy": _agreeing(votes) / len(pairs),
        "ci95": ends,
        "slope": slope,
        # votes that may be a coin's say nothing of the labels
        "wrong_labels_estimated": lapse if ends[0] > 0.5 else None,
        "threshold": SUSPICIOUS,
        "suspicious": int((probability < SUSPICIOUS).sum()),
        # if every label were right and the model knew its own doubts
        "expected_by_chance": float(np.minimum(probability, 1 - probability)[either_way].sum()),
        "sure_either_way": int(either_way.sum()),
        "calibration": _calibration(sure, votes),
    }


def _agreeing(votes):
    """How many labels the votes agree with; one that says nothing counts one half."""
    return float((votes > 0).sum() + 0.5 * (votes == 0).sum())


def _differences(pairs):
    """Sparse (n, FEATURES): TF-IDF of the chosen minus that of the rejected answer."""
    texts = [[_ends(" ".join(text.split())) for text in (p.chosen, p.rejected)] for p in pairs]
    return Differences(texts, {"analyzer": "char", "ngram_range": (2, 4), "n_features": FEATURES})(texts)


def _ends(text):
    return text if len(text) <= CHARACTERS else text[: CHARACTERS // 2] + "\n" + text[-CHARACTERS // 2 :]


def _votes(differences, prompts, seed):
    """(n,) log odds of every label by the model of the four other folds, which saw none of its prompt.

    Turning a pair round turns its difference's sign and its label, and without an intercept both are the same to the
    model; so every pair is shown once, half of them turned round by seed.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    signs = np.where(np.random.default_rng(seed).random(len(prompts)) < 0.5, np.float32(-1), np.float32(1))
    turned = differences.multiply(signs[:, None]).tocsr()
    model = LogisticRegression(C=10.0, fit_intercept=False, solver="liblinear", tol=0.01, random_state=seed)
    how = {"groups": prompts, "cv": GroupKFold(FOLDS, shuffle=True, random_state=seed), "method": "decision_function"}
    return cross_val_predict(model, turned, signs > 0, **how) * signs


def fit(votes):
    """(slope, lapse) that make the votes most likely.

    A label is right with probability (1 - lapse) s(slope vote) + lapse s(-slope vote); s is the logistic function.
    slope in [.02, 50], lapse in [0, .4].
    """
    from scipy.optimize import minimize

    bounds = [(np.log(0.02), np.log(50.0)), (0.0, 0.4)]
    starts = [(np.log(slope), lapse) for slope in (0.3, 1.0, 3.0) for lapse in (0.01, 0.1)]
    found = [minimize(_cost, start, args=(votes,), method="L-BFGS-B", bounds=bounds) for start in starts]
    slope, lapse = min(found, key=lambda one: one.fun).x
    return float(np.exp(slope)), float(lapse)


def _cost(parameters, votes):
    slope, lapse = np.exp(parameters[0]), parameters[1]
    p = 1 / (1 + np.exp(-np.clip(slope * votes, -60, 60)))
    return -np.log((1 - lapse) * p + lapse * (1 - p) + 1e-12).mean()


def _calibration(sure, votes):
    """Per band of how sure the model is: pairs, what it claims, and the share of labels that agree."""
    band = np.clip(np.digitize(sure, BANDS) - 1, 0, len(BANDS) - 2)
    return [
        {
            "from": BANDS[k],
            "to": BANDS[k + 1],
            "pairs": int((band == k).sum()),
            "claimed": float(sure[band == k].mean()),
            "labels_agree": _agreeing(votes[band == k]) / int((band == k).sum()),
        }
        for k in np.unique(band)
    ]


def shown(pair, probability):
    texts = {part: shortened(getattr(pair, part)) for part in ("prompt", "chosen", "rejected")}
    return {"place": pair.place, "category": pair.category, "probability": probability, **texts}
