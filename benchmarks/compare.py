"""SFT, reward model and PPO of this project next to TRL's: same models, same rows, same machine, in turns.

python -m venv trl && trl/bin/pip install "trl==1.12.*" && python benchmarks/compare.py --trl trl/bin/python

On the CPU, in fp32. Every side is a process of its own; all warm up, then one after another works a round while the
others wait. `DeepSpeed-Chat's layout` is this project in the layout of rows that DeepSpeed-Chat has (layouts.py:
limit), not DeepSpeed-Chat itself, which no package brings.
"""

import json
import os
import random
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
import report
import trainings
from rounds import Side

from korlhf.core import flags, program
from korlhf.core.errors import InputError
from korlhf.core.flags import REQUIRED, Parser, flag, seed_flag

HERE = Path(__file__).resolve().parent
STEP = {"sft": 1, "reward": 2, "ppo": 3}
OURS, SHAPED = "korlhf", "DeepSpeed-Chat's layout"
SIDES = {
    "sft": {
        OURS: "packed",
        SHAPED: "limit",
        "TRL, padded": "padded",
        "TRL, by length": "grouped",
        "TRL, packed": "packed",
    },
    "reward": {OURS: "packed", SHAPED: "limit", "TRL": "padded"},
    "ppo": {OURS: "packed", SHAPED: "limit", "TRL": "padded", "TRL, gc left out": "frozen"},
}
# PPO in both: answers of a few rounds are by chance longer on one side than on the other
UNITS = {"sft": ["tokens"], "reward": ["tokens"], "ppo": ["samples", "tokens"]}


@dataclass(frozen=True, kw_only=True)
class CompareFlags:
    """comparison"""

    trl: str = flag(REQUIRED, "the Python of an environment with TRL (its PPO is in 1.12)")
    tasks: list[str] = flag(list(STEP), "what to compare", choices=list(STEP))
    rounds: int = flag(5, "timed rounds", above=0)
    steps: int = flag(4, "optimizer steps (PPO: PPO steps) of a round", above=0)
    warmup_steps: int = flag(2, "untimed steps before the first round", above=0)
    hidden_size: int = flag(256, "hidden size of the random GPT-NeoX, a multiple of 32", above=0)
    layers: int = flag(6, "its layers", above=0)
    vocab_size: int = flag(8192, "its vocabulary", above=4)
    batch_size: int = flag(8, "sequences (reward: prompts with two answers, PPO: prompts) of a step", above=0)
    seq_len: int = flag(256, "longest prompt + answer in tokens; half of it each in PPO", low=16)
    mean_answer: int = flag(32, "PPO: mean answer length of the random actor in tokens", low=2)
    sft_data: str = flag("", "take the lengths of this dataset in SFT, as --data_path names it; not given = log-normal")
    reward_data: str = flag("", "the same for the reward model")
    ppo_data: str = flag("", "the same for PPO")
    threads: int = flag(1, "threads of every side", above=0)
    learning_rate: float = flag(1e-6, "learning rate", low=0)
    seed: int = seed_flag("seed of lengths, tokens, weights and sampling")
    output: str = flag("", "also write the figures to this JSON file", output="file")


def spec_of(task: str, args: CompareFlags) -> dict[str, Any]:
    """What every side of a task gets: flags and rows."""
    names = ("steps", "warmup_steps", "hidden_size", "layers", "vocab_size", "batch_size", "seq_len", "learning_rate")
    common = {name: getattr(args, name) for name in (*names, "seed")} | {"dtype": "fp32"}
    common |= {"data": getattr(args, f"{task}_data")}
    settings, rng = bench.BenchFlags(**common), random.Random(args.seed)
    n = (args.warmup_steps + args.rounds * args.steps) * args.batch_size
    limit = args.seq_len // 2 if task == "ppo" else args.seq_len
    lengths = bench.draw_lengths(settings, STEP[task], limit, rng)
    if task == "ppo":
        drawn = trainings.prompts(lengths, n, settings, trainings.codec_of(settings), rng)
        rows: list = [(p.ids, p.messages[0]["content"]) for p in drawn]
    else:
        rows = [[(t.ids, t.mask) for t in group] for group in trainings.groups(lengths, n, args.vocab_size, rng)]
        rows = [group[0] for group in rows] if task == "sft" else rows
    return {"task": task, "flags": common, "rows": rows, "mean_answer": args.mean_answer}


def compare(task: str, args: CompareFlags, folder: Path) -> list[dict[str, Any]]:
    """Figures of one task, whose spec_of is in folder/TASK.json, in each of its units: rounds and versions of every
    side, ratios of this project to the others.
    """
    spec = folder / f"{task}.json"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads))
    environment = {**threads, "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    sides = []
    try:
        for name, layout in SIDES[task].items():
            trl = name.startswith("TRL")
            command = [args.trl if trl else sys.executable, str(HERE / ("trl_runs.py" if trl else "our_runs.py"))]
            side = Side(
                f"{task}: {name}", [*command, str(spec), layout], folder / f"{task}_{len(sides)}.log", environment
            )
            sides.append(side)
            side.warm_up()
        rounds = []
        for number in range(args.rounds):
            rounds.append([side.round() for side in sides])
            print(f"{task}: round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    finally:
        for side in sides:
            side.close()
    found = {name: [r[i] for r in rounds] for i, name in enumerate(SIDES[task])}
    about = {name: side.about for name, side in zip(found, sides)}
    return [summarise(task, unit, found, about) for unit in UNITS[task]]


def summarise(task: str, unit: str, found: dict[str, list[dict[str, float]]], about: dict[str, Any]) -> dict[str, Any]:
    """found: side -> its rounds. Rates per CPU second and per second, and this project's ratio round by round."""
    rates = {
        name: {clock: [r[unit] / r[clock] for r in rounds] for clock in ("cpu", "wall")}
        for name, rounds in found.items()
    }
    sides = {}
    for name, rate in rates.items():
        ratios = {c: spread([a / b for a, b in zip(rates[OURS][c], rate[c])]) for c in rate}
        per_second = {c: spread(values) for c, values in rate.items()}
        sides[name] = {"per_second": per_second, "ratio": ratios, "rounds": found[name], **about[name]}
    return {"task": task, "unit": unit, "sides": sides}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def show(result: dict[str, Any]) -> None:
    """Print one task as a Markdown table."""
    unit = "real tokens" if result["unit"] == "tokens" else "samples"
    n = next(iter(result["sides"].values()))["ratio"]["cpu"]["n"]
    print(f"\n{result['task']}: median of {n} rounds (lowest to highest)\n")
    print(
        f"| | {unit} per CPU second | per second | {OURS} is so many times as fast, CPU | wall |\n|---|---|---|---|---|"
    )
    for name, side in result["sides"].items():
        rates = [_cell(side["per_second"][clock]) for clock in ("cpu", "wall")]
        ratios = [_cell(side["ratio"][clock], "x") for clock in ("cpu", "wall")]
        print(f"| {' | '.join([name, *rates, *(ratios if name != OURS else ['', ''])])} |")


def _cell(found, unit=""):
    digits = 0 if found["median"] >= 100 else 2
    median, low, high = (f"{found[key]:,.{digits}f}" for key in ("median", "min", "max"))
    return f"{median}{unit} ({low} to {high})"


def main():
    parser = Parser(description="SFT, reward model and PPO next to TRL's, on the CPU.")
    flags.add(parser, CompareFlags)
    args = flags.read(parser.parse_args(), CompareFlags)
    if args.hidden_size % 32:
        parser.error(f"--hidden_size {args.hidden_size}: must be a multiple of 32")
    if not os.access(args.trl, os.X_OK):
        parser.error(f"--trl {args.trl}: no such program; give an environment's bin/python")
    results = []
    folder = Path(tempfile.mkdtemp(prefix="compare_"))  # the logs stay if a side fails
    for task in args.tasks:  # all of them first: bad data of one costs no measurement of another
        (folder / f"{task}.json").write_text(json.dumps(spec_of(task, args)), encoding="utf-8")
    for task in args.tasks:
        try:
            results += compare(task, args, folder)
        except RuntimeError as error:
            raise InputError(str(error)) from error
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    trl = results[0]["sides"][list(results[0]["sides"])[-1]]["versions"]
    print(f"{args.threads} thread(s), fp32, random GPT-NeoX, {args.layers} layers of {args.hidden_size}")
    print(f"korlhf: {program.versions()}\nTRL: {trl}")
    for result in results:
        show(result)
    print("\nreal tokens: prompts and answers, no padding; warm-up is not counted")
    report.write(args.output, {"flags": vars(args), "versions": program.versions(), "tasks": results})


if __name__ == "__main__":
    program.run(main)
