"""Users' own copies of older run scripts, and the names that variables had then, still work."""

import re
from pathlib import Path

import pytest
from script_harness import TINY
from step_programs import FOLDERS, ROOT

OLDER = Path(__file__).parent / "older"


@pytest.fixture
def own_copy(plain):
    """An earlier version's tiny script of step 1 as a user keeps it: next to ours, with a line after the training."""
    script = plain / "training" / FOLDERS[1] / "training_scripts/mine/run_mine.sh"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        (OLDER / "run_tiny.sh.txt").read_text(encoding="utf-8") + "echo and on\n",
        encoding="utf-8",
    )
    return script


def test_a_copy_of_an_older_script_works(own_copy, harness, plain):
    done = harness.run(own_copy, "out", "2", "--seed", "7", MODEL="m", BATCH="3", DATA_PATH="one two")
    assert (done.stdout, done.stderr) == ("나온 말 on stdout\non stderr\nand on\n", "")
    older, values = harness.flags, harness.parsed(1)
    assert (values["model_name_or_path"], values["data_path"], values["seed"]) == (
        "m",
        ["one", "two"],
        7,
    )
    assert (
        values["per_device_train_batch_size"],
        values["zero_stage"],
        values["output_dir"],
    ) == (3, 2, "out")
    log = (harness.cwd / "out/training.log").read_text(encoding="utf-8")
    assert log.startswith("== ") and log.endswith("나온 말 on stdout\non stderr\n")
    assert "and on" not in harness.run(own_copy, "out", EXIT="3", code=3).stdout

    harness.run(
        plain / TINY[1],
        "out",
        "2",
        "--seed",
        "7",
        MODEL_NAME_OR_PATH="m",
        PER_DEVICE_TRAIN_BATCH_SIZE="3",
        DATA_PATH="one two",
        LEARNING_RATE="5e-4",
        EVAL_INTERVAL="30",
    )
    assert sorted(harness.flags) == sorted([*older, "--num_warmup_steps", "10"])


def test_copies_of_older_evaluation_and_chat_scripts_work(harness, plain):
    start = """set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/%s/training/launch.sh"
positional A -- "$@"
shift "$TAKEN"
"""
    for script, depth, call, program in (
        (
            "eval/run_mine.sh",
            "..",
            'evaluate geval --judge "$A" "$@"\necho and on',
            "eval/geval.py",
        ),
        (
            "applications/chat/run_mine.sh",
            "../..",
            'become "applications/chat/chat.py" --judge "$A" "$@"',
            "applications/chat/chat.py",
        ),
    ):
        (plain / script).write_text(start % depth + call + "\n", encoding="utf-8")
        done = harness.run(plain / script, "j", "--seed", "7")
        assert (harness.program, harness.flags) == (
            str(plain / program),
            ["--judge", "j", "--seed", "7"],
        )
        assert done.stdout.endswith("and on\n") == (program == "eval/geval.py")


def notes(done):
    """What the script itself wrote to stderr."""
    return done.stderr.replace("on stderr\n", "")


TABLE = re.findall(r"^(\S+) +([A-Z_]+) +([A-Z_ ]+)$", (ROOT / "launch.sh").read_text(encoding="utf-8"), re.M)
OF_RUN_ALL = [row for row in TABLE if row[2].startswith("BENCHMARK_")]  # no flags' names: test_eval_scripts.py


@pytest.mark.parametrize("folder, old, names", [row for row in TABLE if row not in OF_RUN_ALL])
def test_an_old_name_gives_the_same_flag_with_a_note(folder, old, names, harness, plain):
    """In one script for each of its new names."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((plain / folder).rglob("run_*.sh"))}
    for new in names.split():
        script = next(path for path, text in texts.items() if f"\n{new}=" in text)
        texts = {path: text for path, text in texts.items() if f"\n{new}=" not in text}
        value = "1" if new == "APPLY_CHAT_TEMPLATE" else "값"
        words = ["v1"] if script.name == "run_recipe.sh" else []
        assert notes(harness.run(script, *words, **{old: value})) == f"note: {old} is now called {new}\n"
        renamed = harness.flags
        assert f"--{new.lower()}" in renamed
        assert notes(harness.run(script, *words, **{new: value})) == "" and harness.flags == renamed
        assert notes(harness.run(script, *words, **{new: value, old: "other"})) == "" and harness.flags == renamed


def test_an_empty_old_name_is_empty_still(harness, plain):
    harness.run(plain / "applications/web_demo/run_web_demo.sh", REWARD="")
    assert "--reward_model" not in harness.flags


def test_a_script_with_variables_of_its_own_keeps_them(harness, plain):
    """eval/run_all.sh has MODELS and OUTPUT."""
    done = harness.run(plain / "eval/run_all.sh", MODELS="a=b", OUTPUT="out", PARTS="geval")
    assert notes(done) == "" and harness.flags[:4] == [
        "--run_dir",
        f"{plain}/output/quickstart",
        "--eval_dir",
        "out",
    ]
