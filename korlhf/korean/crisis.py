"""Signs in a message that the writer, or somebody near, may come to harm: rules over Kiwi's morphemes (crisis.yaml).

Three kinds: self_harm (suicide and self-harm, said or hinted), violence (somebody may be hurt by the writer) and abuse
(somebody is being hurt). Everyday words of death (배고파 죽겠다), titles, news and stories are no signs. The rules are
there to show where help is, not to decide anything: samples/README.md tells how many signs they miss and how often
they see one that is none.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

import yaml

from korlhf.korean.friendly import unmasked
from korlhf.korean.morphemes import analyse, line

KINDS = ("self_harm", "violence", "abuse")


def signs(text: str) -> list[str]:
    """Those of KINDS that a message has a sign of."""
    rules = _rules()
    plain = unmasked(text)
    if not rules["stems"].search(_squeezed(plain)):
        return []
    own = rules["titles"].sub(" ", plain)
    morphemes = line(analyse([own])[0].morphemes)
    told = bool(rules["elsewhere"].search(own))
    found = {kind for kind, cue in rules["always" if told else "cues"].items() if cue.search(morphemes)}
    if not told:
        found |= {kind for kind, cue in rules["typed"].items() if cue.search(_squeezed(own))}
    return [kind for kind in KINDS if kind in found]


def _squeezed(text):
    return re.sub(r"\s", "", text).lower()


@cache
def _rules():
    """crisis.yaml, compiled: one expression of all cues of a kind."""
    text = resources.files("korlhf.korean").joinpath("crisis.yaml").read_text(encoding="utf-8")
    words = yaml.safe_load(text)
    return {
        "stems": re.compile(words["stems"].replace(" ", "")),
        "titles": _any(words["titles"]),
        "elsewhere": re.compile(words["elsewhere"].replace(" ", "").replace("_", " ?")),
        "always": {kind: _any(cues) for kind, cues in words["always"].items()},
        "cues": {kind: _any(words[kind]) for kind in KINDS},
        "typed": {kind: _any(cues) for kind, cues in words["typed"].items()},
    }


def _any(cues: Iterable[str]) -> re.Pattern[str]:
    """One expression of several. ~ within one: up to five morphemes."""
    return re.compile("|".join(f"(?:{cue})" for cue in cues).replace("~?", r"(?:\S+ ){0,5}?").replace("~", r"(?: \S+){0,5}? ?"))
