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


LOGIN = {"who", "wrong_name", "wrong_password"}  # these have words of their own


def holes(text):
    return set(re.findall(r"\{(\w+)\}", text))


def test_both_languages_have_the_same_words_with_the_same_holes():
    assert TEXTS["ko"].keys() == TEXTS["en"].keys()
    for key, text in TEXTS["ko"].items():
        assert text.strip() and holes(text) == holes(TEXTS["en"][key]), key
    assert all(re.search("[가-힣]", text) for key, text in TEXTS["ko"].items() if key not in ("language", "me"))


def test_every_word_that_the_page_asks_for_is_there_and_no_other():
    asked = {key for key in TEXTS["ko"] if f'"{key}"' in SCRIPTS}
    asked |= {f"reason_{code}" for code in ballot.REASONS} | {f"kind_{kind}" for kind in ballot.KINDS}
    asked |= {f"error_{code}" for code in codes()} | {"user", "assistant", "system"}
    assert asked == TEXTS["ko"].keys()
    assert set(re.findall(r'say\("(\w+)"', SCRIPTS)) <= TEXTS["ko"].keys()


def codes():
    """All codes of errors about a label."""
    modules = "".join(
        (ROOT / "korlhf" / "applications" / "label" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("ballot", "desk", "service")
    )
    found = set(re.findall(r'Refused\("(\w+)"\)', modules))
    return found - LOGIN | {"storage", "comment_too_long", "edit_too_long"}
