"""The short form of run.sh: a few kills, of a full training and of PPO with an average of the actor."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_scripts import environment


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--work", str(tmp_path / "work")]
    settings = "sft_lora_zero2,ppo_ema_ptx"
    done = subprocess.run(
        [*command, "--kills", "4", "--most", "2", "--settings", settings],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 4 kills, 0 differences" in done.stdout
