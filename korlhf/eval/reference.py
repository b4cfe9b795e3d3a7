"""--reference of diversity.py: the model that the others are compared with, and which of them may have drifted from it.

Ancestors of the reference (base, of sft) are compared with it like all others, but no warning says that they have
drifted.
"""

from dataclasses import dataclass
from pathlib import Path

from korlhf.core.errors import InputError
from korlhf.eval.texts import columns
from korlhf.training import provenance


@dataclass(frozen=True)
class Reference:
    """name: of the model that the others are compared with; folder: where it is if it is no responder, else ""; later:
    the responders that may have drifted from it."""

    name: str
    folder: str
    later: tuple[str, ...]

    @property
    def answers(self):
        """Whether it is among the responders."""
        return not self.folder

    def others(self, names):
        """The names that are compared with the reference by their answers."""
        return [name for name in names if name != self.name] if self.answers else []

    def column(self):
        """Heading of the differences from it."""
        return columns("difference_from", reference=self.name)


def find(text, who):
    """--reference -> Reference. who: responders; "" means the one called sft, else the first. Raises InputError."""
    names = [r.name for r in who]
    same = [r.name for r in who if text and r.kind == "checkpoint" and _resolved(r.model) == _resolved(text)]
    name = text if text in names else same[0] if same else "" if text else "sft" if "sft" in names else names[0]
    if name:
        place = names.index(name)
        return Reference(name, "", _not_ancestors(who[place].model, who[place + 1 :]))
    if "/" not in text and not Path(text).expanduser().exists():
        raise InputError(
            f"--reference {text}: no responder of this name (there are {', '.join(names)}), and no folder; "
            "give one of them"
        )
    name = _resolved(text).name
    return Reference(f"{name} ({text})" if name in names else name, text, _not_ancestors(text, who))


def _not_ancestors(reference, who):
    """Names of the responders that the reference was not trained from, as far as its settings.json tells."""
    origins = {_resolved(origin.path) for origin in provenance.chain(reference)[1:]}
    return tuple(r.name for r in who if r.kind != "checkpoint" or _resolved(r.model) not in origins)


def _resolved(path):
    return Path(path).expanduser().resolve()
