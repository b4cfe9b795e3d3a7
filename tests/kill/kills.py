"""Kills trainings at random moments and compares what comes of them, to the bit, with runs that were left alone.

python tests/kill/kills.py --kills 500 --work FOLDER [--settings sft,ppo] [--seed 1]

Every training is forked from this process, which has imported everything: a start takes a second. Half of the kills
(SIGKILL to all its processes) come at a random time, half a few milliseconds after something appears in the folder:
the log, a checkpoint that is half written, best/, the final model. After each kill every whole checkpoint must be,
file by file, that of the run that was left alone (weights, moments, schedule, average, state); at the end the models
and the metrics must be.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import runpy
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}

SFT = "--data_path sample/sft --eval_data_path sample/heldout_sft --data_split 10,0,0 --per_device_train_batch_size"
REWARD = "--data_path sample/reward --eval_data_path sample/heldout_reward --data_split 0,10,0 --max_seq_len 192"
PPO = (
    "--data_path sample/prompts --eval_data_path sample/heldout_prompts --data_split 0,0,10 --max_answer_seq_len 12 "
    "--max_prompt_seq_len 128 --max_eval_examples 4 --eval_interval 2 --per_device_training_batch_size 4 --kl_target 1 "
)
FEW = "--max_eval_examples 8 --num_warmup_steps 2"
DRIFT = "--drift_prompts 4 --max_answer_seq_len 12"


@dataclass(frozen=True)
class Setting:
    """A training: its step, flags, number of processes."""

    step: int | str
    flags: str
    processes: int = 1


SETTINGS = {
    "sft": Setting(1, f"{SFT} 4 {FEW} --max_steps 8 --save_steps 1 --max_seq_len 192 --dropout 0.1 --eval_interval 3"),
    "sft_lora_zero2": Setting(1, f"{SFT} 4 {FEW} --max_steps 8 --save_steps 2 --zero_stage 2 --lora_dim 4"),
    "sft_zero3_two": Setting(1, f"{SFT} 2 {FEW} --max_steps 6 --save_steps 1 --zero_stage 3", 2),
    "sft_bf16_zero1_two": Setting(1, f"{SFT} 2 {FEW} --max_steps 6 --save_steps 2 --zero_stage 1 --dtype bf16", 2),
    "reward_zero2": Setting(
        2, f"{REWARD} {FEW} --per_device_train_batch_size 4 --max_steps 6 --save_steps 1 --zero_stage 2"
    ),
    "dpo_lora": Setting(
        "dpo",
        f"{REWARD} {FEW} {DRIFT} --per_device_train_batch_size 4 --max_steps 6 --save_steps 2 --lora_dim 4 "
        "--lora_dropout 0.1 --eval_interval 2",
    ),
    "kto_two": Setting(
        "dpo",
        f"{REWARD} {FEW} {DRIFT} --loss kto --per_device_train_batch_size 4 --max_steps 5 --save_steps 1 "
        "--gradient_accumulation_steps 2 --zero_stage 2",
        2,
    ),
    "ppo_ema_ptx": Setting(
        3,
        f"{PPO} --per_device_generation_batch_size 8 --max_steps 5 --save_steps 1 --enable_ema "
        "--unsupervised_dataset_name sample/text --unsup_coef 0.1",
    ),
    "ppo_lora_zero23": Setting(
        3,
        f"{PPO} --per_device_generation_batch_size 4 --max_steps 5 --save_steps 2 --enable_ema --actor_lora_dim 4 "
        "--actor_zero_stage 2 --critic_zero_stage 3",
    ),
    "ppo_two": Setting(
        3, f"{PPO} --per_device_generation_batch_size 4 --max_steps 4 --save_steps 1 --critic_zero_stage 2", 2
    ),
    "ppo_rewards": Setting(
        3,
        f"{PPO} --per_device_generation_batch_size 4 --max_steps 5 --save_steps 2 --reward rules:friendly "
        "-0.5*rules:repetition --veto rules:sense",
    ),
    "rloo_zero3": Setting(
        3,
        f"{PPO} --per_device_generation_batch_size 8 --max_steps 5 --save_steps 1 --advantage_estimator rloo "
        "--num_generations 4 --actor_zero_stage 3",
    ),
    "grpo_lora_two": Setting(
        3,
        f"{PPO} --per_device_generation_batch_size 4 --max_steps 4 --save_steps 1 --advantage_estimator grpo "
        "--num_generations 2 --actor_lora_dim 4 --dynamic_sampling --kl_in loss",
        2,
    ),
}
MAIN = {
    step: ROOT / "training" / folder / "main.py"
    for step, folder in {
        1: "step1_supervised_finetuning",
        2: "step2_reward_model_finetuning",
        "dpo": "step2_dpo_finetuning",
        3: "step3_rlhf_finetuning",
    }.items()
}


class Started:
    """The processes of a training; pids: by rank."""

    def __init__(self, step, words, processes, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.pids = [self._fork(step, words, r, processes, port, log) for r in range(processes)]
        self.running = set(self.pids)
        self.codes = []

    def _fork(self, step, words, rank, processes, port, log):
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            sys.argv = [str(MAIN[step]), *map(str, words)]
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.stdout.flush()
            os._exit(code)

    def ended(self):
        """Whether all processes are gone; one that fails takes the others along."""
        for pid in list(self.running):
            if pid not in self.running:  # killed with the one before
                continue
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.running.discard(pid)
                self.codes.append(os.waitstatus_to_exitcode(status))
                if self.codes[-1]:
                    self.kill()
        return not self.running

    def kill(self):
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)
        for pid in self.running:
            os.waitpid(pid, 0)
        self.running = set()


def words_of(setting, models, out, *more):
    which = ["--model_name_or_path", models / "base"]
    if setting.step == 3:
        which = ["--actor_model_name_or_path", models / "sft", "--critic_model_name_or_path", models / "reward"]
    return ["--seed", "7", *setting.flags.split(), *which, "--output_dir", out, *more]


def left_alone(setting, models, out):
    """Train without a kill; (seconds, its manifests by step)."""
    began, manifests = time.monotonic(), {}
    started = Started(
        setting.step, words_of(setting, models, out, "--save_total_limit", 99), setting.processes, f"{out}.log"
    )
    while not started.ended():
        manifests |= whole_checkpoints(out)
        time.sleep(0.002)
    if any(started.codes):
        sys.exit(f"{out}: ended with {started.codes}; see {out}.log")
    return time.monotonic() - began, manifests | whole_checkpoints(out)  # the last one stays


def whole_checkpoints(folder):
    found = {}
    for path in folder.glob("checkpoints/step_*/manifest.json"):
        with contextlib.suppress(OSError):
            found[path.parent.name] = path.read_bytes()
    return found


EVENTS = {
    "the reference": lambda f: any(f.glob("reference.json*")),
    "saving": lambda f: any(not (p / "manifest.json").exists() for p in f.glob("checkpoints/step_*")),
    "best": lambda f: (f / "best.part").exists(),
    "the final model": lambda f: (f / "model.safetensors").exists(),
    "finishing": lambda f: (f / "curves.png").exists() or (f / "README.md").exists(),
}


def written_at(path):
    return path.stat().st_mtime_ns if path.exists() else None


def kill_at_random(started, folder, seconds, rng):
    """Kill the training, unless it ends before; returns when: the name of an event, or a time."""
    began, log = time.monotonic(), written_at(folder / "metrics.jsonl")
    events = EVENTS | {"opening the log": lambda f: written_at(f / "metrics.jsonl") != log}
    if not folder.name.startswith("ppo"):
        events.pop("best")
    if not folder.name.startswith(("dpo", "kto")):
        events.pop("the reference")
    event = rng.choice([*events, *["any time"] * len(events)])
    limit, delay = rng.uniform(0, seconds), rng.uniform(0, 0.02)
    while not started.ended():
        reached = time.monotonic() - began > limit if event == "any time" else events[event](folder)
        if reached:
            if event != "any time":
                time.sleep(delay)
            started.kill()
            return event
        time.sleep(0.0005)
    return None


def compare(setting, whole, killed):
    """What differs at the end."""
    wrong = []
    for path in sorted(p for p in whole.rglob("*.safetensors") if "checkpoints" not in p.parts):
        other = killed / path.relative_to(whole)
        if not other.exists() or other.read_bytes() != path.read_bytes():
            wrong.append(str(path.relative_to(whole)))
    a, b = (rows(folder) for folder in (whole, killed))
    return wrong + ([] if a == b else [f"metrics.jsonl ({len(a)} rows, {len(b)} rows)"])


def rows(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    timed = ("seconds", "per_second")
    return [{k: v for k, v in json.loads(line).items() if not any(t in k for t in timed)} for line in lines]


def killed_run(setting, models, whole, out, most, rng):
    """One training that is killed up to `most` times; (kills by moment, what is wrong)."""
    reference, (seconds, manifests) = whole
    kills, wrong = collections.Counter(), []
    while True:
        words = words_of(setting, models, out, "--save_total_limit", rng.choice([1, 2]))
        started = Started(setting.step, words, setting.processes, f"{out}.log")
        event = kill_at_random(started, out, seconds, rng) if kills.total() < most else None
        while event is None and not started.ended():
            time.sleep(0.01)
        if event is None:
            break
        kills[event] += 1
        for step, manifest in whole_checkpoints(out).items():
            if manifest != manifests.get(step):
                wrong.append(f"{step} differs after a kill while {event}")
    wrong += [f"ended with {started.codes}"] if any(started.codes) else compare(setting, reference, out)
    if not wrong:
        shutil.rmtree(out)
    return kills, wrong


def make_models(work):
    """A random base model, and an SFT and a reward model of a few steps each."""
    import subprocess

    small = ["--vocab_size", "512", "--hidden_size", "32", "--layers", "2"]
    subprocess.run(
        [sys.executable, str(ROOT / "samples/tiny_base.py"), "--output_dir", str(work / "base"), *small],
        check=True,
        capture_output=True,
    )
    for name, step, flags in (("sft", 1, SFT + " 4"), ("reward", 2, REWARD + " --per_device_train_batch_size 4")):
        left_alone(Setting(step, f"{flags} {FEW} --max_steps 2 --save_steps 2"), work, work / name)


def imports():
    import matplotlib.figure  # noqa: F401
    import torch

    from korlhf.core.program import slow_imports

    torch.set_num_threads(1)
    with slow_imports():
        from korlhf.rl import models, training  # noqa: F401
        from korlhf.training import dpo, reward, sft  # noqa: F401


def attack(work, names, kills, seed, most=6):
    """Kill the trainings of the settings `names` in turn until there were `kills`: prints figures of each setting and
    returns what was wrong.
    """
    rng, whole, wrong = random.Random(seed), {}, []
    counts: dict[str, collections.Counter] = {name: collections.Counter() for name in names}
    work.mkdir(parents=True, exist_ok=True)
    make_models(work)
    for name in names:
        whole[name] = work / f"{name}_whole", left_alone(SETTINGS[name], work, work / f"{name}_whole")
    runs = 0
    while (total := sum(c.total() for c in counts.values())) < kills:
        name = names[runs % len(names)]
        out = work / f"{name}_{runs}"
        found, bad = killed_run(SETTINGS[name], work, whole[name], out, min(most, kills - total), rng)
        counts[name] += found
        runs += 1
        wrong += [f"{out}: {b}" for b in bad]
        print(f"{out.name}: {found.total()} kills, {'; '.join(bad) or 'the same bits'}", flush=True)
    print(f"\n{runs} runs, {sum(c.total() for c in counts.values())} kills, {len(wrong)} differences")
    for name, count in counts.items():
        print(f"  {name}: {count.total()} kills: " + ", ".join(f"{n} {event}" for event, n in count.most_common()))
    return wrong


def main():
    parser = argparse.ArgumentParser(description="Kill trainings and compare them with runs that were left alone")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--work", type=Path, required=True, help="a new folder; what differs stays there")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="names, comma separated")
    parser.add_argument("--most", type=int, default=6, help="kills of one run before it is left to end")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    imports()
    sys.exit(1 if attack(args.work, args.settings.split(","), args.kills, args.seed, args.most) else 0)


if __name__ == "__main__":
    main()
