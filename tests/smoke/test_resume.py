"""A training on two processes that is told to stop goes on with one, as one that was left alone."""

import signal
import subprocess
import time

import pytest
from safetensors.torch import load_file
from tiny_scripts import SCRIPTS, environment, metrics, run

FLAGS = "--max_steps 30 --save_steps 0 --max_eval_examples 20 --dropout 0"  # whose noise is each process's own


def logged(folder):
    return (folder / "metrics.jsonl").exists() and len(metrics(folder))


@pytest.mark.long
def test_reward(base_init, tmp_path):
    more = ["--model_name_or_path", base_init, *FLAGS.split(), "--per_device_train_batch_size"]
    run("reward", tmp_path / "whole", 0, *more, 4)
    script = ["bash", str(SCRIPTS["reward"]), *map(str, [tmp_path / "told", 2, *more, 2])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(script, env=environment(2), start_new_session=True, **pipes) as process:
        limit = time.monotonic() + 180
        while not logged(tmp_path / "told") > 3 and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=180)
    assert process.returncode == 75 and "start the same command again to resume after step" in said
    done = run("reward", tmp_path / "told", 0, *more, 4)
    assert "resuming" in done.stdout
    for one, two in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "told"), strict=True):
        for key in {"loss", "heldout_accuracy", "lr"} & one.keys():
            assert one[key] == pytest.approx(two[key], rel=1e-3), (key, one["step"])
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "told"))
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 2e-3
