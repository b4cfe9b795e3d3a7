"""applications/rlhf/run_all.sh with the sample: raw corpora to training sets, the three steps, the report."""

import json
import subprocess

import pytest
from free_port import free_port
from rigged_teachers import rigged_teachers
from tiny_scripts import ROOT, environment, run_all

from korlhf.data import load
from korlhf.data.split import normalise

SETS = {"sft": 1, "reward": 2, "prompts": 3}
CORPORA = {"NUM_ANSWERS": "2", "MAX_NEW_TOKENS": "120", "MIN_MARGIN": "0"}
FEW = {
    "INIT_FLAGS": "--vocab_size 1024 --hidden_size 64 --layers 2",
    "BASE_FLAGS": "--max_steps 2 --max_eval_examples 10",
    "SFT_FLAGS": "--max_steps 2 --max_eval_examples 10 --per_device_train_batch_size 4",
    "REWARD_FLAGS": "--max_steps 2 --max_eval_examples 10 --per_device_train_batch_size 4",
    "PPO_FLAGS": "--max_steps 2 --max_eval_examples 6 --max_answer_seq_len 12 --per_device_generation_batch_size 8 "
    "--per_device_training_batch_size 8",
    "EVAL_MAX_PROMPTS": "4",
    "EVAL_MAX_NEW_TOKENS": "8",
    "EVAL_PARTS": "diversity",
}


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, settings) of a run up to the training sets."""
    folder = tmp_path_factory.mktemp("자료 폴더")
    settings = {"MODELS": str(rigged_teachers(folder / "teachers")), "PORT": str(free_port()), **CORPORA}
    run_all(folder / "내 run", "--only", "data", SEED="7", **settings)
    return folder / "내 run", settings


@pytest.mark.long
def test_raw_corpora_to_the_report(run):
    folder, settings = run
    shown = run_all(folder, SEED="7", **settings, **FEW)
    assert shown.endswith(f"the report, with everything on one page: {folder}/report.html\n")
    for name in ("base", "sft", "reward", "ppo"):
        assert (folder / name / "finished.json").exists() and (folder / name / "model.safetensors").stat().st_size > 0
    settings = json.loads((folder / "ppo" / "settings.json").read_text(encoding="utf-8"))
    assert settings["data_path"] == [str(folder / "data" / "prompts_train.jsonl")] and settings["seed"] == 7
    assert (folder / "data" / "audit" / "audit.html").stat().st_size > 10_000
    assert "PPO" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "logs" / "sft.log").read_text(encoding="utf-8").count("held-out loss") == 2


def test_the_steps_load_what_data_prep_made(run):
    data = run[0] / "data"
    for name, step in SETS.items():
        for side in ("train", "test"):
            examples = load.load_examples(str(data / f"{name}_{side}.jsonl"), step)
            assert len(examples) >= 5 and {"everyday"} <= {e.category for e in examples}
    categories = {r["category"] for r in read(data / "reward_train.jsonl")}
    assert categories == {"everyday", "harmful", "harmless", "translated", "evol", "self_instruct"}


def test_no_prompt_is_on_two_sides_or_in_two_steps(run):
    seen = {}
    for name in SETS:
        for side in ("train", "test"):
            for record in read(run[0] / "data" / f"{name}_{side}.jsonl"):
                assert seen.setdefault(record["id"], (name, side)) == (name, side)
    assert len(seen) > 400


def test_records_tell_where_they_come_from(run):
    record = next(r for r in read(run[0] / "data" / "reward_train.jsonl") if r["category"] == "everyday")
    assert record["source"].startswith("nikl/SDRW2") and normalise(record["chosen"]) != normalise(record["rejected"])
    assert [h["stage"] for h in record["history"]] == ["collect", "split", "respond", "score", "rank"]
    assert record["chosen_score"] > record["rejected_score"] and record["by"] == "score"


@pytest.mark.long
def test_a_second_run_of_data_prep_asks_nothing_and_ends_with_the_same_bytes(run):
    data, settings = run[0] / "data", run[1]
    before = {p.relative_to(data): p.read_bytes() for p in data.rglob("*.jsonl")}
    assert len(before) > 20
    again = subprocess.run(
        ["bash", str(ROOT / "data_prep" / "run_sample.sh")],
        env={**environment(), **settings, "OUT": str(data), "SEED": "7"},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr[-2000:]
    assert {p.relative_to(data): p.read_bytes() for p in data.rglob("*.jsonl")} == before
    asked = [
        json.loads(p.read_text(encoding="utf-8")).get("usage", {}).get("requests", 0)
        for p in data.rglob("*.report.json")
    ]
    assert len(asked) > 10 and sum(asked) == 0
