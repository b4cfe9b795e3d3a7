"""What a run will take: disk from the shapes of models, time from the records of earlier runs or from stated assumptions, else not known.

Only upper bounds that follow from how files are written are given for disk; time of what no record tells and no formula fits is None.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from korlhf.pipeline.prints import size

GIB = 2**30
PER_PROMPT = 30_000  # bytes that data_prep writes for a prompt, files and cache: 5 times what was measured on the short texts of the sample
ADAM = 12  # bytes a trained weight in a checkpoint: fp32 master copy and two moments
COPIES = 2  # checkpoints on disk at once: a new one is written before the old one is deleted
LONGEST_HEADER = 100_000_000  # bytes; the format has no longer ones
TOKENS = 250  # of a prompt with one answer
SHARE = 0.3  # of the GPU's peak that training reaches
# Dense bf16 operations a second, by the makers' sheets.
PEAK = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "A6000": 155e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


@dataclass(frozen=True)
class Shape:
    """A GPT-NeoX model."""

    hidden: int
    layers: int
    vocab: int = 30_080

    @property
    def params(self):
        """Weights: an MLP of 4 x hidden, biases, two norms a layer, untied embeddings."""
        return 2 * self.vocab * self.hidden + self.layers * (12 * self.hidden**2 + 13 * self.hidden) + 2 * self.hidden

    def lora(self, rank):
        """Weights of LoRA at query_key_value of every layer."""
        return rank * 4 * self.hidden * self.layers


def weights_in(folder):
    """Number of weights in a folder's safetensors files, from their headers; None if there are none that can be read."""
    total = 0
    for path in Path(folder).expanduser().glob("*.safetensors"):
        try:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length if length < LONGEST_HEADER else 0))
        except (OSError, ValueError):
            return None
        total += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total or None


def training_disk(params, trained, element, models=1):
    """(bytes of the finished models, bytes of checkpoints while it trains). element: bytes a weight; models: that are saved."""
    return params * element * models, COPIES * (params * element + trained * ADAM)


def training_seconds(examples, epochs, tokens, params, lora, names, what):
    """(seconds, how that was computed) of steps 1 and 2 on the GPUs `names`, or None if their speed is not known here.

    Forward and backward pass take 6 operations a weight and token, with LoRA 4; recomputing the forward pass 2 more.
    """
    peaks = [next((peak for key, peak in PEAK.items() if key in name), None) for name in names]
    if not peaks or None in peaks or not examples:
        return None
    operations = (4 if lora else 6) + 2
    seconds = examples * epochs * tokens * params * operations / (SHARE * sum(peaks))
    return seconds, (
        f"{what}: {examples:,} examples x {epochs} x {tokens} tokens x {params / 1e9:.1f}e9 weights x {operations} "
        f"operations, {len(names)} x {names[0]} at {SHARE:.0%} of its peak"
    )


def measured(name, settings, entry, siblings):
    """(seconds, where from) of a stage by its own record, else by that of another run of the same kind; None if there is none.

    What had other settings (but for the seed) counts only if nothing had these, and is told.
    """
    entries = [
        (entry or {}, "as last time"),
        *((stages.get(name, {}), f"as in {path.parent.name}") for path, stages in siblings),
    ]
    known = [(taken, where) for taken, where in entries if taken.get("measured") is not None]
    same = [(taken, where) for taken, where in known if _seedless(taken.get("measured_with")) == _seedless(settings)]
    if same:
        return same[0][0]["measured"], same[0][1]
    return (known[0][0]["measured"], f"{known[0][1]}, with other settings") if known else None


def _seedless(settings):
    return {k: v for k, v in (settings or {}).items() if k != "SEED"}


def sibling_records(record):
    """[(path, stages)] of runs of the same kind beside a run's folder, the newest first."""
    out = []
    for path in record.path.parent.parent.glob("*/pipeline.json"):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if path != record.path and found["recipe"] == record.recipe:
                out.append((path.stat().st_mtime, path, found["stages"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a broken record of another run is that run's business
    return [(path, stages) for _, path, stages in sorted(out, key=lambda row: row[0], reverse=True)]


def disk(stages, states):
    """(bytes more that the stages which run will leave at most, bytes that the hungriest of them needs besides while it runs, names of those
    whose need is not known)."""
    total, most, unknown = 0, 0, []
    for stage in stages:
        if not states[stage.name].runs:
            continue
        if stage.disk is None:
            unknown.append(stage.name)
            continue
        leaves, besides = stage.disk
        total += max(0, leaves - sum(size(path) for path in stage.writes))
        most = max(most, besides)
    return total, most, unknown


def free(folder):
    """Free bytes where a folder is, or will be."""
    folder = Path(folder)
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def duration(seconds):
    """45 s, 3 min 20 s, 2 h 05 min"""
    if seconds is None:
        return "not known"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def amount(count):
    """Bytes as 12 MB, 3.4 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 10 * factor else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} B"
