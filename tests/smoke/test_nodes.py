"""A training on two machines: started by srun's variables or DeepSpeed's launcher over ssh, and one of them lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from free_port import free_port
from tiny_scripts import ROOT, SCRIPTS, environment, finished, metrics
from two_hosts import HOSTS, MISSING, two_hosts

FEW = ["--max_steps", "3", "--save_steps", "0", "--max_eval_examples", "1", "--per_device_train_batch_size", "4"]
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.mark.long
def test_a_lost_process_ends_the_other_and_both_go_on_to_the_same_bits(folders, tmp_path):
    command = [sys.executable, str(ROOT / "tests/harness/lost_node.py"), folders["gpt_neox"], str(tmp_path)]
    done = subprocess.run(command, env=environment(), timeout=900, **PIPES)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert list(found) == ["rank 1 killed", "rank 0 killed", "rank 1 stopped"]
    for case, row in found.items():
        survivor = "1" if case.startswith("rank 0") else "0"
        assert row["last"].startswith(f"rank {survivor}: lost the others: "), row
        assert "resume after step" in row["last"] and f"errors/rank{survivor}.txt" in row["last"], row
        assert row["code"] == 1 and row["tracebacks_on_console"] == 0 and row["traced"], row
        assert row["codes"] == [0, 0] and row["resumed"] and not row["differences"] and not row["errors_left"], row
    assert "Timed out waiting 10000ms" in found["rank 1 stopped"]["last"]


def srun(rank, job, words, **env):
    """The run script of step 1 as the task `rank` of two that srun started."""
    slurm = {"SLURM_PROCID": rank, "SLURM_NTASKS": "2", "SLURM_LOCALID": rank, "SLURM_STEP_ID": "0"}
    slurm |= {"SLURM_NODELIST": "127.0.0.[1-2]", "SLURM_JOB_ID": job} | env
    command = ["bash", str(SCRIPTS["sft"]), *map(str, words)]
    return subprocess.Popen(command, env=environment() | slurm, **PIPES)


def test_srun_starts_the_run_script_on_two_machines(folders, tmp_path):
    words = [tmp_path / "out", 1, "--model_name_or_path", folders["gpt_neox"], *FEW]
    port = str(free_port())
    started = [srun(rank, "4711", words, MASTER_PORT=port) for rank in "01"]
    out = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], out
    assert finished(tmp_path / "out")["steps"] == 3 and "after: held-out loss" in out[0][0]
    log = (tmp_path / "out" / "training.log").read_text(encoding="utf-8")
    assert "after:" not in out[1][0] and log.count("\n== ") + log.startswith("== ") == 1


def test_two_processes_that_fail_alike_say_it_once(tmp_path):
    """Before the processes have found each other."""
    started = [srun(rank, "1", [tmp_path / "out", 0, "--data_path", "no_such.jsonl"]) for rank in "01"]
    said = [process.communicate(timeout=100)[0] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert said[0].startswith("error: no_such.jsonl: no such file") and said[0].count("\n") == 1, said


@pytest.mark.long
@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: apt-get install openssh-server pdsh")
@pytest.mark.parametrize("lost", [False, True])
def test_deepspeeds_launcher_over_ssh(folders, tmp_path, lost):
    """What ends a launcher over ssh with a signal also kills all that is called like it: one process is killed."""
    out, steps = tmp_path / "out", ["--max_steps", "9000"] if lost else []
    words = [out, 0, "--model_name_or_path", folders["gpt_neox"], *FEW, *steps]
    (tmp_path / "ssh").mkdir()
    with two_hosts(tmp_path / "ssh", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1") as env:
        command = ["bash", str(SCRIPTS["sft"]), *map(str, words)]
        with subprocess.Popen(command, env=environment() | env, cwd=ROOT, **PIPES) as process:
            if lost:
                limit = time.monotonic() + 200
                while not started(out) and process.poll() is None and time.monotonic() < limit:
                    time.sleep(0.05)
                os.kill(pid_on_the_second(out), signal.SIGKILL)
            said, _ = process.communicate(timeout=300)
    assert all(f"{host}: " in said for host in HOSTS)
    if lost:
        assert process.returncode > 0 and "rank 0: lost the others: " in said, said[-3000:]
        assert "Traceback" not in said and (out / "errors/rank0.txt").exists()
    else:
        assert process.returncode == 0, said[-3000:]
        assert finished(out)["steps"] == 3 and len(metrics(out)) == 5


def started(out):
    return (out / "metrics.jsonl").exists() and len(metrics(out)) > 3


def pid_on_the_second(out):
    """As DeepSpeed's launcher has told it."""
    log = (out / "training.log").read_text(encoding="utf-8")
    return int(re.search(rf"^{re.escape(HOSTS[1])}: .* process (\d+) spawned", log, re.MULTILINE)[1])
