"""A run as one self-contained HTML page in Korean and English: no outside resources, every text of the data escaped.

The page needs its script for nothing but the answers beyond the first few, their filters, the values of the charts, and
remembering the language. A policy in its head lets no script run but that one, and loads nothing.
"""

import base64
import hashlib
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from korlhf import __version__
from korlhf.core.ai_mark import NOTICE
from korlhf.core.files import AtomicFile
from korlhf.core.tables import both, joined
from korlhf.eval.report import answers, charts, checks, curves, first, gather, grids, summary
from korlhf.eval.report.words import group, name_of, protocol_name, say

TEMPLATES = PackageLoader("korlhf.eval.report")
WITHOUT_SCRIPT = 20  # rows of answers in a page whose script does not run
SHORT = {"prompts", "pairs", "items", "n", "pairing", "interval", "intervals", "seed", "template", "chat template"}
SHORT |= {"shots", "decoding", "judge"}
LONG = 160  # characters: SHORT lines of a protocol up to this stand below every table, all lines below the last one
SPANS = Markup('<span class="en" lang="en">{en}</span><span class="ko" lang="ko">{ko}</span>')


def write(path, run, warnings, title):
    """Write the page of a gather.Run whole or not at all. warnings: of checks.warnings. Raises InputError."""
    page = render(run, warnings, title, Path(path))
    with AtomicFile(path, "--output") as file:
        file.write(page)


def render(run, warnings, title, path):
    """The page as text. path: where it will lie, for the links to the model cards."""
    environment = _environment()
    style, script = (TEMPLATES.get_source(environment, name)[0] for name in ("style.css", "script.js"))
    own = {"korean": group("notes")["ko"], "words": {key: say(f"script.{key}") for key in group("script")["en"]}}
    side = answers.merge(run) | own
    return environment.get_template("page.html").render(
        title=gather.shown(title),
        run=run,
        path=gather.shown(str(run.folder)),
        now=time.strftime("%Y-%m-%d %H:%M %Z"),
        versions=_versions(run),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode(),
        screen=first.answers(run, warnings),
        notice=NOTICE,
        warnings=_neighbours(warnings, run),
        count=len(warnings),
        missing=checks.missing(run),
        sentences=summary.sentences(run, warnings),
        cards=summary.cards(run),
        stages=[_stage_view(s, run.folder, path) for s in run.stages],
        results=[_result_view(k, r) for k, r in enumerate(run.results)],
        side=side,
        first=side["rows"][:WITHOUT_SCRIPT],
    )


def _environment():
    environment = Environment(
        loader=TEMPLATES, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # tojson escapes < > & ' by itself
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters.update(json_text=json_text, percent_quoted=quote, two=two, ended=ended)
    environment.globals.update(
        say=say, title_of=summary.title, dots=charts, t=lambda key, **values: two(say(f"page.{key}", **values))
    )
    return environment


def two(words):
    """What the page shows: a text, or both languages of a tables.both, of which the style hides one."""
    if not isinstance(words, dict):
        return words
    return words["en"] if words["en"] == words["ko"] else SPANS.format(**words)


def ended(line):
    """A line of a program in both languages, with a full stop."""
    return {language: text if text.endswith((".", "!", "?", "…")) else f"{text}." for language, text in line.items()}


def json_text(value):
    """Settings as people read them: JSON with Hangul as Hangul."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _neighbours(warnings, run):
    """[(what they are about: [{"name", "at": its place in the page}], texts)]; neighbours about the same together."""
    out = []
    for warning in warnings:
        about = [_place_of(one, run) for one in warning.about]
        if not out or out[-1][0] != about:
            out.append((about, []))
        out[-1][1].append(ended(warning.text))
    return out


def _place_of(about, run):
    if isinstance(about, gather.Result):
        return {"name": _result_name(about), "at": f"result-{run.results.index(about)}"}
    return {"name": about.name, "at": f"stage-{run.stages.index(about)}"}


def _result_name(result):
    return joined([name_of("programs", result.program), result.suffix], "")


def _versions(run):
    """{package: versions} of what made the results, and of what made this page."""
    found = {"korlhf": [__version__], "python": [sys.version.split()[0]]}
    for part in [run.summary.get("versions"), *(r.content["versions"] for r in run.results)]:
        for name, value in (part if isinstance(part, dict) else {}).items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return found | {name: [version(name)] for name in ("jinja2", "matplotlib")}


def _stage_view(stage, folder, path):
    """What the page shows of a stage. folder: of the run; path: of the page."""
    main, more = curves.of_stage(stage)
    card = Path(os.path.relpath(stage.folder / "README.md", path.parent)).as_posix() if stage.card else ""
    facts = summary.facts(stage, folder)
    return {"stage": stage, "facts": facts, "curves": main, "more_curves": more, "card_at": card}


def _result_view(place, result):
    lines = {**result.content["protocol"], "cache": result.content.get("from_cache") or None}
    protocol = {name: _in_both(value) for name, value in lines.items() if value not in (None, "")}
    told = [name for name in protocol if name in SHORT or name.startswith("judge ")]
    told = [name for name in told if max(map(len, protocol[name].values())) <= LONG]
    return {
        "result": result,
        "name": _result_name(result),
        "about": say(f"about.{result.program}") if result.program in group("about")["en"] else "",
        "tables": [grids.ready(table, f"grid-{place}-{k}") for k, table in enumerate(result.content["tables"])],
        "protocol": [(protocol_name(name), value) for name, value in protocol.items()],
        "short": [(protocol_name(name), protocol[name]) for name in told],
        "calibrations": calibrations(result.content["figures"], f"result-{place}"),
    }


def _in_both(value):
    if isinstance(value, dict) and {"en", "ko"} <= set(value):
        return both(str(value["en"]), str(value["ko"]))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return both(text, text)


def calibrations(figures, salt, name=""):
    """[(whose, charts.Chart)] of everything called `calibration` in a result's figures: bins, or {"bins": ...}."""
    found = []
    for key, value in figures.items() if isinstance(figures, dict) else ():
        bins = value.get("bins") if isinstance(value, dict) else value
        if key == "calibration" and isinstance(bins, list):
            chart = charts.calibration(bins, f"{salt}/{name}")
            found += [(name, chart)] if chart else []
        else:
            found += calibrations(value, f"{salt}/{name}", key)
    return found
