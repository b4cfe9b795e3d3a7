"""Saving a model: safetensors with its tokenizer and template, LoRA merged."""

from pathlib import Path

import torch
from peft import PeftModel

from korlhf.models.causal_lm import load


def save_model(module, state_dict, tokenizer, folder, base_path, auto_class, dtype=None, stop_id=None, **load_kwargs):
    """Write `module` (a transformers or peft model) into `folder` as safetensors, with its tokenizer and template.

    state_dict: its whole weights on the CPU (gathered over ranks). LoRA is merged into a fresh copy of `base_path`, so that the
    weights in training are not touched by a merge and an unmerge; the adapter alone goes to folder/adapter.
    stop_id: the token that ends an answer, written to generation_config.json.
    """
    folder = Path(folder)
    if isinstance(module, PeftModel):
        module.save_pretrained(folder / "adapter", state_dict=state_dict)
        tokenizer.save_pretrained(folder / "adapter")  # the base may have another template, or none
        trained = module.get_base_model()
        base = load(auto_class, base_path, dtype=torch.float32, **load_kwargs)
        embedding = trained.get_input_embeddings().weight
        name = next(n for n, p in module.named_parameters() if p is embedding)
        rows = state_dict[name].size(0)  # under ZeRO-3 the live weight is empty
        if base.get_input_embeddings().weight.size(0) != rows:
            base.resize_token_embeddings(rows)
        base.config.pad_token_id = trained.config.pad_token_id
        module = PeftModel.from_pretrained(base, folder / "adapter").merge_and_unload()
        state_dict = module.state_dict()
    if dtype is not None:
        state_dict = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state_dict.items()}
    if stop_id is not None and getattr(module, "generation_config", None) is not None:
        module.generation_config.eos_token_id = stop_id
        module.generation_config.pad_token_id = tokenizer.pad_token_id
    module.save_pretrained(folder, state_dict=state_dict)
    if (
        dtype is not None
    ):  # save_pretrained writes the dtype of the live weights, which is not always that of `state_dict`
        module.config.dtype = dtype
        module.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    share_weights(folder)


def share_weights(folder):
    """Give the weights in `folder` and its adapter/, which safetensors writes for their owner alone, the mode of the config beside them."""
    for config in Path(folder) / "config.json", Path(folder) / "adapter" / "adapter_config.json":
        for path in config.parent.glob("*.safetensors"):
            path.chmod(config.stat().st_mode & 0o777)
