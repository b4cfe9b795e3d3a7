"""Folders and files that cannot be written to, or that something else is in: one line, and nothing there is touched."""

import bad_input
import pytest

OUTPUTS = {  # program -> the flag of its result; a file or a folder
    "sft": "--output_dir",
    "reward": "--output_dir",
    "ppo": "--output_dir",
    "split": "--output_dir",
    "geval": "--output_dir",
    "win_rate": "--output_dir",
    "harmlessness": "--output_dir",
    "chat_benchmark": "--output_dir",
    "diversity": "--output_dir",
    "reward_accuracy": "--output_dir",
    "export": "--output_dir",
    "to_gguf": "--output_dir",
    "audit": "--output",
}
FILES = {
    "collect": "--output",
    "rank": "--output",
    "respond": "--output",
    "score": "--output",
    "translate": "--output",
    "self_instruct": "--output",
    "evol_instruct": "--output",
    "rw_eval": "--output",
    "prompt_eval": "--output",
    "report": "--output",
    "label": "--database",
}
LONG = "긴이름" * 40  # 360 bytes; a file system takes 255


@pytest.mark.parametrize("program", OUTPUTS)
def test_a_file_in_the_place_of_the_folder(refused, program):
    refused(program, [OUTPUTS[program], "taken"], {"taken": "mine"}, [f"{OUTPUTS[program]} taken"])


@pytest.mark.parametrize("program", OUTPUTS)
def test_a_folder_below_a_file(refused, program):
    refused(program, [OUTPUTS[program], "taken/out"], {"taken": "mine"}, [f"{OUTPUTS[program]} taken/out"])


@pytest.mark.parametrize("program", OUTPUTS)
def test_a_folder_whose_name_is_too_long(refused, program):
    refused(program, [OUTPUTS[program], LONG], {}, [f"{OUTPUTS[program]} {LONG[:20]}", "too long"])


@pytest.mark.parametrize("program", OUTPUTS)
def test_a_folder_where_nobody_may_write(refused, program):
    refused(program, [OUTPUTS[program], "/proc/out"], {}, [f"{OUTPUTS[program]} /proc/out"])


@pytest.mark.parametrize("program", [p for p in FILES if p != "report"])
def test_a_folder_in_the_place_of_the_file(refused, program):
    name = "taken.jsonl" if program not in ("label",) else "taken.sqlite"
    refused(program, [FILES[program], name], {name: None}, [f"{FILES[program]} {name}"])


@pytest.mark.parametrize("program", [p for p in FILES if p != "report"])
def test_a_file_below_a_file(refused, program):
    refused(program, [FILES[program], "taken/out.jsonl"], {"taken": "mine"}, [f"{FILES[program]} taken/out.jsonl"])


@pytest.mark.parametrize("program", [p for p in FILES if p != "report"])
def test_a_file_whose_name_is_too_long(refused, program):
    name = LONG + ".jsonl"
    refused(program, [FILES[program], name], {}, [f"{FILES[program]} {LONG[:20]}", "too long"])


@pytest.mark.parametrize("program", [p for p in FILES if p != "report"])
def test_a_file_where_nobody_may_write(refused, program):
    refused(program, [FILES[program], "/proc/out.jsonl"], {}, [f"{FILES[program]} /proc/out.jsonl"])


@pytest.mark.parametrize("program", [p for p in FILES if p not in ("label", "rw_eval", "prompt_eval", "report")])
def test_an_output_that_is_the_input(refused, program):
    name = bad_input.PROGRAMS[program][1].split("--input ")[1].split()[0]
    refused(program, [FILES[program], name], {}, [f"--output {name}", "is also an input"])


@pytest.mark.parametrize("program", ["collect", "rank", "respond", "score", "translate"])
def test_an_output_of_another_type(refused, program):
    refused(program, ["--output", "out.csv"], {}, ["--output out.csv", ".jsonl"])


@pytest.mark.parametrize("program", ["sft", "reward", "ppo", "export"])
def test_a_folder_of_somebody_else(refused, program):
    refused(program, ["--output_dir", "photos"], {"photos/cat.png": "meow"}, ["--output_dir photos"])
