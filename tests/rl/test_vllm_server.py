"""The life of the server that a training starts: nothing of it is left, however the training ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from korlhf.core.errors import InputError
from korlhf.rl import vllm_server, watched
from korlhf.rl.vllm_server import Server, arguments
from korlhf.training.rollout_flags import RolloutFlags

PROGRAM = Path(__file__).resolve().parents[1] / "harness/plain_server.py"


def happens(what, seconds=20.0):
    limit = time.monotonic() + seconds
    while not what() and time.monotonic() < limit:
        time.sleep(0.02)
    return what()


def gone(pid, seconds=20.0):
    def ended():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True

    return happens(ended, seconds)


@pytest.fixture(autouse=True)
def impatient(tmp_path, monkeypatch):
    """The watching process kills what has not ended after 0.2 seconds."""
    copy = tmp_path / "watched.py"
    copy.write_text(Path(watched.__file__).read_text().replace("GRACE = 10.0", "GRACE = 0.2"))
    monkeypatch.setattr(watched, "__file__", str(copy))


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Function: (more words, seconds) -> a running Server, whose model folder is tmp_path/model."""
    monkeypatch.setenv("VLLM", str(PROGRAM))
    monkeypatch.setenv("RANK", "3")

    def run(more="", seconds=30.0):
        (tmp_path / "model").mkdir(exist_ok=True)
        words = f"--child_file {tmp_path}/child {more}"
        return Server(
            RolloutFlags(rollout="vllm", vllm_args=words, vllm_timeout=seconds),
            tmp_path / "model",
            [],
            tmp_path / "log",
        )

    return run


def child_of(tmp_path):
    return int((tmp_path / "child").read_text())


def test_it_ends_with_all_that_it_started_and_its_folder(start, tmp_path):
    with start() as server:
        assert server.process.poll() is None and not gone(child_of(tmp_path), 0.1)
    assert gone(child_of(tmp_path)) and not (tmp_path / "model").exists()
    assert f"serve {tmp_path}/model --host 127.0.0.1 --port" in (tmp_path / "log").read_text()


def test_a_warning_to_all_of_a_job_leaves_it_alone(start):
    with start() as server:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP):
            server.process.send_signal(number)
        time.sleep(0.3)
        assert server.process.poll() is None


def test_an_error_is_told_before_the_server_has_ended(start, tmp_path):
    with pytest.raises(KeyError), start("--deaf") as server:
        raise KeyError
    assert server.process.poll() is None
    assert gone(child_of(tmp_path)) and server.process.wait(20) is not None


def test_one_that_heeds_nothing_is_killed_also_if_the_training_is(tmp_path):
    """SIGKILL of the process that started it, of which the standard input tells."""
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(600)"
    (tmp_path / "model").mkdir()
    words = [str(PROGRAM), *f"serve {tmp_path}/model --port 0 --deaf --child_file {tmp_path}/child".split()]
    command = [sys.executable, "-S", watched.__file__, str(tmp_path / "model"), *words]
    parent = subprocess.Popen([sys.executable, "-S", "-c", code, *command])
    child = tmp_path / "child"
    assert happens(lambda: child.exists() and child.read_text())
    time.sleep(0.1)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(child_of(tmp_path))
    assert happens(lambda: not (tmp_path / "model").exists())


def test_one_that_does_not_start_is_one_line(start, tmp_path):
    (tmp_path / "log").write_text("ImportError: of the start before\n")
    with pytest.raises(InputError, match=f"the server did not start: ValueError: no such .*; see {tmp_path}/log"):
        start("--broken")
    with pytest.raises(InputError, match="the server did not start: it said nothing; see"):
        start("--mute")
    with pytest.raises(InputError, match="did not start within --vllm_timeout 1 seconds; see"):
        start("--silent", 1.0)
    assert happens(lambda: not (tmp_path / "model").exists())


def test_what_cannot_be_written_is_one_line(start, tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(InputError, match="the server cannot be started: .*Is a directory"):
        start()
    with pytest.raises(InputError, match="--vllm_weights_dir /proc: cannot be written: No such file .*; give another"):
        vllm_server._folder(Path("/proc"), True)
    assert [vllm_server._folder(tmp_path, shared).stat().st_mode & 0o777 for shared in (True, False)] == [0o755, 0o700]


def test_its_words():
    on_gpu = "--dtype bfloat16 --max-model-len 512 --generation-config vllm --enable-scale-out"
    on_gpu += " --disable-uvicorn-access-log"
    assert " ".join(arguments("bf16", 512, 1.0, False)) == on_gpu
    on_cpu = on_gpu.replace("bfloat16", "float32")
    on_cpu += " --logprobs-mode processed_logprobs --enforce-eager --no-enable-chunked-prefill"
    assert " ".join(arguments("fp32", 512, 0.7, True)) == on_cpu
