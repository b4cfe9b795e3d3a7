"""What the machine can do: its matrix-product peak and memory bandwidth, measured, and its chip's by the vendor."""

import time
from typing import Any

import torch

from korlhf.core import program
from korlhf.training.world import DTYPES, World

# Vendors' figures, by the first name that the device's begins with or holds: dense bf16 TFLOP/s, memory TB/s.
CHIPS = {
    "B200": (2250, 8.0),
    "H200": (989, 4.8),
    "H100 NVL": (835, 3.9),
    "H100 PCIe": (756, 2.0),
    "H100": (989, 3.35),
    "A100-SXM4-80GB": (312, 2.04),
    "A100 80GB": (312, 1.94),
    "A100": (312, 1.56),
    "L40S": (362, 0.86),
    "RTX 4090": (165, 1.01),
    "RTX 3090": (71, 0.94),
}


def chip(name: str) -> tuple[float, float] | None:
    """(dense bf16 FLOP/s, memory bytes/s) of a GPU by its name, or None if the table has it not."""
    found = next((figures for key, figures in CHIPS.items() if key in name), None)
    return (found[0] * 1e12, found[1] * 1e12) if found else None


def matrix_peak(dtype: str, device: torch.device, seconds: float) -> tuple[float, int]:
    """Best FLOP/s of square matrix products, and their size: several sizes, each for `seconds` at least twice."""
    best, inner = (0.0, 0), 10 if device.type == "cuda" else 1
    for n in (2048, 4096, 8192) if device.type == "cuda" else (256, 512, 1024, 2048):
        a, b = torch.randn(2, n, n, device=device, dtype=DTYPES[dtype])
        fastest = _fastest(lambda a=a, b=b: a @ b, inner, seconds)
        best = max(best, (2 * n**3 / fastest, n))
        if fastest > 2 * seconds:  # larger ones would take minutes
            break
    return best


def bandwidth(device: torch.device, seconds: float) -> float:
    """Best bytes/s of a copy in memory, read and written ones counted."""
    source = torch.empty(2**31 if device.type == "cuda" else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _fastest(lambda: target.copy_(source), 1, seconds)


def _fastest(work, inner, seconds):
    """Seconds of one call of `work`, the fastest of several laps of `inner` calls."""
    work()
    laps, began = [], _now()
    while len(laps) < 2 or time.perf_counter() - began < seconds:
        start = _now()
        for _ in range(inner):
            work()
        laps.append((_now() - start) / inner)
    return min(laps)


def _now():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def described(world: World, dtype: str, seconds: float) -> dict[str, Any]:
    """The machine, for a result's JSON: what it is, its peaks (all processes together), and what runs on it."""
    cuda = world.device.type == "cuda"
    name = torch.cuda.get_device_name(world.device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    flops, size = matrix_peak(dtype, world.device, seconds)
    known = chip(name) if cuda and dtype == "bf16" else None
    return {
        "device": name,
        "processes": world.size,
        "dtype": dtype,
        "matrix_peak_flops_per_second": float(world.sum([flops])[0]),
        "matrix_size": size,
        "chip_flops_per_second": known[0] * world.size if known else None,
        "versions": program.versions(),
    }
