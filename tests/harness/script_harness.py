"""Runs the shell scripts with a stand-in for Python on PATH, which writes down how it was called."""

import os
import shutil
import subprocess

import pytest
from step_programs import FOLDERS, ROOT, parse

SCRIPTS = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("training/step*/training_scripts/*/run_*.sh"))
STEP = {name: next(s for s, folder in FOLDERS.items() if folder in name) for name in SCRIPTS}
TINY = {step: f"training/{folder}/training_scripts/tiny/run_tiny.sh" for step, folder in FOLDERS.items()}
MULTI_NODE = [s for s in SCRIPTS if "/multi_node/" in s]

PYTHON = """#!/bin/sh
printf '%s\\0' "$@" >"$STAND_IN/argv"
echo "$OMP_NUM_THREADS|$CUDA_VISIBLE_DEVICES|$PYTHONUTF8|$(pwd)" >"$STAND_IN/environment"
echo "나온 말 on stdout"
echo "on stderr" >&2
if [ -n "$WAIT" ]; then
    trap 'echo "last words after INT"; exit 130' INT
    trap 'echo "last words after TERM"; exit 143' TERM
    touch "$STAND_IN/started"
    while :; do sleep 0.05; done
fi
exit "${EXIT:-0}"
"""
NVIDIA_SMI = """#!/bin/sh
i=0
while [ "$i" -lt "${GPUS:-0}" ]; do echo "GPU $i: stand-in"; i=$((i + 1)); done
"""


def copy_of_training(folder):
    """The scripts and launch.sh in a project folder of their own."""
    for script in [*SCRIPTS, "training/launch.sh"]:
        (folder / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / script, folder / script)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return copy_of_training(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def korean(tmp_path_factory):
    return copy_of_training(tmp_path_factory.mktemp("korean") / "한글 폴더")


class Harness:
    """Runs scripts in an environment of its own; `argv`, `flags` tell how the stand-in was called."""

    def __init__(self, folder):
        self.folder, self.cwd = folder, folder / "어떤 곳"
        self.cwd.mkdir(parents=True)
        (folder / "venv" / "bin").mkdir(parents=True)
        for name, text in (("python", PYTHON), ("nvidia-smi", NVIDIA_SMI)):
            path = folder / "venv" / "bin" / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "STAND_IN": str(folder),
            "KORLHF_VENV": str(folder / "venv"),
        }

    def run(self, script, *words, code=0, cwd=None, **env):
        done = subprocess.run(
            ["bash", str(script), *words],
            cwd=cwd or self.cwd,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    @property
    def argv(self):
        return (self.folder / "argv").read_text(encoding="utf-8").split("\0")[:-1]

    @property
    def before_main(self):
        """The words before main.py: python's own, or the launcher's."""
        return self.argv[: self._main()]

    @property
    def flags(self):
        return self.argv[self._main() + 1 :]

    def _main(self):
        return next(i for i, word in enumerate(self.argv) if word.endswith("/main.py"))

    def parsed(self, step):
        return parse(step, self.flags)

    @property
    def environment(self):
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONUTF8", "PWD")
        return dict(zip(names, (self.folder / "environment").read_text(encoding="utf-8").strip().split("|")))


@pytest.fixture
def harness(tmp_path):
    return Harness(tmp_path)


@pytest.fixture
def hostfile(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("a slots=8\nb slots=8\n", encoding="utf-8")
    return str(path)
