"""What tells chosen from rejected answers without reading them: length, form, leftovers, responders, trivial rules.

A reward model takes the easiest way. Where "longer" or "has a trailing space" alone is right far more often than half the time, its
accuracy says little, and PPO will drive up whatever the rule measures.
"""

import random
import re
from collections import Counter, defaultdict

from korlhf.core.stats import wilson
from korlhf.data_prep.audit.checks import find_tokens
from korlhf.korean import trivial_rules as rules
from korlhf.korean.speech_level import polite_ending

LEAST_PAIRS = 40  # of a category, for trivial rules: 20 to choose on, 20 to measure on
CATEGORIES = 100  # further ones are counted together
OTHERS = "other categories"

_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_MARKDOWN = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|#{1,6}|>)\s+\S|\*\*[^*\n]+\*\*|```", re.MULTILINE)
_FINAL = (".", "!", "?", "~", "…")
ENDING = 100  # characters that hold the last word
LEFTOVERS = (
    "special_token",
    "invisible",
    "control",
    "carriage_return",
    "trailing_space",
    "leading_space",
    "doubled_space",
    "not_nfc",
    "mark",
    "mojibake",
    "self_description",
    "template_marker",
    "empty",
)


def features(text, kinds):
    """The forms and leftovers that one answer has: a set of names. kinds: of findings in it."""
    bare = text.rstrip()
    if "special_token" in kinds:
        for spot in reversed(find_tokens(bare)):
            bare = (bare[: spot.start] + bare[spot.end :]).rstrip()
    found = {name.replace("_", " ") for name in LEFTOVERS if name in kinds}
    tests = (
        ("line break", "\n" in bare),
        ("markdown", bool(_MARKDOWN.search(bare))),
        ("emoji", bool(_EMOJI.search(bare))),
        ("question mark", "?" in bare),
        ("exclamation mark", "!" in bare),
        ("no final mark", bool(bare) and not bare.endswith(_FINAL)),
        ("polite ending", polite_ending(bare[-ENDING:])),
        ("begins with a quotation mark", bare.startswith(('"', "“", "'"))),
    )
    return found | {name for name, holds in tests if holds}


class Tally:
    """Counts over a stream of pairs, by category."""

    def __init__(self):
        self.lengths = defaultdict(
            Counter
        )  # category -> longer, shorter, equal, chosen characters, rejected characters
        self.only = defaultdict(Counter)  # feature -> chosen, rejected: pairs in which only that side has it
        self.responders = Counter()  # (chosen, rejected) names

    def add(self, category, chosen, rejected, chosen_features, rejected_features):
        """Count one pair of texts with their features."""
        category = category if category in self.lengths or len(self.lengths) < CATEGORIES else OTHERS
        counts = self.lengths[category]
        counts["longer" if len(chosen) > len(rejected) else "shorter" if len(chosen) < len(rejected) else "equal"] += 1
        counts["chosen characters"] += len(chosen)
        counts["rejected characters"] += len(rejected)
        for name in chosen_features - rejected_features:
            self.only[name]["chosen"] += 1
        for name in rejected_features - chosen_features:
            self.only[name]["rejected"] += 1

    @property
    def pairs(self):
        return sum(c["longer"] + c["shorter"] + c["equal"] for c in self.lengths.values())

    def length_table(self):
        """Per category and over all: n, how often the chosen answer is longer (equal ones count one half) with interval, mean lengths."""
        total = Counter()
        for counts in self.lengths.values():
            total.update(counts)
        return {name: _lengths(counts) for name, counts in [*sorted(self.lengths.items()), ("all", total)]}

    def form_table(self):
        """Per feature: pairs in which only one side has it, and how often it alone is right, the better way round; most telling first."""
        table = []
        for name, counts in self.only.items():
            chosen, rejected = counts["chosen"], counts["rejected"]
            right = (self.pairs + abs(chosen - rejected)) / 2
            share, decided = right / self.pairs, max(chosen, rejected) / (chosen + rejected)
            table.append(
                {
                    "feature": name,
                    "only_chosen": chosen,
                    "only_rejected": rejected,
                    "prefers": "with" if chosen >= rejected else "without",
                    "right_alone": share,
                    "ci95": wilson(right, self.pairs),
                    "where_it_differs": decided,
                    "where_it_differs_ci95": wilson(max(chosen, rejected), chosen + rejected),
                }
            )
        return sorted(table, key=lambda row: (-row["right_alone"], row["feature"]))

    def responder_table(self):
        """Per two responders: how often each was chosen over the other; empty if the rows do not name them."""
        pairs = sorted({tuple(sorted(names)) for names in self.responders})
        return [
            {
                "a": a,
                "b": b,
                "a_chosen": (n := self.responders[a, b]),
                "b_chosen": (m := self.responders[b, a]),
                "share": n / (n + m),
                "ci95": wilson(n, n + m),
            }
            for a, b in pairs
            if a != b
        ]


def _lengths(counts):
    n = counts["longer"] + counts["shorter"] + counts["equal"]
    right = counts["longer"] + counts["equal"] / 2
    return {
        "n": n,
        "longer": counts["longer"],
        "shorter": counts["shorter"],
        "equal": counts["equal"],
        "share_longer": right / n,
        "ci95": wilson(right, n),
        "mean_chosen": counts["chosen characters"] / n,
        "mean_rejected": counts["rejected characters"] / n,
    }


def best_rules(pairs, seed):
    """The best trivial rule per category and over all pairs.

    pairs: list of (category, (prompt, chosen, rejected)). Rule, direction and word are chosen on a random half of the prompts and measured
    on the other half. Returns category -> {"rule", "n", "accuracy", "ci95", "chosen_on"} or {"skipped": reason, "n"}.
    """
    by_category = defaultdict(list)
    for category, pair in pairs:
        by_category[category].append(pair)
    table = {name: _best_rule(of, f"{seed}:{name}") for name, of in sorted(by_category.items())}
    return {**table, "all": _best_rule([pair for _, pair in pairs], f"{seed}:all")}


def _best_rule(pairs, seed):
    prompts = sorted({prompt for prompt, _, _ in pairs})
    random.Random(seed).shuffle(prompts)
    first = set(prompts[: len(prompts) // 2])
    choose, measure = [p for p in pairs if p[0] in first], [p for p in pairs if p[0] not in first]
    if len(pairs) < LEAST_PAIRS or len(choose) < LEAST_PAIRS / 4 or len(measure) < LEAST_PAIRS / 4:
        return {
            "skipped": f"{len(pairs)} pairs of {len(prompts)} prompts; at least {LEAST_PAIRS} are needed",
            "n": len(pairs),
        }
    found = rules.trivial_rules(choose)
    name = max(found, key=lambda n: rules.accuracy(found[n], choose))
    accuracy = rules.accuracy(found[name], measure)
    return {
        "rule": name,
        "n": len(measure),
        "accuracy": accuracy,
        "ci95": wilson(accuracy * len(measure), len(measure)),
        "chosen_on": len(choose),
    }
