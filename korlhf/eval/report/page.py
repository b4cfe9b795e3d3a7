"""A run as one self-contained HTML page in Korean and English: no outside resources, every text of the data escaped.

The page needs its script for nothing but the answers beyond the first few, their filters, and remembering the language. A policy in its
head lets no script run but that one, and loads nothing.
"""

import base64
import hashlib
import json
import os
import sys
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from korlhf import __version__
from korlhf.core.errors import InputError
from korlhf.core.tables import both
from korlhf.eval.report import answers, charts, curves, gather, grids, summary, words

WITHOUT_SCRIPT = 20  # rows of answers in a page whose script does not run
SHORT = (
    "prompts",
    "pairs",
    "items",
    "n",
    "pairing",
    "interval",
    "intervals",
    "seed",
    "template",
    "chat template",
    "shots",
    "decoding",
    "judge",
)
LONG = 160  # characters: these lines of a protocol stand below every table if they are no longer, all of them below the last table


def write(path, run, warnings, missing, title):
    """Write the page of a gather.Run whole or not at all. warnings, missing: of korlhf/eval/report/checks.py. Raises InputError."""
    path = Path(path)
    page = render(run, warnings, missing, title, path)
    part = path.with_name(path.name + ".part")
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"--output {path}: cannot be written: {error.strerror or error}; give another") from error


def render(run, warnings, missing, title, path):
    """The page as text. path: where it will lie, for the links to the model cards."""
    environment = Environment(
        loader=PackageLoader("korlhf.eval.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": False,
        "separators": (",", ":"),
    }  # tojson escapes < > & ' by itself
    environment.filters.update(json_text=json_text, percent_quoted=quote, ended=ended)
    style, script = (
        files("korlhf.eval.report").joinpath("templates", name).read_text(encoding="utf-8")
        for name in ("style.css", "script.js")
    )
    side = {**answers.merge(run), "korean": words.NOTES}
    return environment.get_template("page.html").render(
        title=gather.shown(title),
        run=run,
        path=gather.shown(str(run.folder)),
        now=time.strftime("%Y-%m-%d %H:%M %Z"),
        versions=versions(run),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode(),
        warnings=warnings_view(warnings, run),
        count=len(warnings),
        missing=missing,
        sentences=summary.sentences(run, warnings),
        cards=summary.cards(run),
        stages=[stage_view(s, run.folder, path) for s in run.stages],
        results=[result_view(r) for r in run.results],
        side=side,
        first=side["rows"][:WITHOUT_SCRIPT],
        titles=words.TITLES,
        dot=charts,
    )


def warnings_view(warnings, run):
    """[(what they are about: [{"name", "at": its place in the page}], texts)]; neighbours about the same stand together."""
    out = []
    for warning in warnings:
        about = [_place_of(one, run) for one in warning["about"]]
        if out and out[-1][0] == about:
            out[-1][1].append(warning["text"])
        else:
            out.append((about, [warning["text"]]))
    return out


def _place_of(about, run):
    if isinstance(about, gather.Result):
        return {"name": result_name(about), "at": f"result-{run.results.index(about)}"}
    return {"name": about.name, "at": f"stage-{run.stages.index(about)}"}


def result_name(result):
    """A result's name for people; one under another file name than its program's has that too."""
    name, rest = words.name_of(result.program), result.name.removeprefix(result.program)
    return both(name["en"] + rest, name["ko"] + rest)


def ended(words_or_text):
    """A line of a program in both languages, with a full stop."""
    lines = in_both(words_or_text)
    return {language: text if text.endswith((".", "!", "?", "…")) else f"{text}." for language, text in lines.items()}


def versions(run):
    """{package: versions} of what made the results, and of what made this page."""
    found = {"korlhf": [__version__], "python": [sys.version.split()[0]]}
    for part in [run.summary.get("versions"), *(r.found["versions"] for r in run.results)]:
        for name, value in (part if isinstance(part, dict) else {}).items():
            found.setdefault(name, [])
            found[name] += [value] if value not in found[name] else []
    found.setdefault("jinja2", [version("jinja2")])
    return found


def stage_view(stage, folder, path):
    """What the page shows of a stage. folder: of the run; path: of the page."""
    main, more = curves.of_stage(stage.metrics)
    card = os.path.relpath(stage.folder / "README.md", path.parent) if stage.card else ""
    return {
        "stage": stage,
        "facts": summary.facts(stage, folder),
        "curves": main,
        "more_curves": more,
        "card_at": Path(card).as_posix(),
        "unfinished": not stage.done,
    }


def result_view(result):
    """What the page shows of a result."""
    lines = {**result.found["protocol"], "cache": result.found.get("from_cache") or None}
    protocol = {name: in_both(value) for name, value in lines.items() if value not in (None, "")}
    short = [
        name
        for name in protocol
        if (name in SHORT or name.startswith("judge ")) and max(map(len, protocol[name].values())) <= LONG
    ]
    return {
        "result": result,
        "name": result_name(result),
        "about": words.ABOUT.get(result.program),
        "tables": [grids.ready(table) for table in result.found["tables"]],
        "protocol": [(words.protocol_name(name), value) for name, value in protocol.items()],
        "short": [(words.protocol_name(name), protocol[name]) for name in short],
        "calibrations": calibrations(result.found["figures"]),
    }


def in_both(value):
    """A value of a protocol in both languages."""
    if isinstance(value, dict) and {"en", "ko"} <= set(value):
        return both(str(value["en"]), str(value["ko"]))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return both(text, text)


def calibrations(figures, name=""):
    """[(whose, charts.calibration)] of everything under the name `calibration` in a result's figures: bins, or {"bins": ...}."""
    out = []
    for key, value in figures.items() if isinstance(figures, dict) else ():
        bins = value.get("bins") if isinstance(value, dict) else value
        if key == "calibration" and isinstance(bins, list):
            chart = charts.calibration(bins)
            out += [(name, chart)] if chart else []
        else:
            out += calibrations(value, key)
    return out


def json_text(value):
    """Settings as people read them: JSON with Hangul as Hangul."""
    return json.dumps(value, ensure_ascii=False, indent=2)
