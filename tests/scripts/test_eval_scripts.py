"""eval/run_geval.sh, run_win_rate.sh, run_all.sh: words, variables and flags, with a stand-in for Python."""

import os
import subprocess

import eval_harness
import pytest
from eval_harness import ROOT
from script_harness import write_program

from korlhf.core import flags

PROGRAMS = ("geval", "win_rate")


class Parsed(Exception):
    """Ends a program when its flags are parsed."""


def parse(*args, **defaults):
    raise Parsed(*flags.parse(*args, **defaults))


@pytest.fixture
def parsed(harness, korean, monkeypatch):
    """Function: (program, words, variables) -> its parsed flags as one dict."""

    def run(program, *words, **variables):
        harness.run(korean / f"eval/run_{program}.sh", *words, **variables)
        assert (harness.before_program, harness.program) == (
            ["-u"],
            f"{korean}/eval/{program}.py",
        )
        module = eval_harness.load(program)
        monkeypatch.setattr(module, "parse", parse)
        with pytest.raises(Parsed) as ended:
            module.main(harness.flags)
        return {name: value for part in ended.value.args for name, value in vars(part).items()}

    return run


@pytest.mark.parametrize("program", PROGRAMS)
def test_by_default_the_quickstarts_models(parsed, program, korean):
    values, run = parsed(program), f"{korean}/output/quickstart"
    assert values["responder"] == [f"{name}={run}/{name}" for name in ("base", "sft", "ppo")]
    assert (values["judge"], values["output_dir"]) == (
        f"reward_model:{run}/reward",
        f"{run}/eval",
    )
    assert (values["data_path"], values["seed"], values["temperature"]) == (
        ["sample/prompts"],
        1234,
        0.7,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_words_variables_and_flags_win_in_this_order(parsed, program):
    words = (
        "a=/x y\nb=openai:m",
        "openai:gpt",
        "결과 폴더",
        "--seed",
        "9",
        "--top_p",
        "0.9",
    )
    variables = {
        "SEED": "7",
        "JUDGE": "openai:other",
        "DATA_PATH": "one two",
        "NUM_ANSWERS": "2",
        "MAX_PROMPTS": "5",
    }
    values = parsed(program, *words, **variables)
    assert values["responder"] == ["a=/x y", "b=openai:m"]
    assert (values["judge"], values["output_dir"]) == ("openai:gpt", "결과 폴더")
    assert (values["seed"], values["top_p"], values["data_path"]) == (
        9,
        0.9,
        ["one", "two"],
    )
    assert (values["num_answers"], values["max_prompts"]) == (2, 5)


def test_who_samples(parsed, monkeypatch):
    """Arguments of the server begin with -- as flags do."""
    monkeypatch.setenv("VLLM", "/bin/true")
    values = parsed("win_rate", ROLLOUT="vllm", VLLM_ARGS="--enforce-eager")
    assert (values["rollout"], values["vllm_args"]) == ("vllm", "--enforce-eager")
    assert parsed("win_rate", ROLLOUT="vllm", VLLM_ARGS="-O0")["vllm_args"] == "-O0"


def test_a_chat_benchmark_and_its_file(parsed, korean):
    values = parsed("chat_benchmark", DATA_PATH="")
    assert (values["benchmark"], values["data_path"], values["temperature"]) == ("warmth", [], 0.0)
    words = ("komt_bench", "a=/x\nb=openai:m", "openai:gpt", "결과", "--baseline", "b")
    values = parsed("chat_benchmark", *words, DATA_PATH="질문 모음/question_ko.jsonl\n", JUDGE="openai:other")
    assert (values["benchmark"], values["judge"], values["baseline"]) == ("komt_bench", "openai:gpt", "b")
    assert (values["responder"], values["data_path"]) == (["a=/x", "b=openai:m"], ["질문 모음/question_ko.jsonl"])


def test_tasks_of_the_harness_and_their_files(parsed, korean):
    values = parsed("benchmark")
    assert (values["tasks"], values["data_dir"]) == (["copa", "hellaswag"], f"{korean}/samples/kobest")
    values = parsed("benchmark", "kmmlu click", "a=/x", DATA_DIR="")
    assert (values["tasks"], values["model_name_or_path"], values["data_dir"]) == (["kmmlu", "click"], ["a=/x"], "")


SOME_FAIL = """#!/bin/sh
[ "$1" != -c ] || exit 0
name="$(basename "$2" .py)"
echo "$name" >>"$STAND_IN/called"
echo "$name $*" >>"$STAND_IN/flags"
[ "$name" != "$FAILING" ] || exit "$CODE"
"""


@pytest.fixture
def run_all(tmp_path):
    """Function: variables -> (exit code, stderr, programs that were called)."""
    write_program(tmp_path / "venv/bin/python", SOME_FAIL)

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
        return (
            done.returncode,
            done.stderr,
            called.read_text(encoding="utf-8").split() if called.exists() else [],
        )

    return run


def test_a_part_in_which_too_much_failed_does_not_keep_the_report_back(run_all):
    called = ["geval", "win_rate", "benchmark", "report"]
    assert run_all(PARTS="geval win_rate benchmark", FAILING="win_rate", CODE="3") == (
        3,
        "",
        called,
    )


@pytest.mark.parametrize("failing", ["benchmark", "chat_benchmark"])
def test_a_missing_hub_does_not_keep_the_report_back(run_all, failing):
    code, told, called = run_all(PARTS="geval chat_benchmark benchmark", FAILING=failing, CODE="2")
    assert (code, called) == (2, ["geval", "chat_benchmark", "benchmark", "report"])
    assert told.startswith(f"error: not evaluated: {failing}; the message")


def test_the_benchmarks_variables_have_their_old_names_too(run_all, tmp_path):
    code, told, _ = run_all(PARTS="benchmark", KOBEST="my/files", KOBEST_TASKS="wic boolq", KOBEST_LIMIT="7")
    said = [f"note: KOBEST{old} is now called BENCHMARK_{new}" for old, new in (("", "DATA"), ("_TASKS", "TASKS"))]
    assert (code, told.splitlines()) == (0, [*said, "note: KOBEST_LIMIT is now called BENCHMARK_LIMIT"])
    flags = (tmp_path / "flags").read_text(encoding="utf-8")
    assert "--tasks wic boolq --data_dir my/files --limit 7" in flags


def test_files_of_answers_are_asked_nothing_of_a_benchmark(run_all, tmp_path):
    models = "sft=/x y\nopenai:m@http://h/v1\nb=answers/b.jsonl"
    code, _, called = run_all(PARTS="geval chat_benchmark benchmark", MODELS=models)
    assert (code, called) == (0, ["geval", "chat_benchmark", "benchmark", "report"])
    flags = {line.split()[0]: line for line in (tmp_path / "flags").read_text(encoding="utf-8").splitlines()}
    assert "--responder sft=/x y openai:m@http://h/v1 b=answers/b.jsonl --temp" in flags["geval"]
    assert "--responder sft=/x y openai:m@http://h/v1 --temp" in flags["chat_benchmark"]
    assert "--model_name_or_path sft=/x y --tasks" in flags["benchmark"]


def test_a_stop_ends_all(run_all):
    assert run_all(PARTS="geval win_rate", FAILING="geval", CODE="130") == (130, "", ["geval"])


def test_wrong_input_ends_all(run_all):
    assert run_all(PARTS="geval win_rate", FAILING="geval", CODE="2") == (
        2,
        "",
        ["geval"],
    )


def test_a_part_that_does_not_exist_is_told_before_anything_runs(run_all):
    code, told, called = run_all(PARTS="geval winrate")
    assert (code, called) == (2, []) and told.startswith(
        "error: PARTS: there is no winrate; give some of: reward_accuracy geval"
    )
