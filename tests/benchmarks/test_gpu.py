"""gpu.sh: resumable, in time, honest about what failed; its parts run on the tiny model; its checks can fail."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bench
import checks
import decode
import gpu_table
import pytest
import step1
import step2
import step3

from korlhf.models import causal_lm
from korlhf.rl import rollout

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("checks", "sft", "reward", "decode", "ppo", "lora")
# In the place of Python: notes its arguments, and writes what a part would leave. FAIL names a script that fails.
STAND_IN = f"""#!{sys.executable} -S
import os, shlex, sys, time
if sys.argv[1] == "-c":
    sys.exit()
print(shlex.join(sys.argv[1:]), file=open(os.environ["NOTES"], "a"))
script = os.path.basename(sys.argv[1])
if script == os.environ.get("FAIL"):
    sys.exit("it broke")
if script == os.environ.get("HANG"):
    time.sleep(60)
if "--output" in sys.argv:
    print("{{}}", file=open(sys.argv[sys.argv.index("--output") + 1], "w"))
"""


@pytest.fixture
def gpu(tmp_path):
    """A function that runs gpu.sh with a stand-in for Python: (printed text, the calls as lists of words)."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(STAND_IN)
    (folder / "python").chmod(0o755)
    notes = tmp_path / "notes"

    def run(**variables):
        notes.write_text("")
        environment = {**os.environ, "KORLHF_VENV": str(tmp_path / "venv"), "NOTES": str(notes), "SIZE": "tiny"}
        command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path / "out")]
        done = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True)
        return done.stdout + done.stderr, [shlex.split(line) for line in notes.read_text().splitlines()]

    return run


def scripts(calls):
    return [Path(call[0]).name for call in calls]


def test_a_part_that_failed_is_said_and_run_again(gpu):
    all_scripts = ["checks.py", "step1.py", "step2.py", "decode.py", "step3.py", "step1.py", "gpu_table.py"]
    printed, calls = gpu(FAIL="step2.py")
    assert scripts(calls) == all_scripts
    assert "reward: failed: it broke" in printed and "sft: done" in printed
    printed, calls = gpu()
    assert scripts(calls) == ["step2.py", "gpu_table.py"]  # the others are there
    assert "sft: is there already" in printed and "reward: done" in printed


def test_time_is_up(gpu):
    printed, calls = gpu(LIMIT="8", HANG="checks.py")
    assert scripts(calls) == ["checks.py", "gpu_table.py"]
    assert "checks: stopped after" in printed and "lora: no time left" in printed


def test_unknown_size(gpu):
    printed, calls = gpu(SIZE="13b")
    assert "error: SIZE=13b: give 1.3b or tiny" in printed and not calls


@pytest.mark.long
def test_the_parts_of_the_rehearsal(gpu, tmp_path, monkeypatch, capsys):
    """Every command of SIZE=tiny, here in one process, and the table of what they leave."""
    _, calls = gpu()
    mains = {"checks.py": checks, "step1.py": step1, "step2.py": step2, "decode.py": decode, "step3.py": step3}
    for script, *flags in calls[:-1]:
        monkeypatch.setattr(sys, "argv", [script, *flags])
        assert not mains[Path(script).name].main(), capsys.readouterr()
    monkeypatch.setattr(sys, "argv", calls[-1])
    capsys.readouterr()
    assert gpu_table.main() == 0
    table = capsys.readouterr().out
    for row in (
        "check: packed | passed",
        "check: resume | passed",
        "| SFT |",
        "| PPO, sampling |",
        "sampling, batch 4",
    ):
        assert row in table
    assert (tmp_path / "out" / "results.md").read_text(encoding="utf-8") == table
    (tmp_path / "out" / "lora.json").unlink()
    assert gpu_table.main() == 1 and "| SFT with LoRA | missing |" in capsys.readouterr().out


def test_the_table_counts_a_failed_check(tmp_path, monkeypatch, capsys):
    found = {"packed": {"passed": False, "error": "RuntimeError: no kernel"}}
    result = {"checks": found, "machine": {"device": "CPU", "dtype": "fp32", "versions": {}}, "flags": {}}
    (tmp_path / "checks.json").write_text(json.dumps(result))
    monkeypatch.setattr(sys, "argv", ["gpu_table.py", str(tmp_path), "checks"])
    assert gpu_table.main() == 1
    assert "| check: packed | FAILED | RuntimeError: no kernel |" in capsys.readouterr().out


@pytest.fixture(scope="module")
def setting():
    """Flags, World and precision of the checks on the tiny model."""
    flags = "--hidden_size 64 --layers 2 --vocab_size 128 --seq_len 64 --dtype fp32 --batch_size 4 --learning_rate 1e-4"
    args, _ = bench.parse("test", flags.split())
    world, dtype, _ = bench.start(args)
    return args, world, dtype


def test_packed_fails_when_sequences_see_each_other(setting, monkeypatch):
    assert checks.packed(*setting)["passed"]

    def leaking(model, packed, *_):
        model.shares = False
        row = packed.ids.reshape(1, -1)
        return model.base_model(input_ids=row, use_cache=False).last_hidden_state[0]

    monkeypatch.setattr(causal_lm, "hidden_states", leaking)
    figures = checks.packed(*setting)
    assert not figures["passed"] and figures["sdpa"]["neighbours"] > figures["allowed"]


@pytest.mark.long
def test_zero_fails_when_a_stage_trains_otherwise(setting, monkeypatch):
    training = checks.training

    def other(args, world, dtype):
        return training(replace(args, learning_rate=2e-4) if args.zero_stage == 3 else args, world, dtype)

    monkeypatch.setattr(checks, "training", other)
    assert not checks.zero(*setting)["passed"]


def test_resume_fails_when_the_state_is_not_read(setting, monkeypatch):
    monkeypatch.setattr("korlhf.training.engine.Engine.load", lambda *_: None)
    assert not checks.resume(*setting)["passed"]


def test_greedy_fails_when_the_sampler_draws(setting, monkeypatch):
    sample = rollout.sample

    def drawn(lm, prompts, seeds, end, limits):
        return sample(lm, prompts, seeds, end, replace(limits, temperature=1.0))

    monkeypatch.setattr(rollout, "sample", drawn)
    assert not checks.greedy(*setting)["passed"]


def test_roofline():
    """Two layers of 64: 12 x 64^2 + 13 x 64 each, norm 128, head 128 x 64; keys and values of 3 x 10 tokens in fp32."""
    args, _ = bench.parse("test", ["--hidden_size", "64", "--layers", "2", "--vocab_size", "128", "--dtype", "fp32"])
    world, dtype, _ = bench.start(args)
    lm = checks.trainings.language_model(args, world, dtype)
    weights = 2 * (12 * 64**2 + 13 * 64) + 128 + 128 * 64
    assert decode.step_bytes(lm, 3, 10, 4) == 4 * (weights + 2 * 2 * 3 * 10 * 64)
