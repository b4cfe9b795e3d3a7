"""The whole pipeline on the embedded sample: base -> SFT -> reward model -> PPO, each by its own shell script, then a table, a picture, and
the evaluation with its report.

Finished stages are kept and a half-done one resumes, so this can be stopped and started again; the seconds of all starts are added up.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from korlhf.data.files import write_json

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {  # stage -> (script, folder of the finished model)
    "base": "training/step1_supervised_finetuning/training_scripts/tiny/run_base.sh",
    "sft": "training/step1_supervised_finetuning/training_scripts/tiny/run_tiny.sh",
    "reward": "training/step2_reward_model_finetuning/training_scripts/tiny/run_tiny.sh",
    "ppo": "training/step3_rlhf_finetuning/training_scripts/tiny/run_tiny.sh",
}
TITLES = {"base": "tiny base model", "sft": "step 1: supervised fine-tuning", "reward": "step 2: reward model", "ppo": "step 3: PPO"}


def run_stage(command):
    """Run a command to its end: (exit code, seconds, peak MiB of its largest process)."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    while True:
        try:
            _, status, usage = os.wait4(process.pid, 0)
            break
        except KeyboardInterrupt:  # the stage got it too and is writing its last words
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.perf_counter() - began, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description="Base, SFT, reward model and PPO on the embedded sample.")
    parser.add_argument("--output_dir", default=str(ROOT / "output" / "quickstart"))
    parser.add_argument("--seed", type=int, default=1234)
    args = parser.parse_args()
    out = Path(args.output_dir).resolve()
    out.mkdir(parents=True, exist_ok=True)
    times_file = out / "stages.json"
    stages = json.loads(times_file.read_text(encoding="utf-8")) if times_file.exists() else {}
    seed = ["--seed", str(args.seed)]
    commands = {
        "base": [str(out / "base"), "0", "--model_name_or_path", str(out / "base_init"), *seed],
        "sft": [str(out / "sft"), "0", "--model_name_or_path", str(out / "base"), *seed],
        "reward": [str(out / "reward"), "0", "--model_name_or_path", str(out / "base"), *seed],
        "ppo": [str(out / "sft"), str(out / "reward"), "0", "0", str(out / "ppo"), *seed],
    }
    for number, (stage, script) in enumerate(SCRIPTS.items(), 1):
        if (out / stage / "finished.json").exists():
            print(f"[{number}/5] {TITLES[stage]}: finished before, kept", flush=True)
            continue
        print(f"[{number}/5] {TITLES[stage]}", flush=True)
        if stage == "base" and not (out / "base_init" / "tokenizer_config.json").exists():
            subprocess.run([sys.executable, str(ROOT / "samples" / "tiny_base.py"), "--output_dir", str(out / "base_init"), *seed], check=True)
        code, seconds, rss = run_stage(["bash", str(ROOT / script), *commands[stage]])
        before = stages.get(stage, {"seconds": 0.0, "peak_rss_mb": 0.0})
        stages[stage] = {"seconds": before["seconds"] + seconds, "peak_rss_mb": max(before["peak_rss_mb"], rss)}
        write_json(times_file, stages)
        if code:
            give_up(code, f"{TITLES[stage]} ended with exit code {code}; see {out / stage / 'training.log'}")
    subprocess.run([sys.executable, str(ROOT / "samples" / "summary.py"), "--output_dir", str(out), *seed], check=True)
    evaluate(out, args.seed)


def give_up(code, why):
    print(f"error: {why}; start quickstart again to go on", file=sys.stderr)
    sys.exit(code if code > 0 else 128 - code)


def evaluate(out, seed):
    """The evaluation and its report, unless they are younger than every model."""
    report = out / "report.html"
    if report.exists() and report.stat().st_mtime > max((out / stage / "finished.json").stat().st_mtime for stage in SCRIPTS):
        print("[5/5] evaluation: done before, kept", flush=True)
    else:
        print("[5/5] evaluation", flush=True)
        os.environ["SEED"] = str(seed)
        code, seconds, _ = run_stage(["bash", str(ROOT / "eval" / "run_sample.sh"), str(out), str(out / "eval")])
        if code:
            give_up(code, f"the evaluation ended with exit code {code}")
        print(f"evaluation: {seconds:.0f} s", flush=True)
    print(f"the report, with everything on one page: {report}", flush=True)


if __name__ == "__main__":
    main()
