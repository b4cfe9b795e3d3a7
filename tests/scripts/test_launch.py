"""launch.sh: which command starts main.py, and what becomes of its output, exit code and signals."""

import os
import pty
import re
import shutil
import signal
import subprocess
import time

import pytest
from script_harness import MULTI_NODE, STEP_OF, TINY, Harness, write_program
from step_programs import FOLDERS


def test_a_word_too_many_is_refused(harness, plain):
    done = harness.run(plain / TINY[1], "out", "2", "extra", code=2)
    assert (
        done.stderr
        == "error: extra: one word too many; usage: bash run_tiny.sh [OUTPUT_DIR] [ZERO_STAGE] [--flag value ...]\n"
    )
    assert not (harness.folder / "argv").exists()


def test_several_machines_need_a_hostfile(harness, plain):
    done = harness.run(plain / MULTI_NODE[0], code=2, HOSTFILE="")
    assert done.stderr == "error: HOSTFILE=hostfile: no such file; one line for each machine: NAME slots=GPUS\n"


def test_everything_printed_is_logged_and_appended(harness, plain):
    first = harness.run(plain / TINY[1], "out")
    assert first.stdout == "나온 말 on stdout\non stderr\n"
    harness.run(plain / TINY[1], "out")
    log = (harness.cwd / "out" / "training.log").read_text(encoding="utf-8")
    assert log.count("나온 말 on stdout\non stderr\n") == 2
    assert len(re.findall(r"^== \d{4}-\d\d-\d\d .*main\.py .*--output_dir out ", log, re.M)) == 2


BARS = """#!/bin/sh
[ "$1" != -c ] || exit 0
echo "terminal ${KORLHF_TERMINAL:-no}"
printf '\\rSFT:  10%%|1 | 3/30\\rSFT:  20%%|2 | 6/30\\r          \\r'
echo "warning: 경고"
printf '\\rSFT:  90%%|9 |27/30\\rSFT: 100%%|##|30/30\\n'
"""


def test_a_terminal_gets_the_bars_and_the_log_no_carriage_return(harness, plain):
    write_program(harness.folder / "venv/bin/python", BARS)
    ours, theirs = pty.openpty()
    command = ["bash", str(plain / TINY[1]), "out"]
    subprocess.run(command, cwd=harness.cwd, env=harness.env, stdout=theirs, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "\rSFT:  10%|1 | 3/30\rSFT:" in shown and shown.startswith("terminal 1")
    wait_until(lambda: "30/30" in (harness.cwd / "out/training.log").read_text(encoding="utf-8"))
    log = (harness.cwd / "out/training.log").read_bytes().decode()
    assert log.splitlines()[1:] == ["terminal 1", "warning: 경고", "SFT: 100%|##|30/30"] and "\r" not in log
    assert harness.run(plain / TINY[1], "piped").stdout.startswith("terminal no\n")


def wait_until(true, seconds=30):
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_failure_is_passed_on(code, harness, plain):
    harness.run(plain / TINY[1], "out", EXIT=str(code), code=code)
    harness.run(plain / TINY[1], "out", EXIT=str(code), NUM_PROCESSES="2", code=code)


def test_lines_after_the_command_run(harness, plain):
    longer = plain / "training" / FOLDERS[1] / "training_scripts/tiny/run_longer.sh"
    longer.write_text(
        (plain / TINY[1]).read_text(encoding="utf-8") + "echo and on\n",
        encoding="utf-8",
    )
    assert harness.run(longer, "out").stdout.endswith("and on\n")
    assert "and on" not in harness.run(longer, "out", EXIT="1", code=1).stdout


@pytest.mark.parametrize(
    "number, whom, code",
    [
        (signal.SIGINT, "group", 130),
        (signal.SIGTERM, "script", 143),
        (signal.SIGTERM, "group", 143),
    ],
)
def test_a_signal_reaches_the_program_whose_last_words_are_logged(number, whom, code, tmp_path, plain):
    """Ctrl-C goes to the whole group; a TERM from a job scheduler may go to the script alone. Twelve at once: on a
    busy machine bash's `wait` loses about one exit code in fifteen."""
    runs = [Harness(tmp_path / str(i)) for i in range(12)]
    started = [
        (
            run,
            subprocess.Popen(
                ["bash", str(plain / TINY[1]), "out"],
                cwd=run.cwd,
                env={**run.env, "WAIT": "1"},
                start_new_session=True,
                stdout=subprocess.PIPE,
                text=True,
            ),
        )
        for run in runs
    ]
    for run, process in started:
        wait_for(run.folder / "started", process)
        os.killpg(process.pid, number) if whom == "group" else process.send_signal(number)
    words = f"last words after {number.name[3:]}\n"
    for run, process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == code
        assert words in out and words in (run.cwd / "out" / "training.log").read_text(encoding="utf-8")


def test_a_signal_that_takes_long_to_pass_on_costs_no_exit_code(harness, plain):
    """bash 5.2 aborts where a trap outlasts the `read -t` that it interrupted."""
    write_program(harness.folder / "bin/cat", f'#!/bin/sh\nsleep 1.2\nexec {shutil.which("cat")} "$@"\n')
    process = subprocess.Popen(
        ["bash", str(plain / TINY[1]), "out"],
        cwd=harness.cwd,
        env={**harness.env, "WAIT": "1", "PATH": f"{harness.folder / 'bin'}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(harness.folder / "started", process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and "last words after TERM" in out


FIRST_SCRIPTS = (
    "data_prep/run_v1.sh",
    "eval/run_geval.sh",
    "applications/chat/run_chat.sh",
    "applications/rlhf/run_all.sh",
)
LAUNCHER = ["-m", "deepspeed.launcher.runner", "--log_level", "critical"]


def without_port(words):
    """The launcher's words without --master_port and its number."""
    at = words.index("--master_port")
    assert 1024 < int(words[at + 1]) < 65536
    return words[:at] + words[at + 2 :]


@pytest.fixture
def run_1_3b(plain):
    return plain / "training" / FOLDERS[1] / "training_scripts/polyglot_ko/run_1.3b.sh"


def test_one_process_is_python_itself(harness, run_1_3b):
    for env in (
        {},
        {"GPUS": "1"},
        {"GPUS": "8", "NUM_GPUS": "1"},
        {"GPUS": "2", "CUDA_VISIBLE_DEVICES": "5"},
        {"GPUS": "4", "CUDA_VISIBLE_DEVICES": ""},
        {"GPUS": "4", "CUDA_VISIBLE_DEVICES": "-1"},
    ):
        harness.run(run_1_3b, "out", **env)
        assert harness.before_program == ["-u"], env


def test_several_processes_are_the_launchers(harness, run_1_3b):
    for env, number in (
        ({"NUM_PROCESSES": "2"}, "2"),
        ({"GPUS": "4"}, "4"),
        ({"GPUS": "4", "NUM_GPUS": "3"}, "3"),
        ({"GPUS": "4", "NUM_PROCESSES": "2"}, "2"),
    ):
        harness.run(run_1_3b, "out", **env)
        assert without_port(harness.before_program) == [
            *LAUNCHER,
            "--num_accelerators",
            number,
        ], env
    harness.run(run_1_3b, "out", GPUS="4", MASTER_PORT="12345")
    assert harness.before_program[4:6] == ["--master_port", "12345"]


def test_chosen_gpus_are_kept(harness, run_1_3b):
    """The launcher follows CUDA_VISIBLE_DEVICES only when it is given no number."""
    for env, visible in (
        ({"CUDA_VISIBLE_DEVICES": "3,5,7"}, "3,5,7"),
        ({"CUDA_VISIBLE_DEVICES": "3,5,7", "NUM_GPUS": "2"}, "3,5"),
    ):
        harness.run(run_1_3b, "out", GPUS="8", **env)
        assert without_port(harness.before_program) == LAUNCHER
        assert harness.environment["CUDA_VISIBLE_DEVICES"] == visible


def test_launcher_words_of_the_users_own(harness, run_1_3b):
    harness.run(run_1_3b, "out", GPUS="4", DEEPSPEED_ARGS="--include localhost:2,3")
    assert without_port(harness.before_program) == [
        *LAUNCHER,
        "--include",
        "localhost:2,3",
    ]


def test_several_machines(harness, plain):
    for script in MULTI_NODE:
        harness.run(plain / script)
        assert harness.before_program == [*LAUNCHER, "--hostfile", harness.hostfile]
        values = harness.parsed(STEP_OF[script])
        assert all(values[k] == 3 for k in values if k.endswith("zero_stage"))


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
SRUN = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(("env", "logged"), [(TORCHRUN, False), (TORCHRUN | {"RANK": "0"}, True), (SRUN, True)])
def test_one_process_of_several_starts_no_launcher(env, logged, harness, plain):
    """What srun or torchrun starts on each machine; the first process alone writes the log."""
    harness.run(plain / MULTI_NODE[0], str(harness.folder / "out"), GPUS="8", **env)
    assert harness.before_program == ["-u"]
    assert (harness.folder / "out" / "training.log").exists() == logged


@pytest.mark.parametrize(
    "env",
    [
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"},  # a batch script
        SRUN | {"SLURM_STEP_ID": "4294967290"},  # an interactive shell
        SRUN | {"SLURM_STEP_NUM_TASKS": "1"},
        TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"},
        TORCHRUN | {"DEEPSPEED_ARGS": "--num_nodes 2"},
    ],
)
def test_what_is_no_process_of_several_starts_the_launcher(env, harness, run_1_3b):
    harness.run(run_1_3b, "out", GPUS="8", **env)
    assert harness.before_program[:4] == LAUNCHER


@pytest.mark.parametrize(
    "env, line",
    [
        (
            {"NUM_PROCESSES": "0"},
            "NUM_PROCESSES=0: give a number of processes of 1 or more",
        ),
        ({"NUM_GPUS": "two"}, "NUM_GPUS=two: give a number of processes of 1 or more"),
        (
            {"GPUS": "2", "NUM_GPUS": "4"},
            "NUM_GPUS=4, but 2 GPUs are visible; set NUM_GPUS to at most 2",
        ),
        (
            {"KORLHF_VENV": "/no/such"},
            "KORLHF_VENV=/no/such has no bin/python; run: KORLHF_VENV='/no/such' bash '{root}/setup.sh'",
        ),
    ],
)
def test_an_impossible_wish_is_refused_in_one_line(env, line, harness, run_1_3b, plain):
    done = harness.run(run_1_3b, "out", code=2, **env)
    assert done.stderr == f"error: {line.format(root=plain)}\n"


def test_threads_are_shared_out(harness, run_1_3b):
    cores = len(os.sched_getaffinity(0))
    for count in (1, 2, 64):
        harness.run(run_1_3b, "out", NUM_PROCESSES=str(count))
        assert harness.environment["OMP_NUM_THREADS"] == str(max(cores // count, 1))
    harness.run(run_1_3b, "out", OMP_NUM_THREADS="5")
    assert (
        harness.environment["OMP_NUM_THREADS"],
        harness.environment["PYTHONUTF8"],
    ) == ("5", "1")


def test_an_output_that_cannot_be_made(harness, run_1_3b):
    (harness.cwd / "file").touch()
    done = harness.run(run_1_3b, "file/out", code=2)
    assert done.stderr.splitlines()[-1] == "error: --output_dir file/out cannot be made; give another"


def test_a_missing_python_is_told_with_the_remedy(harness, run_1_3b, plain):
    """On a PATH that holds what launch.sh itself uses, and no python."""
    for name in ("bash", "dirname", "basename", "grep", "nproc", "cat"):
        (harness.folder / "bin").mkdir(exist_ok=True)
        (harness.folder / "bin" / name).symlink_to(shutil.which(name))
    for script in (run_1_3b, plain / "applications/chat/run_chat.sh"):
        done = harness.run(script, code=2, KORLHF_VENV="", PATH=str(harness.folder / "bin"))
        assert done.stderr == f"error: run bash setup.sh first (in {plain}): there is no python on PATH\n"


def test_a_python_without_the_project_is_told_with_the_remedy(harness, run_1_3b, plain):
    """Of a set-up that was interrupted, or of a machine that never had one."""
    python = harness.folder / "venv/bin/python"
    for script in (run_1_3b, *(plain / name for name in FIRST_SCRIPTS)):
        done = harness.run(script, code=2, BARE="1")
        assert done.stderr == f"error: run bash setup.sh first (in {plain}): {python} has not what this project needs\n"
        assert done.stdout == "" and not (harness.folder / "argv").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_script_reaches_the_processes_that_train(number, harness, plain):
    """deepspeed's outer process dies of a TERM without telling the inner one, which kills what trains after 30 s."""
    write_program(harness.folder / "venv/bin/python", OUTER)
    process = subprocess.Popen(
        ["bash", str(plain / TINY[1]), "out"],
        cwd=harness.cwd,
        env={**harness.env, "NUM_PROCESSES": "2"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(harness.folder / "started", process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and f"{number.name[3:]}: last words" in out and "inner" not in out


OUTER = """#!/usr/bin/env python3
import os, pathlib, signal, subprocess, sys, time
if "-c" in sys.argv:
    sys.exit()
def rank():
    def told(number, _):
        print(signal.Signals(number).name[3:] + ": last words", flush=True)
        sys.exit(75)
    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGUSR1, told)
    pathlib.Path(os.environ["STAND_IN"], "started").touch()
    time.sleep(60)
def inner():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("inner"))
    sys.exit(subprocess.call([sys.executable, __file__, "rank"]))
if sys.argv[-1] in ("rank", "inner"):
    {"rank": rank, "inner": inner}[sys.argv[-1]]()
sys.exit(subprocess.call([sys.executable, __file__, "inner"]))
"""


def wait_for(path, process, seconds=60):
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.01)
