"""korlhf/eval/texts.en.yaml and texts.ko.yaml: the same keys, the same holes, nothing that no program says."""

import ast
import re
import string

from eval_harness import ROOT

from korlhf.core.texts import load

PACKAGE = ROOT / "korlhf" / "eval"


def flat(texts, path=""):
    """{key, words joined by dots: text}"""
    out = {}
    for key, value in texts.items():
        out.update(flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + str(key): value})
    return out


def test_both_languages_have_the_same_keys_and_holes():
    en, ko = (flat(load("korlhf.eval")[language]) for language in ("en", "ko"))
    assert list(en) == list(ko)

    def holes(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert not [key for key in en if holes(en[key]) != holes(ko[key])]
    spoken = [key for key, text in en.items() if len(re.sub("{.*?}", "", text).split()) > 4]
    assert not [key for key in spoken if not re.search("[가-힣]", ko[key]) or re.search("[가-힣]", en[key])]


def test_every_text_is_used():
    """A key stands in the code as it is, or begins as one of its f-strings does; a column's is a word of `columns`."""
    strings, starts = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings |= {word.partition(":")[0] for word in node.value.split()}
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                starts.add(node.values[0].value)
    for path in (ROOT / "eval").glob("*.py"):
        strings |= set(re.findall(r'"([a-z_]+\.[a-z_.]+)"', path.read_text(encoding="utf-8")))
    strings |= {f"{key}.{part}" for key in strings for part in ("title", "note")}  # of eval.texts.table
    starts = tuple(start for start in starts if "." in start)
    keys = [key for key in flat(load("korlhf.eval")["en"]) if not key.startswith("report.")]
    unused = [k for k in keys if k.removeprefix("columns.") not in strings and not k.startswith(starts)]
    assert not unused
