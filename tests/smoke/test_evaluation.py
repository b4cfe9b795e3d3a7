"""The evaluation of the quickstart: every program, then the report; started again, nothing is computed twice."""

import json

from tiny_scripts import run_all

PROGRAMS = ("reward_accuracy", "geval", "win_rate", "harmlessness", "diversity", "kobest")
FEW = {"EVAL_MAX_PROMPTS": "10", "EVAL_MAX_SAFETY": "16", "EVAL_KOBEST_LIMIT": "4", "EVAL_MAX_NEW_TOKENS": "16"}


def run(folder, **settings):
    shown = run_all(folder, "--only", "eval", RECIPE="quickstart", **{**FEW, **settings})
    assert shown.endswith(f"the report, with everything on one page: {folder}/report.html\n")
    out = folder / "eval"
    return out, {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in PROGRAMS}, shown


def test_the_sample_is_evaluated_and_reported(three_steps):
    out, found, shown = run(three_steps)
    for name, result in found.items():
        assert result["tables"] and result["protocol"] and result["rows"]["n"] and f"== {name}" in shown, name
    assert any(
        "trained by PPO to maximise the score of this very reward model" in w["en"] for w in found["geval"]["warnings"]
    )
    assert found["kobest"]["figures"] and found["harmlessness"]["figures"]["rates"]["rules"]["ppo"]["harmful"]["n"] == 8
    page = (three_steps / "report.html").read_text(encoding="utf-8")
    assert all(w["ko"].split("(")[0] in page for w in found["geval"]["warnings"])
    cache = (out / "cache.sqlite").stat().st_mtime_ns
    _, again, _ = run(three_steps, EVAL_PARTS="geval diversity")
    for name in ("geval", "diversity"):
        assert (again[name]["figures"], again[name]["tables"]) == (found[name]["figures"], found[name]["tables"])
        assert again[name]["finished"] > found[name]["finished"]
    assert (out / "cache.sqlite").stat().st_mtime_ns == cache  # nothing was computed a second time
