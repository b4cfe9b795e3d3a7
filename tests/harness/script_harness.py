"""Runs the shell scripts with a stand-in for Python on PATH, which writes down how it was called."""

import os
import shutil
import subprocess

from step_programs import FOLDERS, ROOT, parse

STEP_OF = {
    str(path.relative_to(ROOT)): step
    for step, folder in FOLDERS.items()
    for path in sorted(ROOT.glob(f"training/{folder}/training_scripts/*/run_*.sh"))
}
SCRIPTS = [script for script in STEP_OF if not script.endswith("run_recipe.sh")]  # run_v1.sh and so on run it
TINY = {step: f"training/{folder}/training_scripts/tiny/run_tiny.sh" for step, folder in FOLDERS.items()}
MULTI_NODE = [script for script in SCRIPTS if "/multi_node/" in script]
EVERY_SCRIPT = [
    str(path.relative_to(ROOT))
    for folder in ("training", "eval", "data_prep", "applications")
    for path in sorted((ROOT / folder).rglob("*.sh"))
]

PYTHON = """#!/bin/sh
[ "$1" != -c ] || exit "${BARE:-0}"  # whether the project is there
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


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def copy_of_scripts(folder):
    """The scripts in a project folder of their own, with the main.py that launch.sh looks for."""
    for script in ["launch.sh", *EVERY_SCRIPT]:
        (folder / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / script, folder / script)
    for step in FOLDERS.values():
        (folder / "training" / step / "main.py").touch()
    return folder


class Harness:
    """Runs scripts in an environment of its own; `argv`, `flags` tell how the stand-in was called."""

    def __init__(self, folder):
        self.folder, self.cwd = folder, folder / "어떤 곳"
        self.cwd.mkdir(parents=True)
        write_program(folder / "venv/bin/python", PYTHON)
        write_program(folder / "venv/bin/nvidia-smi", NVIDIA_SMI)
        (folder / "hosts").write_text("a slots=8\nb slots=8\n", encoding="utf-8")
        self.hostfile = str(folder / "hosts")
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "STAND_IN": str(folder),
            "KORLHF_VENV": str(folder / "venv"),
        }

    def run(self, script, *words, code=0, cwd=None, **env):
        if "multi_node" in str(script):  # takes no spaces in the working directory
            cwd, env = cwd or self.folder, {"HOSTFILE": self.hostfile, **env}
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
    def before_program(self):
        """The words before the program: python's own, or the launcher's."""
        return self.argv[: self._program()]

    @property
    def program(self):
        return self.argv[self._program()]

    @property
    def flags(self):
        return self.argv[self._program() + 1 :]

    def _program(self):
        return next(i for i, word in enumerate(self.argv) if word.endswith(".py"))

    def parsed(self, step):
        return parse(step, self.flags)

    @property
    def environment(self):
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONUTF8", "PWD")
        return dict(
            zip(
                names,
                (self.folder / "environment").read_text(encoding="utf-8").strip().split("|"),
                strict=True,
            )
        )
