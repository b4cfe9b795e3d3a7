"""Texts in English and Korean: two YAML files with the same keys in a package, texts.en.yaml and texts.ko.yaml."""

import functools
from importlib import resources
from typing import Any

import yaml

LANGUAGES = ("en", "ko")


@functools.cache
def load(package: str) -> dict[str, dict]:
    """Language -> the mapping of keys to texts of `package`."""
    files = resources.files(package)
    return {
        language: yaml.safe_load(files.joinpath(f"texts.{language}.yaml").read_text(encoding="utf-8"))
        for language in LANGUAGES
    }


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
