"""Figures of a benchmark: computed, printed and written."""

import statistics
from dataclasses import astuple
from pathlib import Path
from typing import Any

import machine
from bench import BenchFlags
from layouts import FORMULA
from measure import Phase, Phases, summed

from korlhf.core.files import write_json
from korlhf.training.world import World


def throughput(world: World, phase: Phase) -> dict[str, float]:
    """Figures of a Phase over all processes: counts and CPU seconds are summed, the slowest one's seconds count."""
    cpu, samples, tokens, flops, real, computed = world.sum(astuple(phase)[1:]).tolist()
    seconds = max(world.gather(phase.seconds))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "samples": int(samples),
        "real_tokens": int(tokens),
        "samples_per_second": samples / seconds,
        "real_tokens_per_second": tokens / seconds,
        "computed_tokens": int(computed),
        "padding_share": 1 - real / computed,
        "model_flops_per_second": flops / seconds,
    }


def whole(phases: Phases) -> Phase:
    """All phases of a step."""
    return phases.get("total", phases["training"])


def run(
    title: str,
    args: BenchFlags,
    world: World,
    dtype: str,
    measured: tuple[list[Phases], float, dict[str, Phases]],
    model: str,
) -> None:
    """Measure the machine, print the figures and write them to --output, in the first process.

    measured: of `measure`; model: a line on it.
    """
    steps, memory, layouts = measured
    about = machine.described(world, dtype, args.peak_seconds)
    seconds = [max(world.gather(whole(phases).seconds)) for phases in steps]
    by_phase = {k: {p: throughput(world, phase) for p, phase in found.items()} for k, found in layouts.items()}
    in_all = {kind: found.get("total", found["training"]) for kind, found in by_phase.items()}
    result = {
        "benchmark": title,
        "model": model,
        "machine": about,
        "peak_memory_mb": memory,
        "seconds_of_steps": seconds,
        "phases": {name: throughput(world, phase) for name, phase in summed(steps).items()},
        "layouts": {k: {**f, "time_ratio": f["seconds"] / in_all["packed"]["seconds"]} for k, f in in_all.items()},
        "time_ratio_by_phase": {
            k: {p: f["seconds"] / by_phase["packed"][p]["seconds"] for p, f in found.items() if p != "total"}
            for k, found in by_phase.items()
        },
        "formula": FORMULA,
        "flags": vars(args),
    }
    for f in [*result["phases"].values(), *result["layouts"].values()]:
        f["share_of_matrix_peak"] = f["model_flops_per_second"] / about["matrix_peak_flops_per_second"]
        if about["chip_flops_per_second"]:
            f["mfu"] = f["model_flops_per_second"] / about["chip_flops_per_second"]
    if world.first:
        show(result)
        write(args.output, result)


def write(output: str, result: dict[str, Any]) -> None:
    """Write the figures to the file --output, if it is given."""
    if output:
        path = Path(output).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)
        print(f"written: {output}")


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    m, seconds = result["machine"], result["seconds_of_steps"]
    about = ", ".join(f"{k} {v}" for k, v in m["versions"].items() if k in ("torch", "deepspeed", "transformers"))
    vendor = m["chip_flops_per_second"]
    print(
        f"{result['benchmark']}: {result['model']}\n"
        f"{m['device']}, {m['processes']} process(es), {m['dtype']}, {about}\n"
        f"matrix-product peak {m['matrix_peak_flops_per_second'] / 1e9:,.1f} GFLOP/s (n = {m['matrix_size']})"
        + (f", the chip's by its vendor {vendor / 1e9:,.0f}" if vendor else "")
        + f"\npeak memory: {result['peak_memory_mb']:,.0f} MiB\n"
        f"seconds a step: median {statistics.median(seconds):.3f}, "
        f"{min(seconds):.3f} to {max(seconds):.3f} (n = {len(seconds)})\n\n"
        f"{'':<10}{'seconds':>9}{'samples/s':>11}{'real tokens/s':>15}{'padding':>9}{'GFLOP/s':>10}{'of peak':>9}"
        + (f"{'MFU':>8}" if vendor else "")
    )
    for name, f in result["phases"].items():
        print(
            f"{name:<10}{f['seconds']:>9.2f}{f['samples_per_second']:>11.2f}{f['real_tokens_per_second']:>15,.0f}"
            f"{f['padding_share']:>9.1%}{f['model_flops_per_second'] / 1e9:>10,.1f}{f['share_of_matrix_peak']:>9.1%}"
            + (f"{f['mfu']:>8.1%}" if "mfu" in f else "")
        )
    if result["layouts"]:
        _show_layouts(result)
    print(f"\n{result['formula']}")


def _show_layouts(result):
    print(f"\nlayout of rows, the same {result['flags']['compare_steps']} step(s) each")
    print(f"{'':<10}{'seconds':>9}{'real tokens/s':>15}{'padding':>9}{'time':>9}")
    for name, f in result["layouts"].items():
        print(
            f"{name:<10}{f['seconds']:>9.2f}{f['real_tokens_per_second']:>15,.0f}"
            f"{f['padding_share']:>9.1%}{f['time_ratio']:>8.2f}x"
        )
    for kind, ratios in result["time_ratio_by_phase"].items():
        if len(ratios) > 1 and kind != "packed":
            shares = ", ".join(f"{p} {r:.2f}x" for p, r in ratios.items())
            print(f"time of layout {kind}, packed = 1: {shares}")


def model_line(model: Any) -> str:
    """One line on a model."""
    config = model.config.get_text_config()
    return (
        f"{config.model_type}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, "
        f"{config.num_hidden_layers} layers of {config.hidden_size}, vocabulary {config.vocab_size}"
    )
