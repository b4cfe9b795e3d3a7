"""eval/run_geval.sh, run_win_rate.sh, run_all.sh: their words, variables and flags, with a stand-in for Python. Nothing is judged here."""

import os
import shutil
import subprocess

import eval_harness
import pytest
from eval_harness import ROOT
from script_harness import PYTHON

PROGRAMS = ("geval", "win_rate")


@pytest.fixture
def parsed(tmp_path):
    """Function: (program, words, variables) -> its parsed flags as one dict; the project lies in a folder with a space and Hangul."""
    project, stand_in = tmp_path / "한글 폴더", tmp_path / "venv" / "bin" / "python"
    for name in ("training/launch.sh", *(f"eval/run_{program}.sh" for program in PROGRAMS)):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, project / name)
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(PYTHON, encoding="utf-8")
    stand_in.chmod(0o755)

    def run(program, *words, **variables):
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "STAND_IN": str(tmp_path),
            "KORLHF_VENV": str(tmp_path / "venv"),
        }
        subprocess.run(
            ["bash", str(project / "eval" / f"run_{program}.sh"), *words],
            cwd=tmp_path,
            env={**env, **variables},
            check=True,
            capture_output=True,
        )
        unbuffered, path, *flags = (tmp_path / "argv").read_text(encoding="utf-8").split("\0")[:-1]
        assert (unbuffered, path) == ("-u", str(project / "eval" / f"{program}.py"))
        return {name: value for part in eval_harness.load(program).parse(flags) for name, value in vars(part).items()}

    run.project = project
    return run


@pytest.mark.parametrize("program", PROGRAMS)
def test_by_default_the_quickstarts_models(parsed, program):
    found, output = parsed(program), parsed.project / "output" / "quickstart"
    assert found["responder"] == [f"{name}={output / name}" for name in ("base", "sft", "ppo")]
    assert (found["judge"], found["output_dir"]) == (f"reward_model:{output / 'reward'}", str(output / "eval"))
    assert (found["data_path"], found["seed"], found["temperature"]) == (["sample/prompts"], 1234, 0.7)


@pytest.mark.parametrize("program", PROGRAMS)
def test_words_variables_and_flags_win_in_this_order(parsed, program):
    found = parsed(
        program,
        "a=/x y\nb=openai:m",
        "openai:gpt",
        "결과 폴더",
        "--seed",
        "9",
        "--top_p",
        "0.9",
        SEED="7",
        JUDGE="openai:other",
        DATA_PATH="one two",
        NUM_ANSWERS="2",
        MAX_PROMPTS="5",
    )
    assert (found["responder"], found["judge"], found["output_dir"]) == (
        ["a=/x y", "b=openai:m"],
        "openai:gpt",
        "결과 폴더",
    )
    assert (found["seed"], found["top_p"], found["data_path"], found["num_answers"], found["max_prompts"]) == (
        9,
        0.9,
        ["one", "two"],
        2,
        5,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_is_a_valid_executable_script(program):
    script = ROOT / "eval" / f"run_{program}.sh"
    assert os.access(script, os.X_OK) and all(
        len(line) <= 140 for line in script.read_text(encoding="utf-8").splitlines()
    )


SOME_FAIL = """#!/bin/sh
name="$(basename "$2" .py)"
echo "$name" >>"$STAND_IN/called"
[ "$name" != "$FAILING" ] || exit "$CODE"
"""


@pytest.fixture
def run_all(tmp_path):
    """Function: variables -> (exit code, stderr, programs that were called)."""
    stand_in = tmp_path / "venv" / "bin" / "python"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text(SOME_FAIL, encoding="utf-8")
    stand_in.chmod(0o755)

    def run(**variables):
        env = {
            "PATH": os.environ["PATH"],
            "STAND_IN": str(tmp_path),
            "KORLHF_VENV": str(tmp_path / "venv"),
            "RUN": str(tmp_path),
        }
        done = subprocess.run(
            ["bash", str(ROOT / "eval" / "run_all.sh")],
            env={**env, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        called = tmp_path / "called"
        return done.returncode, done.stderr, called.read_text(encoding="utf-8").split() if called.exists() else []

    return run


def test_a_part_in_which_too_much_failed_does_not_keep_the_report_back(run_all):
    called = ["geval", "win_rate", "kobest", "report"]
    assert run_all(PARTS="geval win_rate kobest", FAILING="win_rate", CODE="3") == (3, "", called)


def test_a_missing_hub_does_not_keep_the_report_back(run_all):
    code, told, called = run_all(PARTS="geval kobest", FAILING="kobest", CODE="2")
    assert (code, called) == (2, ["geval", "kobest", "report"]) and told.startswith("error: kobest was not evaluated")


def test_wrong_input_ends_all(run_all):
    assert run_all(PARTS="geval win_rate", FAILING="geval", CODE="2") == (2, "", ["geval"])


def test_a_part_that_does_not_exist_is_told_before_anything_runs(run_all):
    code, told, called = run_all(PARTS="geval winrate")
    assert (code, called) == (2, []) and told.startswith(
        "error: PARTS: there is no winrate; give some of: reward_accuracy geval"
    )
