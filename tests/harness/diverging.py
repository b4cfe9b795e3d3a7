"""Trainings that diverge, one after the other: what each ended with, as JSON lines.

python diverging.py FOLDER_OF_A_LANGUAGE_MODEL FOLDER_TO_WRITE_TO [NAME ...]
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import load_file, save_file
from step_programs import main_of
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from korlhf.core import program

words = str.split
FEW = words("--max_eval_examples 4 --lr_scheduler_type constant --seed 1")
SMALL = words("--per_device_train_batch_size 2 --max_seq_len 100 --per_device_eval_batch_size 4")
STEPS = {
    1: [*words("--model_name_or_path LM --data_path sample/sft --data_split 1,0,0"), *SMALL, *FEW],
    2: [*words("--model_name_or_path LM --data_path PAIRS --data_split 0,1,0"), *SMALL, *FEW],
    "dpo": [*words("--model_name_or_path LM --data_path PAIRS --data_split 0,1,0 --drift_prompts 0"), *SMALL, *FEW],
    3: [
        *words("--actor_model_name_or_path LM --critic_model_name_or_path RM --data_path sample/prompts"),
        *words("--data_split 0,0,1 --per_device_generation_batch_size 4 --per_device_training_batch_size 4"),
        *words("--max_answer_seq_len 6 --max_prompt_seq_len 110"),
        *FEW,
    ],
}


def planted(numbers, value, name):
    """A patch: in the last process the function `name` gives `value` at its calls `numbers`, counted from 1."""
    module, _, attribute = name.rpartition(".")
    module = __import__(module, fromlist=[attribute])
    own, calls = getattr(module, attribute), [0]

    def instead(*args, **kwargs):
        calls[0] += 1
        out = own(*args, **kwargs)
        return out * value if calls[0] in numbers and RANK == LAST else out

    return mock.patch.object(module, attribute, instead)


def bad_reward(value):
    """A patch: in the last process the reward model gives `value` for the second answer of its third batch."""
    from korlhf.rl.rewards import RewardModel

    own, calls = RewardModel.__call__, [0]

    def instead(self, prompts, texts):
        calls[0] += 1
        scores = own(self, prompts, texts)
        if calls[0] == 3 and RANK == LAST:
            scores[1] = value
        return scores

    return mock.patch.object(RewardModel, "__call__", instead)


RANK = int(os.environ.get("RANK", 0))
LAST = int(os.environ.get("WORLD_SIZE", 1)) - 1
SFT_LOSS, VALUE_LOSS = "korlhf.training.sft.sft_loss", "korlhf.rl.ppo.value_loss"
NAN, INF = float("nan"), float("inf")
# name -> (step, flags, what is patched while it runs)
CASES = {
    "sft_rate": (1, "--learning_rate 1e30 --max_steps 14", None),
    "sft_rate_few_steps": (1, "--learning_rate 1e30 --max_steps 3", None),
    "sft_rate_zero2": (1, "--learning_rate 1e30 --max_steps 14 --zero_stage 2", None),
    "sft_rate_zero3": (1, "--learning_rate 1e30 --max_steps 14 --zero_stage 3", None),
    "sft_rate_bf16": (1, "--learning_rate 1e30 --max_steps 14 --dtype bf16", None),
    "sft_rate_lora": (1, "--lora_learning_rate 1e30 --lora_dim 2 --max_steps 14", None),
    "sft_infinite_weights": (1, "--learning_rate 1e39 --max_steps 3", None),
    "sft_saves": (1, "--learning_rate 1e30 --num_warmup_steps 0 --max_steps 14 --save_steps 1", None),
    "sft_one_loss": (1, "--max_steps 5 --save_steps 2", lambda: planted({3}, NAN, SFT_LOSS)),
    "sft_one_loss_accumulated": (
        1,
        "--max_steps 4 --gradient_accumulation_steps 2 --zero_stage 1",
        lambda: planted({4}, INF, SFT_LOSS),
    ),
    "sft_stops": (1, "--max_steps 5 --save_steps 2 --stop_on_divergence", lambda: planted({4}, NAN, SFT_LOSS)),
    "sft_few_bad_steps": (1, "--max_steps 9 --max_bad_steps 2", lambda: planted({3, 4, 5}, NAN, SFT_LOSS)),
    "sft_from_nan": (1, "--max_steps 2 --model_name_or_path NAN_LM", None),
    "reward_rate": (2, "--learning_rate 1e30 --max_steps 14", None),
    "reward_from_inf": (2, "--max_steps 2 --model_name_or_path INF_RM", None),
    "reward_few_bad_steps": (
        2,
        "--max_steps 9 --max_bad_steps 2 --zero_stage 3",
        lambda: planted({3, 4}, INF, "korlhf.training.reward.ranked_loss"),
    ),
    "dpo_rate": ("dpo", "--learning_rate 1e30 --max_steps 14", None),
    "kto_one_loss": (
        "dpo",
        "--loss kto --max_steps 5 --save_steps 2 --gradient_accumulation_steps 2",
        lambda: planted({5}, NAN, "korlhf.training.dpo.kto_losses"),
    ),
    "ppo_actor_rate": (3, "--actor_learning_rate 1e30 --max_steps 14", None),
    "grpo_actor_rate": (
        3,
        "--actor_learning_rate 1e30 --max_steps 14 --advantage_estimator grpo --num_generations 2 --kl_coef 0",
        None,
    ),
    "ppo_critic_rate": (3, "--critic_learning_rate 1e30 --max_steps 14", None),
    "ppo_value_loss": (3, "--max_steps 14", lambda: planted(range(2, 20), NAN, VALUE_LOSS)),
    "ppo_nan_reward_model": (3, "--max_steps 2 --reward_model_name_or_path NAN_RM", None),
    "ppo_nan_reference": (3, "--max_steps 2 --reference_model_name_or_path NAN_LM", None),
    "ppo_inf_reward": (3, "--max_steps 2", lambda: bad_reward(INF)),
}


def broken(folder, out, value):
    """A copy of a model folder, one of whose weights is `value`."""
    out.mkdir()
    for path in Path(folder).iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    weights = load_file(out / "model.safetensors")
    next(w for name, w in sorted(weights.items()) if "norm" in name).view(-1)[1] = value
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return str(out)


def models(lm, folder):
    """Names of CASES -> model folders."""
    folder.mkdir()
    rm = folder / "rm"
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(lm, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(rm)
    AutoTokenizer.from_pretrained(lm).save_pretrained(rm)
    pairs = [{"prompt": f"{k} 더하기 {k}은?", "chosen": f"{2 * k}이에요.", "rejected": "몰라."} for k in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    both = {"LM": lm, "RM": str(rm), "PAIRS": str(folder / "pairs.jsonl")}
    return both | {
        "NAN_LM": broken(lm, folder / "nan_lm", NAN),
        "NAN_RM": broken(rm, folder / "nan_rm", NAN),
        "INF_RM": broken(rm, folder / "inf_rm", INF),
    }


def weights_finite(folder):
    """Whether the model that a run left is finite; None without one."""
    file = folder / "model.safetensors"
    return all(bool(w.isfinite().all()) for w in load_file(file).values()) if file.exists() else None


def run(name, known, folder):
    step, flags, patch = CASES[name]
    out = folder / name
    argv = [known.get(word, word) for word in [*STEPS[step], *words(flags), "--output_dir", str(out)]]
    err, told = io.StringIO(), io.StringIO()
    sys.argv = ["main.py", *argv]
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(told), patch() if patch else mock.MagicMock():
        try:
            program.run(main_of(step).main)
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = f"{type(error).__name__}: {error}"[:200]
    metrics = out / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    return {
        "case": name,
        "code": code,
        "error": next((line for line in err.getvalue().splitlines() if line.startswith("error: ")), ""),
        "warned": [line for line in told.getvalue().splitlines() if line.startswith("warning: ")],
        "warnings": {row["step"]: row["warnings"] for row in rows if "warnings" in row},
        "steps": max((row["step"] for row in rows), default=0),
        "finished": (out / "finished.json").exists(),
        "finite": weights_finite(out),
        "best": (out / "best").exists(),
        "checkpoints": sorted(p.parent.name for p in (out / "checkpoints").glob("*/state.json")),
    }


def main():
    lm, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    known = models(lm, folder / f"of_{RANK}")
    for name in names or CASES:
        print(json.dumps(run(name, known, folder), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
