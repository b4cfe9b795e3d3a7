"""Models that the tiny scripts train, once a session."""

import subprocess
import sys

import pytest
from tiny_scripts import ROOT, environment, run


@pytest.fixture(scope="session")
def base_init(tmp_path_factory):
    """A random GPT-NeoX of two layers with its tokenizer."""
    folder = tmp_path_factory.mktemp("base") / "init"
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "samples/tiny_base.py"),
            "--output_dir",
            str(folder),
            "--vocab_size",
            "1024",
            "--hidden_size",
            "64",
            "--layers",
            "2",
        ],
        check=True,
        env=environment(),
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def three_steps(base_init, tmp_path_factory):
    """The four tiny scripts one after another, a few steps each, in a folder with a space and Hangul in its name."""
    out = tmp_path_factory.mktemp("three") / "출력 폴더"
    run("base", out / "base", 0, "--model_name_or_path", base_init, "--max_steps", 8, "--max_eval_examples", 40)
    run(
        "sft",
        out / "sft",
        0,
        "--model_name_or_path",
        out / "base",
        "--max_steps",
        8,
        "--max_eval_examples",
        40,
        "--enable_tensorboard",
    )
    run(
        "reward",
        out / "reward",
        0,
        "--model_name_or_path",
        out / "base",
        "--max_steps",
        8,
        "--per_device_train_batch_size",
        8,
        "--max_eval_examples",
        60,
    )
    run(
        "ppo",
        out / "sft",
        out / "reward",
        0,
        0,
        out / "ppo",
        "--max_steps",
        3,
        "--per_device_generation_batch_size",
        16,
        "--per_device_training_batch_size",
        8,
        "--max_eval_examples",
        20,
        "--max_answer_seq_len",
        24,
        "--eval_steps",
        1,
        "--enable_ema",
        "--print_answers",
        "--unsupervised_dataset_name",
        "sample/text",
        "--unsup_coef",
        "0.1",
    )
    return out
