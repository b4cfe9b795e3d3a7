"""What is known of the terms of a set that --data_path names, however it is spelt; and which no training takes."""

from collections.abc import Iterable

from korlhf.core.errors import InputError
from korlhf.data.registry import SOURCES, Source, hub_names, with_purpose
from korlhf.data.safety import CORPORA, Corpus

_SETS: dict[str, Source | Corpus] = {c.hub: c for c in CORPORA.values() if c.hub} | SOURCES


def _of(name):
    return next((_SETS[known] for known in hub_names(name) if known in _SETS), None)


def licence_of(name: str) -> str:
    """What is known of the licence of a set that this project knows; "" for any other."""
    found = _of(name)
    return "" if found is None else with_purpose(found.license, found.measuring)


def check_training(names: Iterable[str]) -> None:
    """Raises InputError for a set that is there for measuring only."""
    for name in names:
        found = _of(name)
        if found is not None and found.measuring:
            raise InputError(f"dataset {name}: a test set, for measuring only ({found.license}); train on another")
