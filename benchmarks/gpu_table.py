"""The table of gpu.sh, as Markdown: python gpu_table.py FOLDER PART... prints it and writes FOLDER/results.md.

Exit code 1 if a part is missing or a check has failed.
"""

import json
import sys
from pathlib import Path
from typing import Any

# DeepSpeed-Chat's published PPO: samples/s of a 1.3B actor on one A100, prompts and answers of 256 tokens
PUBLISHED, PUBLISHED_CHIP = 3.13, 312e12

TITLES = {
    "sft": "SFT",
    "reward": "reward model",
    "ppo": "PPO",
    "lora": "SFT with LoRA",
    "decode": "sampling",
    "checks": "check",
}
Row = tuple[str, str, str]  # what, figure, of what


def checks(part: str, result: dict[str, Any]) -> list[Row]:
    del part
    return [
        (f"check: {name}", "passed" if found["passed"] else "FAILED", _brief(found))
        for name, found in result["checks"].items()
    ]


def _brief(found):
    if "error" in found:
        return found["error"]
    kernels = {k: v for k, v in found.items() if isinstance(v, dict)}
    shown = [f"{k}: off by {v['difference']:.2g}, neighbours {v['neighbours']:.2g}" for k, v in kernels.items()]
    numbers = ("noise", "allowed", "fall", "apart", "answers", "tokens")
    return "; ".join(shown + [f"{k} {found[k]:.3g}" for k in numbers if k in found])


def training(part: str, result: dict[str, Any]) -> list[Row]:
    """Rows of step1.py, step2.py and step3.py."""
    title, peak, rows = TITLES[part], result["machine"]["matrix_peak_flops_per_second"], []
    for name, f in result["phases"].items():
        what = title if name in ("training", "total") and "total" not in result["phases"] else f"{title}, {name}"
        share = f"{f['share_of_matrix_peak']:.1%} of the matrix-product peak"
        mfu = f"MFU {f['mfu']:.1%}, " if "mfu" in f else ""
        rate = f"{f['real_tokens_per_second']:,.0f} tokens/s, {f['samples_per_second']:,.2f} samples/s"
        rows.append((what, rate, f"{mfu}{share}"))
    for kind, f in result["layouts"].items():
        if kind != "packed":
            rows.append((f"{title}, rows padded: {kind}", f"{f['time_ratio']:.2f}x the time of packed batches", ""))
    rows.append((f"{title}, peak memory", f"{result['peak_memory_mb'] / 1024:,.1f} GiB", result["model"]))
    if chip := result["machine"]["chip_flops_per_second"] if part == "ppo" else None:
        scaled = PUBLISHED * chip / PUBLISHED_CHIP
        ratio = result["phases"]["total"]["samples_per_second"] / scaled
        rows.append(
            (f"{title}, to DeepSpeed-Chat's published", f"{ratio:.2f}x", f"{scaled:.2f} samples/s on this chip")
        )
    rows.append((f"{title}, matrix-product peak", f"{peak / 1e12:,.2f} TFLOP/s", "measured in the same run"))
    return rows


def decoding(part: str, result: dict[str, Any]) -> list[Row]:
    return [
        (
            f"{TITLES[part]}, batch {f['batch']}",
            f"{f['tokens_per_second']:,.0f} tokens/s",
            f"{f['share']:.1%} of the memory's roofline of {f['roofline_tokens_per_second']:,.0f}",
        )
        for f in result["batches"]
    ]


ROWS = {"checks": checks, "decode": decoding}


def main():
    folder, parts = Path(sys.argv[1]), sys.argv[2:]
    found = {p: json.loads(f.read_text(encoding="utf-8")) for p in parts if (f := folder / f"{p}.json").exists()}
    lines = []
    if found:
        machine = next(iter(found.values()))["machine"]
        versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
        lines += [f"{machine['device']}, {machine['dtype']}, {versions}", ""]
    lines += ["| | | |", "|---|---|---|"]
    for part in parts:
        rows = ROWS.get(part, training)(part, found[part]) if part in found else [(TITLES[part], "missing", "")]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "Flags:", ""]
    for part, result in found.items():
        lines.append(f"- {part}: {json.dumps(result['flags'], ensure_ascii=False)}")
    text = "\n".join(lines) + "\n"
    (folder / "results.md").write_text(text, encoding="utf-8")
    print(text, end="")
    passed = all(c["passed"] for c in found.get("checks", {}).get("checks", {}).values())
    return 0 if passed and len(found) == len(parts) else 1


if __name__ == "__main__":
    sys.exit(main())
