"""TRL's side of compare.py, run by the Python of an environment that has TRL: python trl_runs.py SPEC VARIANT.

Settings that are best for TRL on a CPU: no gradient checkpointing, no logging, no saving, no dropout, fp32 as the
other side; SFT's default loss, which makes logits at trained tokens only. packed (SFT only): `packing` by best-fit
decreasing, whose rows hold several examples that restarting position ids keep apart; one row per forward pass, since
TRL flattens a batch of them into one row, whose attention mask costs its length squared; as many rows per optimizer
step as hold a batch's tokens. grouped (SFT only): batches of rows that are about equally long, which Trainer draws
instead of random ones. frozen (PPO only): TRL collects garbage twice a step, which takes as long as all that was
imported is large, and weighs on small models only; here it finds nothing to look at.
"""

import gc
import json
import sys
import tempfile
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from random_model import neox_config, with_ending, word_tokenizer
from rounds import Turns
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer


class Rounds(TrainerCallback):
    """Ends a round every `steps` optimizer steps, and waits for the next one."""

    def __init__(self, turns: Turns, spec: dict[str, Any], frozen: bool):
        self.frozen = frozen
        self.turns, self.flags, self.counts = turns, spec["flags"], {"samples": 0, "tokens": 0}
        self.losses, self.first_loss = [], None

    def count(self, samples: int, tokens: int) -> None:
        self.counts = {"samples": self.counts["samples"] + samples, "tokens": self.counts["tokens"] + tokens}

    def on_step_end(self, args, state, control, **_):
        done = state.global_step - self.flags["warmup_steps"]
        if state.global_step == 1:  # of one optimizer step, over its forward passes
            self.first_loss = float(sum(self.losses)) if self.losses else None
        if done == 0:
            versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
            self.turns.ready(versions=versions, loss=self.first_loss)
            if self.frozen:
                gc.freeze()
        elif done < 0 or done % self.flags["steps"]:
            return
        else:
            self.turns.answer(**self.counts)
        self.counts = {"samples": 0, "tokens": 0}
        if not self.turns.wait():
            sys.exit(0)


def common(spec: dict[str, Any], folder: str) -> dict[str, Any]:
    """Settings of all three trainers."""
    flags = spec["flags"]
    return {
        "output_dir": folder,
        "per_device_train_batch_size": flags["batch_size"],
        "learning_rate": flags["learning_rate"],
        "lr_scheduler_type": "constant",
        "adam_beta2": 0.95,
        "seed": flags["seed"],
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def model(spec: dict[str, Any], auto_class: Any, **more: Any) -> Any:
    flags = spec["flags"]
    config = neox_config(flags["hidden_size"], flags["layers"], flags["vocab_size"], flags["seq_len"], **more)
    return auto_class.from_config(config, attn_implementation="sdpa", dtype=torch.float32)


def total_steps(spec: dict[str, Any]) -> int:
    return len(spec["rows"]) // spec["flags"]["batch_size"]


def sft(spec: dict[str, Any], folder: str, variant: str, rounds: Rounds) -> Any:
    flags, settings = spec["flags"], common(spec, folder)
    settings["train_sampling_strategy"] = "group_by_length" if variant == "grouped" else "sequential"
    if variant == "packed":
        tokens = sum(len(ids) for ids, _ in spec["rows"]) / len(spec["rows"]) * flags["batch_size"]
        rows = max(1, round(tokens / flags["seq_len"]))
        settings |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": rows}
        settings |= {"packing": True, "packing_strategy": "bfd"}
    rows = {
        "input_ids": [ids for ids, _ in spec["rows"]],
        "labels": [[i if m else -100 for i, m in zip(ids, mask)] for ids, mask in spec["rows"]],
    }
    config = SFTConfig(
        **settings,
        max_length=flags["seq_len"],
        max_steps=total_steps(spec),
    )

    class Counted(SFTTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            mask = inputs.get("attention_mask")
            sequences = int((inputs["position_ids"] == 0).sum()) if mask is None else len(mask)
            rounds.count(sequences, inputs["input_ids"].numel() if mask is None else int(mask.sum()))
            rounds.losses.append(super().training_step(model, inputs, num_items_in_batch))
            return rounds.losses[-1]

    data, tokenizer = Dataset.from_dict(rows), word_tokenizer(flags["vocab_size"])
    lm = model(spec, AutoModelForCausalLM)
    return Counted(lm, config, train_dataset=data, processing_class=tokenizer, callbacks=[rounds])


def reward(spec: dict[str, Any], folder: str, rounds: Rounds) -> Any:
    flags = spec["flags"]
    pairs = {name: [group[i][0] for group in spec["rows"]] for i, name in enumerate(("chosen_ids", "rejected_ids"))}
    config = RewardConfig(
        **common(spec, folder),
        max_length=flags["seq_len"],
        max_steps=total_steps(spec),
        train_sampling_strategy="sequential",
    )

    class Counted(RewardTrainer):
        def training_step(self, model, inputs, *more):
            rounds.count(len(inputs["input_ids"]) // 2, int(inputs["attention_mask"].sum()))
            rounds.losses.append(super().training_step(model, inputs, *more))
            return rounds.losses[-1]

    data, tokenizer = Dataset.from_dict(pairs), word_tokenizer(flags["vocab_size"])
    scorer = model(spec, AutoModelForSequenceClassification, num_labels=1)
    return Counted(scorer, config, train_dataset=data, processing_class=tokenizer, callbacks=[rounds])


def ppo(spec: dict[str, Any], folder: str, rounds: Rounds) -> Any:
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    flags = spec["flags"]
    config = PPOConfig(
        **common(spec, folder),
        total_episodes=len(spec["rows"]),
        local_rollout_forward_batch_size=flags["batch_size"],
        response_length=flags["seq_len"] // 2,
        stop_token="eos",
        temperature=1.0,
        missing_eos_penalty=1.0,
        num_ppo_epochs=1,
        num_sample_generations=0,
    )
    tokenizer = word_tokenizer(flags["vocab_size"])
    tokenizer.padding_side = "left"
    actor, reference = (
        with_ending(model(spec, AutoModelForCausalLM), tokenizer.eos_token_id, spec["mean_answer"]) for _ in range(2)
    )
    reference.load_state_dict(actor.state_dict())
    critic, scorer = (model(spec, AutoModelForSequenceClassification, num_labels=1) for _ in range(2))

    def count(_module, _args, kwargs):  # the reward model reads every answer once, cut after its end
        rounds.count(len(kwargs["attention_mask"]), int(kwargs["attention_mask"].sum()))

    scorer.base_model.register_forward_pre_hook(count, with_kwargs=True)
    data = Dataset.from_dict({"input_ids": [ids for ids, _ in spec["rows"]]})
    return PPOTrainer(
        config,
        tokenizer,
        model=actor,
        ref_model=reference,
        reward_model=scorer,
        value_model=critic,
        train_dataset=data,
        eval_dataset=data.select(range(flags["batch_size"])),
        callbacks=[rounds],
    )


def main():
    turns = Turns()
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    rounds = Rounds(turns, spec, sys.argv[2] == "frozen")
    torch.manual_seed(spec["flags"]["seed"])
    with tempfile.TemporaryDirectory() as folder:
        if spec["task"] == "sft":
            trainer = sft(spec, folder, sys.argv[2], rounds)
        else:
            trainer = {"reward": reward, "ppo": ppo}[spec["task"]](spec, folder, rounds)
        trainer.train()


if __name__ == "__main__":
    main()
