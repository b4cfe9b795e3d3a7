"""eval/run_sample.sh on the models of the tiny scripts: every program, then the report; started again, nothing is computed twice."""

import json
import subprocess

from tiny_scripts import ROOT, environment

PROGRAMS = ("reward_accuracy", "geval", "win_rate", "harmlessness", "diversity", "kobest")
FEW = {"MAX_PROMPTS": "10", "MAX_SAFETY": "16", "KOBEST_LIMIT": "4", "MAX_NEW_TOKENS": "16"}


def run(folder, **settings):
    out = folder / "평가 결과"
    done = subprocess.run(
        ["bash", str(ROOT / "eval/run_sample.sh"), str(folder), str(out)],
        env={**environment(), **FEW, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out, {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in PROGRAMS}, done.stdout


def test_the_sample_is_evaluated_and_reported(three_steps):
    out, found, shown = run(three_steps)
    for name, result in found.items():
        assert result["tables"] and result["protocol"] and result["rows"]["n"] and f"== {name}" in shown, name
    assert any(
        "trained by PPO to get high scores of this very reward model" in w["en"] for w in found["geval"]["warnings"]
    )
    assert found["kobest"]["figures"] and found["harmlessness"]["figures"]["rates"]["rules"]["ppo"]["harmful"]["n"] == 8
    page = (three_steps / "report.html").read_text(encoding="utf-8")
    assert all(w["ko"].split("(")[0] in page for w in found["geval"]["warnings"])
    cache = (out / "cache.sqlite").stat().st_mtime_ns
    _, again, _ = run(three_steps, PARTS="geval diversity")
    for name in ("geval", "diversity"):
        assert (again[name]["figures"], again[name]["tables"]) == (found[name]["figures"], found[name]["tables"])
        assert again[name]["finished"] > found[name]["finished"]
    assert (out / "cache.sqlite").stat().st_mtime_ns == cache  # nothing was computed a second time
