"""What the pipeline on the embedded sample reached: summary.json, a table, curves.png and dialogues.md."""

import argparse
import json
from pathlib import Path

import torch

from korlhf.core import program
from korlhf.core.files import write_json
from korlhf.data import load, tokenize
from korlhf.models import causal_lm as models
from korlhf.models.tokenizer import load_tokenizer
from korlhf.rl import rollout
from korlhf.training import log

STAGES = ("base", "sft", "reward", "ppo")
PROMPTS = 12


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def summarise(out):
    """The figures of the four finished stages in `out`, as summary.json has them."""
    done, stages = {s: read(out / s / "finished.json") for s in STAGES}, read(out / "stages.json")
    sft, reward, ppo = done["sft"], done["reward"]["heldout_after"], done["ppo"]
    before, after = ppo["heldout_before"], ppo["heldout_after"]
    seconds = {s: round(stages[s]["seconds"], 1) for s in STAGES}
    return {
        "sft": {
            "heldout_loss_before": sft["heldout_before"]["loss"],
            "heldout_loss_after": sft["heldout_after"]["loss"],
            "n": sft["heldout_after"]["n"],
            "by_category": {c: f["loss"] for c, f in sft["heldout_after"]["by_category"].items()},
        },
        "reward": {
            "heldout_accuracy": reward["accuracy"],
            "n": reward["n"],
            "ci95": reward["ci95"],
            "mean_margin": reward["mean_margin"],
            "by_category": {c: f["accuracy"] for c, f in reward["by_category"].items()},
            "trivial_rules": done["reward"]["trivial_rules"],
        },
        "ppo": {
            "heldout_score_before": before["score"],
            "heldout_score_after": after["score"],
            "heldout_score_sd_before": before["score_std"],
            "friendly_before": before["friendly"],
            "friendly_after": after["friendly"],
            "kl": after["kl"],
            "eos_rate_before": before["eos_rate"],
            "eos_rate_after": after["eos_rate"],
            "mean_length_before": before["length"],
            "mean_length_after": after["length"],
            "n": after["n"],
            "by_category": {
                c: {
                    "score_before": before["by_category"][c]["score"],
                    "score_after": f["score"],
                    "friendly_before": before["by_category"][c]["friendly"],
                    "friendly_after": f["friendly"],
                }
                for c, f in after["by_category"].items()
            },
            "best": ppo["best"],
        },
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
        "peak_rss_mb": {s: round(stages[s]["peak_rss_mb"]) for s in STAGES},
        "versions": program.versions(),
    }


def table(s):
    sft, reward, ppo = s["sft"], s["reward"], s["ppo"]
    rule, share = max(reward["trivial_rules"].items(), key=lambda item: item[1])
    gain = (ppo["heldout_score_after"] - ppo["heldout_score_before"]) / ppo["heldout_score_sd_before"]
    rows = [
        (
            "SFT: held-out loss",
            f"{sft['heldout_loss_before']:.3f}",
            f"{sft['heldout_loss_after']:.3f}",
            f"n {sft['n']}",
        ),
        (
            "reward: held-out accuracy",
            f"{share:.3f}",
            f"{reward['heldout_accuracy']:.3f}",
            f"n {reward['n']}, 95 % {reward['ci95'][0]:.3f}-{reward['ci95'][1]:.3f}; before = best trivial rule ({rule})",
        ),
        (
            "PPO: held-out score",
            f"{ppo['heldout_score_before']:.3f}",
            f"{ppo['heldout_score_after']:.3f}",
            f"n {ppo['n']}, {gain:+.2f} SD of the SFT answers",
        ),
        (
            "PPO: friendly share",
            f"{ppo['friendly_before']:.3f}",
            f"{ppo['friendly_after']:.3f}",
            "rule-based check, see README",
        ),
        ("PPO: EOS rate", f"{ppo['eos_rate_before']:.3f}", f"{ppo['eos_rate_after']:.3f}", ""),
        (
            "PPO: answer length (tokens)",
            f"{ppo['mean_length_before']:.1f}",
            f"{ppo['mean_length_after']:.1f}",
            f"KL {ppo['kl']:.2f} nats per answer",
        ),
    ]
    lines = [f"{'':<30}{'before':>10}{'after':>10}", *(f"{a:<30}{b:>10}{c:>10}  {d}" for a, b, c, d in rows)]
    took = "  ".join(
        f"{k} {v:.0f} s ({s['peak_rss_mb'][k]} MiB)" if k in s["peak_rss_mb"] else f"{k} {v:.0f} s"
        for k, v in s["seconds"].items()
    )
    return "\n".join([*lines, took])


def draw(out, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [
        ("SFT: loss (nats per token)", "sft", ["loss", "heldout_loss"]),
        ("reward model: accuracy", "reward", ["accuracy", "heldout_accuracy"]),
        ("PPO: reward-model score", "ppo", ["score", "heldout_score"]),
        ("PPO: KL per answer (nats)", "ppo", ["kl", "heldout_kl"]),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4))
    for axis, (title, stage, names) in zip(axes.flat, panels):
        rows = log.read_metrics(out / stage)
        for name in names:
            points = [(r["step"], r[name]) for r in rows if name in r]
            held = name.startswith("heldout")
            axis.plot(
                *zip(*points),
                label="held-out" if held else "training",
                marker="o" if held else None,
                markersize=4,
                linewidth=1.8 if held else 1,
            )
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def dialogues(out, seed):
    """dialogues.md: the same held-out prompts answered by base, SFT and PPO."""
    examples = load.load_examples("sample/heldout_prompts", 3)
    categories = sorted({e.category for e in examples})
    picked = [
        [e for e in examples if e.category == c][k] for k in range(-(-PROMPTS // len(categories))) for c in categories
    ][:PROMPTS]
    answers = {}
    for stage in ("base", "sft", "ppo"):
        tokenizer = load_tokenizer(str(out / stage))
        codec = tokenize.Codec(tokenizer)
        lm = models.load_causal_lm(str(out / stage), tokenizer)
        ids = rollout.sample(
            lm,
            [codec.prompt(e.messages).ids for e in picked],
            codec.stop_id,
            64,
            [seed + i for i in range(len(picked))],
            temperature=0.7,
            top_p=0.9,
        )
        answers[stage] = [codec.decode(a) for a in ids]
    lines = [
        "# The same held-out prompts, answered by the base model, after SFT and after PPO",
        "",
        f"Sampled at temperature 0.7, top-p 0.9, at most 64 tokens, seed {seed}, KULLM template.",
        "",
    ]
    for i, e in enumerate(picked):
        lines += [
            f"## {i + 1}. {e.prompt}",
            "",
            f"*{e.category}*",
            "",
            *(f"- **{s}**: {answers[s][i] or '(empty)'}" for s in answers),
            "",
        ]
    (out / "dialogues.md").write_text("\n".join(lines), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description="Table, picture and dialogues of a finished run on the embedded sample."
    )
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--seed", type=int, default=1234)
    args = parser.parse_args()
    out = Path(args.output_dir)
    summary = summarise(out)
    draw(out, out / "curves.png")
    torch.manual_seed(args.seed)
    dialogues(out, args.seed)
    write_json(out / "summary.json", summary)
    print(table(summary))
    print(f"written: {out / 'summary.json'}, curves.png, dialogues.md")


if __name__ == "__main__":
    main()
