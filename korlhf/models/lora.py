"""LoRA by peft: which modules of which architecture."""

import contextlib
import sys
import warnings
from collections.abc import Generator
from typing import Any, Protocol

import torch
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


def add_lora(model: PreTrainedModel, flags: LoraFlags, task_type: str, dropout: float = 0.0) -> nn.Module:
    """`model` with new LoRA weights by peft, or as it is if lora_dim is 0; dropout: of the LoRA layers' input.

    A tied embedding that gets LoRA is untied. Raises InputError if no module matches, and for DoRA on a row of zeros.
    """
    if not flags.lora_dim:
        return model
    from peft import LoraConfig, get_peft_model  # more than a second

    names, linear = _targets(model, flags.lora_module_name)
    alpha = flags.lora_alpha or 2 * flags.lora_dim
    shape: dict[str, Any] = {
        "r": flags.lora_dim,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "use_dora": flags.use_dora,
    }
    config = LoraConfig(target_modules=names, task_type=task_type, **shape)
    try:
        with without_tie_warning():
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InputError(
            f"--lora_module_name {flags.lora_module_name}: matches no module of this {model.config.model_type} model; "
            f"use auto, all-linear or some of {', '.join(linear)}"
        ) from error
    untie(adapted)
    for name, length in adapted.named_parameters():
        if "lora_magnitude_vector" in name and not length.is_meta and not bool((length > 0).all()):
            module = name.split(".lora_magnitude_vector")[0].split(".")[-1]
            raise InputError(
                f"--use_dora: {module} has rows of zeros (padding of the vocabulary?), whose length cannot be trained; "
                f"leave {module} out of --lora_module_name, or --use_dora out"
            )
    return adapted


def _targets(model, wanted) -> tuple[str | list[str], list[str]]:
    """What peft takes as target_modules, and the names of the model's linear layers."""
    architecture = model.config.get_text_config().model_type
    linear = sorted({name.split(".")[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)})
    if wanted == "all-linear":  # peft's own word: all but the head
        return wanted, linear
    names = LORA_TARGETS.get(architecture) if wanted == "auto" else wanted.split(",")
    if names is None:
        raise InputError(
            f"--lora_module_name auto: no table entry for architecture {model.config.model_type!r}; "
            f"use all-linear, or name the modules, some of {', '.join(linear)}"
        )
    return names, linear


@contextlib.contextmanager
def without_tie_warning() -> Generator[None]:
    """Inside, peft does not warn of LoRA on a tied embedding, which `untie` then unties."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Model (has|with) `tie_word_embeddings=True`")
        yield


def untie(adapted: Any) -> None:
    """Give the output embedding of a PeftModel weights of its own if it shares them and either end has LoRA: the
    adapter is trained on one end, while a merge would add it to both.
    """
    base = adapted.get_base_model()
    ends = base.get_input_embeddings(), base.get_output_embeddings()
    if None in ends or not any(hasattr(end, "base_layer") for end in ends):
        return
    words, head = (getattr(end, "base_layer", end) for end in ends)
    if words.weight is not head.weight:
        return
    with gathered(words.weight):
        head.weight = nn.Parameter(words.weight.detach().clone(), requires_grad=False)
    base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False


def gathered(weight: torch.Tensor) -> contextlib.AbstractContextManager:
    """A weight that ZeRO-3 spreads is whole inside, and what rank 0 writes is everybody's."""
    if not hasattr(weight, "ds_id"):
        return contextlib.nullcontext()
    from peft.utils.integrations import gather_params_ctx  # it takes more than a second to import

    return gather_params_ctx(weight)


def is_adapted(model: nn.Module) -> bool:
    """Whether `model` is a PeftModel: none is as long as nobody has imported peft."""
    peft: Any = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


@contextlib.contextmanager
def adapter_off(model: Any) -> Generator[None]:
    """Inside, a model with LoRA computes what its base does; one without LoRA is as it is."""
    with model.disable_adapter() if is_adapted(model) else contextlib.nullcontext():
        yield


def without_adapter(model: Any) -> Any:
    """`model` with every LoRA layer still inside but no peft wrapper around it."""
    return model.get_base_model() if is_adapted(model) else model
