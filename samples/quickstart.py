"""The whole pipeline on the embedded sample: base -> SFT -> reward model -> PPO, each by its own shell script, then a table, a picture, and
the evaluation with its report.

Finished stages are kept and a half-done one resumes, so this can be stopped and started again; the seconds of all starts are added up.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

from korlhf.core.files import write_json
from korlhf.pipeline import process

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {  # stage -> (script, folder of the finished model)
    "base": "training/step1_supervised_finetuning/training_scripts/tiny/run_base.sh",
    "sft": "training/step1_supervised_finetuning/training_scripts/tiny/run_tiny.sh",
    "reward": "training/step2_reward_model_finetuning/training_scripts/tiny/run_tiny.sh",
    "ppo": "training/step3_rlhf_finetuning/training_scripts/tiny/run_tiny.sh",
}
TITLES = {
    "base": "tiny base model",
    "sft": "step 1: supervised fine-tuning",
    "reward": "step 2: reward model",
    "ppo": "step 3: PPO",
}


def parse():
    """(output folder, seed); the folder is there."""
    parser = argparse.ArgumentParser(description="Base, SFT, reward model and PPO on the embedded sample.")
    parser.add_argument("--output_dir", default=str(ROOT / "output" / "quickstart"))
    parser.add_argument("--seed", type=int, default=1234)
    args = parser.parse_args()
    out = Path(args.output_dir).expanduser().resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output_dir {out}: cannot be written: {error.strerror}; give another folder")
    return out, args.seed


def main():
    out, seed = parse()
    with process.Signals() as signals:
        try:
            run(out, seed, signals)
        except process.Stopped:
            sys.exit(signals.code)


def run(out, seed, signals):
    """All stages that are not finished, in order. Exits with the code of one that fails."""
    times_file = out / "stages.json"
    stages = json.loads(times_file.read_text(encoding="utf-8")) if times_file.exists() else {}
    words = ["--seed", str(seed)]
    commands = {
        "base": [str(out / "base"), "0", "--model_name_or_path", str(out / "base_init"), *words],
        "sft": [str(out / "sft"), "0", "--model_name_or_path", str(out / "base"), *words],
        "reward": [str(out / "reward"), "0", "--model_name_or_path", str(out / "base"), *words],
        "ppo": [str(out / "sft"), str(out / "reward"), "0", "0", str(out / "ppo"), *words],
    }
    for number, (stage, script) in enumerate(SCRIPTS.items(), 1):
        if (out / stage / "finished.json").exists():
            print(f"[{number}/5] {TITLES[stage]}: finished before, kept", flush=True)
            continue
        print(f"[{number}/5] {TITLES[stage]}", flush=True)
        if stage == "base" and not (out / "base_init" / "tokenizer_config.json").exists():
            step(
                [sys.executable, ROOT / "samples" / "tiny_base.py", "--output_dir", out / "base_init", *words],
                out,
                "base_init",
                signals,
            )
        ended = process_of(["bash", ROOT / script, *commands[stage]], out, stage, signals)
        before = stages.get(stage, {"seconds": 0.0, "peak_rss_mb": 0.0})
        stages[stage] = {
            "seconds": before["seconds"] + ended.seconds,
            "peak_rss_mb": max(before["peak_rss_mb"], ended.memory_mb),
        }
        write_json(times_file, stages)
        give_up(ended, signals, TITLES[stage], out / "logs" / f"{stage}.log")
    step([sys.executable, ROOT / "samples" / "summary.py", "--output_dir", out, *words], out, "summary", signals)
    evaluate(out, seed, signals)


def process_of(command, out, name, signals):
    """Run a command to its end, with its output also in OUT/logs/NAME.log: process.Ended. It is stopped if this program is."""
    return process.run(
        shlex.join(map(str, command)), dict(os.environ), out / "logs" / f"{name}.log", signals, Path.cwd()
    )


def step(command, out, name, signals):
    """Run a command; exits if it fails."""
    give_up(process_of(command, out, name, signals), signals, name, out / "logs" / f"{name}.log")


def give_up(ended, signals, name, log):
    """Exits if a command failed or was stopped."""
    code = signals.code or ended.code
    if code:
        print(f"error: {name} ended with exit code {code}; see {log}; start quickstart again to go on", file=sys.stderr)
        sys.exit(code)


def evaluate(out, seed, signals):
    """The evaluation and its report, unless they are younger than every model."""
    report = out / "report.html"
    if report.exists() and report.stat().st_mtime > max(
        (out / stage / "finished.json").stat().st_mtime for stage in SCRIPTS
    ):
        print("[5/5] evaluation: done before, kept", flush=True)
    else:
        print("[5/5] evaluation", flush=True)
        os.environ["SEED"] = str(seed)
        ended = process_of(["bash", ROOT / "eval" / "run_sample.sh", out, out / "eval"], out, "eval", signals)
        give_up(ended, signals, "evaluation", out / "logs" / "eval.log")
        print(f"evaluation: {ended.seconds:.0f} s", flush=True)
    print(f"the report, with everything on one page: {report}", flush=True)


if __name__ == "__main__":
    main()
