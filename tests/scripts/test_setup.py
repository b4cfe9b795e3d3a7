"""setup.sh: what it says, and what it asks pip for. Python and pip are stand-ins."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Notes what pip is asked for; fails where $FAIL is among the words, and finds no index if $NO_INDEX is set.
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv "*) for folder; do :; done; mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python" ;;
    *torch.version*) exit 1 ;;
    *urlopen*) for address; do :; done; echo "asked for $address" >>"$CALLS"; exit "${NO_INDEX:-0}" ;;
    "-c "*) echo "3.12 1" ;;
    "- "*) cat >/dev/null; cat "$2/requirements.txt" | cksum ;;
    "-m pip "*)
        shift 2
        echo "$*" >>"$CALLS"
        echo "Collecting a great deal"
        echo "WARNING: noise of pip" >&2
        if [ -n "$SLOW" ]; then sleep "$SLOW"; fi
        case "$*" in *"${FAIL:-no such word}"*) echo "ERROR: no space left on device"; exit 1 ;; esac ;;
esac
"""
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@pytest.fixture
def setup(tmp_path):
    """Function: variables -> (exit code, lines of stdout, stderr, what pip was asked for); in a project of its own."""
    root, calls = tmp_path / "프로젝트 a", tmp_path / "calls"
    root.mkdir()
    for name in ("setup.sh", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, root / name)
    python = tmp_path / "python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    bare = {"PATH": os.environ["PATH"], "PYTHON": str(python), "CALLS": str(calls)}

    def run(**variables):
        calls.write_text("")
        command = ["bash", str(root / "setup.sh")]
        done = subprocess.run(command, env=bare | variables, capture_output=True, text=True, timeout=60)
        # bash 5.2 may complain of a job that ended while it looked
        err = "".join(x for x in done.stderr.splitlines(True) if "wait_for: No record of process" not in x)
        return done.returncode, done.stdout.splitlines(), err, calls.read_text().splitlines()

    run.log = root / ".venv/setup.log"
    return run


def installed(calls):
    """The packages that pip was told to install, in order."""
    return [word for call in calls if call.startswith("install") for word in call.split() if "==" in word]


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="with a GPU torch comes from the usual index")
def test_each_group_has_a_line_with_size_and_time_and_pip_is_quiet(setup):
    code, lines, err, calls = setup()
    assert (code, err) == (0, "") and all(line.startswith("[setup] ") for line in lines)
    assert not any("noise" in line or "Collecting" in line for line in lines)
    assert setup.log.read_text(encoding="utf-8").count("WARNING: noise of pip") == len(calls) - 1 == 5
    ended = [line for line in lines if line.endswith(" s")]
    assert len(ended) == 5 and ended[1].startswith("[setup] 3/4 training: done, 0 MB in ")
    assert calls[0] == f"asked for {CPU_INDEX}/torch/"
    assert f"--extra-index-url {CPU_INDEX} {TORCH}" in calls[1]
    pins = [x for x in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if "==" in x]
    assert installed(calls) == [TORCH, *pins]
    assert setup()[1:3] == ([f"[setup] nothing has changed: {setup.log.parent} is ready"], "")


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="with a GPU torch comes from the usual index")
def test_an_index_that_is_not_there_is_asked_once(setup):
    code, lines, _, calls = setup(NO_INDEX="1")
    assert code == 0 and any(f"{CPU_INDEX} does not answer" in line for line in lines)
    assert sum(CPU_INDEX in call for call in calls) == 1
    venv = str(setup.log.parent) + "2"
    _, _, _, calls = setup(NO_INDEX="1", KORLHF_TORCH_INDEX="http://mine", KORLHF_VENV=venv)  # is taken at its word
    assert calls[0].startswith("install") and "--extra-index-url http://mine" in calls[0]


def test_a_failure_shows_the_end_of_the_log_and_the_next_start_goes_on(setup):
    code, lines, err, _ = setup(FAIL="gradio==")
    assert code == 2 and err.count("\n") <= 16
    assert "ERROR: no space left on device\nerror: 3/4 servers and applications: pip failed" in err
    assert str(setup.log) in err.splitlines()[-1]
    code, lines, _, calls = setup()
    assert code == 0 and installed(calls) and "ready" in lines[-1]


def test_what_takes_long_says_so(setup):
    _, lines, _, _ = setup(SLOW="0.3", KORLHF_BEAT="0.1")
    assert any(re.fullmatch(r"\[setup] 3/4 training: \d+ s so far; Collecting a great deal", line) for line in lines)
