"""Trains the same, however it is spread: a table of how far the losses go apart.

python tests/harness/spread.py [--step 1 2 dpo kto 3] [--steps 20] [--short] [--work FOLDER] [--models FOLDER]

A setting is a ZeRO stage, a number of processes, accumulation x micro batch (8 sequences, prompts or answers a step in
all of them), gradient checkpointing or offload; what it is compared with is one process without ZeRO, whose whole batch
goes through at once. A difference is relative to the mean size of that figure over the steps; that of the policy's loss
is absolute, as advantages are whitened. One example is held out: of two processes one has none to evaluate.
Exit code 1 if a setting hangs, fails, or goes further apart than TOLERANCE.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = {1: 1e-4, 2: 1e-4, "dpo": 1e-3, "kto": 1e-3, 3: 1e-3}
COMPARED = {
    1: ("loss", "heldout_loss"),
    2: ("loss", "heldout_margin"),
    "dpo": ("loss", "heldout_margin", "heldout_kl"),
    "kto": ("loss", "mismatched_kl", "heldout_margin"),
    3: ("policy_loss", "value_loss", "kl", "score", "heldout_score"),
}
SECONDS = 300  # a training that takes longer hangs


@dataclass(frozen=True)
class Spread:
    """How a training of 8 a step is spread; more: "", gradient_checkpointing or offload."""

    zero_stage: int
    processes: int
    accumulation: int
    more: str = ""

    @property
    def micro_batch(self):
        return 8 // self.processes // self.accumulation

    def __str__(self):
        what = f"ZeRO {self.zero_stage}, {self.processes} process{'es' * (self.processes > 1)}"
        return f"{what}, {self.accumulation} x {self.micro_batch}" + f", {self.more.replace('_', ' ')}" * bool(
            self.more
        )


WHOLE = Spread(0, 1, 1)
SPREADS = [
    *(Spread(0, processes, n) for processes in (1, 2) for n in (1, 2, 4)),
    *(Spread(zero, 1, 2) for zero in (1, 2, 3)),
    *(Spread(zero, 2, n) for zero in (1, 2, 3) for n in (1, 4)),
    *(Spread(zero, 2, 2, "gradient_checkpointing") for zero in (0, 3)),
    *(Spread(zero, 2, 2, "offload") for zero in (1, 2, 3)),
]
SHORT = [Spread(0, 1, 4), Spread(1, 2, 4, "offload"), Spread(3, 2, 2, "gradient_checkpointing")]


def kills():
    """tests/kill/kills.py, which forks trainings from a process that has imported everything."""
    spec = importlib.util.spec_from_file_location("kills", ROOT / "tests/kill/kills.py")
    module = sys.modules["kills"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flags(step, spread, steps):
    """Of one training, without models and output."""
    words = ["--max_steps", steps, "--seed", 7, "--max_grad_norm", 0.5]
    data = {1: "sft", 3: "prompts"}.get(step, "reward")
    words += ["--data_path", f"sample/{data}", "--eval_data_path", f"sample/heldout_{data}", "--max_eval_examples", 1]
    words += ["--gradient_accumulation_steps", spread.accumulation]
    words += ["--data_split", {1: "10,0,0", 3: "0,0,10"}.get(step, "0,10,0")]
    if step in ("dpo", "kto"):
        words += ["--loss", step, "--drift_prompts", 3, "--max_answer_seq_len", 12]
    if step != 3:
        words += ["--per_device_train_batch_size", spread.micro_batch, "--max_seq_len", 192]
        models = {"": 1e-3}
    else:
        words += ["--per_device_generation_batch_size", spread.micro_batch, "--generation_batches", spread.accumulation]
        words += ["--per_device_training_batch_size", spread.micro_batch]
        words += ["--max_prompt_seq_len", 128, "--max_answer_seq_len", 12, "--ppo_epochs", 2]
        models = {"actor_": 1e-4, "critic_": 1e-3}
    for prefix, rate in models.items():
        words += [f"--{prefix}zero_stage", spread.zero_stage, f"--{prefix}learning_rate", rate]
        words += [f"--{prefix}gradient_checkpointing"] * (spread.more == "gradient_checkpointing")
    return words + ["--offload"] * (spread.more == "offload")


def train(forked, step, spread, steps, models, out):
    """The compared figures by name, each a list over the steps; a text if it failed."""
    which = ["--model_name_or_path", models / "base"]
    if step == 3:
        which = ["--actor_model_name_or_path", models / "sft", "--critic_model_name_or_path", models / "reward"]
    words, compared = [*flags(step, spread, steps), *which, "--output_dir", out], COMPARED[step]
    step = "dpo" if step == "kto" else step
    started, limit = forked.Started(step, words, spread.processes, f"{out}.log"), time.monotonic() + SECONDS
    while not started.ended():
        if time.monotonic() > limit:
            started.kill()
            return f"hangs, see {out}.log"
        time.sleep(0.02)
    if any(started.codes):
        return f"ended with {started.codes}, see {out}.log"
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {name: [row[name] for row in rows if name in row] for name in compared}


def largest_difference(whole, parts):
    """Of any figure, as said above; infinite if figures are missing."""
    if isinstance(parts, str) or any(len(whole[k]) != len(parts[k]) or not whole[k] for k in whole):
        return float("inf")
    sizes = {name: sum(map(abs, values)) / len(values) for name, values in whole.items()} | {"policy_loss": 1.0}
    return max(abs(a - b) / sizes[name] for name in whole for a, b in zip(whole[name], parts[name]))


def compare(forked, step, spreads, steps, models, work):
    """Print the table of a step; how many settings go too far apart."""
    whole, wrong = train(forked, step, WHOLE, steps, models, work / f"step{step}_whole"), 0
    print(f"\n| step {step}, {steps} steps | largest difference |\n|---|---|", flush=True)
    for i, spread in enumerate(s for s in spreads if s != WHOLE):
        parts = train(forked, step, spread, steps, models, work / f"step{step}_{i}")
        difference = float("inf") if isinstance(whole, str) else largest_difference(whole, parts)
        wrong += not difference <= TOLERANCE[step]
        shown = next((text for text in (whole, parts) if isinstance(text, str)), f"{difference:.1e}")
        print(f"| {spread} | {shown} |", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=lambda s: int(s) if s.isdigit() else s, nargs="+", default=[*COMPARED])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--short", action="store_true", help="three settings alone")
    parser.add_argument("--work", type=Path, default=None, help="a new folder, kept; default: a temporary one")
    parser.add_argument("--models", type=Path, default=None, help="base/, sft/ and reward/; default: made of samples")
    args = parser.parse_args()
    forked = kills()
    forked.imports()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if not args.models:
            forked.make_models(work)
        spreads, models = SHORT if args.short else SPREADS, args.models or work
        wrong = sum(compare(forked, step, spreads, args.steps, models, work) for step in args.step)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
