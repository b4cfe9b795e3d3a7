"""What the three steps reached on the sample: summary.json (the finished.json of each stage), table and curves.png."""

import argparse
import json
from pathlib import Path

import matplotlib

from korlhf.core import program
from korlhf.core.files import write_json
from korlhf.training import log

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

STAGES = ("base", "sft", "reward", "ppo")
PANELS = {"SFT: loss (nats per token)": "sft loss", "reward model: accuracy": "reward accuracy"}
PANELS |= {"PPO: reward-model score": "ppo score", "PPO: KL per answer (nats)": "ppo kl"}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def table(summary):
    """The summary for people: one line per figure, on held-out data before and after its stage; seconds and memory."""
    rule, share = max(summary["reward"]["trivial_rules"].items(), key=lambda item: item[1])
    low, high = summary["reward"]["heldout_after"]["ci95"]
    before, after = summary["ppo"]["heldout_before"], summary["ppo"]["heldout_after"]
    gain = (after["score"] - before["score"]) / before["score_std"]
    kl = f", KL {after['kl']:.2f} nats per answer" if "kl" in after else ""  # without a KL penalty none is measured
    interval = f", 95 % {low:.3f}-{high:.3f}; before = best baseline ({rule})"
    lines = [f"{'':<30}{'before':>10}{'after':>10}"]
    for title, stage, key, note in [
        ("SFT: held-out loss", "sft", "loss", ""),
        ("reward: held-out accuracy", "reward", "accuracy", interval),
        ("PPO: held-out score", "ppo", "score", f", {gain:+.2f} SD of the SFT answers"),
        ("PPO: friendly share", "ppo", "friendly", ", rule-based check, see docs/evaluation.md"),
        ("PPO: share of sense", "ppo", "sense", ", the same"),
        ("PPO: nats/token, reference", "ppo", "ref_nll", ""),
        ("PPO: EOS rate", "ppo", "eos_rate", ""),
        ("PPO: answer length (tokens)", "ppo", "length", kl),
    ]:
        first, last = summary[stage]["heldout_before"], summary[stage]["heldout_after"]
        if key not in last:
            continue
        start = share if stage == "reward" else first[key]
        lines.append(f"{title:<30}{start:>10.3f}{last[key]:>10.3f}  n {last['n']}{note}")
    took = [f"{stage} {seconds:.0f} s" for stage, seconds in summary["seconds"].items()]
    most = max(summary[stage]["peak_memory_mb"] for stage in STAGES)
    return "\n".join([*lines, "  ".join([*took, f"at most {most:.0f} MiB"])])


def draw(out):
    """curves.png: over the steps, what was measured in training and on held-out data."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4))
    for axis, (title, panel) in zip(axes.flat, PANELS.items(), strict=True):
        stage, name = panel.split()
        rows = log.read_metrics(out / stage)
        for key, label, marker in ((name, "training", None), (f"heldout_{name}", "held-out", "o")):
            points = [(row["step"], row[key]) for row in rows if key in row]
            axis.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=4)
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(out / "curves.png", dpi=120)


def main():
    parser = argparse.ArgumentParser(description="Table and picture of a finished run on the embedded sample.")
    parser.add_argument("--output_dir", required=True, type=Path)
    out = parser.parse_args().output_dir
    clock = {stage: took["seconds"] for stage, took in read(out / "stages.json").items() if stage in STAGES}
    summary = {stage: read(out / stage / "finished.json") for stage in STAGES}
    summary |= {"seconds": {**clock, "total": sum(clock.values())}, "versions": program.versions()}
    draw(out)
    write_json(out / "summary.json", summary)
    print(f"{table(summary)}\nwritten: {out / 'summary.json'}, {out / 'curves.png'}")


if __name__ == "__main__":
    main()
