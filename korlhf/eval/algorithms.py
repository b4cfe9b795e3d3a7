"""The comparison of algorithms: answers of all models to the same prompts, and what they cost.

Left out: a test between two algorithms. Three seeds tell how far two runs of the same one lie apart, which is what the
lowest and the highest of a row show.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from korlhf.core.errors import InputError
from korlhf.core.files import read_json, write_json
from korlhf.data import record
from korlhf.data.prompts import prompts
from korlhf.eval import diversity, weights
from korlhf.judges.reward import RewardJudge
from korlhf.korean import friendly
from korlhf.llm.cache import Cache
from korlhf.llm.checkpoint import Checkpoint
from korlhf.llm.flags import CheckpointFlags
from korlhf.llm.protocol import Failure

NAMES = {"ppo": "PPO", "rloo": "RLOO", "grpo": "GRPO", "reinforce": "REINFORCE", "dpo": "DPO"}
SFT = "sft"
MAX_SEQ_LEN = 4096  # tokens of prompt and answer that the reward model reads at most
COLUMNS = {  # figure -> (heading, digits)
    "score": ("score", 2),
    "kl": ("KL", 2),
    "friendly": ("friendly", 3),
    "sense": ("sense", 3),
    "distinct_2": ("distinct-2", 3),
    "eos_rate": ("EOS", 3),
    "seconds": ("seconds", 0),
    "peak_memory_mb": ("MB", 0),
}


@dataclass(frozen=True)
class Trained:
    """A model of the comparison. algorithm: of NAMES, or SFT; costs: its seconds and peak memory in MB."""

    algorithm: str
    seed: int
    folder: Path
    costs: dict[str, float]

    @property
    def name(self) -> str:
        return self.folder.name


def trained(run: Path) -> list[Trained]:
    """The SFT model and all finished models of a run. Raises InputError if one is missing."""
    found = [Trained(SFT, 0, run / SFT, {})]
    clock = read_json(run / "stages.json") if (run / "stages.json").exists() else {}
    for algorithm in NAMES:
        for folder in sorted(run.glob(f"{algorithm}_[0-9]*")):
            if not (folder / "finished.json").exists():
                raise InputError(f"--run_dir {run}: {folder.name} is not finished; start its training again")
            costs = {"peak_memory_mb": read_json(folder / "finished.json")["peak_memory_mb"]}
            costs |= {"seconds": clock[folder.name]["seconds"]} if folder.name in clock else {}
            found.append(Trained(algorithm, int(folder.name.rpartition("_")[2]), folder, costs))
    if len(found) == 1 or not (run / SFT).is_dir() or not (run / "reward").is_dir():
        raise InputError(
            f"--run_dir {run}: needs sft, reward and models such as ppo_1; make them with RECIPE=algorithms bash "
            "applications/rlhf/run_all.sh"
        )
    return found


def measure(found: Sequence[Trained], args: Any) -> dict[str, dict[str, float]]:
    """{name of a model: its figures}; args: eval.algorithms.AlgorithmFlags."""
    run = Path(args.run_dir)
    talks = [record.messages(r) for r in prompts(args.data_path, args.max_prompts, args.seed)]
    opened = {one.name: Checkpoint(str(one.folder), "--run_dir") for one in found}
    judge = RewardJudge(str(run / "reward"), "--run_dir", CheckpointFlags(), MAX_SEQ_LEN, args.batch_size)
    longest = min((c.positions - args.max_new_tokens for c in opened.values() if c.positions), default=None)
    asked = {name: weights.queries(c, talks, range(len(talks)), longest, args.seed) for name, c in opened.items()}
    with Cache(run / "algorithms.sqlite") as cache:
        nothing = dict.fromkeys(opened, ())
        _, drawn = weights.measure(opened, nothing, asked, SFT, args.max_new_tokens, cache, args.batch_size)
        texts = {name: [opened[name].codec.decode(a["ids"]) for a in answers] for name, answers in drawn.items()}
        scores = {
            name: judge.scores([talks[a["prompt"]] for a in drawn[name]], [[t] for t in of_one], cache)
            for name, of_one in texts.items()
        }
    pairs = {name: [diversity.ngrams(text, 2) for text in of_one] for name, of_one in texts.items()}
    size, out = diversity.budget(pairs.values()), {}
    for one in found:
        figures = _figures(drawn[one.name], texts[one.name], scores[one.name], opened[one.name].codec.eos_token_id)
        distinct = diversity.equal_distinct(pairs[one.name], size)
        out[one.name] = figures | ({"distinct_2": distinct.value} if distinct else {}) | one.costs
    return out


def _figures(drawn, texts, scores, eos_token_id):
    numbers = [score for (score,) in scores if not isinstance(score, Failure)]
    manners = friendly.shares(friendly.manners(texts))
    return {
        "score": statistics.fmean(numbers),
        "score_std": statistics.stdev(numbers),
        "kl": statistics.fmean(a["k1"] for a in drawn),
        "friendly": manners["friendly"],
        "sense": manners["sense"],
        "eos_rate": statistics.fmean(a["ids"][-1] == eos_token_id for a in drawn),
        "n": len(numbers),
    }


def write(run: Path, measured: dict[str, dict[str, float]], args: Any) -> list[Path]:
    """algorithms.json, the table algorithms.md and the picture algorithms.png in the run's folder: their paths."""
    paths = [run / f"algorithms.{kind}" for kind in ("json", "md", "png")]
    write_json(paths[0], {"models": measured, "settings": {"seed": args.seed, "max_new_tokens": args.max_new_tokens}})
    text = table(measured)
    paths[1].write_text(text + "\n", encoding="utf-8")
    print(text)
    draw(paths[2], measured)
    return paths


def by_algorithm(measured: dict[str, dict[str, float]]) -> dict[str, list[dict[str, float]]]:
    """{SFT or an algorithm of NAMES: the figures of its models}."""
    every = {name: [f for of, f in measured.items() if of.rpartition("_")[0] == name] for name in NAMES}
    return {SFT: [measured[SFT]]} | {name: figures for name, figures in every.items() if figures}


def table(measured: dict[str, dict[str, float]]) -> str:
    """Markdown: of each algorithm the mean over its seeds, with the lowest and the highest; scores in standard
    deviations of the SFT model's, above its mean.
    """
    heads = [head for head, _ in COLUMNS.values()]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    sft = measured[SFT]
    for name, figures in by_algorithm(measured).items():
        cells = []
        for key, (_, digits) in COLUMNS.items():
            values = [f[key] for f in figures if key in f]
            if key == "score":
                values = [(value - sft["score"]) / sft["score_std"] for value in values]
            cells.append(_cell(values, digits))
        title = "SFT" if name == SFT else f"{NAMES[name]} ({len(figures)})"
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values, digits):
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f}, {max(values):.{digits}f})"


def draw(path: Path, measured: dict[str, dict[str, float]]) -> None:
    """Score over KL, a point for each model: what an algorithm gets for the distance from the SFT model."""
    figure, sft = Figure(figsize=(6.4, 4.4)), measured[SFT]
    axis = figure.subplots()
    for name, figures in by_algorithm(measured).items():
        x = np.array([f["kl"] for f in figures])
        y = np.array([(f["score"] - sft["score"]) / sft["score_std"] for f in figures])
        axis.plot(x, y, "o", label="SFT" if name == SFT else NAMES[name])
    axis.set(xlabel="KL per answer (nats)", ylabel="score above SFT (standard deviations)")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
