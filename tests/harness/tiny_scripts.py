"""Runs the shell scripts for real: real DeepSpeed engines, on a model of a few hundred thousand weights."""

import json
import os
import subprocess
from pathlib import Path

import warm

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "base": ROOT / "training/step1_supervised_finetuning/training_scripts/tiny/run_base.sh",
    "sft": ROOT / "training/step1_supervised_finetuning/training_scripts/tiny/run_tiny.sh",
    "reward": ROOT / "training/step2_reward_model_finetuning/training_scripts/tiny/run_tiny.sh",
    "dpo": ROOT / "training/step2_dpo_finetuning/training_scripts/tiny/run_tiny.sh",
    "ppo": ROOT / "training/step3_rlhf_finetuning/training_scripts/tiny/run_tiny.sh",
}
# Of the trainings of run_all.sh.
FEW = "--max_steps 8 --max_eval_examples"
FEW_STEPS = {
    "BASE_FLAGS": f"{FEW} 40",
    "SFT_FLAGS": f"{FEW} 40 --enable_tensorboard",
    "REWARD_FLAGS": f"{FEW} 60 --per_device_train_batch_size 8",
    "PPO_FLAGS": "--max_steps 3 --per_device_generation_batch_size 16 --per_device_training_batch_size 8 "
    "--max_eval_examples 20 --max_answer_seq_len 24 --eval_interval 1 --enable_ema --print_answers "
    "--unsupervised_dataset_name sample/text --unsup_coef 0.1",
}


def environment(processes=1):
    venv = str(warm.venv())
    path = os.path.join(venv, "bin") + os.pathsep + os.environ["PATH"]
    return {**warm.ENVIRONMENT, "NUM_PROCESSES": str(processes), "KORLHF_VENV": venv, "PATH": path}


def run(stage, *args, processes=1, check=True):
    """Run a tiny script with further words; returns the finished process with its output as text."""
    done = subprocess.run(
        ["bash", str(SCRIPTS[stage]), *map(str, args)],
        env=environment(processes),
        capture_output=True,
        text=True,
        timeout=400,
    )
    if check and done.returncode:
        raise AssertionError(f"{stage} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def run_all(folder, *words, **settings):
    """What applications/rlhf/run_all.sh, which must succeed, printed; RUN is `folder`."""
    done = subprocess.run(
        ["bash", str(ROOT / "applications/rlhf/run_all.sh"), *words],
        cwd=folder.parent,
        text=True,
        encoding="utf-8",
        env={**environment(), **settings, "RUN": str(folder)},
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def metrics(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def finished(folder):
    return json.loads((Path(folder) / "finished.json").read_text(encoding="utf-8"))
