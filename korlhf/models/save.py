"""Saving a model: safetensors with its tokenizer and template, LoRA merged."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from korlhf.models.lora import is_adapted
from korlhf.models.merged import merge


def save_model(
    module: Any,
    state_dict: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    base_path: str = "",
    dtype: torch.dtype | None = None,
    eos_token_id: int | None = None,
) -> None:
    """Write `module` (a transformers or peft model) into `folder` as safetensors, with its tokenizer and template.

    state_dict: its whole weights on the CPU (gathered over processes); dtype: of the weights in the file, None as
    they are. LoRA is merged into a fresh copy of `base_path`, so that the weights in training are not touched by a
    merge and an unmerge; the adapter alone goes to folder/adapter. eos_token_id: the token that ends an answer,
    written to generation_config.json. Raises InputError if the merged model computes something else than the adapter
    on its base: then the adapter alone is saved.
    """
    folder = Path(folder)
    if is_adapted(module):
        adapter = save_adapter(module, state_dict, tokenizer, folder)
        module = merge(module, state_dict, adapter, base_path, dtype)
        state_dict = module.state_dict()
    if dtype is not None:
        state_dict = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state_dict.items()}
    generation = getattr(module, "generation_config", None)
    if eos_token_id is not None and generation is not None:
        generation.eos_token_id, generation.pad_token_id = eos_token_id, tokenizer.pad_token_id
    module.save_pretrained(folder, state_dict=state_dict)
    if dtype is not None:  # save_pretrained writes the dtype of the live weights, not always that of `state_dict`
        module.config.dtype = dtype
        module.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    share_weights(folder)


def save_adapter(
    module: Any, state_dict: dict[str, torch.Tensor], tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> Path:
    """Write the adapter of a peft model into folder/adapter, which is returned; arguments as of `save_model`."""
    adapter = Path(folder) / "adapter"
    module.save_pretrained(str(adapter), state_dict=state_dict)
    tokenizer.save_pretrained(adapter)  # the base may have another template, or none
    return adapter


def share_weights(folder: str | Path) -> None:
    """Give the weights in `folder` and its adapter/, which safetensors writes for their owner alone, the mode of the
    config next to them.
    """
    configs = "config.json", "adapter_config.json", "adapter/adapter_config.json"
    for config in filter(Path.exists, (Path(folder, name) for name in configs)):
        for path in config.parent.glob("*.safetensors"):
            path.chmod(config.stat().st_mode & 0o777)
