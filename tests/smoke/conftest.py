"""Runs the shell scripts for real: real DeepSpeed engines, on a model of a few hundred thousand weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "base": ROOT / "training/step1_supervised_finetuning/training_scripts/tiny/run_base.sh",
    "sft": ROOT / "training/step1_supervised_finetuning/training_scripts/tiny/run_tiny.sh",
    "reward": ROOT / "training/step2_reward_model_finetuning/training_scripts/tiny/run_tiny.sh",
    "ppo": ROOT / "training/step3_rlhf_finetuning/training_scripts/tiny/run_tiny.sh",
}


def environment(processes=1):
    bin_folder = str(Path(sys.executable).parent)
    return {**os.environ, "NUM_PROCESSES": str(processes), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1",
            "KORLHF_VENV": str(Path(sys.executable).parent.parent), "PATH": bin_folder + os.pathsep + os.environ["PATH"]}


def run(stage, *args, processes=1, check=True):
    """Run a tiny script with further words; returns the finished process with its output as text."""
    done = subprocess.run(["bash", str(SCRIPTS[stage]), *map(str, args)], env=environment(processes), capture_output=True, text=True, timeout=400)
    if check and done.returncode:
        raise AssertionError(f"{stage} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def metrics(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def finished(folder):
    return json.loads((Path(folder) / "finished.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def base_init(tmp_path_factory):
    """A random GPT-NeoX of two layers with its tokenizer."""
    folder = tmp_path_factory.mktemp("base") / "init"
    subprocess.run([sys.executable, str(ROOT / "samples/tiny_base.py"), "--output_dir", str(folder), "--vocab_size", "1024", "--hidden_size", "64",
                    "--layers", "2"], check=True, env=environment(), capture_output=True)
    return folder


@pytest.fixture(scope="session")
def three_steps(base_init, tmp_path_factory):
    """The four tiny scripts one after another, a few steps each, in a folder with a space and Hangul in its name."""
    out = tmp_path_factory.mktemp("three") / "출력 폴더"
    run("base", out / "base", 0, "--model_name_or_path", base_init, "--max_steps", 8, "--max_eval_examples", 40)
    run("sft", out / "sft", 0, "--model_name_or_path", out / "base", "--max_steps", 8, "--max_eval_examples", 40, "--enable_tensorboard")
    run("reward", out / "reward", 0, "--model_name_or_path", out / "base", "--max_steps", 8, "--per_device_train_batch_size", 8, "--max_eval_examples", 60)
    run("ppo", out / "sft", out / "reward", 0, 0, out / "ppo", "--max_steps", 3, "--per_device_generation_batch_size", 16,
        "--per_device_training_batch_size", 8, "--max_eval_examples", 20, "--max_answer_seq_len", 24, "--eval_steps", 1, "--enable_ema",
        "--print_answers", "--unsupervised_dataset_name", "sample/text", "--unsup_coef", "0.1")
    return out
