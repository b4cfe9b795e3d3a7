"""The flags of steps 1 to 3, and DeepSpeed-Chat's flags that are gone.

The names are DeepSpeed-Chat's wherever it has the same setting. A flag of DeepSpeed-Chat that has no counterpart here
is in REMOVED: it is refused with the reason and the remedy, never silently accepted.
"""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from korlhf.core.flags import REQUIRED, Parser, flag, seed_flag

_HYBRID = (
    "the hybrid engine garbles GPT-NeoX text and fails on transformers 5. "
    "Delete the flag: sampling has its own batched loop"
)

_CONFIG = "the DeepSpeed configuration is written from the flags. Use --zero_stage, --offload and --dtype"

REMOVED = {
    "--data_output_path": "tokens are not kept on disk (a cache keyed by name served old rows). Delete the flag",
    "--num_padding_at_beginning": "the first and last real token are known from lengths. Delete the flag",
    "--enable_hybrid_engine": _HYBRID,
    "--unpin_actor_parameters": _HYBRID,
    "--release_inference_cache": _HYBRID,
    "--inference_tp_size": _HYBRID,
    "--tp_gather_partition_size": _HYBRID,
    "--enable_mixed_precision_lora": _HYBRID,
    "--compute_fp32_loss": "losses are always computed in fp32. Delete the flag",
    "--no_bf16_to_fp32_loss": "losses are always computed in fp32. Delete the flag",
    "--add_eot_token": "the end of an answer is the tokenizer's own EOS, a trained token. Delete the flag",
    "--eot_token": "the end of an answer is the tokenizer's own EOS, a trained token. Delete the flag",
    "--print_loss": "the loss is on the progress bar and in metrics.jsonl at every step. Delete the flag",
    "--eval_iters": "held-out figures are over the whole held-out set. Use --max_eval_examples for a smaller one",
    "--no_fused_kernels": "torch's AdamW is used (fused on CUDA), nothing is compiled. Delete the flag",
    "--disable_dropout": "use --dropout 0",
    "--disable_actor_dropout": "dropout is off in step 3. Delete the flag",
    "--disable_critic_dropout": "dropout is off in step 3. Delete the flag",
    "--actor_dropout": "dropout is off in step 3: ratios would be wrong with it. Delete the flag",
    "--critic_dropout": "dropout is off in step 3: ratios would be wrong with it. Delete the flag",
    "--align_overflow": "use --dtype bf16, which does not overflow. Delete the flag",
    "--enable_test_mode": "use --max_steps N to stop early",
    "--test_stop_step": "use --max_steps N to stop early",
    "--print_answers_interval": "use --print_answers N, which prints every N steps",
    "--preprocessing_num_workers": "rows are tokenised once at the start. Delete the flag",
    "--per_device_mini_train_batch_size": "its name is that of later versions. Use --per_device_training_batch_size",
    "--generation_batch_numbers": "its name is that of later versions. Use --generation_batches",
    "--deepspeed_config": _CONFIG,
    "--deepscale": "DeepSpeed's old name. Delete the flag: DeepSpeed always runs",
    "--offload_reward_model": "the reward model is spread over the GPUs with its critic. Use --critic_zero_stage 3",
    "--per_device_train_batch_size": (
        "step 3 has two batch sizes. Use --per_device_generation_batch_size and --per_device_training_batch_size"
    ),
    "--deepscale_config": _CONFIG,
}


SCHEDULES = ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"]


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """data: what to train on"""

    data_path: list[str] = flag(
        REQUIRED, "dataset names of korlhf/data/datasets.yaml, hub names, folders, or JSON/JSONL/CSV/parquet files"
    )
    data_split: str = flag(
        "2,4,4", "shares of each dataset for steps 1, 2 and 3, e.g. 2,4,4; a prompt is in one share only"
    )
    eval_data_path: list[str] = flag(
        [], "held-out datasets; none: the dataset's own evaluation split, else --eval_share of it"
    )
    eval_share: float = flag(
        0.05, "share of each training dataset held out when it has no evaluation split", low=0, below=1
    )
    max_eval_examples: int = flag(0, "at most this many held-out examples; 0 = all", low=0)
    prompt_template: str = flag(
        "auto",
        "how a conversation is written out; auto = the model's own if it has one, else kullm",
        choices=["auto", "kullm", "human_assistant", "chat"],
    )
    seed: int = seed_flag("seed of the split, the shuffle, the new weights and the sampler")


@dataclass(frozen=True, kw_only=True)
class SftDataFlags:
    """data of step 1 only"""

    sft_only_data_path: list[str] = flag([], "datasets used whole in step 1 and in no other step")
    train_on_prompt: bool = flag(False, "count the prompt's tokens in the loss too, not only the answers and their EOS")


def margin_flag() -> Any:
    """Declare --margin_column, of every program that tells how right a reward model is."""
    return flag(
        "",
        "column with the margin of a pair, or the list of its answers' scores, as a judge gave them (margin in files "
        "of data_prep/rank.py): the report then has accuracy by margin, and how far labels alone limit it",
    )


@dataclass(frozen=True, kw_only=True)
class PairFlags:
    """pairs of step 2"""

    margin_column: str = margin_flag()
    min_margin: float = flag(
        0.0, "train only on pairs with at least this margin; pairs without one, as people's, stay", low=0
    )
    margin_weight: float = flag(
        0.0,
        "the better answer's score is to be higher by this times the margin (Llama 2, arXiv 2307.09288, equation 2); "
        "0 = by any amount, as is a pair without a margin",
        low=0,
    )
    center_rewards: float = flag(
        0.0, "weight of the squared sum of a pair's scores in the loss: scores have mean 0 (arXiv 2312.09244)", low=0
    )
    label_smoothing: float = flag(
        0.0, "share of the pairs that are taken to be labelled wrongly (cDPO's loss, on scores)", low=0, below=0.5
    )


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """model: one trained model; step 3 declares it twice, as actor_ and critic_"""

    model_name_or_path: str = flag(REQUIRED, "a checkpoint folder or a hub name")
    learning_rate: float = flag(1e-5, "peak learning rate", above=0)
    weight_decay: float = flag(0.0, "weight decay; biases and norms are left out", low=0)
    zero_stage: int = flag(0, "ZeRO stage", choices=[0, 1, 2, 3])
    gradient_checkpointing: bool = flag(
        False, "recompute activations in the backward pass: less memory, about 30 %% slower"
    )
    lora_dim: int = flag(0, "LoRA rank; 0 trains all weights", low=0)
    lora_module_name: str = flag(
        "auto",
        "modules that get LoRA, comma separated; auto = by architecture "
        "(query_key_value for GPT-NeoX, q/k/v/o_proj for Llama); all-linear = every linear layer but the head",
    )
    lora_alpha: int = flag(0, "LoRA scale numerator; 0 = twice the rank", low=0)
    use_dora: bool = flag(False, "DoRA: LoRA with a trained length of each row of the weights; needs a LoRA rank")
    load_in_4bit: bool = flag(False, "QLoRA: the frozen weights in 4 bits (nf4, bitsandbytes); needs a LoRA rank")
    lora_learning_rate: float = flag(5e-4, "peak learning rate of the LoRA weights", above=0)
    adam_beta1: float = flag(0.9, "decay of AdamW's mean of gradients", low=0, below=1)
    adam_beta2: float = flag(0.95, "decay of AdamW's mean of squared gradients", low=0, below=1)


@dataclass(frozen=True, kw_only=True)
class DropoutFlags:
    """dropout of steps 1 and 2 (step 3 runs without)"""

    dropout: float | None = flag(
        None, "dropout probability of the model; not given = the checkpoint's own", low=0, below=1
    )
    lora_dropout: float = flag(0.0, "dropout probability of what goes into the LoRA layers", low=0, below=1)


@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """training"""

    per_device_train_batch_size: int = flag(16, "sequences (step 2: prompts) per process and forward pass", above=0)
    per_device_eval_batch_size: int = flag(16, "sequences (step 2: prompts) per process when evaluating", above=0)
    max_seq_len: int = flag(512, "longest prompt + answer in tokens; longer examples are left out and counted", above=0)
    num_train_epochs: int = flag(1, "passes over the training set, each in a new order", above=0)
    gradient_accumulation_steps: int = flag(1, "forward passes per optimizer step", above=0)


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """run: schedule, precision, saving and logging of every step"""

    output_dir: str = flag(REQUIRED, "where the finished model, the checkpoints and the logs go", output="folder")
    lr_scheduler_type: str = flag("cosine", "learning-rate schedule", choices=SCHEDULES)
    num_warmup_steps: int = flag(0, "optimizer steps of linear warm-up", low=0)
    max_grad_norm: float = flag(1.0, "gradient clipping; 0 = off", low=0)
    max_steps: int = flag(0, "stop after this many optimizer steps (step 3: PPO steps); 0 = run all epochs", low=0)
    dtype: str = flag(
        "auto", "precision; auto = bf16 where the hardware has it, else fp32", choices=["auto", "bf16", "fp16", "fp32"]
    )
    offload: bool = flag(False, "keep optimizer states in CPU memory (ZeRO stage 1-3)")
    only_optimize_lora: bool = flag(
        False, "accepted for DeepSpeed-Chat's scripts: with a LoRA rank the base weights are always frozen"
    )
    save_steps: int = flag(0, "write a resumable checkpoint every N steps; 0 = only the finished model", low=0)
    save_total_limit: int = flag(1, "resumable checkpoints that are kept", low=1)
    max_bad_steps: int = flag(
        10, "end with exit code 3 after this many steps in a row whose loss or gradient is not finite", low=1
    )
    stop_on_divergence: bool = flag(
        False,
        "end with exit code 3, at the last good checkpoint, with the first step that is not finite or the first "
        "warning of a collapse",
    )
    eval_interval: int = flag(
        0, "evaluate every N steps (step 3 keeps the best model too); 0 = only before and after", low=0
    )
    overwrite_output_dir: bool = flag(False, "delete an earlier run in --output_dir instead of resuming it")
    report_to: list[str] = flag(
        [],
        "also write the metrics to tensorboard, wandb, trackio, or several of them; on this machine alone, unless "
        "WANDB_MODE=online or TRACKIO_SPACE_ID is set; not given or none: metrics.jsonl and curves.png only",
        choices=["tensorboard", "wandb", "trackio", "none"],
    )
    enable_tensorboard: bool = flag(False, "--report_to tensorboard, as DeepSpeed-Chat spells it")
    tensorboard_path: str = flag(
        "", "folder of the TensorBoard events; not given = OUTPUT_DIR/tensorboard", output="folder"
    )
    attn_implementation: str = flag("sdpa", "attention kernel", choices=["sdpa", "eager", "flash_attention_2"])
    packing: str = flag(
        "auto",
        "batches without padding; auto = if the model keeps packed sequences apart (tried at the start), else padded "
        "rows; on = stop if it does not; off = padded rows",
        choices=["auto", "on", "off"],
    )
    trust_remote_code: bool = flag(False, "run Python code that comes with a hub model")
    estimate_memory: int = flag(
        0,
        "print the memory that these flags take on each of N GPUs, and what would take less, and stop; nothing is "
        "loaded; 0 = train",
        nargs="?",
        const=1,
        low=0,
    )
    ddp_timeout: float = flag(
        1800.0,
        "seconds that a process waits for the others in one exchange before it ends: how soon one that hangs, or a "
        "machine that vanishes, is noticed",
        above=0,
        high=31_536_000,
    )
    local_rank: int = flag(-1, "set by the deepspeed launcher", low=-1)

    @property
    def reports(self) -> list[str]:
        """The trackers that are asked for, each once."""
        named = [*self.report_to, *(["tensorboard"] if self.enable_tensorboard else [])]
        return [name for name in dict.fromkeys(named) if name != "none"]


def check(data: DataFlags, models: dict[str, ModelFlags], run: RunFlags, parser: Parser) -> None:
    """Refuse values that cannot work, naming the flag and the remedy, as argparse does.

    models: prefix of the flags -> ModelFlags.
    """
    shares = [s.strip() for s in data.data_split.split(",")]
    if len(shares) != 3 or not all(s.replace(".", "", 1).isdigit() for s in shares) or not any(map(float, shares)):
        parser.error(f"--data_split {data.data_split!r}: give three shares, one for each step, e.g. 2,4,4")
    for prefix, model in models.items():
        for name in ("use_dora", "load_in_4bit"):
            if getattr(model, name) and not model.lora_dim:
                parser.error(f"--{prefix}{name} needs a LoRA rank: set --{prefix}lora_dim, e.g. 16")
        if model.load_in_4bit and model.zero_stage == 3:
            parser.error(
                f"--{prefix}load_in_4bit: weights of 4 bits cannot be spread by ZeRO-3; set --{prefix}zero_stage to 2"
            )
        if model.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
            parser.error(f"--{prefix}load_in_4bit: bitsandbytes is not installed; pip install 'korlhf[qlora]'")
        path = Path(model.model_name_or_path).expanduser()
        if model.lora_dim and (path / "adapter_config.json").exists() and not (path / "config.json").exists():
            parser.error(
                f"--{prefix}lora_dim {model.lora_dim}: {path} is a LoRA adapter itself, and no second one can be saved "
                "over it; give the folder of the merged model (the one above adapter/)"
            )
    if "none" in run.report_to and len(set(run.report_to)) > 1:
        parser.error(f"--report_to {' '.join(run.report_to)}: none goes with no other; delete it, or the others")
    for name in run.reports:
        if importlib.util.find_spec(name) is None:
            parser.error(f"--report_to {name}: {name} is not installed; run: '{sys.executable}' -m pip install {name}")
    if run.only_optimize_lora and not any(m.lora_dim for m in models.values()):
        flags = " or ".join(f"--{prefix}lora_dim" for prefix in models)
        parser.error(f"--only_optimize_lora needs a LoRA rank: set {flags}, or delete it")
    if run.offload and not any(m.zero_stage for m in models.values()):
        parser.error(f"--offload needs ZeRO: set {' or '.join(f'--{p}zero_stage' for p in models)} to 1, 2 or 3")


def step_parser(description: str, removed: dict[str, str] | None = None) -> Parser:
    """The Parser of a step's programs; takes --deepspeed, which DeepSpeed-Chat's scripts give.

    removed: further flags that are gone.
    """
    parser = Parser({**REMOVED, **(removed or {})}, description=description)
    parser.add_argument(
        "--deepspeed", action="store_true", help="accepted for DeepSpeed-Chat's scripts: DeepSpeed always runs"
    )
    return parser
