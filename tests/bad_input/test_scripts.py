"""What users see of bad input through the run scripts, and of several processes that meet the same error."""

import pytest
from tiny_scripts import run

from korlhf.core import program
from korlhf.core.errors import InputError


@pytest.mark.parametrize(
    ("stage", "flags", "says"),
    [
        ("sft", ["--max_steps", "-1"], "error: --max_steps -1: must be 0 or above"),
        ("reward", ["--data_path", "no_such.jsonl"], "error: no_such.jsonl: no such file or folder"),
        ("ppo", ["--top_p", "2"], "error: --top_p 2.0: must be above 0 and at most 1"),
    ],
)
def test_a_run_script_ends_with_the_one_line(tmp_path, stage, flags, says):
    folders = [tmp_path / "a", tmp_path / "b"] if stage == "ppo" else []
    words = [*folders, *([0, 0] if stage == "ppo" else []), tmp_path / "out", *([] if stage == "ppo" else [0])]
    done = run(stage, *words, *flags, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2 and [line for line in lines if "error" in line.lower()] == [lines[-1]], lines
    assert lines[-1].startswith(says) and [p.name for p in (tmp_path / "out").iterdir()] == ["training.log"]


@pytest.mark.long  # of two processes that srun starts, tests/smoke/test_nodes.py has the same
def test_two_processes_say_it_once(tmp_path):
    done = run("sft", tmp_path / "out", 0, "--data_path", "no_such.jsonl", processes=2, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(said) == 1 and "no_such.jsonl: no such file" in said[0], said


@pytest.mark.parametrize(("rank", "waited"), [("0", []), ("1", [program.FIRST_SPEAKS])])
def test_a_later_process_waits_for_the_first_one_to_speak(monkeypatch, capsys, rank, waited):
    """It says what it alone has met: nobody ends it meanwhile."""
    pauses = []
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(program.time, "sleep", pauses.append)

    def main():
        raise InputError("a.jsonl: no such file; give another")

    with pytest.raises(SystemExit) as stop:
        program.run(main)
    assert stop.value.code == 2 and pauses == waited
    assert capsys.readouterr().err == "error: a.jsonl: no such file; give another\n"
