"""data_prep/run_sample.sh as a user runs it: raw corpora to training sets that the three steps load by name."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from korlhf.data import load
from korlhf.data.split import normalise

ROOT = Path(__file__).resolve().parents[2]
SETS = {"sft": 1, "reward": 2, "prompts": 3}


def run(out, port, **settings):
    environment = {
        **os.environ,
        "OUT": str(out),
        "PORT": str(port),
        "MODELS": str(out / "none"),
        "TRAIN_STEPS": "25",
        "NUM_ANSWERS": "2",
        "OMP_NUM_THREADS": "1",
        "MIN_MARGIN": "0",
        **settings,
    }
    return subprocess.run(
        ["bash", str(ROOT / "data_prep" / "run_sample.sh")],
        cwd=out.parent,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    out = tmp_path_factory.mktemp("자료 폴더") / "raw sample"
    found = run(out, 0)  # a port chosen here may be taken by the time the models are trained
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    port = int((out / "server.log").read_text().rpartition(":")[2].removesuffix("/v1\n"))
    return out, port, found


def test_the_steps_load_what_the_chain_made(chain):
    out, _, found = chain
    assert "Done. Training sets" in found.stdout and (out / "audit" / "audit.html").stat().st_size > 10_000
    for name, step in SETS.items():
        for side in ("train", "test"):
            examples = load.load_examples(str(out / f"{name}_{side}.jsonl"), step)
            assert len(examples) >= 5 and {"everyday"} <= {e.category for e in examples}
    categories = {r["category"] for r in read(out / "reward_train.jsonl")}
    assert categories == {"everyday", "harmful", "harmless", "translated", "evol", "self_instruct"}


def test_no_prompt_is_on_two_sides_or_in_two_steps(chain):
    out, _, _ = chain
    seen = {}
    for name in SETS:
        for side in ("train", "test"):
            for record in read(out / f"{name}_{side}.jsonl"):
                assert seen.setdefault(record["id"], (name, side)) == (name, side)
    assert len(seen) > 400


def test_records_tell_where_they_come_from(chain):
    out, _, _ = chain
    record = next(r for r in read(out / "reward_train.jsonl") if r["category"] == "everyday")
    assert record["source"].startswith("nikl/SDRW2") and normalise(record["chosen"]) != normalise(record["rejected"])
    assert [h["stage"] for h in record["history"]] == ["collect", "split", "respond", "score", "rank"]
    assert record["chosen_score"] > record["rejected_score"] and record["by"] == "score"


def test_a_second_run_asks_nothing_and_ends_with_the_same_bytes(chain):
    out, port, _ = chain
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*.jsonl") if "models" not in p.parts}
    assert len(before) > 20
    again = run(out, port, MODELS=str(out / "models"))
    assert again.returncode == 0, again.stderr[-2000:]
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*.jsonl") if "models" not in p.parts} == before
    asked = [
        json.loads(p.read_text(encoding="utf-8")).get("usage", {}).get("requests", 0)
        for p in out.rglob("*.report.json")
    ]
    assert len(asked) > 10 and sum(asked) == 0
