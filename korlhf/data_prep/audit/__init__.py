"""The audit of data sets: what is looked for. Kinds of findings and their texts are in kinds.yaml."""

from typing import NamedTuple

from korlhf.core.texts import read_yaml

ROLES = ("sft", "reward", "prompts", "test", "input")  # of files


class Kind(NamedTuple):
    """See kinds.yaml."""

    title: str
    severity: str
    fix: str
    why: str


KINDS = {name: Kind(**kind) for name, kind in read_yaml(__name__, "kinds.yaml").items()}
BIT = {name: 1 << i for i, name in enumerate(KINDS)}
CHANGED = 1 << 63  # the bit of rows of which a text is cleaned; no finding of its own
ALWAYS_REMOVED = tuple(name for name, kind in KINDS.items() if kind.fix == "remove")
REMOVABLE = tuple(name for name, kind in KINDS.items() if kind.fix == "report")
# In a rejected answer they are as they should be.
GOOD_ONLY = ("short_answer", "self_description", "not_korean", "cut_off", "loop")


def names(bits):
    """The kinds whose bits are set."""
    return [name for name, bit in BIT.items() if bits & bit]
