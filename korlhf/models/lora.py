"""LoRA by peft: which modules of which architecture."""

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from korlhf.core.errors import InputError

# Attention projections by architecture; the names are those of the transformers implementations.
LORA_TARGETS = {
    "gpt_neox": ["query_key_value"],
    "bloom": ["query_key_value"],
    "falcon": ["query_key_value"],
    "gpt2": ["c_attn"],
    "phi3": ["qkv_proj"],
    "opt": ["q_proj", "k_proj", "v_proj", "out_proj"],
}


LORA_TARGETS.update(
    dict.fromkeys(
        [
            "llama",
            "mistral",
            "mixtral",
            "qwen2",
            "qwen3",
            "qwen2_moe",
            "qwen3_moe",
            "gemma",
            "gemma2",
            "gemma3_text",
            "exaone4",
            "olmo2",
            "cohere",
        ],
        ["q_proj", "k_proj", "v_proj", "o_proj"],
    )
)


def add_lora(model, flags, task_type):
    """Wrap `model` for LoRA training by peft; `flags` is a ModelFlags with lora_dim > 0. Raises InputError if no module matches."""
    names = (
        LORA_TARGETS.get(model.config.get_text_config().model_type)
        if flags.lora_module_name == "auto"
        else flags.lora_module_name.split(",")
    )
    if names is None:
        raise InputError(
            f"--lora_module_name auto: no table entry for architecture {model.config.model_type!r}; "
            f"name the modules, some of {', '.join(_linear_names(model))}"
        )
    config = LoraConfig(
        r=flags.lora_dim, lora_alpha=flags.lora_alpha or 2 * flags.lora_dim, target_modules=names, task_type=task_type
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(
            f"--lora_module_name {flags.lora_module_name}: matches no module of this {model.config.model_type} model; "
            f"use auto or some of {', '.join(_linear_names(model))}"
        ) from error


def _linear_names(model):
    return sorted({name.split(".")[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)})


def without_adapter(model):
    """`model` with every LoRA layer still inside but no peft wrapper around it."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
