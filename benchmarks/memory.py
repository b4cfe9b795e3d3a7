"""The tables of GPU memory in docs/gpu.md: --estimate_memory for Polyglot-Ko's shapes. Measures nothing.

python benchmarks/memory.py
"""

import tempfile
from pathlib import Path
from typing import Any

from transformers import GPTNeoXConfig

from korlhf.training.estimate import GIB, Given, estimate, peak
from korlhf.training.flags import ModelFlags, RunFlags, TrainFlags
from korlhf.training.memory import FILL
from korlhf.training.ppo_flags import PpoFlags

SHAPES = {"1.3B": (2048, 24, 16), "3.8B": (3072, 32, 24), "5.8B": (4096, 28, 16), "12.8B": (5120, 40, 40)}
CRITIC_OF = {"12.8B": "5.8B"}  # as the run scripts pair them; every other actor has a critic of its own size
GPU_SIZES = (24, 40, 80)
BATCHES = (32, 16, 8, 4, 2, 1)
LORA_DIM, SEQ_LEN = 16, 512


def write_configs(folder: Path) -> dict[str, str]:
    """Name -> folder of a config and nothing else."""
    for name, (hidden, layers, heads) in SHAPES.items():
        shape: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
        config = GPTNeoXConfig(vocab_size=30_080, intermediate_size=4 * hidden, **shape)
        config.save_pretrained(folder / name)
    return {name: str(folder / name) for name in SHAPES}


def bytes_of(
    step: int, paths: tuple[str, str], lora_dim: int, batch: int, gpus: int = 1, offload: bool = False
) -> float:
    """Peak on each GPU. paths: of the model and, for step 3, of its critic; one GPU runs ZeRO 2, several ZeRO 3."""
    how: dict[str, Any] = {"lora_dim": lora_dim, "zero_stage": 3 if gpus > 1 else 2, "gradient_checkpointing": True}
    models = [ModelFlags(model_name_or_path=path, **how) for path in paths]
    flags: Any = TrainFlags(per_device_train_batch_size=batch, max_seq_len=SEQ_LEN)
    if step == 3:
        half = {"max_prompt_seq_len": SEQ_LEN // 2, "max_answer_seq_len": SEQ_LEN // 2}
        flags = PpoFlags(per_device_generation_batch_size=batch, per_device_training_batch_size=batch, **half)
    named = dict(zip(("actor_", "critic_"), models)) if step == 3 else {"": models[0]}
    return peak(estimate(Given(step, named, flags, RunFlags(output_dir="-", offload=offload), gpus, "bf16")))


def choose(step: int, paths: tuple[str, str], gpu: int, lora_dim: int) -> tuple[int, str, float] | None:
    """The simplest setting that fits `gpu` GiB: one GPU; with offload, if that at least doubles a batch below 8; ZeRO-3
    on 2 to 16 GPUs; or None. (batch, how, bytes)
    """

    def largest(how, **setting):
        tried = ((b, how, bytes_of(step, paths, lora_dim, b, **setting)) for b in BATCHES)
        return next((found for found in tried if found[2] <= gpu * GIB * FILL), None)

    plain, offloaded = largest(""), None
    if plain is None or plain[0] < 8:
        offloaded = largest(", offload", offload=True)
    if plain and (offloaded is None or offloaded[0] < 2 * plain[0]):
        return plain
    several = (largest(f", {n} GPUs, ZeRO 3", gpus=n) for n in (2, 4, 8, 16))
    return offloaded or next(filter(None, several), None)


def cell(step: int, name: str, gpu: int, lora_dim: int, folders: dict[str, str]) -> str:
    found = choose(step, (folders[name], folders[CRITIC_OF.get(name, name)]), gpu, lora_dim)
    kind = "LoRA" if lora_dim else "full"
    return f"{kind}: {found[0]}{found[1]} ({found[2] / GIB:.1f} GiB)" if found else f"{kind}: -"


def tables(folders: dict[str, str]) -> str:
    """The three tables of docs/gpu.md."""
    out = []
    for step in (1, 2, 3):
        out += [f"| step {step} | " + " | ".join(SHAPES) + " |", "|---" * (len(SHAPES) + 1) + "|"]
        for gpu in GPU_SIZES:
            cells = (f"{cell(step, m, gpu, 0, folders)}<br>{cell(step, m, gpu, LORA_DIM, folders)}" for m in SHAPES)
            out.append(f"| {gpu} GB | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        print(tables(write_configs(Path(scratch))), end="")
