"""What stages need from outside, looked for before anything starts: paths, models, servers, keys, ports, human labels."""

import re
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from korlhf.applications.web import check_port
from korlhf.core.errors import InputError
from korlhf.pipeline.stages import dependencies

HUB_NAME = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
OPENAI, KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"
HUB = "https://huggingface.co"
SECONDS = 4.0  # for a server to take the connection


@dataclass
class Found:
    """missing: lines about what must be there before the run can start; waiting: {stage: line} of what the run stops for when it gets
    there; notes: lines worth knowing."""

    missing: list = field(default_factory=list)
    waiting: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


def look(stages, states, entries, prints, environ):
    """Found, for the stages that have to run. entries: name -> what the record says of a stage."""
    found, by_name, after = Found(), {s.name: s for s in stages}, dependencies(stages)
    for stage in stages:
        if not states[stage.name].runs:
            continue
        for name in sorted(after[stage.name]):
            if not states[name].runs and not _whole(by_name[name], entries.get(name)):
                found.missing.append(
                    f"{stage.name} reads what stage {name} makes, which is not there, or not whole: leave out --from and "
                    f"--only, which runs all that is missing, or start with --from {name}"
                )
        for need in stage.needs:
            _enter(found, stage.name, need, environ)
    return found


def _whole(stage, entry):
    """Whether a stage that is kept as it is left all that it writes, and was not stopped halfway."""
    return all(path.exists() for path in stage.writes) and (entry is None or entry["state"] == "done")


def _enter(found, stage, need, environ):
    text = CHECKS[need.kind](need, environ)
    if text and need.kind == "labels" and not need.what:
        found.waiting[stage] = text
    elif text:
        found.missing.append(f"{stage}: {text}")
    elif need.kind == "model" and not Path(need.what).expanduser().exists() and not cached(need.what, environ):
        found.notes.append(f"{need.what} is not on this machine: it is downloaded when {stage} begins")


def _path(need, _):
    return "" if Path(need.what).expanduser().exists() else f"{need.what}: there is no such file or folder; {need.how}"


def _labels(need, environ):
    return _path(need, environ) if need.what else need.how


def cached(name, environ):
    """Whether a hub model is in the cache of this machine."""
    home = Path(environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    hub = Path(environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return any((hub / ("models--" + name.replace("/", "--")) / "snapshots").glob("*/config.json"))


def _model(need, environ):
    """A checkpoint: a folder with a config.json, or a hub name whose files are here or can be had."""
    folder = Path(need.what).expanduser()
    if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
        return ""
    if folder.exists() or not HUB_NAME.fullmatch(need.what):
        return f"{need.what}: not a model folder, there is no config.json in it; {need.how}"
    if cached(need.what, environ):
        return ""
    if environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") or not reachable(environ.get("HF_ENDPOINT") or HUB, environ):
        return f"{need.what} is not on this machine, and the hub cannot be reached; {need.how}"
    return ""


def reachable(url, environ):
    """Whether a server takes connections. Behind a proxy that cannot be told, and is taken for granted."""
    proxied = any(
        environ.get(name)
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    )
    parts = urlsplit(url)
    if proxied and parts.hostname not in ("localhost", "127.0.0.1"):
        return True
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=SECONDS).close()
    except (OSError, ValueError, TypeError):
        return False
    return True


def _server(need, environ):
    if need.what.startswith(OPENAI) and not environ.get(KEY, "").strip():
        return f"{KEY} is not set; {need.how}"
    return "" if reachable(need.what, environ) else f"{need.what}: no server takes connections there; {need.how}"


def _port(need, _):
    try:
        check_port("127.0.0.1", int(need.what))
    except (InputError, ValueError, OverflowError):
        return f"PORT={need.what}: taken, or not a port that can be used; {need.how}"
    return ""


CHECKS = {"path": _path, "labels": _labels, "model": _model, "server": _server, "port": _port}


def gpus(environ):
    """Names of the NVIDIA GPUs of this machine, one for each that is visible."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    names = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    return names if visible is None else names[: len([v for v in visible.split(",") if v.strip() not in ("", "-1")])]
