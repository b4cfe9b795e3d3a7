"""Every run_*.sh: its flags parse, its words land in them, its settings suit its name. Nothing is trained here."""

import os
import re
import subprocess

import pytest
from script_harness import MULTI_NODE, SCRIPTS, STEP, TINY, harness, hostfile, korean, plain  # noqa: F401 (fixtures)
from step_programs import FOLDERS, ROOT

from korlhf.data.registry import SOURCES


def words_of(step, output):
    """All positional words of a step; it writes to `output`."""
    return [output, "3"] if step in (1, 2) else ["actor folder", "critic folder", "2", "3", output]


def test_all_kinds_of_scripts_are_there():
    for folder in FOLDERS.values():
        kinds = {s.split("/training_scripts/")[1] for s in SCRIPTS if folder in s}
        assert kinds >= {
            "tiny/run_tiny.sh",
            "polyglot_ko/run_1.3b.sh",
            "polyglot_ko/run_5.8b_lora.sh",
            "polyglot_ko/run_12.8b_lora.sh",
            "kullm/run_5.8b_lora.sh",
            "kullm/run_12.8b_lora.sh",
            "other/run_any_model.sh",
            "multi_node/run_12.8b.sh",
        }


@pytest.mark.parametrize("script", [*SCRIPTS, "setup.sh", "test.sh", ".ci/run"])
def test_is_a_valid_executable_script(script):
    assert subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True).stderr == b""
    assert os.access(ROOT / script, os.X_OK)
    text = (ROOT / script).read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n# ") and "\nset -euo pipefail\n" in text
    assert all(len(line) <= 140 for line in text.splitlines())


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_setting_stands_at_the_top_with_an_override(script):
    """Each variable that the command uses is set once as NAME="${NAME:-...}"; no number is hidden in the command."""
    text = (ROOT / script).read_text(encoding="utf-8")
    top, command = text.split("\nlaunch ")
    used = set(re.findall(r'"\$([A-Z][A-Z_]*)"', command)) - {"KORLHF_ROOT"}
    settings = set(re.findall(r'^(?:export )?([A-Z_]+)="\$\{\1:-', top, re.M))
    assert used <= settings
    assert settings - used <= {"DATA_PATH", "EVAL_DATA_PATH", "HOSTFILE", "NUM_PROCESSES"}
    assert not re.search(r"--[a-z_]+ +[^\"\\ ]", command)


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_parse_and_positional_words_land_in_them(script, harness, plain, hostfile):
    step, output = STEP[script], str(harness.folder / "out 폴더")
    env = {"HOSTFILE": hostfile} if script in MULTI_NODE else {}
    cwd = harness.folder if script in MULTI_NODE else harness.cwd  # multi-node takes no spaces in the working directory
    harness.run(plain / script, *words_of(step, output), cwd=cwd, **env)
    values = harness.parsed(step)
    assert values["output_dir"] == output
    if step == 3:
        assert (values["actor_model_name_or_path"], values["critic_model_name_or_path"]) == (
            "actor folder",
            "critic folder",
        )
        assert (values["actor_zero_stage"], values["critic_zero_stage"]) == (2, 3)
    else:
        assert values["zero_stage"] == 3
    assert harness.argv[len(harness.before_main)] == str(plain / "training" / FOLDERS[step] / "main.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_defaults_suit_the_name_of_the_script(script, harness, plain, hostfile):
    """LoRA where the name says so, the template of the model, datasets that exist and can train the step, saving switched on."""
    step = STEP[script]
    harness.run(plain / script, cwd=harness.folder, **({"HOSTFILE": hostfile} if script in MULTI_NODE else {}))
    values = harness.parsed(step)
    lora = "_lora" in script or "run_any_model" in script or "run_v" in script
    assert [bool(v) for k, v in values.items() if k.endswith("lora_dim")] == [lora] * (2 if step == 3 else 1)
    if "/tiny/" not in script:
        assert values["prompt_template"] == ("auto" if "run_any_model" in script else "kullm")
    for name in values["data_path"] + values["eval_data_path"]:
        assert (
            step in SOURCES[name].steps if not name.startswith("/") else "run_v" in script and name.endswith(".jsonl")
        )
    assert values["save_steps"] > 0 and values["output_dir"].startswith(f"{plain}/output/")
    assert values["eval_interval"] > 0 or values.get("eval_steps", 0) > 0 or "run_base" in script
    own_split = "/tiny/" in script or "run_v" in script
    assert values["data_split"] == (["10,0,0", "0,10,0", "0,0,10"][step - 1] if own_split else "2,4,4")


def test_steps_hand_their_folders_on(harness, plain, hostfile):
    """What step 3 starts from is what steps 1 and 2 write, and the tiny steps 1 and 2 start from what run_base.sh writes."""
    made, wanted = set(), {}
    for script in SCRIPTS:
        harness.run(plain / script, cwd=harness.folder, **({"HOSTFILE": hostfile} if script in MULTI_NODE else {}))
        values = harness.parsed(STEP[script])
        made.add(values["output_dir"])
        wanted[script] = [v for k, v in values.items() if k.endswith("model_name_or_path") and v.startswith("/")]
    made.add(f"{plain}/output/quickstart/base_init")
    for script, folders in wanted.items():
        assert set(folders) <= made, script
        assert STEP[script] != 3 or folders, script


def test_each_reward_recipe_trains_on_the_data_of_its_own_preparation(harness, plain):
    for version in ("v1", "v2", "v3"):
        harness.run(plain / "training" / FOLDERS[2] / "training_scripts/polyglot_ko" / f"run_{version}.sh")
        values = harness.parsed(2)
        assert values["data_path"] == [f"{version}/reward"]
        settings = ("lora_dim", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs")
        assert [values[name] for name in settings] == [8, 16, 4, 1]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_flags_after_the_positional_words_win(step, harness, plain):
    harness.run(
        plain / TINY[step],
        *words_of(step, "a"),
        "--seed",
        "7",
        "--data_path",
        "my data.jsonl",
        "b.jsonl",
        "--output_dir",
        "b c",
    )
    values = harness.parsed(step)
    assert (values["seed"], values["data_path"], values["output_dir"]) == (7, ["my data.jsonl", "b.jsonl"], "b c")
    assert (
        "나온 말" in (harness.cwd / "b c" / "training.log").read_text(encoding="utf-8")
        and not (harness.cwd / "a").exists()
    )


def test_the_environment_overrides_and_a_positional_word_overrides_it(harness, plain):
    harness.run(plain / TINY[1], "by word", SEED="7", OUTPUT="by environment", ZERO_STAGE="2", DATA_PATH="one two")
    values = harness.parsed(1)
    assert (values["seed"], values["output_dir"], values["zero_stage"], values["data_path"]) == (
        7,
        "by word",
        2,
        ["one", "two"],
    )


def test_an_empty_positional_word_keeps_the_default(harness, plain):
    harness.run(plain / TINY[1], "", "2")
    assert (harness.parsed(1)["output_dir"], harness.parsed(1)["zero_stage"]) == (f"{plain}/output/quickstart/sft", 2)


def test_a_data_path_with_spaces(harness, plain):
    """A file that exists is one word; else line breaks or spaces separate; * is not expanded."""
    (harness.cwd / "내 자료.jsonl").touch()
    cases = (
        ("내 자료.jsonl", ["내 자료.jsonl"]),
        ("/x y/a\n/x y/b", ["/x y/a", "/x y/b"]),
        ("a  b\tc", ["a", "b", "c"]),
        ("*", ["*"]),
    )
    for given, expected in cases:
        harness.run(plain / TINY[1], "o", DATA_PATH=given)
        assert harness.parsed(1)["data_path"] == expected


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s not in MULTI_NODE])
def test_in_a_folder_with_a_space_and_hangul(script, harness, korean):
    harness.run(korean / script)
    values = harness.parsed(STEP[script])
    assert values["output_dir"].startswith(f"{korean}/output/")
    assert (korean / values["output_dir"] / "training.log").exists()
    assert harness.environment["PWD"] == str(harness.cwd)


@pytest.mark.parametrize("script", MULTI_NODE)
def test_several_machines_refuse_a_path_with_a_space(script, harness, korean, hostfile):
    done = harness.run(korean / script, cwd=harness.folder, HOSTFILE=hostfile, code=2)
    assert done.stderr.startswith("error: ") and "한글 폴더" in done.stderr and done.stderr.count("\n") == 1
