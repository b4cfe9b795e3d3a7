"""What the three steps reached on the sample: summary.json (the finished.json of each stage), table and curves.png."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from korlhf.core import program
from korlhf.core.files import read_json, write_json
from korlhf.training import log

PANELS = {"SFT: loss (nats per token)": "sft loss", "reward model: accuracy": "reward accuracy"}
OF_DPO = {"accuracy of the implicit reward": "accuracy", "margin of the implicit reward": "margin"}
OF_RL = {"reward-model score": "score", "KL per answer (nats)": "kl"}


def of_last(summary, name):
    """Rows of the table for the last training: (title, key, note)."""
    before, after = summary[name]["heldout_before"], summary[name]["heldout_after"]
    if name == "dpo":
        return [("held-out accuracy", "accuracy", ", of the implicit reward")]
    gain = (after["score"] - before["score"]) / before["score_std"]
    kl = f", KL {after['kl']:.2f} nats per answer" if "kl" in after else ""  # without a KL penalty none is measured
    return [
        ("held-out score", "score", f", {gain:+.2f} SD of the SFT answers"),
        ("friendly share", "friendly", ", rule-based check, see docs/evaluation.md"),
        ("share of sense", "sense", ", the same"),
        ("nats/token, reference", "ref_nll", ""),
        ("EOS rate", "eos_rate", ""),
        ("answer length (tokens)", "length", kl),
    ]


def table(summary, stages):
    """The summary for people: one line per figure, on held-out data before and after its stage; seconds and memory."""
    rule, share = max(summary["reward"]["trivial_rules"].items(), key=lambda item: item[1])
    low, high = summary["reward"]["heldout_after"]["ci95"]
    interval = f", 95 % {low:.3f}-{high:.3f}; before = best baseline ({rule})"
    lines = [f"{'':<30}{'before':>10}{'after':>10}"]
    last_of_all = stages[-1]
    for title, stage, key, note in [
        ("SFT: held-out loss", "sft", "loss", ""),
        ("reward: held-out accuracy", "reward", "accuracy", interval),
        *((f"{last_of_all.upper()}: {title}", last_of_all, *row) for title, *row in of_last(summary, last_of_all)),
    ]:
        first, last = summary[stage]["heldout_before"], summary[stage]["heldout_after"]
        if key not in last:
            continue
        start = share if stage == "reward" else first[key]
        lines.append(f"{title:<30}{start:>10.3f}{last[key]:>10.3f}  n {last['n']}{note}")
    took = [f"{stage} {seconds:.0f} s" for stage, seconds in summary["seconds"].items()]
    most = max(summary[stage]["peak_memory_mb"] for stage in stages)
    return "\n".join([*lines, "  ".join([*took, f"at most {most:.0f} MiB"])])


def draw(out, algorithm):
    """curves.png: over the steps, what was measured in training and on held-out data."""
    own = OF_DPO if algorithm == "dpo" else OF_RL
    panels = PANELS | {f"{algorithm.upper()}: {title}": f"{algorithm} {name}" for title, name in own.items()}
    figure = Figure(figsize=(10, 6.4))
    axes = figure.subplots(2, 2)
    for axis, (title, panel) in zip(axes.flat, panels.items(), strict=True):
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
    parser.add_argument("--algorithm", default="ppo", help="name of the last training's folder")
    args = parser.parse_args()
    out, stages = args.output_dir, ("base", "sft", "reward", args.algorithm)
    clock = {stage: took["seconds"] for stage, took in read_json(out / "stages.json").items() if stage in stages}
    summary = {stage: read_json(out / stage / "finished.json") for stage in stages}
    summary |= {"seconds": {**clock, "total": sum(clock.values())}, "versions": program.versions()}
    draw(out, args.algorithm)
    write_json(out / "summary.json", summary)
    print(f"{table(summary, stages)}\nwritten: {out / 'summary.json'}, {out / 'curves.png'}")


if __name__ == "__main__":
    main()
