"""The words of the page in both languages: `report` in korlhf/eval/texts.en.yaml and texts.ko.yaml."""

import re

from korlhf.core.tables import both
from korlhf.core.texts import load, text

PACKAGE = "korlhf.eval"
# as worth reading
PROGRAMS = ("reward_accuracy", "geval", "win_rate", "harmlessness", "chat_benchmark", "diversity", "benchmark")
STEPS = (1, 2, 3)
_OF = re.compile(r"(?P<what>.+?) of (?P<whose>.+)", re.DOTALL)


def say(key, /, **values):
    """The text under report.`key` in both languages; see korlhf.core.texts.text."""
    return text(PACKAGE, f"report.{key}", **values)


def group(key):
    """language -> what stands under report.`key`, unformatted."""
    return {language: found["report"][key] for language, found in load(PACKAGE).items()}


def name_of(key, name):
    """The text under report.`key`.`name` in both languages; a name without one stands for itself."""
    return say(f"{key}.{name}") if name in group(key)["en"] else both(name, name)


def protocol_name(name):
    """The name of a line of a protocol, also in "rubric of harmful" and "judge openai:x"."""
    known = group("protocol")
    if name in known["en"]:
        return name_of("protocol", name)
    match = _OF.fullmatch(name)
    if match and match["what"] in known["en"]:
        return both(name, f"{known['ko'][match['what']]}: {match['whose']}")
    first, _, rest = name.partition(" ")
    return both(name, f"{known['ko'][first]} {rest}" if first in known["en"] else name)
