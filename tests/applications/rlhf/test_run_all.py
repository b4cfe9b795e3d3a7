"""applications/rlhf/run_all.sh with quick stand-ins for the scripts of its stages."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ["init", "base", "sft", "reward", "ppo", "dialogues", "summary", "eval"]
BOT = ["speed", "sft", "reward", "ppo", "talks"]
CORPORA = ["data", "sft", "data", "reward", "ppo", "eval"]
# Other settings are refused, a stopped training resumes, a finished one is left alone; three steps.
TRAINING = r"""
    out="$1"
    [[ $# -lt 5 || "$5" == --* ]] || out="$5"
    name="$(basename "$out")" given=""
    for word in "$@"; do [[ "$word" == --overwrite_output_dir ]] && rm -rf "$out" || given+="$word "; done
    note "$name"
    mkdir -p "$out"
    [[ ! -f "$out/settings.json" || "$(<"$out/settings.json")" == "$given" ]] || { echo "other settings"; exit 2; }
    echo "$given" >"$out/settings.json"
    [[ ! -f "$out/finished.json" ]] || { echo "finished already"; exit; }
    [[ "${FAIL:-}" != "$name" ]] || exit 7
    for ((i = $(cat "$out/step" 2>/dev/null || echo 0) + 1; i <= 3; i++)); do
        echo "$i" >"$out/step"
        note "step $i"
        if [[ "$i$name" == "2${SLOW:-}" ]]; then sleep 60 & wait $!; fi
    done
    echo "{}" >"$out/finished.json"
"""
DATA = r"""
    note data
    mkdir -p "$OUT/audit"
    for part in sft prompts; do
        cat "$CORPORA/corpus" | tee "$OUT/${part}_train.jsonl" >"$OUT/${part}_test.jsonl"
    done
    [[ -d "$SFT_MODEL" ]] || exit 0
    [[ -n "$LABELS" ]] || { echo "people must choose"; exit 0; }
    [[ -z "${SPOIL:-}" ]] || echo spoilt >>"$OUT/sft_train.jsonl"
    touch "$OUT/audit/audit.html"
"""
EVALUATION = r"""
    note eval
    echo "prompts ${MAX_PROMPTS:-} judge ${JUDGE:-} model ${MODEL:-} seed $SEED"
    echo "models $(tr '\n' ' ' <<<"$MODELS")"
    echo "parts ${PARTS:-}"
    [[ -z "${LEAVE:-}" ]] || { sleep 60 & }
    touch "$RUN/report.html"
"""
PYTHON = r"""
    case "$1" in
        *tiny_base.py) note init; mkdir "$3"; touch "$3/tokenizer_config.json" ;;
        *prompt_eval.py)
            note dialogues
            while [[ $# -gt 0 ]]; do [[ "$1" != --output ]] || touch "$2.md"; shift; done
            ;;
        *summary.py) note summary; touch "$3/summary.json" ;;
        *budget.py)
            note speed
            out="" words=" $* "
            while [[ $# -gt 0 ]]; do [[ "$1" != --output_dir ]] || out="$2"; shift; done
            mkdir -p "$out"
            echo "asked:$words" >"$out/asked"
            for step in sft reward ppo; do printf '%s\n' --chosen "of $step" >"$out/$step.flags"; done
            touch "$out/budget.json"
            ;;
        *talks.py)
            note talks
            while [[ $# -gt 0 ]]; do [[ "$1" != --output_dir ]] || touch "$2/talks.json"; shift; done
            ;;
    esac
"""
STEPS = (
    "step1_supervised_finetuning",
    "step2_reward_model_finetuning",
    "step2_dpo_finetuning",
    "step3_rlhf_finetuning",
)


class Project:
    """A copy of the runner with stand-ins, in a folder with a space and Hangul in its name."""

    def __init__(self, folder):
        self.root, self.out, self.ran = folder / "프로젝트 a", folder / "결과 out", folder / "ran"
        for name in (
            "applications/rlhf/run_all.sh",
            "applications/rlhf/stages.sh",
            "training/launch.sh",
            "launch.sh",
            "quickstart.sh",
        ):
            if (ROOT / name).exists():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        scripts = (
            "tiny/run_base.sh",
            "tiny/run_tiny.sh",
            "other/run_any_model.sh",
            "polyglot_ko/run_1.3b.sh",
            "polyglot_ko/run_v2.sh",
        )
        for step in STEPS:
            for script in scripts:
                self.write(f"training/{step}/training_scripts/{script}", TRAINING)
        recipes = (ROOT / "data_prep" / name for name in ("run_recipe.sh", "run_v2.sh"))
        text = "".join(path.read_text(encoding="utf-8") for path in recipes if path.exists())
        settings = re.findall(r'^[A-Z_]+="\$\{.*', text, re.MULTILINE)
        self.write("data_prep/run_v2.sh", "\n".join(["KORLHF_ROOT= RECIPE=v2", *settings, DATA]))
        self.write("eval/run_all.sh", EVALUATION)
        self.write("venv/bin/python", PYTHON)
        self.write("setup.sh", "note setup")
        self.corpora = folder / "말뭉치 c"
        for name in ("NIKL_DIALOGUE_2020_v1.3", "147.텍스트 윤리검증 데이터", "rlhf-reward-datasets/train.jsonl"):
            (self.corpora / name).mkdir(parents=True)
        for name in ("corpus", "evol_instruct.json"):
            (self.corpora / name).write_text("가\n", encoding="utf-8")
        self.environ = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "RAN": str(self.ran),
            "KORLHF_VENV": str(self.root / "venv"),
        }
        self.environ |= {
            "RECIPE": "quickstart",
            "RUN": str(self.out),
            "CORPORA": str(self.corpora),
            "OPENAI_API_KEY": "k",
        }

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = '#!/usr/bin/env bash\nset -euo pipefail\nnote() { echo "$*" >>"$RAN"; }\n'
        trap = "trap 'note got INT; exit 130' INT\ntrap 'note got TERM; exit 143' TERM\n"
        path.write_text(head + trap + text, encoding="utf-8")
        path.chmod(0o755)

    def start(self, *words, script="applications/rlhf/run_all.sh", **environ):
        """A running process; its output is one pipe."""
        return subprocess.Popen(
            ["bash", str(self.root / script), *words],
            env={**self.environ, **environ},
            cwd=self.root.parent,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *words, script="applications/rlhf/run_all.sh", **environ):
        """(exit code, names of the stages that ran, output)"""
        running = self.start(*words, script=script, **environ)
        out, _ = running.communicate(timeout=60)
        return running.returncode, [line for line in self.took() if " " not in line], out

    def took(self):
        """What was noted since the last call."""
        lines = self.ran.read_text(encoding="utf-8").splitlines() if self.ran.exists() else []
        self.ran.unlink(missing_ok=True)
        return lines

    def wait_for(self, line):
        limit = time.monotonic() + 30
        while not (self.ran.exists() and line in self.ran.read_text(encoding="utf-8").splitlines()):
            assert time.monotonic() < limit, f"{line} never came"
            time.sleep(0.02)

    def alive(self):
        """Process ids of what the runner and the stand-ins began and is still there."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"RAN={self.ran}".encode() in (process / "environ").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue  # it has just ended, or is another user's
        return sorted(found)

    def signal_all(self, number):
        """Those that were there."""
        found = self.alive()
        for process in found:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(process, number)
        return found


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_every_stage_runs_once_and_what_is_finished_is_left_alone(project):
    code, ran, out = project.run("--seed", "7")
    assert (code, ran) == (0, QUICKSTART) and "seed 7" in out, out
    assert out.splitlines()[-1] == f"the report, with everything on one page: {project.out}/report.html"
    clocked = json.loads((project.out / "stages.json").read_text(encoding="utf-8"))
    assert list(clocked) == ["base", "sft", "reward", "ppo"] and all(took["seconds"] >= 0 for took in clocked.values())
    assert sorted(p.stem for p in (project.out / "logs").glob("*.log")) == sorted(QUICKSTART)
    code, ran, out = project.run("--seed=7")
    assert (code, ran) == (0, QUICKSTART[1:]) and out.count("finished already") == 4 and "init: kept" in out


def test_quickstart_sets_up_and_takes_the_same_flags(project):
    code, ran, out = project.run("--output_dir", "결과 b", "--seed", "7", script="quickstart.sh", RECIPE="", RUN="")
    assert (code, ran) == (0, ["setup", *QUICKSTART]) and "seed 7" in out
    assert out.splitlines()[-1] == f"the report, with everything on one page: {project.root.parent}/결과 b/report.html"


def test_quickstart_says_first_what_it_will_do_how_long_and_where(project):
    out = project.run(script="quickstart.sh", RECIPE="", RUN="")[2].splitlines()
    assert out[0] == f"1. set-up: {project.root}/venv (to be made, about 2.4 GB of packages, a few minutes)"
    assert out[1].endswith("evaluation of a tiny model: about 15 minutes on 2 cores")
    assert out[2] == f"result: {project.root}/output/quickstart/report.html"
    (project.root / "venv/.korlhf-ready").touch()
    code, ran, text = project.run("--quick", script="quickstart.sh", RECIPE="", RUN="")
    out = text.splitlines()
    assert (code, ran) == (0, ["setup", *QUICKSTART]) and out[0].endswith("venv (is there already)")
    assert "2 minutes on 2 cores, without set-up" in out[1] and "left out: " in out[2]
    assert out[3] == f"result: {project.root}/output/quick/report.html"
    assert "--max_steps 8" in (project.root / "output/quick/sft/settings.json").read_text(encoding="utf-8")
    assert "--max_steps 2" in (project.root / "output/quick/ppo/settings.json").read_text(encoding="utf-8")
    assert "prompts 8 " in text and "parts reward_accuracy geval\n" in text


@pytest.mark.parametrize(
    ("algorithm", "flags"),
    [
        ("grpo", "--num_generations 4 --advantage_estimator grpo"),
        ("rloo", "--num_generations 4 --advantage_estimator rloo"),
        ("reinforce", "--advantage_estimator reinforce"),
        ("dpo", "--model_name_or_path {run}/sft"),
    ],
)
def test_another_algorithm_takes_the_place_of_ppo_and_reuses_what_is_trained(project, algorithm, flags):
    stages = [algorithm if name == "ppo" else name for name in QUICKSTART]
    run = project.root / "output/quick"
    assert project.run("--quick", script="quickstart.sh", RECIPE="", RUN="")[1] == ["setup", *QUICKSTART]
    code, ran, out = project.run(algorithm, "--quick", script="quickstart.sh", RECIPE="", RUN="")
    assert (code, ran) == (0, ["setup", *stages[1:]]) and f"reward model, {algorithm.upper()}, eval" in out
    assert out.count("finished already") == 3
    steps = 8 if algorithm == "dpo" else 2
    settings = (run / algorithm / "settings.json").read_text(encoding="utf-8")
    assert flags.format(run=run) in settings and f"--max_steps {steps} " in settings
    assert f"models sft={run}/sft base={run}/base {algorithm}={run}/{algorithm} \n" in out
    clocked = json.loads((run / "stages.json").read_text(encoding="utf-8"))
    assert set(clocked) == {"base", "sft", "reward", "ppo", algorithm}
    code, ran, out = project.run("--dry_run", ALGORITHM=algorithm)
    assert f"{project.out}/base {project.out}/sft {project.out}/{algorithm} " in out.replace("\\ ", " ")
    assert f"--algorithm {algorithm}" in out


def test_all_algorithms_get_the_same_answers_from_one_model(project):
    code, _, out = project.run("--dry_run", RECIPE="algorithms", TRAINING_SEEDS="5 7", ANSWERS="192", SEED="3")
    plan = out.replace("\\ ", " ").splitlines()
    trained = {plan[i].split()[1].rstrip(":"): plan[i + 1] for i in range(0, len(plan), 2)}
    names = [f"{name}_{seed}" for seed in (5, 7) for name in ("ppo", "rloo", "grpo", "reinforce", "dpo")]
    assert code == 0 and list(trained) == ["init", "base", "sft", "reward", *names, "table"]
    assert "--seed 3" in trained["sft"] and all(f"--seed {name[-1]}" in trained[name] for name in names)
    assert {name: trained[name].count("--num_generations 4") for name in names[:5]} == dict(zip(names, (0, 1, 1, 0, 0)))
    assert all(f"--max_steps {4 if 'dpo' in name else 3} " in trained[name] for name in names)
    assert all(f"{project.out}/{name}" in trained[name] and f"{project.out}/sft" in trained[name] for name in names)


def test_an_algorithm_that_is_none_is_one_line(project):
    assert project.run(ALGORITHM="pporl")[2].startswith(
        "error: ALGORITHM=pporl: no such algorithm; there are ppo, grpo"
    )


def test_a_base_model_becomes_a_bot_with_the_settings_that_fit_the_minutes(project, tmp_path):
    base = tmp_path / "기본 모델"
    base.mkdir()
    (base / "config.json").write_text("{}", encoding="utf-8")
    for name in ("내 자료 1.jsonl", "b.jsonl"):
        (tmp_path / name).touch()
    asked = ["--base", str(base), "--minutes", "9", "--data", "내 자료 1.jsonl", "b.jsonl", "--seed", "7"]
    code, ran, out = project.run(*asked, script="quickstart.sh", RECIPE="", RUN="", SFT_FLAGS="--mine 1")
    run = project.root / "output/bot_기본 모델"
    assert (code, ran) == (0, ["setup", *BOT]), out
    assert "as fit into 9 minutes" in out.splitlines()[1] and out.splitlines()[2] == f"result: {run}/talks.md"
    told = (run / "budget/asked").read_text(encoding="utf-8")
    assert f"--model_name_or_path {base} --minutes 9 --data_path 내 자료 1.jsonl b.jsonl --output_dir" in told
    for name, model in (("sft", str(base)), ("reward", f"{run}/sft")):
        settings = (run / name / "settings.json").read_text(encoding="utf-8")
        assert f"--model_name_or_path {model} --chosen of {name} --seed 7" in settings
    settings = (run / "sft/settings.json").read_text(encoding="utf-8")
    assert settings.strip().endswith("--seed 7 --mine 1")
    assert f"{run}/sft {run}/reward" in (run / "ppo/settings.json").read_text(encoding="utf-8")
    assert "run_chat.sh" in out.splitlines()[-1]
    assert project.run(*asked, script="quickstart.sh", RECIPE="", RUN="", SFT_FLAGS="--mine 1")[2].count("already") == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--base"], "--base: its value is missing"),
        (["--data", "a.jsonl"], "--minutes and --data are for a pretrained model: give --base too"),
        (["--base", "a/b", "--minutes", "soon"], "--minutes soon: give a number of minutes"),
        (["--base", "a/b", "--quick"], "--quick is for the sample's tiny model"),
        (["--base", "/no/model", "--dry_run"], "MISSING  speed: BASE=/no/model: no config.json there"),
        (["--fast", "1"], "--fast: no such flag"),
    ],
)
def test_what_quickstart_cannot_do_is_one_line(project, words, told):
    code, ran, out = project.run(*words, script="quickstart.sh", RECIPE="", RUN="")
    assert code == 2 and set(ran) <= {"setup"} and told in out


def test_a_dry_run_prints_commands_that_can_be_pasted_and_starts_nothing(project):
    code, ran, out = project.run("--dry_run", SFT_FLAGS="--note  a")
    assert (code, ran) == (0, []) and not project.out.exists()
    assert [line for line in out.splitlines() if line.startswith("[")] == [
        f"[{i}/8] {name}: to do" for i, name in enumerate(QUICKSTART, 1)
    ]
    sft = out.split("sft: to do\n")[1].split("\n[")[0]
    assert sft.endswith("--seed 1234 --note a")
    subprocess.run(["bash", "-c", sft], env=project.environ, check=True, timeout=60)
    _, _, out = project.run("--dry_run", "--from", "sft", "--to", "reward")
    assert re.findall(r"\] (\w+): (.+)", out)[1:5] == [
        ("base", "not asked for"), ("sft", "anew"), ("reward", "anew"), ("ppo", "not asked for")]  # fmt: skip
    assert "[3/8] sft: finished\n" in project.run("--dry_run")[2]


def test_a_failing_stage_ends_it_with_its_code_and_the_next_start_goes_on(project):
    code, ran, out = project.run(FAIL="sft")
    assert (code, ran) == (7, ["init", "base", "sft"])
    assert (
        f"error: stage [3/8] sft ended with exit code 7; log: {project.out}/logs/sft.log; put it right and start" in out
    )
    (project.out / "logs/sft.seconds").write_text("100\n", encoding="utf-8")
    assert project.run()[:2] == (0, QUICKSTART[1:])
    assert json.loads((project.out / "stages.json").read_text(encoding="utf-8"))["sft"]["seconds"] in (100, 101)


def test_the_time_of_a_start_that_was_killed_counts(project):
    """Up to the last word of its log, whoever was killed: the runner cannot tell."""
    running = project.start(SLOW="reward")
    project.wait_for("reward")
    project.wait_for("step 2")
    running.kill()
    running.wait()
    seen = None
    while project.alive() != seen:  # none goes on while others are killed
        seen = project.signal_all(signal.SIGSTOP)
    while project.signal_all(signal.SIGKILL):
        time.sleep(0.02)
    total, began = map(int, (project.out / "logs/reward.seconds").read_text(encoding="utf-8").split())
    assert total == 0
    os.utime(project.out / "logs/reward.log", (began + 50, began + 50))
    project.took()
    code, ran, out = project.run()
    assert (code, ran) == (0, QUICKSTART[1:]), out
    clocked = json.loads((project.out / "stages.json").read_text(encoding="utf-8"))
    assert 50 <= clocked["reward"]["seconds"] < 60 and clocked["ppo"]["seconds"] < 10
    assert project.run()[0] == 0
    assert json.loads((project.out / "stages.json").read_text(encoding="utf-8")) == clocked


def test_changed_settings_are_refused_and_from_trains_all_later_stages_anew(project):
    project.run()
    code, ran, out = project.run(SFT_FLAGS="--num_train_epochs 2")
    assert (code, ran) == (2, ["base", "sft"]) and "or with --from sft to train it and all after it anew" in out
    code, ran, out = project.run("--from", "sft", SFT_FLAGS="--num_train_epochs 2")
    assert (code, ran) == (0, QUICKSTART[2:]) and "finished already" not in out
    assert "--num_train_epochs 2" in (project.out / "sft/settings.json").read_text(encoding="utf-8")
    assert project.run(SFT_FLAGS="--num_train_epochs 2")[0] == 0


def test_to_and_only(project):
    assert project.run("--to", "sft")[:2] == (0, ["init", "base", "sft"])
    code, ran, out = project.run("--only", "sft")
    assert (code, ran) == (0, ["sft"]) and "finished already" not in out and "report" not in out
    assert project.run("--to", "reward")[:2] == (0, ["base", "sft", "reward"])


@pytest.mark.parametrize(
    ("words", "environ", "told"),
    [
        (["--from", "pppo"], {}, "pppo: no such stage; there are init base sft"),
        (["--from", "ppo", "--to", "sft"], {}, "--from ppo --to sft: sft comes before ppo"),
        (["--to"], {}, "--to: its value is missing"),
        (["--fast"], {}, "--fast: no such flag"),
        (["--output_dir", "ran/x"], {}, "RUN="),
        ([], {"RECIPE": "v4"}, "RECIPE=v4: no such recipe"),
        ([], {"RECIPE": "v2", "MODEL": "gpt"}, "MODEL=gpt: no such model"),
    ],
)
def test_what_cannot_be_is_one_line(project, words, environ, told):
    project.ran.touch()  # a file, so there is no folder in it
    code, ran, out = project.run(*words, **environ)
    assert (code, ran) == (2, []) and f"error: {told}" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_stage_and_leaves_nothing_behind(project, number, code):
    running = project.start(SLOW="reward")
    project.wait_for("step 2")
    while "reward" not in project.ran.read_text(encoding="utf-8"):
        time.sleep(0.02)
    time.sleep(0.1)
    running.send_signal(number)
    out, _ = running.communicate(timeout=30)
    assert running.returncode == code and not project.alive()
    assert (
        f"got {number.name[3:]}" in project.took() and "reward: stopped; start the same command again to resume" in out
    )
    assert project.run()[:2] == (0, QUICKSTART[1:])
    assert (project.out / "reward/finished.json").exists()


def test_a_second_and_a_third_signal_are_stronger(project):
    project.write("eval/run_all.sh", "trap '' INT TERM; note deaf; sleep 60")
    running = project.start()
    project.wait_for("deaf")
    for _ in range(3):
        running.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert running.wait(30) == 130 and not project.alive()


def test_what_a_stage_leaves_running_is_ended(project):
    assert project.run(LEAVE="1")[:2] == (0, QUICKSTART)
    assert not project.alive()


def test_two_at_once_in_one_folder_are_refused(project):
    running = project.start(SLOW="base")
    project.wait_for("step 2")
    code, _, out = project.run()
    assert code == 2 and "another run, or what it left, is at work there" in out
    running.terminate()
    assert running.wait(30) == 143


def test_what_a_killed_runner_left_keeps_others_out_until_it_has_ended(project):
    running = project.start(SLOW="base")
    project.wait_for("step 2")
    running.kill()
    running.wait()
    code, _, out = project.run()
    assert code == 2 and "at work there" in out
    for process in project.alive():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(process, signal.SIGKILL)
    while project.alive():
        time.sleep(0.02)
    assert project.run()[:2] == (0, QUICKSTART[1:])


def test_it_stops_for_human_labels_and_goes_on_with_them(project, tmp_path):
    v2 = {"RECIPE": "v2"}
    code, ran, out = project.run(**v2)
    assert (code, ran) == (4, CORPORA[:3]) and "people must choose" in out
    code, ran, out = project.run(**v2, LABELS=str(tmp_path / "라벨 1"))
    assert (code, ran) == (2, []) and f"MISSING  pairs: LABELS: {tmp_path / '라벨 1'}: not there" in out
    (tmp_path / "라벨 1").touch()
    assert project.run(**v2, LABELS=str(tmp_path / "라벨 1"))[:2] == (0, CORPORA)
    assert project.run(**v2)[:2] == (4, CORPORA[:3])  # the pairs of before do not count


def test_data_that_comes_out_otherwise_in_the_second_half_stops_it(project, tmp_path):
    (tmp_path / "labels").touch()
    code, ran, out = project.run(RECIPE="v2", LABELS=str(tmp_path / "labels"), SPOIL="1")
    assert (code, ran) == (2, CORPORA[:3]) and "came out otherwise" in out and "--from sft" in out


def test_all_that_is_missing_is_told_before_anything_starts(project, tmp_path):
    missing = {"RECIPE": "v2", "NIKL": "/no", "BASE": str(tmp_path), "OPENAI_API_KEY": "", "REWARD_BASE": "a/b"}
    code, ran, out = project.run(**missing)
    assert (code, ran) == (2, []) and not project.out.exists()
    assert re.findall(r"^MISSING  (.+?):? ", out, re.M) == ["data", "data", "sft"]
    assert (
        "NIKL: /no: not there" in out
        and "OPENAI_API_KEY: not set" in out
        and f"BASE={tmp_path}: no config.json there" in out
    )
    assert project.run("--dry_run", **missing)[0] == 2
    assert "MISSING" not in project.run("--dry_run", "--from", "reward", **missing)[2]
    without = {"RECIPE": "v2", "NIKL": "", "BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": ""}
    assert project.run("--dry_run", **without)[0] == 0
    assert "MISSING  data: MODELS=/no" in project.run("--dry_run", RECIPE="sample", MODELS="/no")[2]


def test_the_evaluation_gets_its_own_variables_alone(project):
    out = project.run(EVAL_MAX_PROMPTS="9", JUDGE="mine", MODEL="x")[2]
    assert "prompts 9 judge mine model  seed 1234" in out
    (project.root / "labels").touch()
    given = {"RECIPE": "v2", "LABELS": str(project.root / "labels"), "RUN": f"{project.out}2"}
    assert "prompts  judge  model  seed" in project.run(**given, JUDGE="of data_prep")[2]
