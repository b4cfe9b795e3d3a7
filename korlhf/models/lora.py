"""LoRA by peft: which modules of which architecture."""

import sys
from typing import Any, Protocol

from torch import nn
from transformers import PreTrainedModel

from korlhf.core.errors import InputError

# Attention projections by architecture; the names are those of the transformers implementations.
_LLAMA = "llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text exaone4 olmo2 cohere"
LORA_TARGETS = {
    "gpt_neox": ["query_key_value"],
    "bloom": ["query_key_value"],
    "falcon": ["query_key_value"],
    "gpt2": ["c_attn"],
    "phi3": ["qkv_proj"],
    "opt": ["q_proj", "k_proj", "v_proj", "out_proj"],
    **dict.fromkeys(_LLAMA.split(), ["q_proj", "k_proj", "v_proj", "o_proj"]),
}


class LoraFlags(Protocol):
    """The flags of one model that are about LoRA; lora_alpha 0 = twice the rank."""

    @property
    def lora_dim(self) -> int: ...

    @property
    def lora_alpha(self) -> int: ...

    @property
    def lora_module_name(self) -> str: ...

    @property
    def use_dora(self) -> bool: ...


def add_lora(model: PreTrainedModel, flags: LoraFlags, task_type: str) -> nn.Module:
    """`model` with new LoRA weights by peft, or as it is if lora_dim is 0. Raises InputError if no module matches."""
    if not flags.lora_dim:
        return model
    from peft import LoraConfig, get_peft_model  # more than a second

    architecture = model.config.get_text_config().model_type
    names = LORA_TARGETS.get(architecture) if flags.lora_module_name == "auto" else flags.lora_module_name.split(",")
    linear = sorted({name.split(".")[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)})
    if names is None:
        raise InputError(
            f"--lora_module_name auto: no table entry for architecture {model.config.model_type!r}; "
            f"name the modules, some of {', '.join(linear)}"
        )
    alpha = flags.lora_alpha or 2 * flags.lora_dim
    config = LoraConfig(
        r=flags.lora_dim, lora_alpha=alpha, target_modules=names, task_type=task_type, use_dora=flags.use_dora
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(
            f"--lora_module_name {flags.lora_module_name}: matches no module of this {model.config.model_type} model; "
            f"use auto or some of {', '.join(linear)}"
        ) from error


def is_adapted(model: nn.Module) -> bool:
    """Whether `model` is a PeftModel: none is as long as nobody has imported peft."""
    peft: Any = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def without_adapter(model: Any) -> Any:
    """`model` with every LoRA layer still inside but no peft wrapper around it."""
    return model.get_base_model() if is_adapted(model) else model
