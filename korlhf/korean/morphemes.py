"""Korean texts as morphemes, by Kiwi (kiwipiepy): the one place that knows it.

Its model is read at the first use (3 s of CPU), once per process; the dictionary of names of several words, which would
take as long again, is left out. 1,000 answers of 20 morphemes take about a second.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

# Kiwi writes final consonants that are morphemes as conjoining jamo; on a keyboard they are these.
_TYPED = str.maketrans({"ᆫ": "ㄴ", "ᆯ": "ㄹ", "ᆷ": "ㅁ", "ᆸ": "ㅂ", "ᆼ": "ㅇ", "ᆻ": "ㅆ"})
KEPT = 4096  # analyses kept: the answers of an evaluation are looked at for several figures


class Morpheme(NamedTuple):
    """form and tag (Sejong tags without Kiwi's mark of regularity: VV, EF, JKS ...), `said`, which is form/tag,
    characters start to end of the text, the number of its sentence, and whether Kiwi's dictionary has it."""

    form: str
    tag: str
    said: str
    start: int
    end: int
    sentence: int
    known: bool


@dataclass(frozen=True, slots=True)
class Analysis:
    """The morphemes of a text, and the log-probability (nats) that Kiwi's language model gives to all of them."""

    morphemes: tuple[Morpheme, ...]
    log_probability: float

    @property
    def per_morpheme(self) -> float:
        """Log-probability per morpheme; 0 of an empty text. Everyday Korean: -3 to -6; salad: below -7."""
        return self.log_probability / len(self.morphemes) if self.morphemes else 0.0


@cache
def _kiwi():
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1, load_multi_dict=False)


_ANALYSES: OrderedDict[str, Analysis] = OrderedDict()


def analyse(texts: Sequence[str]) -> list[Analysis]:
    """The best analysis of each text, in one call of Kiwi; the last KEPT analyses are remembered."""
    new = [text for text in dict.fromkeys(texts) if text not in _ANALYSES]
    found = {text: _ANALYSES[text] for text in texts if text in _ANALYSES}
    for text, ((tokens, score), *_) in zip(new, _kiwi().analyze(new) if new else ()):
        found[text] = _ANALYSES[text] = Analysis(tuple(map(_morpheme, tokens)), score)
    while len(_ANALYSES) > KEPT:
        _ANALYSES.popitem(last=False)
    return [found[text] for text in texts]


def _morpheme(token):
    return Morpheme(*_plain(token.form, token.tag), token.start, token.end, token.sent_position, not token.oov)


@lru_cache(maxsize=1 << 14)
def _plain(form, tag):
    form, tag = form.translate(_TYPED), tag.partition("-")[0]
    return form, tag, f"{form}/{tag}"


def sentences(morphemes: Sequence[Morpheme]) -> list[list[Morpheme]]:
    """The morphemes, sentence by sentence."""
    out: dict[int, list[Morpheme]] = {}
    for one in morphemes:
        out.setdefault(one.sentence, []).append(one)
    return list(out.values())


def line(morphemes: Sequence[Morpheme]) -> str:
    """Morphemes as one line, as the cues of words.yaml are matched with: " 고맙/VA 어요/EF ./SF "."""
    return " " + " ".join(one.said for one in morphemes) + " "
