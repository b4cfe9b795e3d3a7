"""The short form of tests/harness/spread.py: losses do not depend on how a training is spread."""

import subprocess
import sys

import pytest
from tiny_scripts import ROOT, environment


@pytest.mark.long
def test_losses_agree_however_a_training_is_spread(folders, tmp_path):
    """One example is held out: a process of two has none, and waits for the other all the same."""
    (tmp_path / "base").symlink_to(folders["gpt_neox"])
    steps = ["--step", "1", "2", "dpo", "kto", "--steps", "2"]
    words = ["--short", *steps, "--models", str(tmp_path), "--work", str(tmp_path)]
    command = [sys.executable, str(ROOT / "tests/harness/spread.py"), *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("\n| ZeRO ") == 12
