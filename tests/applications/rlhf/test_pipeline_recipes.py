"""The lists of stages, against the scripts that they run; the command line as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from korlhf.core.errors import InputError
from korlhf.pipeline import corpora, estimates, parts, recipes, stages
from korlhf.pipeline.needs import OPENAI

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "applications" / "rlhf" / "run_all.sh"
RAW = ROOT / "samples" / "raw"
STEPS = {1: "sft", 2: "reward", 3: "ppo"}


def build(recipe, run, model="", changes=None, gpus=(), **environ):
    return recipes.build(parts.Wanted(recipe, model, Path(run), ROOT, environ, changes or {}, gpus))


def by_name(found):
    return {s.name: s for s in found}


@pytest.mark.parametrize(
    "recipe, model", [("sample", ""), *[(v, m) for v in ("v1", "v2", "v3") for m in corpora.MODELS]]
)
def test_every_script_exists_and_knows_what_it_is_given(recipe, model, tmp_path):
    for stage in build(recipe, tmp_path, model):
        assert all(path.exists() for path in stage.scripts) and len(set(stage.scripts)) == len(stage.scripts)
        machine = {"SEED"} if stage.command.startswith("python") else set()
        unknown = set(stage.given) - set(stage.known()) - machine - {"LABELS"}
        assert not unknown, f"{stage.name}: {stage.scripts[0].name} has no {unknown}"


def test_the_stages_in_order(tmp_path):
    names = {recipe: [s.name for s in build(recipe, tmp_path, "kullm-12.8b")] for recipe in recipes.RECIPES}
    assert names == {
        "sample": ["init", "base", "answerer", "judge", "data", "sft", "reward", "ppo", "eval"],
        "v1": ["data", "sft", "pairs", "reward", "ppo", "eval"],
        "v2": ["data", "sft", "answers", "pairs", "reward", "ppo", "eval"],
        "v3": ["data", "sft", "answers", "pairs", "reward", "ppo", "eval"],
    }
    assert [s.name for s in build("sample", tmp_path, MODELS=str(tmp_path))] == [
        "init",
        "base",
        "data",
        "sft",
        "reward",
        "ppo",
        "eval",
    ]
    seconds = {s.name: s.seconds for s in build("sample", tmp_path, changes={"ppo": {"EPOCHS": "1"}})}
    assert seconds.pop("ppo") is None and all(
        s > 0 and how == "roughly, on 2 cores" for s, how in seconds.values()
    )  # of the sample as it is


def test_the_sft_model_comes_between_the_two_halves_of_data_prep(tmp_path):
    after = stages.dependencies(build("v2", tmp_path, "polyglot-ko-1.3b", LABELS=str(tmp_path / "l.jsonl")))
    assert after == {
        "data": set(),
        "sft": {"data"},
        "answers": {"data", "sft"},
        "pairs": {"data", "sft", "answers"},
        "reward": {"pairs"},
        "ppo": {"data", "sft", "reward"},
        "eval": {"data", "sft", "pairs", "reward", "ppo"},
    }


@pytest.mark.parametrize("model", corpora.MODELS)
def test_models_and_their_reward_models_are_those_of_the_scripts(model, tmp_path):
    """The base of step 1 and the critic of step 3 as the run scripts have them by themselves."""
    found = by_name(build("v1", tmp_path, model))
    values = stages.effective(found["sft"].scripts[0], {}, KORLHF_ROOT="")
    assert found["sft"].given["MODEL"] == values["MODEL"]
    critic = stages.effective(found["ppo"].scripts[0], {}, KORLHF_ROOT="")["CRITIC"]
    assert critic == f"/output/reward_polyglot_{found['reward'].given['MODEL'].rpartition('-')[2]}"
    assert found["reward"].given["MODEL"].startswith("EleutherAI/polyglot-ko-")


def test_the_first_half_does_not_depend_on_what_only_the_second_uses(tmp_path):
    """Labels, judge and margin come after the split: with others step 1 is not trained again."""
    first = {"NIKL": "x"}
    second = {**first, "LABELS": "l.jsonl", "THRESHOLD": "1", "JUDGE": "j", "MIN_MARGIN": "2", "CONCURRENCY": "9"}
    for recipe in ("v1", "v2"):
        data = by_name(build(recipe, tmp_path, "polyglot-ko-1.3b", **first))["data"]
        assert data.settings(first) == data.settings(second)
        assert data.settings(first) != data.settings({"NIKL": "y"})
        pairs = by_name(build(recipe, tmp_path, "polyglot-ko-1.3b", **second))["pairs"]
        assert pairs.settings(first) != pairs.settings(second)


def test_what_v2_needs_from_outside(tmp_path):
    environ = {
        "NIKL": f"{RAW}/none\n{RAW}/aihub_558",
        "AIHUB": "",
        "ENGLISH": "",
        "EVOL": f"{RAW}/evol_instruct.json",
        "CHATGPT": "openai:x@http://h/v1",
    }
    found = by_name(build("v2", tmp_path, "polyglot-ko-1.3b", **environ))
    corpora_of = [f"{RAW}/{name}" for name in ("none", "aihub_558", "evol_instruct.json")]
    assert [(n.kind, n.what) for n in found["data"].needs] == [("path", path) for path in corpora_of]
    assert [(n.kind, n.what) for n in found["answers"].needs] == [("server", "http://h/v1")]
    assert [(n.kind, n.what) for n in found["pairs"].needs] == [("labels", "")]
    assert [(n.kind, n.what) for n in found["sft"].needs] == [("model", "EleutherAI/polyglot-ko-1.3b")]
    both = by_name(build("v1", tmp_path, "polyglot-ko-1.3b", **{**environ, "ENGLISH": "e.jsonl"}))
    assert [n.what for n in both["data"].needs if n.kind == "server"] == [OPENAI] and [
        n.what for n in both["pairs"].needs
    ] == [OPENAI]


def test_a_base_model_in_a_folder_is_an_input(tmp_path):
    found = by_name(build("v1", tmp_path / "run", "polyglot-ko-1.3b", BASE=str(tmp_path)))
    assert tmp_path in found["sft"].reads and found["sft"].given["MODEL"] == str(tmp_path)


def test_disk_of_the_largest_model_by_hand(tmp_path):
    """KULLM 12.8B with LoRA of rank 8 in step 1 on a GPU: 25.8 GB stay; two checkpoints with 6.6M trained weights besides."""
    found = by_name(build("v1", tmp_path, "kullm-12.8b", gpus=("NVIDIA H100 80GB HBM3",)))
    leaves, besides = found["sft"].disk
    assert leaves == 2 * 12_893_603_840
    assert besides == 2 * (leaves + 12 * 40 * 8 * 4 * 5120)
    assert found["data"].disk == (estimates.PER_PROMPT * (150 * 23 + 1500 + 2500 + 500), 0)
    # 2 of 10 shares of 7950 prompts, a tenth of them held out
    assert found["sft"].seconds[1].startswith("sft: 1,431 examples x 3 x 250 tokens x 12.9e9 weights x 6 operations")


def test_changes_of_single_stages(tmp_path):
    changes = recipes.read_changes(
        [
            "ppo.KL_COEF=0.1",
            "ppo.FLAGS=--max_steps 3 --system 'a b'",
            "sft.DATA_PATH=/x y/a.jsonl\n/b.jsonl",
            "sft.EPOCHS=a=b",
        ]
    )
    found = by_name(build("sample", tmp_path, changes=changes))
    assert found["ppo"].given["KL_COEF"] == "0.1" and found["ppo"].line().endswith("--max_steps 3 --system 'a b'")
    assert found["ppo"].line(again=True).endswith("'a b' --overwrite_output_dir")
    assert found["sft"].given["EPOCHS"] == "a=b" and {Path("/x y/a.jsonl"), Path("/b.jsonl")} <= set(found["sft"].reads)
    assert tmp_path / "data" / "sft_train.jsonl" not in found["sft"].reads


@pytest.mark.parametrize(
    "texts, message",
    [
        (["ppo=1"], "--set ppo=1: write STAGE.NAME=VALUE"),
        (["pp.KL_COEF=1"], "--set pp.KL_COEF: no such stage; there are init, base"),
        (["ppo.KL=1"], "--set ppo.KL: run_tiny.sh has no such setting; did you mean KL_COEF"),
        (["data.FLAGS=--x"], "--set data.FLAGS: run_sample.sh has no such setting"),
        (["sft.FLAGS='a"], "No closing quotation"),
    ],
)
def test_changes_that_cannot_be(texts, message, tmp_path):
    with pytest.raises(InputError) as error:
        build("sample", tmp_path, changes=recipes.read_changes(texts))
    assert message in str(error.value)


def test_a_setting_that_would_reach_no_stage_is_told(tmp_path):
    environ = {"EPOCHS": "1", "TEMPERATURE": "0", "SEED": "2", "MODEL": "x"}
    assert recipes.unheard(build("sample", tmp_path, **environ), environ) == [
        "EPOCHS of the environment reaches no stage: say which, e.g. --set base.EPOCHS=1"
    ]  # TEMPERATURE is data_prep's
    stage = by_name(build("sample", tmp_path, **environ))["sft"]
    assert stage.environment(environ)["SEED"] == "2" and "EPOCHS" not in stage.environment(environ)
    assert stage.environment(environ)["MODEL"] == str(tmp_path / "base")


def run_all(*words, **environ):
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in ("RUN", "RECIPE", "MODEL", "MODELS", "BASE", "REWARD_BASE", "SEED", "LABELS")
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        env={**kept, "KORLHF_VENV": str(Path(sys.executable).parent.parent), **environ},
    )


def test_dry_run_shows_the_plan_with_the_commands_and_starts_nothing(tmp_path):
    run = tmp_path / "새 run"
    done = run_all("--dry_run", RUN=str(run), PORT="0")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"sample in {run}\n") and "to run: 9 of 9 stages" in done.stdout
    bare = done.stdout.replace(
        "'", ""
    )  # quotes stand where the paths of this machine need them; between reward and ppo are two empty words
    assert (
        "step3_rlhf_finetuning/training_scripts/tiny/run_tiny.sh RUN/sft RUN/reward   RUN/ppo --eval_data_path" in bare
    )
    assert not run.exists()


@pytest.mark.parametrize(
    "words, environ, message",
    [
        (
            ["--from", "pretraining"],
            {},
            "error: --from pretraining: no such stage; there are init, base, answerer, judge, data, sft, reward, ppo, eval\n",
        ),
        (["--from", "ppo", "--to", "sft"], {}, "error: --from ppo --to sft: sft comes before ppo\n"),
        (["--only", "ppo", "--to", "sft"], {}, "error: --only ppo: runs this one stage; leave out --from and --to\n"),
        ([], {"RECIPE": "v4"}, "error: RECIPE=v4: no such recipe; there are sample, v1, v2, v3\n"),
        (
            [],
            {"RECIPE": "v1", "MODEL": "kullm"},
            f"error: MODEL=kullm: no such model; there are {', '.join(corpora.MODELS)}\n",
        ),
    ],
)
def test_a_wrong_word_is_one_line(words, environ, message, tmp_path):
    done = run_all(*words, RUN=str(tmp_path / "run"), **environ)
    assert (done.returncode, done.stderr) == (2, message) and not (tmp_path / "run").exists()


def test_missing_corpora_are_told_before_anything_starts(tmp_path):
    done = run_all(
        RECIPE="v1",
        RUN=str(tmp_path / "run"),
        CORPORA=str(tmp_path / "말뭉치"),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path),
        OPENAI_API_KEY="",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert (
        done.returncode == 2
        and done.stderr == "error: not started; put right what is MISSING above, then start again\n"
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("MISSING")]
    assert [line.split()[1] for line in found] == ["data:"] * 5 + ["sft:", "pairs:", "reward:", "eval:"]
    told = " ".join(done.stdout.split())
    assert (
        f"MISSING data: {tmp_path / '말뭉치'}/NIKL_DIALOGUE_2020_v1.3: there is no such file or folder; set NIKL"
        in told
    )
    assert not (tmp_path / "run" / "logs").exists()
