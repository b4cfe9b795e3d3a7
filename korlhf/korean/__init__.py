"""What is Korean: speech level, friendliness, refusals, marks of transcribers. Words and cues are in words.yaml."""

from importlib import resources

import yaml

WORDS: dict = yaml.safe_load(resources.files(__name__).joinpath("words.yaml").read_text(encoding="utf-8"))
