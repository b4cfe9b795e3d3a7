"""kill -9 in the middle and start again: the same bits as a run that was left alone."""

import os
import signal
import subprocess
import time

import pytest
from tiny_scripts import SCRIPTS, environment, metrics, run

words = str.split


def steps_done(folder):
    try:
        return max((m["step"] for m in metrics(folder) if "lr" in m), default=0)
    except (FileNotFoundError, ValueError):
        return 0


def run_killed(stage, args, folder, at):
    """Start, kill -9 the whole group once `at` steps are logged, start again."""
    process = subprocess.Popen(
        ["bash", str(SCRIPTS[stage]), *map(str, args)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.time() + 180
    while steps_done(folder) < at and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "finished.json").exists(), "the run ended before it was killed"
    assert list((folder / "checkpoints").glob("step_*/state.json"))
    done = run(stage, *args)
    assert "resuming" in done.stdout


def same(one, two, ignore=("seconds", "per_second")):
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    a, b = ([{k: v for k, v in m.items() if not any(i in k for i in ignore)} for m in metrics(f)] for f in (one, two))
    assert a == b


def test_sft(base_init, tmp_path):
    more = [
        "--model_name_or_path",
        base_init,
        *words(
            "--max_steps 60 --save_steps 2 --max_eval_examples 20 --per_device_train_batch_size 4 "
            "--num_warmup_steps 5 --dropout 0.1 --eval_interval 7"
        ),
    ]
    run("sft", tmp_path / "whole", 0, *more)
    run_killed("sft", [tmp_path / "killed", 0, *more], tmp_path / "killed", 9)
    same(tmp_path / "whole", tmp_path / "killed")


def test_reward(base_init, tmp_path):
    more = [
        "--model_name_or_path",
        base_init,
        *words("--max_steps 40 --save_steps 2 --max_eval_examples 20 --per_device_train_batch_size 4 --zero_stage 2"),
    ]
    run("reward", tmp_path / "whole", 2, *more)
    run_killed("reward", [tmp_path / "killed", 2, *more], tmp_path / "killed", 7)
    same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    "stages, trained, lora",  # answers per pass: two updates per step, and one whose passes score as well
    [((0, 0), 4, []), ((2, 3), 8, ["--actor_lora_dim", "4", "--actor_lora_learning_rate", "1e-3"])],
)
def test_ppo(three_steps, tmp_path, stages, trained, lora):
    more = [
        *words(
            "--max_steps 12 --save_steps 1 --max_eval_examples 6 --eval_interval 4 "
            f"--per_device_generation_batch_size 8 --per_device_training_batch_size {trained} --max_answer_seq_len 16 "
            "--enable_ema --kl_target 1.0"
        ),
        *lora,
    ]
    models = [three_steps / "sft", three_steps / "reward", *stages]
    run("ppo", *models, tmp_path / "whole", *more)
    run_killed("ppo", [*models, tmp_path / "killed", *more], tmp_path / "killed", 3)
    same(tmp_path / "whole", tmp_path / "killed")
    for part in ("critic", "actor_ema"):
        assert (tmp_path / "whole" / part / "model.safetensors").read_bytes() == (
            tmp_path / "killed" / part / "model.safetensors"
        ).read_bytes()
