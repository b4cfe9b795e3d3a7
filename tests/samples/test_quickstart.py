"""samples/quickstart.py with quick stand-ins for the stages: what is kept, what stops it, and that nothing goes on behind its back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """for out in "$@"; do [[ "$out" == */{stage} ]] && break; done
echo {stage} >>"$RAN"
[[ -z "${{SLOW:-}}" || {stage} != base ]] || {{ echo waiting >>"$RAN"; sleep 60 & wait $!; }}
[[ "${{FAIL:-}}" != {stage} ]] || exit 7
mkdir -p "$out" && echo '{{}}' >"$out/finished.json"
"""
STAGES = {
    "base": "step1_supervised_finetuning/training_scripts/tiny/run_base.sh",
    "sft": "step1_supervised_finetuning/training_scripts/tiny/run_tiny.sh",
    "reward": "step2_reward_model_finetuning/training_scripts/tiny/run_tiny.sh",
    "ppo": "step3_rlhf_finetuning/training_scripts/tiny/run_tiny.sh",
}
ALL = ["init", "base", "sft", "reward", "ppo", "summary", "eval"]


@pytest.fixture
def project(tmp_path):
    """A copy of the program in a folder of its own."""
    root = tmp_path / "프로젝트 a"
    files = {f"training/{script}": TRAIN.format(stage=stage) for stage, script in STAGES.items()}
    files["samples/tiny_base.py"] = (
        "import os, pathlib, sys\nprint('init', file=open(os.environ['RAN'], 'a'))\n"
        "out = pathlib.Path(sys.argv[2])\nout.mkdir()\n(out / 'tokenizer_config.json').touch()\n"
    )
    files["samples/summary.py"] = "import os\nprint('summary', file=open(os.environ['RAN'], 'a'))\n"
    files["eval/run_sample.sh"] = 'echo eval >>"$RAN"\necho "seed $SEED"\ntouch "$1/report.html"\n'
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    shutil.copy2(ROOT / "samples" / "quickstart.py", root / "samples" / "quickstart.py")
    return root


def command(project, *words):
    return [
        sys.executable,
        str(project / "samples" / "quickstart.py"),
        "--output_dir",
        str(project / "결과 out"),
        *words,
    ]


def environment(project, **environ):
    return {**os.environ, "RAN": str(project / "ran"), "PYTHONUTF8": "1", **environ}


def start(project, *words, **environ):
    """(finished process, what ran)"""
    done = subprocess.run(
        command(project, *words), env=environment(project, **environ), capture_output=True, text=True, timeout=120
    )
    return done, took(project)


def took(project):
    path = project / "ran"
    lines = path.read_text(encoding="utf-8").split() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_every_stage_once_and_what_is_finished_is_kept(project):
    done, ran = start(project, "--seed", "7")
    assert done.returncode == 0 and ran == ALL, done.stderr
    out = project / "결과 out"
    assert f"the report, with everything on one page: {out / 'report.html'}" in done.stdout and "seed 7" in done.stdout
    assert list(json.loads((out / "stages.json").read_text(encoding="utf-8"))) == list(STAGES)
    assert start(project)[1] == ["summary"]
    (out / "reward" / "finished.json").unlink()
    assert start(project)[1] == ["reward", "summary", "eval"]


def test_a_stage_that_fails_ends_it_with_its_code_and_the_rest_comes_later(project):
    done, ran = start(project, FAIL="sft")
    assert done.returncode == 7 and ran == ["init", "base", "sft"]
    assert done.stderr == (
        f"error: step 1: supervised fine-tuning ended with exit code 7; see {project / '결과 out' / 'logs' / 'sft.log'}; "
        "start quickstart again to go on\n"
    )
    assert start(project)[1] == ["sft", "reward", "ppo", "summary", "eval"]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stage_does_not_go_on_when_it_is_stopped(project, number, code):
    running = subprocess.Popen(
        command(project),
        env=environment(project, SLOW="1"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    limit = time.monotonic() + 60
    while "waiting" not in ((project / "ran").read_text(encoding="utf-8") if (project / "ran").exists() else ""):
        assert time.monotonic() < limit and running.poll() is None
        time.sleep(0.02)
    running.send_signal(number)
    assert running.wait(30) == code
    while alive(project):
        assert time.monotonic() < limit, "the stage still runs"
        time.sleep(0.05)
    took(project)
    assert start(project)[1] == ALL[1:]


def alive(project):
    """Whether a process of this project's stages is there."""
    script = str(project / "training").encode()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if script in file.read_bytes():
                return True
        except OSError:
            continue  # it has just ended
    return False


def test_an_output_folder_that_cannot_be_is_one_line(project):
    (project / "결과 out").write_text("a file", encoding="utf-8")
    done, ran = start(project)
    assert done.returncode == 2 and ran == [] and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        f"--output_dir {project / '결과 out'}: cannot be written: File exists; give another folder"
    )
