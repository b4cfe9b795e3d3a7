"""Signs in a message that the writer, or somebody near, may come to harm: rules over Kiwi's morphemes (crisis.yaml).

Three kinds: self_harm (suicide and self-harm, said or hinted), violence (somebody may be hurt by the writer) and abuse
(somebody is being hurt). Everyday words of death (배고파 죽겠다), titles, news and stories are no signs. The rules are
there to show where help is, not to decide anything: samples/README.md tells how many signs they miss, which are many
of those that are only hinted at, and how often they see one that is none.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

import yaml

from korlhf.korean.friendly import unmasked
from korlhf.korean.morphemes import analyse, line

KINDS = ("self_harm", "violence", "abuse")
_LEADS, _VOWELS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_ENDS = "_ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"


def signs(text: str) -> list[str]:
    """Those of KINDS that a message has a sign of."""
    rules = _rules()
    own = rules["titles"].sub(" ", unmasked(text))
    morphemes = line(analyse([own])[0].morphemes)
    if rules["elsewhere"].search(morphemes) and not rules["own"].search(morphemes):
        return []
    found = {kind for kind in KINDS if rules[kind].search(morphemes)}
    found |= {kind for kind, cue in rules["typed"].items() if cue.search(letters(own))}
    return [kind for kind in KINDS if kind in found]


def letters(text: str) -> str:
    """A text letter by letter, without blanks and marks: 죽고 -> ㅈㅜㄱㄱㅗ."""
    return "".join(_letters(char) for char in text if char.isalnum())


def _letters(char):
    if not "가" <= char <= "힣":
        return char
    lead, rest = divmod(ord(char) - 0xAC00, 588)
    vowel, end = divmod(rest, 28)
    return _LEADS[lead] + _VOWELS[vowel] + (_ENDS[end] if end else "")


@cache
def _rules():
    """crisis.yaml, compiled: one expression of all cues of a kind."""
    words = yaml.safe_load(resources.files("korlhf.korean").joinpath("crisis.yaml").read_text(encoding="utf-8"))
    sets = {name: rf"(?:{of.replace(' ', '')})/NN\S+ (?:들/XSN )?(?:\S+/J\S+ )?" for name, of in words["sets"].items()}
    return {
        "titles": re.compile("|".join(words["titles"])),
        "elsewhere": re.compile(f" (?:{words['elsewhere'].replace(' ', '')})/N"),
        "own": re.compile(words["own"]),
        "typed": {kind: re.compile("|".join(cues)) for kind, cues in words["typed"].items()},
        **{kind: _cues(words[kind], sets) for kind in KINDS},
    }


def _cues(cues: Iterable[str], sets: dict[str, str]) -> re.Pattern[str]:
    """One expression of several, {set} and ~ written out."""
    whole = "|".join(f"(?:{cue})" for cue in cues)
    for name, of in sets.items():
        whole = whole.replace("{" + name + "}", of)
    return re.compile(whole.replace("~?", r"(?:\S+ ){0,6}?").replace("~", r"(?:\S+ ){0,6}?"))
