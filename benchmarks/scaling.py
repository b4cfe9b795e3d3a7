"""How the cost grows: CPU or GPU seconds per real token over lengths and batch sizes, and what several processes bring.

python benchmarks/scaling.py --step 1 --seq_lens 128 256 512 1024 --batch_sizes 8 16 32 64 --processes 1 2

Each setting is a run of stepN.py in a process of its own, and the settings take turns, so that a change of the
machine's pace meets all of them alike. One thing is varied at a time; the rest is as --seq_len and --batch_size say.
"""

import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report
from bench import BenchFlags, parse

from korlhf.core import program
from korlhf.core.errors import InputError
from korlhf.core.flags import flag

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class ScalingFlags:
    """scaling"""

    step: int = flag(1, "training step", choices=[1, 2, 3])
    seq_lens: list[int] = flag([], "values of --seq_len", above=0)
    batch_sizes: list[int] = flag([], "values of --batch_size", above=0)
    processes: list[int] = flag(
        [], "numbers of processes, each with --batch_size sequences and --threads threads", above=0
    )
    threads: int = flag(1, "threads of a process", above=0)
    rounds: int = flag(3, "runs of each setting", above=0)


Setting = tuple[str, int]  # what is varied, and its value


def settings_of(more: ScalingFlags) -> list[Setting]:
    varied = {"seq_lens": "seq_len", "batch_sizes": "batch_size", "processes": "processes"}
    return [(name, value) for given, name in varied.items() for value in getattr(more, given)]


def command(args: BenchFlags, more: ScalingFlags, setting: Setting, output: Path) -> list[str]:
    """The command of a run."""
    name, value = setting
    start = [sys.executable]
    if name == "processes" and value > 1:
        start += [
            "-m",
            "deepspeed.launcher.runner",
            "--master_port",
            str(_free_port()),
            "--num_accelerators",
            f"{value}",
        ]
    else:
        start += ["-u"]
    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(args)} | {"compare_steps": 0}
    if name != "processes":
        given[name] = value
    given |= {"output": str(output)}
    return [*start, str(HERE / f"step{more.step}.py"), *as_flags(given)]


def as_flags(values: dict[str, Any]) -> list[str]:
    """BenchFlags as words of a command line; what is as declared is left out."""
    words, declared = [], BenchFlags()
    for name, value in values.items():
        if value != getattr(declared, name) and name != "local_rank":
            items = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{name}", *map(str, items)]
    return words


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(args: BenchFlags, more: ScalingFlags, setting: Setting) -> dict[str, Any]:
    """The figures of one run; raises InputError with its last line if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        environment = {**os.environ, "OMP_NUM_THREADS": str(more.threads)}
        done = subprocess.run(command(args, more, setting, output), env=environment, capture_output=True, text=True)
        if not output.exists():
            raise InputError(f"{setting[0]} {setting[1]}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
        result = json.loads(output.read_text(encoding="utf-8"))
    phases = result["phases"]
    whole = phases.get("total", phases["training"])
    per_token = {f"{clock}_per_token": whole[clock] / whole["real_tokens"] for clock in ("seconds", "cpu_seconds")}
    return {**whole, **per_token, "peak_memory_mb": result["peak_memory_mb"], "machine": result["machine"]}


def summarise(found: dict[Setting, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per setting: medians, and ratios to the first value of what is varied, round by round."""
    rows, first = [], {}
    for (name, value), runs in found.items():
        base = first.setdefault(name, runs)
        row: dict[str, Any] = {"varied": name, "value": value, "n": len(runs)}
        for key in ("real_tokens_per_second", "seconds_per_token", "cpu_seconds_per_token", "peak_memory_mb"):
            row[key] = statistics.median(r[key] for r in runs)
            ratios = [r[key] / b[key] for r, b in zip(runs, base)]
            row[f"{key}_ratio"] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a Markdown table."""
    heads = ("", "real tokens/s", "ratio", "CPU ms per real token", "ratio", "peak memory, MiB", "runs")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for row in rows:
        rate, cpu = (_ratio(row[f"{key}_ratio"]) for key in ("real_tokens_per_second", "cpu_seconds_per_token"))
        cost, memory = f"{1000 * row['cpu_seconds_per_token']:.3f}", f"{row['peak_memory_mb']:,.0f}"
        cells = [f"{row['varied']} {row['value']}", f"{row['real_tokens_per_second']:,.0f}", rate, cost, cpu, memory]
        print(f"| {' | '.join(cells)} | {row['n']} |")
    print("\nratio: to the first value of what is varied, in the same round; median (lowest to highest)")


def _ratio(found):
    return f"{found['median']:.2f}x ({found['min']:.2f} to {found['max']:.2f})"


def main():
    args, more = parse("How the cost grows with length, batch size and processes", more=ScalingFlags)
    settings = settings_of(more)
    if not settings:
        raise InputError("nothing to vary: give --seq_lens, --batch_sizes or --processes")
    found: dict[Setting, list[dict[str, Any]]] = {setting: [] for setting in settings}
    for number in range(more.rounds):
        for setting in settings:
            found[setting].append(run(args, more, setting))
            print(f"round {number + 1} of {more.rounds}: {setting[0]} {setting[1]}", file=sys.stderr, flush=True)
    rows = summarise(found)
    show(rows)
    runs = [{"varied": name, "value": value, "runs": runs} for (name, value), runs in found.items()]
    result = {"step": more.step, "rows": rows, "runs": runs, "versions": program.versions()}
    report.write(args.output, {**result, "flags": {**vars(args), **vars(more)}})


if __name__ == "__main__":
    program.run(main)
