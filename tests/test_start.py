"""Programs answer --help, wrong flags and missing files before they import what is slow to import."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("training/*", "eval", "data_prep", "applications/*")
PROGRAMS = sorted(
    str(path.relative_to(ROOT))
    for folder in FOLDERS
    for path in ROOT.glob(f"{folder}/*.py")
    if "program.run(" in path.read_text(encoding="utf-8")
)
FOLDERS_OF_ONE_MODEL = ("step1_supervised_finetuning", "step2_reward_model_finetuning", "step2_dpo_finetuning")
STEPS = [f"training/{step}/main.py" for step in FOLDERS_OF_ONE_MODEL]
GONE = "/no/such/folder"
MODEL = ["--model_name_or_path", GONE]
FILE = ["--data_path", "gone.jsonl"]
OUT = ["--output_dir", "out"]
ACTOR, CRITIC = (f"--{name}_model_name_or_path" for name in ("actor", "critic"))
MISSING = [
    *((program, [*MODEL, *OUT, "--data_path", "sample/sft"]) for program in STEPS),
    *((program, ["--model_name_or_path", "a/b", *FILE, *OUT]) for program in STEPS),
    ("training/step3_rlhf_finetuning/main.py", [ACTOR, "a/b", CRITIC, GONE, *OUT, "--data_path", "sample/prompts"]),
    ("training/step1_supervised_finetuning/prompt_eval.py", [*MODEL, "--prompt", "가"]),
    ("training/step2_reward_model_finetuning/rw_eval.py", ["--model_name_or_path", "a/b", *FILE]),
    ("applications/chat/chat.py", MODEL),
    ("applications/export/export.py", [*MODEL, *OUT]),
    ("data_prep/respond.py", ["--responder", "openai:m", "--input", "gone.jsonl", "--output", "out.jsonl"]),
    ("eval/diversity.py", ["--responder", GONE, *OUT, "--data_path", "sample/heldout_prompts"]),
    ("eval/benchmark.py", [*MODEL, *OUT]),
    (
        "eval/chat_benchmark.py",
        [*FILE, *OUT, "--benchmark", "logickor", "--responder", "m=openai:m", "--judge", "openai:j"],
    ),
    ("eval/reward_accuracy.py", ["--model_name_or_path", "a/b", *FILE, *OUT]),
]
# In a process of its own, whose modules nobody else has imported: (program, arguments) on stdin, one line each ->
# [exit code, the slow modules that are imported by then, stderr].
ANSWERS = """
import contextlib, io, json, runpy, sys
from pathlib import Path
SLOW = {"torch", "transformers", "deepspeed", "peft", "datasets", "gradio", "lm_eval", "scipy", "statsmodels"}
SLOW |= {"sklearn", "pandas", "matplotlib", "openai", "tensorboard"}
for line in sys.stdin:
    program, words = json.loads(line)
    sys.argv, sys.path[0] = [program, *words], str(Path(program).parent)
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, sorted(SLOW & set(sys.modules)), err.getvalue()]), flush=True)
"""


def answers(folder, asked):
    lines = "".join(json.dumps([str(ROOT / program), words]) + "\n" for program, words in asked)
    command = [sys.executable, "-c", ANSWERS]
    done = subprocess.run(command, input=lines, cwd=folder, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(zip(map(str, asked), map(json.loads, done.stdout.splitlines()), strict=True))


def test_flags_are_answered_before_slow_imports(tmp_path):
    assert {"training/step3_rlhf_finetuning/main.py", "eval/benchmark.py", "applications/chat/chat.py"} <= set(PROGRAMS)
    helped = answers(tmp_path, [(program, ["--help"]) for program in PROGRAMS])
    assert {asked: found for asked, found in helped.items() if found != [0, [], ""]} == {}
    wrong = answers(tmp_path, [(program, ["--no_such_flag"]) for program in PROGRAMS])
    assert {asked: found for asked, found in wrong.items() if found[:2] != [2, []]} == {}


def test_missing_files_are_answered_before_slow_imports(tmp_path):
    for asked, (code, slow, said) in answers(tmp_path, MISSING).items():
        assert (code, slow) == (2, []), (asked, code, slow, said)
        assert said.count("\n") == 1 and said.startswith("error: ") and ("gone.jsonl" in said or GONE in said), said
    assert list(tmp_path.iterdir()) == []
