"""Models that the quickstart trains in a few steps, once a session."""

import shutil
import subprocess

import pytest
import warm
from tiny_scripts import FEW_STEPS, ROOT, environment, run_all


@pytest.fixture(scope="session")
def base_init(tmp_path_factory):
    """A random GPT-NeoX of two layers with its tokenizer."""
    folder = tmp_path_factory.mktemp("base") / "init"
    small = ["--vocab_size", "1024", "--hidden_size", "64", "--layers", "2"]
    command = [warm.python(), str(ROOT / "samples/tiny_base.py"), "--output_dir", str(folder), *small]
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    return folder


@pytest.fixture(scope="session")
def three_steps(base_init, tmp_path_factory):
    """The quickstart up to PPO, a few steps each, in a folder with a space and Hangul in its name."""
    out = tmp_path_factory.mktemp("three") / "출력 폴더" / "models"
    shutil.copytree(base_init, out / "base_init")
    run_all(out, "--to", "ppo", RECIPE="quickstart", **FEW_STEPS)
    return out
