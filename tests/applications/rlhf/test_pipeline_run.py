"""Running: failures, signals, kill -9, two at once, waiting for people. Real processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_project import Project, project  # noqa: F401 (fixture)

from korlhf.core.errors import InputError
from korlhf.pipeline import process, record, state
from korlhf.pipeline import run as runs
from korlhf.pipeline.stages import Need

PROGRAM = Path(__file__).parents[2] / "harness" / "fake_project.py"


@pytest.fixture(autouse=True)
def own_interrupts():
    """Signals have their default effect in what is started here, however the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(project, *words, **environ):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(project.root), *words],
        env={**project.environ, "PYTHONUTF8": "1", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(project, line):
    """Wait until a script has noted `line`."""
    limit, path = time.monotonic() + 30, project.root / "ran"
    while not (path.exists() and line in path.read_text(encoding="utf-8").splitlines()):
        assert time.monotonic() < limit, f"{line} never came"
        time.sleep(0.02)


def test_a_failing_stage_ends_the_run_with_its_code_and_one_line(project, capfd):
    project.environ["FAIL"] = "7"
    assert project.run() == (7, ["data", "train", "count"])
    log = project.run_folder / "logs" / "count.log"
    assert (
        f"error: stage [3/4] count ended with exit code 7; log: {log}; put it right and start the same command again to go on\n"
        in capfd.readouterr().err
    )
    assert "세지 못함" in log.read_text(encoding="utf-8")
    del project.environ["FAIL"]
    assert project.states()["count"] == "resume"
    assert project.run() == (0, ["count", "page"])


def test_after_a_failure_in_a_run_with_from_the_line_says_from_where(project, capfd):
    project.run()
    project.environ["FAIL"] = "7"
    assert project.run(first="data") == (7, ["data", "train", "count"])
    assert "to go on, with --from count\n" in capfd.readouterr().err


def test_a_stage_that_ends_well_without_its_outputs_is_not_finished(project, capfd):
    """As data_prep does where it needs people: exit code 0 and instructions."""
    project.environ["EMPTY"] = "1"
    assert project.run() == (4, ["data", "train", "count"])
    assert (
        "count ended without an error, but has not written RUN/count.txt: its last lines in" in capfd.readouterr().err
    )
    del project.environ["EMPTY"]
    assert project.run() == (0, ["count", "page"])
    project.environ["EMPTY"] = "1"  # what it wrote before is still there
    assert project.run(only="count") == (4, ["count"])
    assert project.states()["count"] == "resume"


def test_waiting_for_labels_is_told_first_and_stops_there(project, tmp_path, capfd):
    project.needs = (Need("labels", "", "people must choose; then start again with LABELS=FILE"),)
    assert project.run() == (4, ["data", "train"])
    out = capfd.readouterr().out
    first, last = (
        out.index("stops before count: people must choose"),
        out.index("[3/4] count: waiting: people must choose"),
    )
    assert first < out.index("[1/4] data") < last
    project.needs = (Need("labels", str(tmp_path / "labels.jsonl"), "set LABELS to files"),)
    assert project.run() == (2, [])
    assert f"MISSING  count: {tmp_path / 'labels.jsonl'}: there is no such file" in capfd.readouterr().out
    (tmp_path / "labels.jsonl").touch()
    assert project.run() == (0, ["count", "page"])


def test_what_is_missing_is_told_before_anything_starts(project, capfd):
    project.corpus.unlink()
    assert project.run() == (2, [])
    out, err = capfd.readouterr()
    told = f"MISSING  data: {project.corpus}: there is no such file or folder; write it"
    assert told in " ".join(out.split()).replace("MISSING ", "MISSING  ") and err.startswith(
        "error: not started"
    )  # a long line is wrapped


def test_a_plan_alone_ends_with_what_is_missing(project, capfd):
    project.corpus.unlink()
    assert runs.dry_run(project.pipeline(), state.Choice()) == 2
    assert capfd.readouterr().err == "error: it could not start: 1 MISSING above the commands; put them right first\n"
    project.run_folder = project.root / "data.sh"
    with pytest.raises(InputError, match="data.sh: is a file"):
        runs.dry_run(project.pipeline(), state.Choice())


@pytest.mark.parametrize("when", [1, 2])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(project, monkeypatch, when):
    saves, save = [], record.Record.save

    def full(self):
        saves.append(1)
        if len(saves) == when + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self)

    monkeypatch.setattr(record.Record, "save", full)
    with pytest.raises(
        InputError, match="실행 folder: no room left on its disk; make some, then start the same command again"
    ):
        project.run()
    monkeypatch.setattr(record.Record, "save", save)
    assert project.run()[0] == 0 and project.model.exists()


def test_progress_says_which_stage_and_how_much_is_left(project, capfd):
    project.run()
    project.took()
    project.given["train"] = {"EPOCHS": "4"}
    capfd.readouterr()
    project.run()
    out = capfd.readouterr().out
    assert "to run: 2 of 4 stages, about 0." in out and "(as last time; as last time, with other settings)" in out
    assert "[2/4] train: the training\n    changed: EPOCHS (default) -> 4; 0.0 s so far, about 0." in out
    assert "\n[4/4] page: done in 0." in out and "what it took" in out


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_stage_once_and_the_run_goes_on_later(project, number, code):
    running = start(project, SLOW="60")
    wait_for(project, "step 2")
    running.send_signal(number)
    out, _ = running.communicate(timeout=30)
    assert running.returncode == code
    assert project.took().count(f"train got {number.name[3:]}") == 1
    assert "[2/4] train: stopped after" in out
    assert f"train got {number.name[3:]}" in (project.run_folder / "logs" / "train.log").read_text(encoding="utf-8")
    assert project.states()["train"] == "resume"
    assert project.run()[0] == 0
    assert "3 epochs" in project.model.read_text(encoding="utf-8")


def test_a_second_signal_is_stronger(project):
    (project.root / "count.sh").write_text(
        f"trap '' INT TERM; echo deaf >>'{project.root / 'ran'}'; sleep 60", encoding="utf-8"
    )
    running = start(project)
    wait_for(project, "deaf")
    for _ in range(3):
        running.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert running.wait(30) == 130


def alive(project):
    """Whether a process that was started in this project's scripts is still there."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(project.root / "train.sh").encode() in (folder / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def test_after_kill_9_nothing_is_left_and_the_training_goes_on_where_it_was(project):
    running = start(project, SLOW="60")
    wait_for(project, "step 2")
    running.kill()
    running.wait()
    assert project.run() == (
        0,
        ["data", "train", "train", "count", "page"],
    )  # waits until the stage of the killed run has been stopped
    assert not alive(project)
    log = (project.run_folder / "logs" / "train.log").read_text(encoding="utf-8")
    assert log.count("== ") == 2 and "finished already" not in log
    again = Project(project.root.parent / "other")
    again.run()
    assert project.model.read_bytes() == again.model.read_bytes()


def test_steps_that_a_killed_run_made_are_not_made_again(project):
    running = start(project, SLOW="60")
    wait_for(project, "step 2")
    running.kill()
    running.wait()
    assert [line for line in project.took() if line.startswith("step")] == ["step 1", "step 2"]
    project.run()
    # project.run has read what was noted: the log tells which steps the second start made
    assert "3%|##" not in (project.run_folder / "logs" / "train.log").read_text(encoding="utf-8").split("== ")[1]
    assert (project.run_folder / "train" / "checkpoints" / "step").read_text(encoding="utf-8") == "3\n"


def test_killed_after_the_old_run_was_thrown_away_it_is_not_thrown_away_again(project):
    project.run()
    running = start(project, SLOW="60", EPOCHS_OF_TRAIN="5")
    wait_for(project, "step 2")
    running.kill()
    running.wait()
    project.took()
    project.given["train"] = {"EPOCHS": "5"}
    assert project.states()["train"] == "resume"
    running = start(project, EPOCHS_OF_TRAIN="5")
    assert running.wait(60) == 0
    assert [line for line in project.took() if line.startswith("step")] == ["step 3", "step 4", "step 5"]


def test_killed_before_the_old_run_was_thrown_away_it_is_thrown_away_then(project):
    project.run()
    running = start(project, BEFORE="60", EPOCHS_OF_TRAIN="5")
    wait_for(project, "before")
    running.kill()
    running.wait()
    assert project.model.read_text(encoding="utf-8").endswith("3 epochs\n")
    project.given["train"] = {"EPOCHS": "5"}
    assert project.run()[0] == 0
    assert project.model.read_text(encoding="utf-8").endswith("5 epochs\n")


def test_inputs_that_change_while_it_is_stopped_begin_it_anew(project):
    running = start(project, SLOW="60")
    wait_for(project, "step 2")
    running.kill()
    running.wait()
    project.corpus.write_text("new\n", encoding="utf-8")
    project.took()
    assert start(project).wait(60) == 0
    assert [line for line in project.took() if line.startswith("step")] == ["step 1", "step 2", "step 3"]
    assert project.model.read_text(encoding="utf-8") == "NEW\n3 epochs\n"


def test_what_a_killed_run_left_and_does_not_stop_keeps_others_out(project):
    (project.root / "count.sh").write_text(
        f"trap '' TERM; echo $$ >'{project.root / 'pid'}'; echo deaf >>'{project.root / 'ran'}'; sleep 60",
        encoding="utf-8",
    )
    running = start(project)
    wait_for(project, "deaf")
    running.kill()
    running.wait()
    with (
        pytest.raises(InputError, match=f"what process {running.pid} left behind is still running"),
        record.hold(project.run_folder, 0.5),
    ):
        pass
    os.killpg(int((project.root / "pid").read_text(encoding="utf-8")), signal.SIGKILL)
    with record.hold(project.run_folder, 10):
        assert record.owner(project.run_folder) == str(os.getpid())


def test_two_at_once_in_one_folder_are_refused(project, capfd):
    running = start(project, SLEEP_DATA="60")
    wait_for(project, "waiting")
    assert record.owner(project.run_folder) == str(running.pid)
    with pytest.raises(
        InputError, match=f"process {running.pid} is running it; wait for it, or stop it with: kill {running.pid}"
    ):
        project.run()
    running.terminate()
    assert running.wait(30) == 143
    assert project.run()[0] == 0 and record.owner(project.run_folder) == ""


def test_a_folder_that_cannot_be_written_is_one_line(project):
    project.run_folder = project.corpus  # a file
    with pytest.raises(InputError, match="cannot be written"):
        project.run()


class Terminal:
    """A stand-in for stdout."""

    def __init__(self, tty):
        self.tty, self.buffer, self.text = tty, self, b""

    def isatty(self):
        return self.tty

    def write(self, data):
        self.text += data

    def flush(self):
        pass


@pytest.mark.parametrize("tty", [True, False])
def test_a_log_has_only_the_last_state_of_a_progress_bar(tty, tmp_path):
    data = "가\n 10%|#  |\r 50%|## |\r100%|###|\nend\r\nopen".encode()
    screen = Terminal(tty)
    with open(tmp_path / "log", "wb") as log:
        output = process.Output(log, screen)
        for at in range(len(data)):
            output.take(data[at : at + 1])
        output.end()
    assert (tmp_path / "log").read_text(encoding="utf-8") == "가\n100%|###|\nend\nopen\n"
    assert screen.text == (data if tty else (tmp_path / "log").read_bytes())


def test_the_run_goes_on_when_nobody_reads_any_more(project):
    running = start(project, SLOW="1")
    running.stdout.close()
    assert running.wait(60) == 0
    assert (project.run_folder / "page.html").exists() and os.path.getsize(
        project.run_folder / "logs" / "train.log"
    ) > 0
