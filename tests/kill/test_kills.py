"""The short form of run.sh: a few kills, of LoRA and of PPO with an average; and checkpoints made models."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_scripts import environment

from training import checkpoint_to_model

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What kills.py printed, and its folder, in which the runs that were left alone keep their last checkpoint."""
    work = tmp_path_factory.mktemp("kills") / "work"
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), "--work", str(work), "--kills", "4"]
    command += ["--most", "2", "--settings", "sft_lora_zero2,dpo_lora,ppo_ema_ptx"]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600), work


def test_killed_runs_end_with_the_same_bits(killed):
    done, _ = killed
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 4 kills, 0 differences" in done.stdout


@pytest.mark.parametrize(
    ("run", "model", "saved"),
    [
        ("sft_lora_zero2", "", ""),
        ("reward", "", ""),
        ("dpo_lora", "", ""),
        ("ppo_ema_ptx", "", ""),
        ("ppo_ema_ptx", "critic", "critic"),
        ("ppo_ema_ptx", "ema", "actor_ema"),
    ],
)
def test_a_checkpoint_becomes_the_model_that_its_run_saved_at_that_step(
    killed, tmp_path, monkeypatch, run, model, saved
):
    _, work = killed
    whole = work / (run if run == "reward" else f"{run}_whole")
    (checkpoint,) = whole.glob("checkpoints/step_*")
    command = ["checkpoint_to_model.py", str(checkpoint), "--output_dir", str(tmp_path / "model"), "--model", model]
    monkeypatch.setattr(sys, "argv", command)
    checkpoint_to_model.main()
    made, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", whole / saved))
    assert made.keys() == expected.keys() and all(made[k].equal(expected[k]) for k in made)
    assert {p.name for p in (tmp_path / "model").iterdir()} >= {"config.json", "tokenizer.json"}
