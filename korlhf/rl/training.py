"""Step 3 as a training: sample, score, pull the actor towards higher scores and not far from the reference."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from korlhf.core.files import whole_folder, write_json
from korlhf.core.progress import one_line
from korlhf.core.seeds import PTX, derive
from korlhf.data.load import load_examples
from korlhf.data.tokenize import Codec, Tokens, sft_tokens
from korlhf.models.card import Sample, places
from korlhf.rl import mismatch
from korlhf.rl import step as ppo_step
from korlhf.rl.advantages import explained_variance, whiten
from korlhf.rl.ema import EMA
from korlhf.rl.evaluate import Row, evaluate
from korlhf.rl.flags import Flags
from korlhf.rl.mixed import Mix, means, metric
from korlhf.rl.models import Models
from korlhf.rl.rewards import KLController, Prompt, RunningMoments, RunningShaping
from korlhf.training import examples, provenance
from korlhf.training.log import Clock
from korlhf.training.loop import Order, Training, write_model
from korlhf.training.ppo_flags import NAMES, PpoFlags
from korlhf.training.run import Run
from korlhf.training.watch import finite, spread

# Answers of the untrained actor that set the zero of the score: known to 1/8 of the score's standard deviation, while
# the critic's baseline and the whitening take in what is left.
REFERENCE_ANSWERS = 64


class PpoTraining(Training):
    """Step 3 for `fit`."""

    kind = "ppo"
    shown = ("score", "kl", "eos_rate", "heldout_score")
    measured = ("score", "score_std", "kl", "eos_rate", "friendly", "sense", "ref_nll", "length")
    remedies = {
        "": "a lower --actor_learning_rate (of LoRA: --actor_lora_learning_rate) or a higher --kl_coef",
        **dict.fromkeys(
            ("critic", "value_loss"), "a lower --critic_learning_rate (of LoRA: --critic_lora_learning_rate)"
        ),
        "ptx_loss": "a lower --unsup_coef or --actor_learning_rate",
    }
    panels = [
        ("reward-model score", ["score", "heldout_score"]),
        ("KL per answer (nats)", ["kl", "heldout_kl"]),
        ("EOS rate, shares of friendly answers and of sense", ["eos_rate", "heldout_friendly", "heldout_sense"]),
        ("answer length (tokens)", ["length"]),
        ("seconds", ["seconds_sampling", "seconds_scoring", "seconds_training"]),
    ]

    def __init__(
        self,
        models: Models,
        flags: Flags,
        prompts: Sequence[Prompt],
        heldout: Sequence[Prompt],
        unsupervised: Sequence[Tokens],
        order: Order,
        run: Run,
    ):
        """unsupervised: rows of the ptx loss, none = without it; run: the folder that the best model goes to."""
        self.judge = flags.ppo.reward_model_name_or_path or flags.critic.model_name_or_path
        if flags.rewards.reward:
            self.judge = provenance.rewards(flags.rewards.rewards)
        self.mix = models.reward if isinstance(models.reward, Mix) else None
        self.models, self.flags, self.prompts, self.heldout = models, flags.ppo, prompts, heldout
        self.name = NAMES[flags.ppo.advantage_estimator]
        self.title = f"{self.name}-tuned model (step 3)"
        self.unsupervised, self.order, self.run = unsupervised, order, run
        self.bases, self.base, self.engines = flags.paths, flags.actor.model_name_or_path, models.trained
        self.world, self.best, self.rows, self.rows_before = models.world, None, [], []
        self.exp: Any = None  # of the last step
        self.shaping: Any = None  # a RunningShaping from the first step on
        self.controller = KLController(flags.ppo.kl_coef, flags.ppo.kl_target, flags.ppo.kl_horizon)
        self.ema = None
        if flags.ppo.enable_ema:
            self.ema = EMA(models.actor, flags.ppo.ema_decay)

    def _reference(self):
        """Figures of the untrained actor's answers to the reference prompts; they set the scale of several rewards."""
        generator = torch.Generator().manual_seed(self.order.seed)
        chosen = torch.randperm(len(self.prompts), generator=generator).tolist()[:REFERENCE_ANSWERS]
        own, _ = self._untrained("reference", [self.prompts[i] for i in chosen])
        if self.mix:
            self.mix.begin(own["rewards"])
        return own

    def begin(self):
        """Set the zero and spread of the score by the actor's own answers."""
        own = self._reference()
        moments = RunningMoments(own["n"], own["score"], own["score_std"] ** 2 * (own["n"] - 1))
        self.shaping = RunningShaping(moments, own["score"], self.flags, self.world.sum)
        self.rows_before = self.rows
        if self.world.first:  # of a start that was killed before its first checkpoint
            shutil.rmtree(self.run.dir / "best", ignore_errors=True)

    def state(self):
        return {
            "offset": self.shaping.offset,
            "moments": self.shaping.moments.state(),
            "kl_coef": self.controller.coef,
            "best": self.best,
            "answers_before": self.rows_before,
            **({"rewards": self.mix.state()} if self.mix else {}),
        }

    def resume(self, state):
        moments = RunningMoments(**state["moments"])
        self.shaping = RunningShaping(moments, state["offset"], self.flags, self.world.sum)
        self.controller.coef, self.best, self.rows_before = state["kl_coef"], state["best"], state["answers_before"]
        if self.mix:
            self.mix.resume(state["rewards"])

    def train_step(self, step, mine, everyone):
        clock, seed, flags = Clock(), self.order.seed, self.flags
        chosen = [(i, k) for batch in mine for i in batch for k in range(flags.num_generations)]
        self.sampled = [self.prompts[i] for i, _ in chosen]
        seeds = [derive(seed, step, *((i, k) if flags.num_generations > 1 else (i,))) for i, k in chosen]
        exp, sums, seconds = ppo_step.collect(
            self.models, self.sampled, seeds, flags, self.controller.coef, self.shaping, clock
        )
        self.exp = exp
        explained = None
        if self.models.critic:
            explained = explained_variance(exp.values, exp.returns, exp.mask, self.world.sum)
        if flags.whitens:
            exp.advantages = whiten(exp.advantages, exp.mask, self.world.sum)
        ptx = self._ptx_batches(step) if self.unsupervised else None
        trains_actor, kl_coef = step > flags.critic_warmup_steps, self.controller.coef
        statistics = ppo_step.update(self.models, exp, flags, trains_actor, ptx, kl_coef)
        seconds["training"] += clock.lap()
        if self.ema:
            self.ema.update()
        metrics = self._metrics(sums, seconds)
        if self.models.sampler and exp.mismatch is not None:
            metrics |= mismatch.measured(exp.mismatch, exp.mask, self.world.sum, self.world.gather)
            metrics |= self.models.sampler.figures
            self.models.sampler.figures = {}  # a row without a push has none
        if "kl" in metrics and finite(metrics["kl"]):
            self.controller.update(metrics["kl"], metrics["answers"])
        return metrics | statistics | {"explained_variance": explained}

    def _ptx_batches(self, step) -> Iterator[list[Tokens]]:
        """Endless lists of rows, drawn at random: the same ones after a resumption."""
        generator = torch.Generator().manual_seed(derive(self.order.seed, step, self.world.rank, stride=PTX))
        size = self.flags.per_device_training_batch_size
        while True:
            chosen = torch.randint(len(self.unsupervised), (size,), generator=generator).tolist()
            yield [self.unsupervised[i] for i in chosen]

    def _metrics(self, sums, seconds) -> dict[str, Any]:
        """Figures over all processes: scores, rewards and KL per answer, entropy per token; tokens/s count real
        tokens.
        """
        total = dict(zip(sums, self.world.sum(list(sums.values())).tolist()))
        n, tokens = total["answers"], total["tokens"]
        names = "score", "reward", "kl", "kl_k3", "eos_rate", "repetition", "same_answer", "equal_groups", "kept"
        return {
            **{k: total[k] / n for k in names if k in total},
            **means(total, n),
            "score_std": spread(n, total["score"], total["score_squares"]),
            "answers": n,
            "length": tokens / n,
            "entropy": total["entropy"] / tokens,
            "kl_coef": self.controller.coef,
            "lr": self.models.actor.lr,
            "grad_norm": self.models.actor.grad_norm(),
            **{f"seconds_{k}": v for k, v in seconds.items()},
            "sampled_tokens_per_second": tokens / seconds["sampling"],
            "trained_tokens_per_second": (tokens + total["prompt_tokens"]) / seconds["training"],
        }

    def evaluate(self):
        if not self.heldout:
            return None
        if self.shaping is None:
            if self.mix:
                self._reference()
            figures, self.rows = self._untrained("heldout", self.heldout)
        else:
            figures, self.rows = evaluate(self.models, self.heldout, self.flags, self.order.seed)
        return figures

    def _untrained(self, name, prompts):
        """`evaluate` before the first step; kept for a start that is killed before its first checkpoint."""
        path = self.run.dir / "checkpoints" / f"untrained_{name}.json"
        if all(self.world.gather(path.exists())):
            return json.loads(path.read_text(encoding="utf-8"))
        evaluated = evaluate(self.models, prompts, self.flags, self.order.seed)
        if self.world.first:
            write_json(path, evaluated)
        return evaluated

    def evaluated(self, step, figures):
        """Write OUTPUT_DIR/best if these held-out figures are finite and beat the best ones under the KL limit."""
        limit = self.flags.kl_limit
        if not (finite(figures["score"]) and finite(figures.get("kl"))):
            return
        if (limit and figures["kl"] > limit) or (self.best and figures["score"] <= self.best["score"]):
            return
        best = self.run.dir / "best"
        with whole_folder(best) if self.world.first else contextlib.nullcontext(best) as folder:
            self._write_actor(folder)
        names = "score", "kl", "eos_rate", "friendly", "sense"
        self.best = {"step": step, **{k: figures[k] for k in names if k in figures}}

    def heldout_metrics(self, figures):
        names = ("score", "kl", "eos_rate", "friendly", "sense", "ref_nll", "length", "repetition")
        of_rewards = {f"heldout_{metric(k)}": v["score"] for k, v in figures.get("rewards", {}).items() if v["n"]}
        return {f"heldout_{k}": figures[k] for k in names if k in figures} | of_rewards

    def report(self, figures, when):
        kl = f"KL {figures['kl']:.2f}, " if "kl" in figures else ""
        cost = f"{figures['ref_nll']:.2f} nats per token under the reference, " if "ref_nll" in figures else ""
        return (
            f"{when}: held-out score {figures['score']:.3f} (sd {figures['score_std']:.3f}), {kl}"
            f"EOS rate {figures['eos_rate']:.3f}, friendly {figures['friendly']:.3f}, sense {figures['sense']:.3f}, "
            f"{cost}length {figures['length']:.1f}, n {figures['n']}"
        )

    def comment(self, step):
        if not self.flags.print_answers or step % self.flags.print_answers or not self.exp:
            return ""
        lines = []
        for prompt, text, score in list(zip(self.sampled, self.exp.texts, self.exp.scores.tolist()))[:2]:
            asked, answer = one_line(prompt.messages[-1]["content"]), one_line(text)
            lines += [f"  [{step}] {asked}", f"      -> {answer}  (score {score:.3f})"]
        return "\n".join(lines)

    @property
    def saved(self):
        return {**self.engines, "ema": self.ema} if self.ema else self.engines

    def final_figures(self, after):
        return {"best": self.best, "score_offset": self.shaping.offset}

    def _write_actor(self, folder, replaced=None):
        codec = self.models.codec
        write_model(self.models.actor, codec.tokenizer, folder, self.base, codec.eos_token_id, replaced)

    def save_model(self, folder: Path):
        """Actor, average, critic if there is one, and held-out answers."""
        self._write_actor(folder)
        if self.ema:
            dtype = self.models.actor.dtype
            self._write_actor(folder / "actor_ema", {k: v.to(dtype) for k, v in self.ema.weights().items()})
        if self.models.critic:
            base = self.bases["critic_model_name_or_path"]
            write_model(self.models.critic, self.models.codec.tokenizer, folder / "critic", base)
        if self.world.first:
            rows = zip(self.rows_before, self.rows if self.heldout else ())
            write_answers(folder / "heldout_answers.jsonl", self.heldout, rows)

    def samples(self):
        """Held-out answers before and after."""
        if not self.heldout:
            return []
        rows = list(zip(self.rows_before, self.rows))
        labels = ("학습 전 · before", "학습 후 · after")
        return [
            Sample(
                self.heldout[i].messages[-1]["content"],
                [(f"{label} ({score:.3f})", text) for label, (_, text, score) in zip(labels, rows[i])],
            )
            for i in places(len(rows))
        ]

    def on_card(self, figures):
        rows = super().on_card(figures)
        if best := figures["best"]:
            kl = f" (kl {best['kl']:.3g})" if "kl" in best else ""
            rows.append((f"score of best/ (step {best['step']})", "", f"{best['score']:.4g}{kl}"))
        return rows


def write_answers(path: Path, heldout: Sequence[Prompt], rows: Iterator[tuple[Row, Row]]) -> None:
    """One line per held-out prompt: its text and category, the answers before and after, their scores."""
    with open(path, "w", encoding="utf-8") as out:
        for (i, before, score_before), (_, after, score_after) in rows:
            row = {
                "prompt": heldout[i].messages[-1]["content"],
                "category": heldout[i].category,
                "answer_before": before,
                "score_before": score_before,
                "answer_after": after,
                "score_after": score_after,
            }
            print(json.dumps(row, ensure_ascii=False), file=out)


def load_unsupervised(flags: PpoFlags, codec: Codec) -> tuple[list[Tokens], dict[str, str]]:
    """Rows of the ptx dataset and their fingerprint under "unsupervised examples"; nothing if it is not asked for."""
    if not flags.unsupervised_dataset_name:
        return [], {}
    config = flags.unsupervised_dataset_config_name
    loaded = load_examples(flags.unsupervised_dataset_name + (f":{config}" if config else ""), 1)
    limit = flags.max_prompt_seq_len + flags.max_answer_seq_len
    return sft_tokens(codec, loaded, limit)[1], {"unsupervised examples": examples.fingerprint(loaded)}
