"""The run scripts: their flags parse, their words land in them, their settings suit their names."""

import os
import re
import subprocess

import pytest
from script_harness import EVERY_SCRIPT, MULTI_NODE, SCRIPTS, STEP_OF, TINY, Harness
from step_programs import FOLDERS, ROOT

from korlhf.data.registry import SOURCES


def words_of(step, output):
    """All positional words of a step; it writes to `output`."""
    return [output, "3"] if step != 3 else ["actor folder", "critic folder", "2", "3", output]


@pytest.fixture(scope="module")
def by_default(tmp_path_factory, plain):
    """Script -> its parsed flags without any word."""
    harness = Harness(tmp_path_factory.mktemp("default"))
    values = {}
    for script in SCRIPTS:
        harness.run(plain / script)
        values[script] = harness.parsed(STEP_OF[script])
        assert harness.program == str(plain / "training" / FOLDERS[STEP_OF[script]] / "main.py")
    return values


def test_all_kinds_of_scripts_are_there():
    models = (
        "polyglot_ko/run_1.3b",
        "polyglot_ko/run_5.8b_lora",
        "polyglot_ko/run_12.8b_lora",
        "kullm/run_5.8b_lora",
    )
    others = (
        "kullm/run_12.8b_lora",
        "kanana/run_3b_lora",
        "gemma/run_1b_lora",
        "qwen/run_4b_lora",
        "other/run_any_model",
        "multi_node/run_12.8b",
        "tiny/run_tiny",
    )
    for folder in FOLDERS.values():
        assert {f"training/{folder}/training_scripts/{name}.sh" for name in models + others} <= set(SCRIPTS)


@pytest.mark.parametrize("script", ["launch.sh", "setup.sh", "setup_vllm.sh", "test.sh", ".ci/run", *EVERY_SCRIPT])
def test_is_a_valid_script(script):
    assert subprocess.run(["bash", "-n", str(ROOT / script)], capture_output=True).stderr == b""
    if os.path.basename(script) in ("launch.sh", "recipe.sh", "stages.sh"):  # sourced
        return
    assert os.access(ROOT / script, os.X_OK) or not script.startswith("training/")
    text = (ROOT / script).read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n# ") and "\nset -euo pipefail\n" in text


def test_every_setting_stands_once_at_the_top_and_becomes_a_flag():
    """Each name in the command is set once as NAME="${NAME:-...}"; no setting is forgotten."""
    for script in (
        s for s in EVERY_SCRIPT if re.search(r"^(launch|start) ", (ROOT / s).read_text(encoding="utf-8"), re.M)
    ):
        top, command = re.split(r"\n(?=(?:launch|start) )", (ROOT / script).read_text(encoding="utf-8"))
        names = [word.rstrip(".?") for word in command.replace("\\\n", " ").split(" -- ")[0].split()[2:]]
        settings = re.findall(r'^([A-Z_]+)="\$\{\1:?-', top, re.M)
        assert len(names) == len(set(names)) and len(settings) == len(set(settings)), script
        machine = {"RUN", "RUN_NAME", "HOSTFILE", "NUM_PROCESSES", "LANGUAGE_OF_PAGE"}
        assert set(settings) - machine == set(names), script
        assert command.endswith(' "$@"\n'), script


@pytest.mark.parametrize("script", SCRIPTS)
def test_positional_words_land_in_their_flags(script, harness, plain):
    step, output = STEP_OF[script], str(harness.folder / "out 폴더")
    harness.run(plain / script, *words_of(step, output))
    values = harness.parsed(step)
    assert values["output_dir"] == output
    if step == 3:
        folders = (
            values["actor_model_name_or_path"],
            values["critic_model_name_or_path"],
        )
        assert folders == ("actor folder", "critic folder")
        assert (values["actor_zero_stage"], values["critic_zero_stage"]) == (2, 3)
    else:
        assert values["zero_stage"] == 3


@pytest.mark.parametrize("script", SCRIPTS)
def test_defaults_suit_the_name_of_the_script(script, by_default, plain):
    """LoRA where the name says so, the model's template, datasets that can train the step, saving switched on."""
    step, values = STEP_OF[script], by_default[script]
    lora = "_lora" in script or "run_any_model" in script or "run_v" in script
    assert [bool(v) for k, v in values.items() if k.endswith("lora_dim")] == [lora] * (2 if step == 3 else 1)
    assert all(v == ("/tiny/" not in script) for k, v in values.items() if k.endswith("gradient_checkpointing"))
    if "/tiny/" not in script:
        kullm = any(f"/{folder}/" in script for folder in ("polyglot_ko", "kullm", "multi_node"))
        assert values["prompt_template"] == ("kullm" if kullm else "auto")
    place = 2 if step == "dpo" else step
    for name in values["data_path"] + values["eval_data_path"]:
        assert place in SOURCES[name].steps
    assert values["save_steps"] > 0 and values["eval_interval"] > 0
    assert values["output_dir"].startswith(f"{plain}/output/")
    if step != 3:
        assert values["per_device_eval_batch_size"] == values["per_device_train_batch_size"]
    own_split = "/tiny/" in script or "run_v" in script
    assert values["data_split"] == (["10,0,0", "0,10,0", "0,0,10"][place - 1] if own_split else "2,4,4")


def test_steps_hand_their_folders_on(by_default, plain):
    """DPO and step 3 start from what steps 1 and 2 write, the tiny steps 1 and 2 from what run_base.sh writes."""
    made = {values["output_dir"] for values in by_default.values()} | {f"{plain}/output/quickstart/base_init"}
    for script, values in by_default.items():
        folders = {v for k, v in values.items() if k.endswith("model_name_or_path") and v.startswith("/")}
        assert folders <= made, script
        assert STEP_OF[script] != 3 or folders, script


def test_a_base_of_today_is_any_model_by_name(harness, by_default, plain):
    """The run's name stands in every folder, so that DPO and step 3 find what steps 1 and 2 made of the same base."""
    scripts = {step: f"training/{folder}/training_scripts/qwen/run_4b_lora.sh" for step, folder in FOLDERS.items()}
    assert by_default[scripts[1]]["model_name_or_path"] == by_default[scripts[2]]["model_name_or_path"]
    assert by_default[scripts[1]]["model_name_or_path"] == "Qwen/Qwen3-4B-Base"
    assert by_default[scripts["dpo"]]["model_name_or_path"] == f"{plain}/output/sft_qwen_4b"
    harness.run(plain / scripts[3], "--kl_coef", "0.2", RUN_NAME="qwen_8b", SEED="7")
    values = harness.parsed(3)
    found = [values[f"{who}_model_name_or_path"] for who in ("actor", "critic")]
    assert found == [f"{plain}/output/sft_qwen_8b", f"{plain}/output/reward_qwen_8b"]
    assert (values["output_dir"], values["seed"], values["kl_coef"]) == (f"{plain}/output/ppo_qwen_8b", 7, 0.2)


def test_each_reward_recipe_trains_on_the_data_of_its_own_preparation(harness, by_default, plain):
    folder = f"training/{FOLDERS[2]}/training_scripts/polyglot_ko"
    for version in ("v1", "v2", "v3"):
        values = by_default[f"{folder}/run_{version}.sh"]
        assert (values["data_path"], values["output_dir"]) == (
            [f"{version}/reward"],
            f"{plain}/output/reward_{version}",
        )
        settings = (
            "lora_dim",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "num_train_epochs",
        )
        assert [values[name] for name in settings] == [8, 16, 4, 1]
    harness.run(plain / folder / "run_v2.sh", "out", "2", "--seed", "7", RECIPE="sample")
    values = harness.parsed(2)
    assert (values["output_dir"], values["zero_stage"], values["seed"]) == ("out", 2, 7)
    for script in (f"{folder}/run_recipe.sh", "data_prep/run_recipe.sh"):
        told = [harness.run(plain / script, *words, code=2).stderr for words in ((), ("v4",))]
        assert all(re.match(r"error: (no recipe|v4): give v1, v2 or v3[ a-z]*\n$", line) for line in told), told


@pytest.mark.parametrize("step", FOLDERS)
def test_flags_after_the_positional_words_win(step, harness, plain):
    flags = [
        "--seed",
        "7",
        "--data_path",
        "my data.jsonl",
        "b.jsonl",
        "--output_dir",
        "b c",
    ]
    harness.run(plain / TINY[step], *words_of(step, "a"), *flags)
    values = harness.parsed(step)
    assert (values["seed"], values["data_path"], values["output_dir"]) == (
        7,
        ["my data.jsonl", "b.jsonl"],
        "b c",
    )
    assert "나온 말" in (harness.cwd / "b c" / "training.log").read_text(encoding="utf-8")
    assert not (harness.cwd / "a").exists()


def test_the_environment_overrides_and_a_positional_word_overrides_it(harness, plain):
    harness.run(
        plain / TINY[1],
        "by word",
        SEED="7",
        OUTPUT_DIR="by environment",
        ZERO_STAGE="2",
        DATA_PATH="one two",
    )
    values = harness.parsed(1)
    assert (values["seed"], values["output_dir"], values["zero_stage"]) == (
        7,
        "by word",
        2,
    )
    assert values["data_path"] == ["one", "two"]


def test_an_empty_positional_word_keeps_the_default(harness, plain):
    harness.run(plain / TINY[1], "", "2")
    assert harness.parsed(1)["output_dir"] == f"{plain}/output/quickstart/sft" and harness.parsed(1)["zero_stage"] == 2


def test_a_data_path_with_spaces(harness, plain):
    """A file that exists is one word; else line breaks or spaces separate; * is not expanded."""
    (harness.cwd / "내 자료.jsonl").touch()
    cases = (
        ("내 자료.jsonl", ["내 자료.jsonl"]),
        ("/x y/a\n/x y/b", ["/x y/a", "/x y/b"]),
        ("a  b\tc", ["a", "b", "c"]),
        ("*", ["*"]),
    )
    for value, expected in cases:
        harness.run(plain / TINY[1], "o", DATA_PATH=value)
        assert harness.parsed(1)["data_path"] == expected


def test_a_switch_is_on_or_off(harness, plain):
    script = plain / next(s for s in SCRIPTS if s.endswith("polyglot_ko/run_1.3b.sh"))
    for value, on in (("true", True), ("1", True), ("false", False), ("0", False)):
        harness.run(script, "o", GRADIENT_CHECKPOINTING=value)
        assert harness.parsed(1)["gradient_checkpointing"] is on
    done = harness.run(script, "o", GRADIENT_CHECKPOINTING="yes", code=2)
    assert done.stderr == "error: GRADIENT_CHECKPOINTING=yes: give true or false\n"


def test_an_optional_flag_without_a_value_is_not_given(harness, plain):
    harness.run(plain / "applications/chat/run_chat.sh")
    assert not {"--system", "--reward_model"} & set(harness.flags) and "--temperature" in harness.flags
    harness.run(
        plain / "applications/chat/run_chat.sh",
        "model",
        "reward",
        SYSTEM="말은 친절하게:",
    )
    assert harness.flags[:6] == [
        "--model_name_or_path",
        "model",
        "--reward_model",
        "reward",
        "--system",
        "말은 친절하게:",
    ]


def test_a_name_that_is_set_nowhere_is_told(harness, plain):
    script = plain / "applications/chat/run_chat_forgetful.sh"
    text = (plain / "applications/chat/run_chat.sh").read_text(encoding="utf-8")
    script.write_text(text.replace(" GUARD -- ", " GUARD LANGUAGE_MODEL -- "), encoding="utf-8")
    done = harness.run(script, code=2)
    assert done.stderr == "error: LANGUAGE_MODEL has no value; set it at the top of run_chat_forgetful.sh\n"


def test_the_page_does_not_take_the_systems_language(harness, plain):
    for script in (
        "applications/label/run_label.sh",
        "applications/web_demo/run_web_demo.sh",
    ):
        harness.run(plain / script, LANGUAGE="en_US:en", LANGUAGE_OF_PAGE="ko")
        assert harness.flags[harness.flags.index("--language") + 1] == "ko"


@pytest.mark.parametrize("script", [*TINY.values(), "applications/chat/run_chat.sh"])
def test_in_a_folder_with_a_space_and_hangul(script, harness, korean):
    harness.run(korean / script)
    assert harness.program.startswith(f"{korean}/") and harness.environment["PWD"] == str(harness.cwd)
    if script in STEP_OF:
        output = harness.parsed(STEP_OF[script])["output_dir"]
        assert output.startswith(f"{korean}/output/") and os.path.exists(f"{output}/training.log")


def test_several_machines_refuse_a_path_with_a_space(harness, korean):
    done = harness.run(korean / MULTI_NODE[0], code=2)
    assert done.stderr.startswith("error: ") and "한글 폴더" in done.stderr and done.stderr.count("\n") == 1
