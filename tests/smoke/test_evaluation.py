"""The evaluation of the quickstart: its programs, then the report; started again, nothing is computed twice."""

import json

import pytest
from tiny_scripts import run_all

PROGRAMS = ("reward_accuracy", "geval", "win_rate", "harmlessness", "chat_benchmark", "diversity", "benchmark")
FILE = {"chat_benchmark": "warmth"}  # that has another name than its program
FEW = {"EVAL_MAX_PROMPTS": "10", "EVAL_MAX_TALKS": "8", "EVAL_MAX_SAFETY": "16", "EVAL_BENCHMARK_LIMIT": "4"}
FEW["EVAL_MAX_NEW_TOKENS"] = "16"


def run(folder, programs):
    shown = run_all(folder, "--only", "eval", RECIPE="quickstart", EVAL_PARTS=" ".join(programs), **FEW)
    assert shown.endswith(f"the report, with everything on one page: {folder}/report.html\n")
    results = {name: folder / "eval" / f"{FILE.get(name, name)}.json" for name in programs}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in results.items()}, shown


def test_a_part_is_evaluated_and_reported_and_not_computed_twice(three_steps):
    found, _ = run(three_steps, ["geval"])
    assert any(
        "trained by PPO to maximise the score of this very reward model" in w["en"] for w in found["geval"]["warnings"]
    )
    page = (three_steps / "report.html").read_text(encoding="utf-8")
    assert all(w["ko"].split("(")[0] in page for w in found["geval"]["warnings"])
    cache = (three_steps / "eval" / "cache.sqlite").stat().st_mtime_ns
    again, _ = run(three_steps, ["geval"])
    assert (again["geval"]["figures"], again["geval"]["tables"]) == (
        found["geval"]["figures"],
        found["geval"]["tables"],
    )
    assert again["geval"]["finished"] > found["geval"]["finished"]
    assert (three_steps / "eval" / "cache.sqlite").stat().st_mtime_ns == cache


@pytest.mark.long
def test_every_program(three_steps):
    found, shown = run(three_steps, PROGRAMS)
    for name, result in found.items():
        assert result["tables"] and result["protocol"] and result["rows"]["n"] and f"== {name}" in shown, name
    assert (
        found["benchmark"]["figures"] and found["harmlessness"]["figures"]["rates"]["rules"]["ppo"]["harmful"]["n"] == 8
    )
    page = (three_steps / "report.html").read_text(encoding="utf-8")
    assert all(w["ko"].split("(")[0] in page for result in found.values() for w in result["warnings"])
