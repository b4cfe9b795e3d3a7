"""The documents: every link leads somewhere, both languages go together, and the tutorial's commands work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from free_port import free_port

ROOT = Path(__file__).resolve().parents[1]
UNTRACKED = {".git", ".venv", "output", "build", ".pytest_cache"}
PAGES = sorted(
    p for p in ROOT.rglob("*.md") if not UNTRACKED & {*p.relative_to(ROOT).parts} and p.name != "card.md"
)  # card.md is a Jinja template
KOREAN = [p for p in PAGES if p.name.endswith(".ko.md")]
FENCE = re.compile(r"^ *```(.*?)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def name(page):
    return os.path.relpath(page, ROOT)


def english(page):
    return page.with_name(page.name.removesuffix(".ko.md") + ".md")


def prose(page):
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def headings(page):
    """(level, text) of each heading."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE)]


def anchors(page):
    """The names that GitHub gives to a page's headings."""
    seen = []
    for _, title in headings(page):
        plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        seen.append(f"{slug}-{seen.count(slug)}" if slug in seen else slug)
    return set(seen)


def links(page):
    """Targets of a page's Markdown links and pictures, in this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", prose(page))
    return [a or b for a, b in targets if not re.match(r"[a-z]+:", a or b)]


def code(page):
    """[(language, text without comments)] of a page's blocks; of those without a language, which are pictures, ""."""
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    return [(kind, re.sub(r" *(?<![^\s])#.*", "", text) if kind else "") for kind, text in blocks]


def dead(page, target):
    """What is wrong with a link, or ""."""
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return f"{name(page)}: {target} leads nowhere"
    if anchor and anchor not in anchors(there):
        return f"{name(page)}: {target}: there is no such heading"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    assert [wrong for target in links(page) if (wrong := dead(page, target))] == []


def test_links_are_seen(tmp_path):
    """Of what the test above would pass in silence if it read pages wrongly."""
    page = tmp_path / "a.md"
    page.write_text('# 수치 읽는 법\n[a](b.md) [c](#수치-읽는-법) [d](#no) `[e](f.md)`\n<img src="x.png">\n', "utf-8")
    assert links(page) == ["b.md", "#수치-읽는-법", "#no", "x.png"]
    assert anchors(page) == {"수치-읽는-법"}
    assert [bool(dead(page, target)) for target in links(page)[1:3]] == [False, True]
    assert headings(ROOT / "README.md")[0] == (1, "KoRLHF")


def test_each_page_of_docs_is_there_in_both_languages():
    pages = {p.name for p in (ROOT / "docs").glob("*.md")} | {"README.md", "README.ko.md"}
    korean = {p for p in pages if p.endswith(".ko.md")}
    assert {p.removesuffix(".ko.md") for p in korean} == {p.removesuffix(".md") for p in pages - korean}


@pytest.mark.parametrize("page", KOREAN, ids=name)
def test_both_languages_have_the_same_headings_and_code(page):
    assert [level for level, _ in headings(page)] == [level for level, _ in headings(english(page))]
    assert code(page) == code(english(page))


@pytest.mark.parametrize("page", KOREAN, ids=name)
def test_a_korean_page_links_to_korean_pages(page):
    """All but the first link, which changes the language."""
    assert links(page)[0] == english(page).name and links(english(page))[0] == page.name
    others = [(page.parent / target.partition("#")[0]) for target in links(page)[1:] if target[0] != "#"]
    assert [p.name for p in others if p.with_name(p.name.removesuffix(".md") + ".ko.md").exists()] == []


def test_the_faq_speaks_in_the_words_of_the_programs():
    """Each heading that is an error's text is one that some program prints."""
    sources = [*ROOT.glob("*.sh"), *(ROOT / "korlhf").rglob("*.py"), *(ROOT / "applications").rglob("*.sh")]
    text = "\n".join(p.read_text(encoding="utf-8") for p in sources)
    text = re.sub(r"\"\s*\n\s*f?\"", "", text).replace('"$PYTHON"', "")  # strings over several lines
    errors = [title[1:-1] for _, title in headings(ROOT / "docs/faq.md") if title[0] == title[-1] == "`"]
    assert len(errors) > 20
    python = "ModuleNotFoundError: No module named 'korlhf'"  # Python's own
    assert [error for error in errors if error not in text and error != python] == []
    assert errors == [title[1:-1] for _, title in headings(ROOT / "docs/faq.ko.md") if title[0] == title[-1] == "`"]


def test_flags_that_the_documents_name_are_there():
    """A flag that was renamed stays in no document; the changelog tells of those that are gone."""
    folders = ("korlhf", "training", "data_prep", "eval", "applications", "benchmarks", "samples")
    sources = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".sh")]
    words = set(re.findall(r"\w+", "\n".join(p.read_text(encoding="utf-8") for p in [*sources, *ROOT.glob("*.sh")])))
    of_others = {
        "continuous-batching",
        "repo-type",
        "local-dir",
        "structured-outputs-config",
        "tensor-parallel-size",
        "gpu-memory-utilization",
        "enable-scale-out",
        "enable-lora",
        "max-loras",
        "max-lora-rank",
        "weight-transfer-config",
        "logprobs-mode",
        "generation-config",
        "num_gpus",
        "ntasks-per-node",
        "gpus-per-node",
    }
    unknown = {
        (name(page), flag)
        for page in PAGES
        for flag in re.findall(r"(?<![\w#-])--([a-z][a-z0-9_-]+)", page.read_text(encoding="utf-8"))
        if page.name != "CHANGELOG.md" and not {flag, re.sub("^(actor|critic)_", "", flag)} & (words | of_others)
    }
    assert unknown == set()


def test_issue_forms_are_such_as_github_takes():
    forms = [p for p in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml"]
    assert {p.stem for p in forms} == {"bug", "feature", "question"}
    for form in (yaml.safe_load(p.read_text(encoding="utf-8")) for p in forms):
        assert {"name", "description", "body"} <= form.keys()
        fields = [item for item in form["body"] if item["type"] != "markdown"]
        assert len({item["id"] for item in fields}) == len(fields)
        assert all(item["attributes"]["label"] for item in fields)
        assert {item["type"] for item in fields} <= {"input", "textarea", "dropdown", "checkboxes"}


@pytest.mark.long
def test_the_tutorial_works_as_it_stands(tmp_path):
    """Its commands, one after the other, in a copy of the project."""
    folder = tmp_path / "KoRLHF"
    unneeded = shutil.ignore_patterns(*UNTRACKED, "tests", "*.egg-info", "__pycache__", "screenshots")
    shutil.copytree(ROOT, folder, ignore=unneeded)
    blocks = [text for kind, text in FENCE.findall((folder / "docs/tutorial.md").read_text("utf-8")) if "run" in kind]
    script = "set -euo pipefail\n" + "".join(blocks)
    for port in ("8479", "8011"):
        assert port in script
        script = script.replace(port, str(free_port()))
    bin_folder = Path(sys.executable).parent
    settings = {"PYTHONPATH": str(folder), "KORLHF_VENV": str(bin_folder.parent), "HF_HUB_OFFLINE": "1"}
    settings |= {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **settings}, text=True, capture_output=True, timeout=1800
    )
    out = folder / "output/tutorial"
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert all((out / step / "finished.json").exists() for step in ("sft", "reward", "ppo"))
    assert (out / "report.html").exists() and (out / "audit/audit.html").exists() and (out / "bot/README.md").exists()
    assert "error" not in done.stderr
