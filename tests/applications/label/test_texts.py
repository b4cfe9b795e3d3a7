"""The words of the page: the same keys in both languages, each one used, and one for every error that the server can
answer."""

import json
import re
from pathlib import Path

from korlhf.applications.label import ballot

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "applications" / "label" / "page"
TEXTS = json.loads((PAGE / "texts.json").read_text(encoding="utf-8"))
SCRIPTS = "".join(p.read_text(encoding="utf-8") for p in sorted(PAGE.glob("*.js")))
SERVER = "".join((ROOT / f"korlhf/applications/label/{n}.py").read_text("utf-8") for n in ("ballot", "desk", "service"))


def test_both_languages_have_the_words_that_the_page_asks_for_and_no_others():
    asked = {key for key in TEXTS["ko"] if f'"{key}"' in SCRIPTS} | set(re.findall(r'say\("(\w+)"', SCRIPTS))
    asked |= {f"reason_{code}" for code in ballot.REASONS} | {f"kind_{kind}" for kind in ballot.KINDS}
    errors = set(re.findall(r'Refused\("(\w+)"\)', SERVER)) - {"who", "wrong_name", "wrong_password", "not_here"}
    asked |= {f"error_{code}" for code in errors} | {"user", "assistant", "system"}
    assert asked == TEXTS["ko"].keys() == TEXTS["en"].keys()
    for key, text in TEXTS["ko"].items():
        assert {*re.findall(r"\{\w+\}", text)} == {*re.findall(r"\{\w+\}", TEXTS["en"][key])}, key
        assert re.search("[가-힣]", text) or key in ("language", "me"), key
