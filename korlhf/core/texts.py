"""YAML files of packages; texts in English and Korean are two with the same keys, texts.en.yaml and texts.ko.yaml."""

import functools
from importlib import resources
from typing import Any

import yaml

LANGUAGES = ("en", "ko")


def read_yaml(package: str, name: str) -> Any:
    """The value in a YAML file of a package."""
    return yaml.safe_load(resources.files(package).joinpath(name).read_text(encoding="utf-8"))


@functools.cache
def load(package: str) -> dict[str, dict]:
    """Language -> the mapping of keys to texts of `package`."""
    return {language: read_yaml(package, f"texts.{language}.yaml") for language in LANGUAGES}


def text(package: str, key: str, /, **values) -> dict[str, str]:
    """The text under `key`, words joined by dots, in both languages: {"en": ..., "ko": ...}, {holes} filled in.

    A value that is itself such a dict fills its hole with the text of the same language. Raises KeyError for a key that
    is not there.
    """
    out = {}
    for language, texts in load(package).items():
        entry: Any = texts
        for word in key.split("."):
            entry = entry[word]
        chosen = {name: value[language] if isinstance(value, dict) else value for name, value in values.items()}
        out[language] = entry.format(**chosen)
    return out
